//! Whose a file is, where the system lets this process not have it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::process::{getegid, geteuid, getgroups};

/// What a process wanted of a path that it was denied.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Wanted {
    /// To have a look. A node's files stay its own, however many look at them.
    Read,
    /// To keep them as its own: this process is the node, or stands for it.
    Write,
    /// To take it out of its folder, whosever it is.
    Remove,
}

/// What the system said of a path. Where it denied that, whose the path is, or the folder that is in the way, stands behind it, and
/// what mends it. Whoever only reads is told to do it as the file's user: a node that runs would lose the files that it gave away.
pub fn with_owner(path: &Path, wanted: Wanted, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    match reason(path, wanted, &User::this()) {
        Some(why) => io::Error::new(error.kind(), format!("{error}: {why}")),
        None => error,
    }
}

/// As whom a process runs.
struct User {
    id: u32,
    groups: Vec<u32>,
}

impl User {
    fn this() -> Self {
        let more = getgroups().unwrap_or_default();
        let groups = more.into_iter().chain([getegid()]).map(|group| group.as_raw()).collect();
        Self { id: geteuid().as_raw(), groups }
    }
}

/// Who may do what with a place.
#[derive(Clone, Copy)]
struct Rights {
    owner: u32,
    group: u32,
    mode: u32,
    is_dir: bool,
}

impl Rights {
    fn of(found: &Metadata) -> Self {
        Self { owner: found.uid(), group: found.gid(), mode: found.mode(), is_dir: found.is_dir() }
    }

    /// Whether the mode lets a user have these of read, write and search.
    fn allow(self, user: &User, needed: u32) -> bool {
        let class = match user {
            User { id, .. } if *id == self.owner => 6,
            User { groups, .. } if groups.contains(&self.group) => 3,
            _ => 0,
        };
        (self.mode >> class) & needed == needed
    }
}

/// Why a user may not have a path, by the place that is in its way.
fn reason(path: &Path, wanted: Wanted, user: &User) -> Option<String> {
    // Into a folder that is shut nobody looks, and what is not there yet, or is to go, is its folder's to have.
    let first = if wanted == Wanted::Remove { path.parent()? } else { path };
    let places = first.ancestors().filter(|place| !place.as_os_str().is_empty());
    let (place, found) = places.filter_map(|place| Some((place, fs::metadata(place).ok()?))).next()?;
    reason_at(place, place == path, wanted, Rights::of(&found), user)
}

