//! Writes files that nobody else may read: all of them or none, never through a symbolic link.

use std::fs::{self, DirBuilder, File};
use std::io::{self, Write};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use tempfile::{Builder, NamedTempFile};

use crate::error::Error;
use crate::rotation::Trio;

/// How the names of temporary files begin, so that what a killed run left can be told apart.
pub const TEMPORARY: &str = ".mtls-";

/// Files that are written and synced under temporary names, and wait to take the place of the old ones.
///
/// # Why
/// A full disk shows while the old files are still whole. A rename replaces a symbolic link instead of following it.
#[derive(Default)]
pub struct Staged(Vec<(NamedTempFile, PathBuf)>);

impl Staged {
    /// Stages `bytes` for `target` (mode 0600), in directory `beside` of the same file system.
    pub fn add(&mut self, beside: &Path, target: &Path, bytes: &[u8]) -> Result<(), Error> {
        let failed =
            |why: io::Error| Error::failed(format!("`{}` could not be written", target.display())).because(why);
        if fs::symlink_metadata(target).is_ok_and(|found| found.is_dir()) {
            return Err(failed(io::Error::from(io::ErrorKind::IsADirectory)));
        }
        self.0.push((temporary(beside, bytes).map_err(failed)?, target.to_owned()));
        Ok(())
    }

    /// Puts all of them in place, in the order in which they were added. An error after the first says that something
    /// was changed.
    pub fn commit(self) -> Result<(), Error> {
        let mut directories: Vec<PathBuf> = Vec::new();
        for (file, target) in self.0 {
            file.persist(&target).map_err(|why| {
                let error = Error::failed(format!("`{}` could not be put in place", target.display()));
                let error = error.because(why.error);
                if directories.is_empty() { error } else { error.after_changes() }
            })?;
            let parent = parent(&target);
            if !directories.contains(&parent) {
                directories.push(parent);
            }
        }
        directories.iter().try_for_each(|directory| sync(directory)).map_err(Error::after_changes)
    }
}

/// A file beside its later place, written and synced (mode 0600).
fn temporary(beside: &Path, bytes: &[u8]) -> io::Result<NamedTempFile> {
    let mut file = Builder::new().prefix(TEMPORARY).tempfile_in(beside)?;
    file.write_all(bytes)?;
    file.as_file().sync_all()?;
    Ok(file)
}

/// Writes `ca.crt`, `issuer.crt` and `issuer.key` into `directory`, which is made (mode 0700) if it is not there.
pub fn trio(directory: &Path, trio: &Trio) -> Result<(), Error> {
    let (trust, chain, key) = (trio.trust.to_pem(), trio.issuer.chain_pem(), trio.issuer.key.to_pem());
    write_all(
        directory,
        &[("ca.crt", trust.as_bytes()), ("issuer.crt", chain.as_bytes()), ("issuer.key", key.as_bytes())],
    )
}

/// Writes these files into `directory`, which is made (mode 0700) if it is not there.
pub fn write_all(directory: &Path, files: &[(&str, &[u8])]) -> Result<(), Error> {
    // Without a slash at its end, which would follow the link.
    let named: PathBuf = directory.components().collect();
    if fs::symlink_metadata(&named).is_ok_and(|found| found.is_symlink()) {
        return Err(Error::failed(format!("`{}` is a symbolic link; nothing was written", directory.display()))
            .hint("name the directory that it leads to"));
    }
    make_directory(directory)?;
    let mut staged = Staged::default();
    for (name, bytes) in files {
        staged.add(directory, &directory.join(name), bytes)?;
    }
    staged.commit()
}

/// Writes one file into a directory that is there.
pub fn secret_file(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let mut staged = Staged::default();
    staged.add(&parent(file), file, bytes)?;
    staged.commit()
}

/// Writes a file that must not be there yet: a key that is overwritten is lost.
pub fn new_secret_file(file: &Path, bytes: &[u8]) -> Result<(), Error> {
    let placed = temporary(&parent(file), bytes).and_then(|temporary| Ok(temporary.persist_noclobber(file)?));
    match placed {
        Ok(_) => sync(&parent(file)),
        Err(why) if why.kind() == io::ErrorKind::AlreadyExists => {
            Err(Error::failed(format!("`{}` is there already; nothing was changed", file.display()))
                .hint("a key that is overwritten is lost: name another file"))
        }
        Err(why) => Err(Error::failed(format!("`{}` could not be written", file.display())).because(why)),
    }
}

/// Makes a directory, and those above it, that only its owner may enter. One that is there stays as it is.
pub fn make_directory(directory: &Path) -> Result<(), Error> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(directory)
        .map_err(|why| Error::failed(format!("directory `{}` could not be made", directory.display())).because(why))
}

