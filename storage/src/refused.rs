//! What the system refused, in words for whoever can mend it: which file it is, what was tried with it, and where that is denied,
//! whose the file is and who needs it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use aside::{Wanted, with_owner};
use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::backend::FileBackend;
use crate::session::{OpenError, numbered};

/// Names the file in an error, and what was tried with it. The kind stays: whoever asks whether there is no room hears the same.
pub(crate) fn named<'a>(path: &'a Path, tried: &'a str) -> impl FnOnce(io::Error) -> io::Error + 'a {
    move |error| {
        let wanted = if tried == "removed" { Wanted::Remove } else { Wanted::Write };
        let error = with_owner(path, wanted, error);
        io::Error::new(error.kind(), format!("{} cannot be {tried}: {error}", path.display()))
    }
}

fn check_place(path: &Path) -> Result<(), OpenError> {
    let may_write = |found: Metadata| -> io::Result<()> {
        let more = if found.is_dir() { Access::EXEC_OK } else { Access::empty() };
        Ok(access(path, Access::READ_OK | Access::WRITE_OK | more)?)
    };
    match fs::metadata(path).and_then(may_write) {
        // What is not there is made by the node, and whoever opens a session says what is none.
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory) => Ok(()),
        Err(error) => {
            let error = with_owner(path, Wanted::Write, error);
            let source = io::Error::new(error.kind(), format!("cannot be written: {error}"));
            Err(OpenError::Io { path: path.to_owned(), source })
        }
        Ok(()) => Ok(()),
    }
}

/// Looks at every place where a node writes: the folders of a session, and the files that it goes on with. A folder is looked at before
/// it is listed.
fn visit_written(dir: &Path, mut look: impl FnMut(&Path) -> Result<(), OpenError>) -> Result<(), OpenError> {
    look(dir)?;
    look(&dir.join("LOCK"))?;
    for (folder, ending) in [("journal", "seg"), ("consensus", "log"), ("snapshots", "pack")] {
        let folder = dir.join(folder);
        look(&folder)?;
        if let Some((_, newest)) = numbered(&FileBackend, &folder, ending)?.pop() {
            look(&newest)?;
        }
    }
    look(&dir.join("snapshots/index.redb"))
}

/// Whether the user of this process may write where a node will: the folders of a session, and the files that it goes on with. A node
/// would else find it out when it writes there, which may be weeks after it let players in. Nothing is written.
///
/// # Errors
/// The first place that cannot be written, and whose it is.
pub fn check_writable(dir: &Path) -> Result<(), OpenError> {
    visit_written(dir, check_place)
}

/// What root should know of a session that is another user's: root may write everywhere, so [`check_writable`] tells it nothing, and
/// what root left there stops the node of that user. The first place that is not that user's, and what mends it.
///
/// # Errors
/// If a folder cannot be read.
pub fn left_by_root(dir: &Path) -> Result<Option<String>, OpenError> {
    let owner = fs::metadata(dir).ok().map(|found| found.uid()).filter(|owner| geteuid().is_root() && *owner != 0);
    owner.map_or(Ok(None), |owner| strange_to(dir, owner))
}

