//! Arrows go down only: what decides knows no cluster, no terminal, no clock, no disk and no chance.

use std::fs;
use std::path::{Path, PathBuf};

use clap::CommandFactory;

const PURE: [&str; 3] = ["pki", "mesh", "rotation"];

/// What the pure modules must not so much as name, outside their tests.
const EDGES: [&str; 17] = [
    "kube::",
    "k8s_openapi",
    "tokio",
    "clap",
    "crate::cli",
    "crate::ui",
    "crate::report",
    "crate::command",
    "crate::kubernetes",
    "crate::selfhosted",
    "std::time",
    "SystemTime",
    "Timestamp::now",
    "std::fs",
    "std::env",
    "TcpStream",
    "ring::rand",
];

#[test]
fn what_decides_is_pure() {
    let found: Vec<String> =
        PURE.iter().flat_map(|module| mentions(&sources(&source().join(module)), &EDGES)).collect();
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn lower_modules_do_not_know_higher_ones() {
    let below = |module: &str, higher: &[&str]| mentions(&sources(&source().join(module)), higher);
    let mut found = below("pki", &["crate::mesh", "crate::rotation", "crate::error"]);
    found.extend(below("mesh", &["crate::rotation"]));
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn one_file_alone_prints() {
    let others: Vec<PathBuf> = sources(&source()).into_iter().filter(|file| !file.ends_with("src/ui.rs")).collect();
    let found = mentions(&others, &["println!", "print!(", "io::stdout", "io::stderr", "dbg!("]);
    assert!(found.is_empty(), "{found:#?}");
}

#[test]
fn every_file_says_first_what_it_is_for() {
    let silent: Vec<PathBuf> = sources(&source())
        .into_iter()
        .filter(|file| !fs::read_to_string(file).expect("it is there").starts_with("//! "))
        .collect();
    assert!(silent.is_empty(), "{silent:#?}");
}

/// A hint that names a command which is not there sends people nowhere.
#[test]
fn every_command_that_is_spoken_of_exists() {
    let cli = mtls::cli::Cli::command();
    let names = |command: &clap::Command| -> Vec<String> {
        command.get_all_aliases().chain([command.get_name()]).map(str::to_owned).collect()
    };
    let known: Vec<String> = cli.get_subcommands().flat_map(names).collect();
    let mut spoken_of = 0;
    for file in sources(&source()) {
        for (number, line) in code(&file) {
            for rest in line.split("`mtls ").skip(1).filter(|rest| !rest.starts_with('{')) {
                let word: String = rest.chars().take_while(|c| c.is_ascii_lowercase() || *c == '-').collect();
                let is_there = word.starts_with('-') || known.contains(&word);
                assert!(is_there, "{}:{number}: `mtls {word}` is no command", file.display());
                spoken_of += 1;
            }
        }
    }
    assert!(spoken_of > 10, "commands are spoken of in another form now: {spoken_of}");
}

fn source() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// Every Rust file below a directory; files of tests left out.
fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory).expect("it is there") {
        let path = entry.expect("an entry").path();
        let is_test = ["tests.rs", "testing.rs"].iter().any(|name| path.ends_with(name));
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") && !is_test {
            files.push(path);
        }
    }
    files
}

/// Where these files name one of `words`.
fn mentions(files: &[PathBuf], words: &[&str]) -> Vec<String> {
    let mut found = Vec::new();
    for file in files {
        for (number, line) in code(file) {
            if let Some(word) = words.iter().find(|word| line.contains(**word)) {
                found.push(format!("{}:{number}: {word}", file.display()));
            }
        }
    }
    found
}

/// The lines of a file up to its tests, without comments.
fn code(file: &Path) -> Vec<(usize, String)> {
    let text = fs::read_to_string(file).expect("it is there");
    let lines = text.lines().enumerate().take_while(|(_, line)| line.trim() != "#[cfg(test)]");
    lines
        .filter(|(_, line)| !line.trim_start().starts_with("//"))
        .map(|(number, line)| (number + 1, line.to_owned()))
        .collect()
}