fn parent(file: &Path) -> PathBuf {
    match file.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent.to_owned(),
        _ => PathBuf::from("."),
    }
}

fn sync(directory: &Path) -> Result<(), Error> {
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|why| Error::failed(format!("directory `{}` could not be synced", directory.display())).because(why))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;
    use crate::error::Kind;

    fn mode(path: &Path) -> u32 {
        fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
    }

    #[test]
    fn only_the_owner_may_read() {
        let home = tempfile::tempdir().expect("a directory");
        let directory = home.path().join("new/certs");
        write_all(&directory, &[("ca.crt", b"A"), ("issuer.key", b"K")]).expect("there is room");
        assert_eq!(mode(&directory), 0o700);
        assert_eq!(mode(&directory.join("issuer.key")), 0o600);
        assert_eq!(fs::read(directory.join("ca.crt")).expect("it is there"), b"A");
        assert_eq!(fs::read_dir(&directory).expect("a directory").count(), 2, "no temporary file stays");
    }

    #[test]
    fn a_link_in_the_place_of_the_directory_is_refused() {
        let home = tempfile::tempdir().expect("a directory");
        let (target, link) = (home.path().join("target"), home.path().join("link"));
        fs::create_dir(&target).expect("there is room");
        symlink(&target, &link).expect("a link");
        for link in [link.clone(), link.join("")] {
            let why = write_all(&link, &[("ca.crt", b"A")]).expect_err("it would be followed").to_string();
            assert!(why.contains("is a symbolic link"), "{why}");
        }
        assert_eq!(fs::read_dir(&target).expect("a directory").count(), 0);
    }

    #[test]
    fn an_open_file_becomes_private() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("issuer.key");
        fs::write(&file, b"old").expect("there is room");
        fs::set_permissions(&file, fs::Permissions::from_mode(0o644)).expect("it is ours");
        secret_file(&file, b"new").expect("there is room");
        assert_eq!(mode(&file), 0o600);
    }

    #[test]
    fn what_is_there_is_not_overwritten_by_what_must_be_new() {
        let home = tempfile::tempdir().expect("a directory");
        let file = home.path().join("root.key");
        new_secret_file(&file, b"first").expect("it is new");
        new_secret_file(&file, b"second").expect_err("it is there");
        let link = home.path().join("link.key");
        symlink(home.path().join("nowhere"), &link).expect("a link");
        new_secret_file(&link, b"third").expect_err("a link is there, wherever it leads");
        assert_eq!(fs::read(&file).expect("it is there"), b"first");
        assert_eq!(mode(&file), 0o600);
        assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 2, "no temporary file stays");
    }

    #[test]
    fn half_of_the_files_in_place_is_a_change() {
        let home = tempfile::tempdir().expect("a directory");
        let stage = || {
            let mut staged = Staged::default();
            for name in ["ca.crt", "issuer.key"] {
                staged.add(home.path(), &home.path().join(name), b"new").expect("there is room");
            }
            staged
        };
        let (first, second) = (stage(), stage());
        fs::create_dir_all(home.path().join("issuer.key/full")).expect("a directory in the way");
        assert_eq!(first.commit().expect_err("it is in the way").kind(), Kind::Unfinished);
        fs::remove_file(home.path().join("ca.crt")).expect("it is there");
        fs::create_dir_all(home.path().join("ca.crt/full")).expect("a directory in the way");
        assert_eq!(second.commit().expect_err("it is in the way").kind(), Kind::Failed);
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let home = tempfile::tempdir().expect("a directory");
        let victim = home.path().join("victim");
        fs::write(&victim, b"precious").expect("there is room");
        let link = home.path().join("issuer.key");
        symlink(&victim, &link).expect("a link");
        secret_file(&link, b"key").expect("there is room");
        assert_eq!(fs::read(&victim).expect("it is there"), b"precious");
        assert!(!fs::symlink_metadata(&link).expect("it is there").is_symlink());
    }

    #[test]
    fn old_files_stay_whole_when_one_cannot_be_written() {
        let home = tempfile::tempdir().expect("a directory");
        fs::write(home.path().join("ca.crt"), b"old").expect("there is room");
        fs::create_dir(home.path().join("issuer.key")).expect("a directory in the way");
        write_all(home.path(), &[("ca.crt", b"new"), ("issuer.key", b"K")]).expect_err("a directory is in the way");
        assert_eq!(fs::read(home.path().join("ca.crt")).expect("it is there"), b"old");
        assert_eq!(fs::read_dir(home.path()).expect("a directory").count(), 2, "no temporary file stays");
    }
}
