//! `mtls export` of a live cluster into directories of every kind.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::Command;

use crate::lab::{Lab, TRUST_BUNDLE};
use crate::run::Run;

const FILES: [&str; 3] = ["ca.crt", "issuer.crt", "issuer.key"];

#[test]
#[ignore = "needs the lab"]
fn a_directory_is_made_or_filled_and_no_link_is_followed() {
    let lab = Lab::calm(0);
    let new = lab.path("new/certs");
    export(&lab, &new).succeeds().says("Trust certs successfully exported to");
    assert_eq!(mode(&new), 0o700);
    is_exported(&lab, &new);

    let old = lab.path("old");
    fs::create_dir(&old).expect("a directory");
    fs::set_permissions(&old, fs::Permissions::from_mode(0o755)).expect("it is ours");
    export(&lab, &old).succeeds();
    assert_eq!(mode(&old), 0o755, "somebody's directory stays as it is");
    is_exported(&lab, &old);

    let (links, victim) = (lab.path("links"), lab.path("victim"));
    fs::create_dir(&links).expect("a directory");
    fs::write(&victim, "precious").expect("a file");
    for name in FILES {
        symlink(&victim, Path::new(&links).join(name)).expect("a link");
    }
    export(&lab, &links).succeeds();
    is_exported(&lab, &links);
    assert_eq!(fs::read(&victim).expect("it is there"), b"precious", "a link was followed");
}

#[test]
#[ignore = "needs the lab"]
fn a_link_in_place_of_the_directory_is_refused() {
    let lab = Lab::calm(0);
    let (elsewhere, link) = (lab.path("elsewhere"), lab.path("link"));
    fs::create_dir(&elsewhere).expect("a directory");
    symlink(&elsewhere, &link).expect("a link");
    export(&lab, &link).exits(1).says(&link);
    assert!(names(&elsewhere).is_empty(), "a link was followed");
}

#[test]
#[ignore = "needs the lab"]
fn on_a_full_disk_the_old_files_stay_whole() {
    let lab = Lab::calm(0);
    let disk = Disk::of_four_pages(&lab.path("disk"));
    for name in FILES {
        fs::write(disk.0.join(name), "old").expect("there is room for small files");
    }
    export(&lab, disk.0.to_str().expect("a path in UTF-8")).exits(1).says("No space left on device");
    assert_eq!(names(&disk.0), FILES, "a temporary file stays");
    for name in FILES {
        assert_eq!(fs::read(disk.0.join(name)).expect("it is there"), b"old", "{name}");
    }
}

/// A file system in memory; unmounted when it goes out of scope.
struct Disk(std::path::PathBuf);

impl Disk {
    fn of_four_pages(at: &str) -> Self {
        fs::create_dir(at).expect("a directory");
        let done = Command::new("mount").args(["-t", "tmpfs", "-o", "size=16k", "mtls-e2e", at]).status();
        assert!(done.is_ok_and(|status| status.success()), "nothing can be mounted on {at}");
        Self(at.into())
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(&self.0).status();
    }
}

fn export(lab: &Lab, directory: &str) -> Run {
    lab.mtls(&["export", "-k", "-o", directory])
}

#[track_caller]
fn is_exported(lab: &Lab, directory: &str) {
    assert_eq!(names(directory), FILES);
    for name in FILES {
        let file = Path::new(directory).join(name);
        assert_eq!(mode(&file), 0o600, "{name}");
        let written = fs::read_to_string(&file).expect("it is there");
        assert_eq!(written, lab.secret(TRUST_BUNDLE, name), "{name}");
    }
}

fn mode(path: impl AsRef<Path>) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o7777
}

fn names(directory: impl AsRef<Path>) -> Vec<String> {
    let entries = fs::read_dir(directory).expect("a directory");
    let mut names: Vec<String> =
        entries.map(|entry| entry.expect("an entry").file_name().into_string().expect("a name in UTF-8")).collect();
    names.sort();
    names
}
