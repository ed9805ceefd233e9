//! What the system refused, in words for whoever can mend it: which file it is, what was tried with it, and where that is denied,
//! whose the file is and who needs it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use rustix::fs::{Access, access};
use rustix::process::geteuid;

use crate::backend::FileBackend;
use crate::session::{OpenError, numbered};

/// Names the file in an error, and what was tried with it. The kind stays: whoever asks whether there is no room hears the same.
pub(crate) fn named<'a>(path: &'a Path, tried: &'a str) -> impl FnOnce(io::Error) -> io::Error + 'a {
    move |error| {
        let (kind, owner) = (error.kind(), owner(path, &error));
        io::Error::new(kind, format!("{} cannot be {tried}: {error}{owner}", path.display()))
    }
}

/// An error of a file that whoever hears it names, with its owner where it is denied.
pub(crate) fn with_owner(path: &Path, error: io::Error) -> io::Error {
    match owner(path, &error) {
        owner if owner.is_empty() => error,
        owner => io::Error::new(error.kind(), format!("{error}{owner}")),
    }
}

/// Where something is denied, whose that is: behind the words of the error. Nothing for what is no file of the system.
fn owner(path: &Path, error: &io::Error) -> String {
    let denied = Some(path).filter(|_| error.kind() == io::ErrorKind::PermissionDenied);
    let Some((path, found)) = denied.and_then(denying) else { return String::new() };
    let (path, mode, user) = (path.display(), found.mode() & 0o7777, geteuid().as_raw());
    match found.uid() == user {
        true => format!("; {path} has mode {mode:o}, which keeps out its own user"),
        false => format!("; {path} belongs to user {} (mode {mode:o}), and user {user} needs it", found.uid()),
    }
}

/// Which of a path and the folders above it keeps this user out. Those above a folder that can be looked into do not.
fn denying(path: &Path) -> Option<(&Path, Metadata)> {
    for (above, at) in path.ancestors().enumerate() {
        match fs::metadata(at) {
            Ok(found) if may_write(at, &found).is_err() => return Some((at, found)),
            Ok(_) if above > 0 => return None,
            Ok(_) => {}
            // It is yet to be made, or one above it cannot be looked into.
            Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
            Err(_) => return None,
        }
    }
    None
}

fn may_write(path: &Path, found: &Metadata) -> io::Result<()> {
    let more = if found.is_dir() { Access::EXEC_OK } else { Access::empty() };
    Ok(access(path, Access::READ_OK | Access::WRITE_OK | more)?)
}

/// Whether the user of this process may write where a node will: the folders of a session, and the files that it goes on with. A node
/// would else find it out when it writes there, which may be weeks after it let players in. Nothing is written.
///
/// # Errors
/// The first place that cannot be written, and whose it is.
pub fn check_writable(dir: &Path) -> Result<(), OpenError> {
    let mut places = vec![dir.to_owned(), dir.join("LOCK")];
    for (folder, ending) in [("journal", "seg"), ("consensus", "log"), ("snapshots", "pack")] {
        let folder = dir.join(folder);
        let newest = numbered(&FileBackend, &folder, ending)?.pop();
        places.push(folder);
        places.extend(newest.map(|(_, path)| path));
    }
    places.push(dir.join("snapshots/index.redb"));
    for path in places {
        let looked = fs::metadata(&path).and_then(|found| may_write(&path, &found));
        match looked {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                let (user, owner) = (geteuid().as_raw(), owner(&path, &error));
                let advice = match denying(&path) {
                    Some((_, found)) if found.uid() != user => format!(": `chown -R {user} {}`", dir.display()),
                    _ => String::new(),
                };
                let source = io::Error::new(error.kind(), format!("cannot be written: {error}{owner}{advice}"));
                return Err(OpenError::Io { path, source });
            }
            // What is not there is made by the node.
            _ => {}
        }
    }
    Ok(())
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

    #[test]
    fn what_cannot_be_written_is_named_with_whose_it_is_before_anything_is_written_there() {
        let dir = tempfile::tempdir().expect("a directory");
        let session = dir.path().join("s");
        drop(Session::create(&session, b"{}").expect("a new session"));
        check_writable(&session).expect("all of it is this user's");
        let journal = session.join("journal");
        fs::set_permissions(dir.path(), Permissions::from_mode(0o755)).expect("its own");
        fs::set_permissions(&journal, Permissions::from_mode(0o555)).expect("its own");
        let is_root = geteuid().is_root();
        let (at, folder) = (session.clone(), journal.clone());
        let work = move || {
            // Root may write everywhere: another user finds out. Only this thread becomes that user, and it ends.
            if is_root {
                let nobody = Uid::from_raw(NOBODY);
                set_thread_res_uid(nobody, nobody, nobody).expect("root may");
            }
            let made = fs::write(folder.join("00000001.seg"), b"").expect_err("it is not writable");
            let named = named(&folder.join("00000001.seg"), "made")(made);
            [check_writable(&at).expect_err("nor is it said to be").to_string(), named.to_string()]
        };
        if is_root {
            for place in ["", "LOCK", "consensus", "consensus/00000001.log"] {
                chown(session.join(place), Some(NOBODY), None).expect("root may");
            }
        }
        let [checked, named] = std::thread::spawn(work).join().expect("it ends");
        let folder = journal.display();
        let whose = match is_root {
            true => format!("; {folder} belongs to user 0 (mode 555), and user {NOBODY} needs it"),
            false => format!("; {folder} has mode 555, which keeps out its own user"),
        };
        assert!(
            checked.starts_with(&format!("{folder}: cannot be written: ")) && checked.contains(&whose),
            "{checked}"
        );
        assert!(!is_root || checked.ends_with(&format!("`chown -R {NOBODY} {}`", session.display())), "{checked}");
        let start = format!("{folder}/00000001.seg cannot be made: ");
        assert!(named.starts_with(&start) && named.ends_with(&whose), "{named}");
    }

    #[test]
    fn only_what_is_denied_has_an_owner_and_the_kind_of_an_error_stays() {
        let full = named(Path::new("/no/such/file"), "synced")(io::ErrorKind::StorageFull.into());
        assert!(crate::backend::is_full(&full), "{full}");
        assert_eq!(full.to_string(), "/no/such/file cannot be synced: no storage space");
        let of_memory = with_owner(Path::new("no/such/file"), io::ErrorKind::PermissionDenied.into());
        assert_eq!(of_memory.to_string(), "permission denied");
    }
}
