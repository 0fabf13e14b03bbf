//! `completions/` and `man/` are what the command line definition makes of them today.
//!
//! `cargo test --locked --test generated -- --ignored` writes them anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn mtls(arguments: &[&str]) -> Vec<u8> {
    let output = Command::new(env!("CARGO_BIN_EXE_mtls")).args(arguments).output().expect("the binary runs");
    assert!(output.status.success(), "mtls {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    output.stdout
}

/// What should be there, by path.
fn wanted() -> BTreeMap<PathBuf, Vec<u8>> {
    let shells = [("bash", "mtls.bash"), ("zsh", "_mtls"), ("fish", "mtls.fish"), ("powershell", "_mtls.ps1")];
    let mut files: BTreeMap<PathBuf, Vec<u8>> = shells
        .into_iter()
        .map(|(shell, name)| (Path::new("completions").join(name), mtls(&["completion", shell])))
        .collect();
    let pages = tempfile::tempdir().expect("a directory");
    mtls(&["man", "--out", pages.path().to_str().expect("a plain path")]);
    for page in fs::read_dir(pages.path()).expect("it was made") {
        let page = page.expect("an entry");
        files.insert(Path::new("man").join(page.file_name()), fs::read(page.path()).expect("it is there"));
    }
    files
}

#[test]
fn completions_and_manual_pages_are_current() {
    let wanted = wanted();
    for (path, bytes) in &wanted {
        let stale = format!("{} is stale: run `just generate`", path.display());
        assert!(fs::read(root().join(path)).is_ok_and(|found| found == *bytes), "{stale}");
    }
    for directory in ["completions", "man"] {
        for entry in fs::read_dir(root().join(directory)).expect("it is there") {
            let path = Path::new(directory).join(entry.expect("an entry").file_name());
            assert!(wanted.contains_key(&path), "{} belongs to no command", path.display());
        }
    }
}

#[test]
#[ignore = "writes completions/ and man/ anew"]
fn generate() {
    for directory in ["completions", "man"] {
        let _ = fs::remove_dir_all(root().join(directory));
        fs::create_dir_all(root().join(directory)).expect("the tree is ours");
    }
    for (path, bytes) in wanted() {
        fs::write(root().join(path), bytes).expect("the tree is ours");
    }
}