fn reason_at(place: &Path, is_itself: bool, wanted: Wanted, rights: Rights, user: &User) -> Option<String> {
    let needed = match (is_itself, wanted) {
        (false, _) => 0o3,
        (true, Wanted::Read) => 0o4 | u32::from(rights.is_dir),
        (true, _) => 0o6 | u32::from(rights.is_dir),
    };
    // Root, and whom the mode allows it, are denied by something else: a mark of the file, another machine, a security module.
    if user.id == 0 || rights.allow(user, needed) {
        return None;
    }
    let (Rights { owner, .. }, User { id, .. }, at) = (rights, user, place.display());
    let what = if is_itself { "it".to_owned() } else { format!("the folder {at}") };
    if owner == *id {
        let all = if rights.is_dir { "rwx" } else { "rw" };
        return Some(format!("{what} is shut to its own user; run `chmod u+{all} {at}`"));
    }
    let as_owner = format!("this as user {owner} (`sudo -u '#{owner}'`)");
    let keep = format!(
        "if user {id} is to run the node, run `chown {id} {at}` as root, or `chown -R` for all of the node's folder"
    );
    let mends = match wanted {
        Wanted::Read => format!("who only reads runs {as_owner}, and a node's own files are its user's"),
        // Nobody runs a node as root because its files were made by root.
        Wanted::Write | Wanted::Remove if owner == 0 => keep,
        Wanted::Write | Wanted::Remove => format!("run {as_owner}; {keep}"),
    };
    Some(format!("{what} is user {owner}'s, and this runs as user {id}; {mends}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    const OWNER: u32 = 748;
    const GROUP: u32 = 750;
    const OTHER: u32 = 1_000;

    fn user(id: u32) -> User {
        User { id, groups: vec![id] }
    }

    fn said(is_itself: bool, wanted: Wanted, rights: Rights, id: u32) -> Option<String> {
        reason_at(Path::new("/at"), is_itself, wanted, rights, &user(id))
    }

    const fn file(owner: u32, mode: u32) -> Rights {
        Rights { owner, group: GROUP, mode, is_dir: false }
    }

    const fn folder(owner: u32, mode: u32) -> Rights {
        Rights { owner, group: GROUP, mode, is_dir: true }
    }

    #[test]
    fn who_only_reads_is_told_to_do_it_as_the_files_user_and_takes_them_from_nobody() {
        let whose =
            "is user 748's, and this runs as user 1000; who only reads runs this as user 748 (`sudo -u '#748'`)";
        for (is_itself, rights, what) in [
            (true, file(OWNER, 0o600), "it"),
            (true, folder(OWNER, 0o750), "it"),
            (false, folder(OWNER, 0o750), "the folder /at"),
        ] {
            let said = said(is_itself, Wanted::Read, rights, OTHER).expect("it is another's");
            assert!(said.starts_with(&format!("{what} {whose}")) && !said.contains("chown"), "{said}");
        }
    }

    #[test]
    fn who_writes_is_told_how_the_files_become_its_own_and_to_run_no_node_as_root() {
        let keep = "if user 1000 is to run the node, run `chown 1000 /at` as root";
        let of_root = said(true, Wanted::Write, file(0, 0o644), OTHER).expect("it is root's");
        assert!(of_root.starts_with(&format!("it is user 0's, and this runs as user 1000; {keep}")), "{of_root}");
        let of_other = said(false, Wanted::Write, folder(OWNER, 0o755), OTHER).expect("it is another's");
        assert!(of_other.contains(&format!("; run this as user 748 (`sudo -u '#748'`); {keep}")), "{of_other}");
        let shut = said(true, Wanted::Write, file(OWNER, 0o400), OWNER).expect("it is shut");
        assert_eq!(shut, "it is shut to its own user; run `chmod u+rw /at`");
        let shut = said(false, Wanted::Write, folder(OWNER, 0o500), OWNER).expect("it is shut");
        assert_eq!(shut, "the folder /at is shut to its own user; run `chmod u+rwx /at`");
    }

    #[test]
    fn root_and_whom_the_mode_allows_it_are_denied_by_something_else() {
        for wanted in [Wanted::Read, Wanted::Write, Wanted::Remove] {
            for rights in [file(OWNER, 0o600), folder(OWNER, 0o700), file(0, 0), folder(0, 0o500)] {
                assert_eq!(said(rights.is_dir, wanted, rights, 0), None);
                assert_eq!(said(false, wanted, rights, 0), None);
            }
            assert_eq!(said(true, wanted, file(OWNER, 0o600), OWNER), None);
            assert_eq!(said(true, wanted, file(OWNER, 0o666), OTHER), None);
            assert_eq!(said(true, wanted, file(OWNER, 0o660), GROUP), None);
            assert_eq!(said(false, wanted, folder(OWNER, 0o777), OTHER), None);
        }
        assert_eq!(said(true, Wanted::Read, file(OWNER, 0o644), OTHER), None);
        assert_eq!(said(true, Wanted::Read, file(OWNER, 0o400), OWNER), None);
        assert!(said(true, Wanted::Write, file(OWNER, 0o644), OTHER).is_some());
        assert!(said(true, Wanted::Read, file(OWNER, 0o604), GROUP).is_some(), "the group's part counts for its users");
    }

    #[test]
    fn the_place_that_is_in_the_way_is_named() {
        let dir = tempfile::tempdir().expect("a folder");
        let other = user(fs::metadata(dir.path()).expect("it is there").uid() + 1);
        let file = dir.path().join("net.pem");
        fs::write(&file, "").expect("a file");
        fs::set_permissions(&file, PermissionsExt::from_mode(0o600)).expect("its mode");
        let said = |path: &Path, wanted| reason(path, wanted, &other).expect("it is another's");
        assert!(said(&file, Wanted::Write).starts_with("it is user "), "{}", said(&file, Wanted::Write));
        // What is not there yet is not the one that is shut, and what is to go is its folder's.
        let of_folder = format!("the folder {} is user ", dir.path().display());
        for (path, wanted) in [(dir.path().join("LOCK"), Wanted::Write), (file, Wanted::Remove)] {
            assert!(said(&path, wanted).starts_with(&of_folder), "{}", said(&path, wanted));
        }
    }

    #[test]
    fn whatever_else_the_system_says_is_left_as_it_is() {
        let said = with_owner(Path::new("/nowhere/at/all"), Wanted::Read, io::ErrorKind::NotFound.into());
        assert_eq!(
            (said.kind(), said.to_string()),
            (io::ErrorKind::NotFound, io::Error::from(io::ErrorKind::NotFound).to_string())
        );
        // Nothing stands in the way that could be seen: the system has its reasons.
        let dir = tempfile::tempdir().expect("a folder");
        let said = with_owner(dir.path(), Wanted::Write, io::Error::from_raw_os_error(13));
        assert_eq!(said.to_string(), "Permission denied (os error 13)");
    }
}
