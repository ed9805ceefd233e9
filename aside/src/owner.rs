//! Whose a file is, where the system lets this process not have it.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;

use rustix::process::geteuid;

/// What the system said of a path that was to be opened. Where it denied that, whose the path is, or the folder that hides it, stands
/// behind it, and what mends it: most often a node was made by one user and is run as another.
pub fn with_owner(path: &Path, error: io::Error) -> io::Error {
    if error.kind() != io::ErrorKind::PermissionDenied {
        return error;
    }
    // Into a folder that is shut nobody looks, and what is not there yet is its folder's to have.
    let places = path.ancestors().filter(|place| !place.as_os_str().is_empty());
    let found = places.filter_map(|place| Some((place, fs::metadata(place).ok()?))).next();
    match found.and_then(|(place, found)| reason(place, path, &found, geteuid().as_raw())) {
        Some(why) => io::Error::new(error.kind(), format!("{error}: {why}")),
        None => error,
    }
}

/// Why a user may not have a path, by the place that is in its way.
fn reason(place: &Path, path: &Path, found: &Metadata, user: u32) -> Option<String> {
    let (owner, at) = (found.uid(), place.display());
    let what = if place == path { "it".to_owned() } else { format!("the folder {at}") };
    let needed = if found.is_dir() { 0o700 } else { 0o600 };
    if owner != user {
        return Some(format!(
            "{what} is user {owner}'s, and this runs as user {user}; run `chown {user} {at}` as root, or `chown -R` for all of \
             the node's folder"
        ));
    }
    let has_all = found.permissions().mode() & needed == needed;
    (!has_all).then(|| {
        format!("{what} is shut to its own user; run `chmod u+{} {at}`", if found.is_dir() { "rwx" } else { "rw" })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn denied(path: &Path) -> String {
        with_owner(path, io::Error::from_raw_os_error(13)).to_string()
    }

    #[test]
    fn who_is_denied_a_file_hears_whose_it_is_and_what_mends_that() {
        let dir = tempfile::tempdir().expect("a folder");
        let file = dir.path().join("net.pem");
        fs::write(&file, "").expect("a file");
        let found = fs::metadata(&file).expect("it is there");
        let (owner, other) = (found.uid(), found.uid() + 1);
        let said = reason(&file, &file, &found, other).expect("it is another's");
        let says =
            format!("it is user {owner}'s, and this runs as user {other}; run `chown {other} {}`", file.display());
        assert!(said.starts_with(&says), "{said}");
        let said = reason(dir.path(), &file, &found, other).expect("it is another's");
        assert!(said.starts_with(&format!("the folder {} is user {owner}'s", dir.path().display())), "{said}");

        fs::set_permissions(&file, PermissionsExt::from_mode(0o400)).expect("its mode");
        assert!(denied(&file).ends_with(&format!("run `chmod u+rw {}`", file.display())), "{}", denied(&file));
        // What is not there yet is not the one that is shut.
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o500)).expect("its mode");
        let said = denied(&dir.path().join("LOCK"));
        assert!(said.starts_with("Permission denied (os error 13): the folder "), "{said}");
        assert!(said.ends_with(&format!("run `chmod u+rwx {}`", dir.path().display())), "{said}");
        fs::set_permissions(dir.path(), PermissionsExt::from_mode(0o700)).expect("its mode");
    }

    #[test]
    fn whatever_else_the_system_says_is_left_as_it_is() {
        let said = with_owner(Path::new("/nowhere/at/all"), io::ErrorKind::NotFound.into());
        assert_eq!(
            (said.kind(), said.to_string()),
            (io::ErrorKind::NotFound, io::Error::from(io::ErrorKind::NotFound).to_string())
        );
        // Nothing stands in the way that could be seen: the system has its reasons.
        let dir = tempfile::tempdir().expect("a folder");
        assert_eq!(denied(dir.path()), "Permission denied (os error 13)");
    }
}