fn strange_to(dir: &Path, owner: u32) -> Result<Option<String>, OpenError> {
    let mut strange = None;
    visit_written(dir, |path| {
        let of = fs::metadata(path).map_or(owner, |found| found.uid());
        if of != owner && strange.is_none() {
            let (path, dir) = (path.display(), dir.display());
            strange = Some(format!(
                "{path} is user {of}'s, and the session is user {owner}'s: a node that runs as that one cannot go on with it; run \
                 `chown -R {owner} {dir}` as root"
            ));
        }
        Ok(())
    })?;
    Ok(strange)
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;
    use std::os::unix::fs::{PermissionsExt, chown};

    use rustix::process::Uid;
    use rustix::thread::set_thread_res_uid;

    use super::*;
    use crate::Session;

    const NOBODY: u32 = 65_534;

    /// What nobody finds at a path, where this is root's process: root may write everywhere. Nothing where nobody is no user here, or may
    /// not come there.
    fn as_nobody<T: Send + 'static>(path: &Path, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let at = path.to_owned();
        let become_nobody = move || {
            // Only this thread becomes that user, and it ends.
            if geteuid().is_root() {
                let nobody = Uid::from_raw(NOBODY);
                set_thread_res_uid(nobody, nobody, nobody)?;
            }
            fs::metadata(&at)?;
            Ok::<T, io::Error>(work())
        };
        let said = std::thread::spawn(become_nobody).join().expect("it ends");
        said.inspect_err(|error| eprintln!("not looked at: nobody may not have {}: {error}", path.display())).ok()
    }

    /// A place that this user made and that is not writable: whose nobody finds it to be.
    fn whose(place: &Path) -> String {
        let place = place.display();
        match geteuid().is_root() {
            true => format!(
                " is user 0's, and this runs as user {NOBODY}; if user {NOBODY} is to run the node, run `chown {NOBODY} {place}`"
            ),
            false => format!(" is shut to its own user; run `chmod u+rwx {place}`"),
        }
    }

    #[test]
    fn what_cannot_be_written_is_named_with_whose_it_is_before_anything_is_written_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let session = dir.path().join("s");
        drop(Session::create(&session, b"{}").expect("a new session"));
        check_writable(&session).expect("all of it is this user's");
        let journal = session.join("journal");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its own");
        fs::set_permissions(&journal, Permissions::from_mode(0o555)).expect("its own");
        if geteuid().is_root() {
            for place in ["", "LOCK", "consensus", "consensus/00000001.log"] {
                chown(session.join(place), Some(NOBODY), None).expect("root may");
            }
        }
        let (at, segment) = (session.clone(), journal.join("00000001.seg"));
        let said = as_nobody(&journal, move || {
            let made = fs::write(&segment, b"").expect_err("it is not writable");
            let checked = check_writable(&at).expect_err("nor is it said to be");
            [checked.to_string(), named(&segment, "made")(made).to_string()]
        });
        let Some([checked, named]) = said else { return };
        let (folder, whose) = (journal.display(), whose(&journal));
        let start = format!("{folder}: cannot be written: ");
        assert!(checked.starts_with(&start) && checked.contains(&format!(": it{whose}")), "{checked}");
        let start = format!("{folder}/00000001.seg cannot be made: ");
        assert!(named.starts_with(&start) && named.contains(&format!(": the folder {folder}{whose}")), "{named}");
    }

    #[test]
    fn what_root_left_in_a_session_of_another_user_is_told_to_root() {
        let dir = tempfile::tempdir().expect("a directory");
        let session = dir.path().join("s");
        drop(Session::create(&session, b"{}").expect("a new session"));
        let own = geteuid().as_raw();
        assert_eq!(left_by_root(&session).expect("a session"), None, "all of it is one user's");
        assert_eq!(strange_to(&session, own).expect("a session"), None);
        let said = strange_to(&session, own + 1).expect("a session").expect("it is another's");
        assert!(said.starts_with(&format!("{} is user {own}'s", session.display())), "{said}");
        if own != 0 {
            return;
        }
        // As after a `db compact` of root's: the folder is the node's, and what was written last is not.
        for place in ["", "LOCK", "journal", "journal/00000001.seg", "snapshots", "consensus", "consensus/00000001.log"]
        {
            let place = session.join(place);
            if place.exists() {
                chown(place, Some(NOBODY), None).expect("root may");
            }
        }
        assert_eq!(left_by_root(&session).expect("a session"), None);
        let last = session.join("consensus/00000001.log");
        chown(&last, Some(0), None).expect("root may");
        check_writable(&session).expect("root may write everywhere");
        let said = left_by_root(&session).expect("a session").expect("the node's user may not");
        let mends = format!("run `chown -R {NOBODY} {}`", session.display());
        assert!(said.starts_with(&format!("{} is user 0's", last.display())) && said.contains(&mends), "{said}");
    }

    #[test]
    fn of_a_file_that_cannot_be_removed_the_folder_is_named() {
        let dir = tempfile::tempdir().expect("a directory");
        let file = dir.path().join("00000001.seg");
        fs::write(&file, b"").expect("a file");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o555)).expect("its own");
        if geteuid().is_root() {
            chown(&file, Some(NOBODY), None).expect("root may");
        }
        let at = file.clone();
        let said = as_nobody(&file, move || {
            named(&at, "removed")(fs::remove_file(&at).expect_err("its folder is not writable")).to_string()
        });
        fs::set_permissions(dir.path(), Permissions::from_mode(0o700)).expect("its own");
        let Some(said) = said else { return };
        assert!(said.contains(&format!(": the folder {}{}", dir.path().display(), whose(dir.path()))), "{said}");
    }

    #[test]
    fn only_what_is_denied_has_an_owner_and_the_kind_of_an_error_stays() {
        let full = named(Path::new("/no/such/file"), "synced")(io::ErrorKind::StorageFull.into());
        assert!(crate::backend::is_full(&full), "{full}");
        assert_eq!(full.to_string(), "/no/such/file cannot be synced: no storage space");
    }
}
