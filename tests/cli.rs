//! Transcripts of the binary on a self-hosted directory: what it prints where, and how it exits.

use std::fs::{self, File};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Output, Stdio};

use rstest::rstest;
use snapbox::{assert_data_eq, str};
use tempfile::TempDir;

fn mtls(arguments: &str, home: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_mtls"));
    command.args(arguments.split_whitespace()).current_dir(home).env("HOME", home);
    for variable in ["NO_COLOR", "CLICOLOR_FORCE", "KUBECONFIG", "COLUMNS"] {
        command.env_remove(variable);
    }
    command.env("TERM", "xterm").stdin(Stdio::null());
    command
}

/// Runs it and expects this exit code; gives stdout and stderr.
#[track_caller]
fn run(arguments: &str, home: &Path, code: i32) -> (String, String) {
    let Output { status, stdout, stderr } = mtls(arguments, home).output().expect("the binary runs");
    let (stdout, stderr) = (text(stdout), text(stderr));
    assert_eq!(status.code(), Some(code), "mtls {arguments}\n{stdout}\n{stderr}");
    (stdout, stderr)
}

fn text(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).expect("output is text")
}

fn home() -> TempDir {
    tempfile::tempdir().expect("a directory")
}

/// A home with a CA in `certs` that lives for half a day longer, so that no count of days depends on the moment.
fn with_ca(days: u32) -> TempDir {
    let home = home();
    run(&format!("rotate --certs-dir certs --valid-until {}h", 24 * days + 12), home.path(), 0);
    home
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).expect("it is there").permissions().mode() & 0o777
}

fn trio(directory: &Path) -> [Vec<u8>; 3] {
    ["ca.crt", "issuer.crt", "issuer.key"].map(|name| fs::read(directory.join(name)).expect(name))
}

#[test]
fn without_a_command_there_is_help_and_a_usage_error() {
    let (stdout, stderr) = run("", home().path(), 2);
    assert_eq!(stdout, "");
    assert!(stderr.starts_with("Shows, renews and rotates"), "{stderr}");
    assert!(stderr.contains("Usage: mtls [OPTIONS] [COMMAND]"), "{stderr}");
}

#[rstest]
#[case("--help")]
#[case("help rotate")]
#[case("restore --help")]
#[case("renew-certificate -h")]
#[case("--version")]
fn help_is_a_result(#[case] arguments: &str) {
    let (stdout, stderr) = run(arguments, home().path(), 0);
    assert!(!stdout.is_empty());
    assert_eq!(stderr, "");
}

#[rstest]
#[case("frobnicate", "unrecognized subcommand 'frobnicate'")]
#[case("rotate --certs-dir c --ca-root-certificate ca.crt", "required arguments were not provided")]
#[case("rotate --certs-dir c --valid-until 20 --if-expires-within 30d", "every run would renew again")]
#[case("status -k --certs-dir c", "cannot be used with")]
#[case("rotate --certs-dir c --private-key missing.key", "`missing.key` cannot be read")]
fn wrong_usage_exits_2(#[case] arguments: &str, #[case] why: &str) {
    let (stdout, stderr) = run(arguments, home().path(), 2);
    assert_eq!(stdout, "");
    assert!(stderr.contains(why), "{stderr}");
}

#[rstest]
#[case("-k")]
#[case("status -k")]
#[case("expiry")]
#[case("export")]
#[case("renew-certificate -k --restart")]
#[case("restart")]
#[case("restore")]
fn without_a_cluster_every_command_says_so(#[case] arguments: &str) {
    let home = home();
    let ended = mtls(arguments, home.path()).env("KUBECONFIG", "missing").output().expect("the binary runs");
    let stderr = text(ended.stderr);
    assert_eq!(ended.status.code(), Some(1), "{stderr}");
    assert!(stderr.contains("`missing`") && stderr.contains("hint: "), "{stderr}");
    assert_eq!(text(ended.stdout), "");
}

#[test]
fn the_first_minutes() {
    let home = home();
    let home = home.path();

    let (stdout, _) = run("status --certs-dir certs", home, 0);
    assert_data_eq!(
        stdout,
        str![[r"
Self-hosted directory certs, trust domain cluster.local

note: there is no CA in this directory yet
  a Sentry that uses it would invent one
  hint: make one with `mtls renew-certificate --certs-dir 'certs'`

"]]
    );
    assert!(!home.join("certs").exists(), "looking makes no directory");

    let (stdout, stderr) = run("rotate --certs-dir certs --valid-until 2172h", home, 0);
    assert_data_eq!(
        stdout,
        str![[r"
Starting certificate rotation
Certificate rotation is successful! Your new certificate is valid through [..] UTC

"]]
    );
    assert!(stderr.contains("trust domain cluster.local"), "{stderr}");
    assert!(stderr.contains("strategy create: there is no CA yet"), "{stderr}");

    let (stdout, stderr) = run("status --certs-dir certs", home, 0);
    assert_data_eq!(
        stdout,
        str![[r"
Self-hosted directory certs, trust domain cluster.local

CERTIFICATE   FINGERPRINT   EXPIRES (UTC)        REMAINING  NEEDED BY  SUBJECT
trust anchor  [..]  90 days    everyone   O=cluster.local, CN=root [..]
issuer        [..]  90 days    everyone   O=spiffe://cluster.local/ns/default/dapr-sentry

Nothing needs attention.

"]]
    );
    assert_eq!(stderr, "");

    run("rotate --certs-dir certs --valid-until 8772h", home, 0);
    let (stdout, _) = run("expiry --certs-dir certs", home, 0);
    assert_data_eq!(
        stdout,
        str![[r"
Root certificate expires in [..] hours. Expiry date: [..] +0000 UTC

CERTIFICATE    FINGERPRINT   EXPIRES (UTC)        REMAINING  NEEDED BY  SUBJECT
trust anchor   [..]  365 days   everyone   O=cluster.local, CN=root [..]
trust anchor   [..]  90 days    unknown    O=cluster.local, CN=root [..]
issuer         [..]  365 days   everyone   O=spiffe://cluster.local/ns/default/dapr-sentry
bridge         [..]  90 days    unknown    O=cluster.local, CN=root [..]
former issuer  [..]  90 days    unknown    O=spiffe://cluster.local/ns/default/dapr-sentry

Which sidecars hold which trust anchor cannot be seen in a directory.

"]]
    );
}

#[test]
fn only_the_owner_may_read_what_is_made() {
    let home = with_ca(90);
    let certs = home.path().join("certs");
    assert_eq!(mode(&certs), 0o700);
    for name in ["ca.crt", "issuer.crt", "issuer.key", "mtls-rotation/record.json"] {
        assert_eq!(mode(&certs.join(name)), 0o600, "{name}");
    }
}

#[test]
fn self_hosted_is_the_directory_of_dapr() {
    let home = home();
    run("rotate --self-hosted", home.path(), 0);
    assert!(home.path().join(".dapr/certs/issuer.key").exists());
}

#[test]
fn the_first_ca_has_the_names_that_were_asked_for() {
    let home = home();
    run("rotate --certs-dir certs --trust-domain example.org -n infra", home.path(), 0);
    let (stdout, _) = run("status --certs-dir certs", home.path(), 0);
    assert!(stdout.contains("O=spiffe://example.org/ns/infra/dapr-sentry"), "{stdout}");
    let (_, stderr) = run("rotate --certs-dir certs --trust-domain example.net", home.path(), 2);
    assert!(stderr.contains("trust domain `example.org`, not `example.net`"), "{stderr}");
}

#[test]
fn a_part_of_a_ca_is_an_error_that_names_what_is_missing() {
    let home = with_ca(90);
    fs::remove_file(home.path().join("certs/issuer.key")).expect("it is there");
    for command in ["status", "expiry", "rotate", "export -o out"] {
        let (_, stderr) = run(&format!("{command} --certs-dir certs"), home.path(), 1);
        assert!(stderr.contains("`issuer.key` is missing"), "{stderr}");
        assert!(stderr.contains("hint: "), "{stderr}");
    }
    assert!(!home.path().join("certs/issuer.key").exists());
}

#[test]
fn a_link_in_place_of_a_file_is_refused() {
    let home = with_ca(90);
    let key = home.path().join("certs/issuer.key");
    fs::rename(&key, home.path().join("elsewhere.key")).expect("it is there");
    symlink(home.path().join("elsewhere.key"), &key).expect("a link");
    let before = fs::read(home.path().join("elsewhere.key")).expect("it is there");
    let (_, stderr) = run("rotate --certs-dir certs", home.path(), 1);
    assert!(stderr.contains("is a symbolic link"), "{stderr}");
    assert_eq!(fs::read(home.path().join("elsewhere.key")).expect("it is there"), before);
}

#[test]
fn a_dry_run_writes_nothing() {
    let home = home();
    let (stdout, _) = run("rotate --certs-dir certs --dry-run", home.path(), 0);
    assert!(stdout.starts_with("Would use strategy create:\n  1. publish the trust bundle: "), "{stdout}");
    assert!(!home.path().join("certs").exists());

    let home = with_ca(90);
    let before = trio(&home.path().join("certs"));
    let (stdout, _) = run("rotate --certs-dir certs --dry-run", home.path(), 0);
    assert!(stdout.contains("strategy bridge"), "{stdout}");
    assert_eq!(trio(&home.path().join("certs")), before);
}

#[test]
fn nothing_is_written_before_it_is_due() {
    let home = with_ca(90);
    let before = trio(&home.path().join("certs"));
    let (stdout, _) = run("rotate --certs-dir certs --if-expires-within 30d", home.path(), 0);
    assert!(stdout.starts_with("nothing is due: "), "{stdout}");
    assert_eq!(trio(&home.path().join("certs")), before);
    run("rotate --certs-dir certs --if-expires-within 100d", home.path(), 0);
    assert_ne!(trio(&home.path().join("certs")), before);
}

#[test]
fn monitoring_gets_3_when_something_ends_soon() {
    let home = with_ca(90);
    for command in ["status", "expiry"] {
        run(&format!("{command} --certs-dir certs --expires-within 30d"), home.path(), 0);
        let line = format!("{command} --certs-dir certs --expires-within 100d -o json");
        let (stdout, stderr) = run(&line, home.path(), 3);
        assert!(stdout.starts_with('{'), "the result is printed all the same: {stdout}");
        assert!(stderr.contains("expires in 90 days"), "{stderr}");
    }
    run("expiry --certs-dir nowhere", home.path(), 1);
    run("status --certs-dir nowhere --expires-within 1d", home.path(), 3);
}

#[test]
fn under_thirty_days_dapr_s_banner_is_shown() {
    let home = with_ca(20);
    let (stdout, _) = run("status --certs-dir certs", home.path(), 0);
    assert_data_eq!(
        stdout,
        str![[r"
...
warning: [..] expires in [..]
...
Dapr root certificate in certs expires in 20 days. Expiry date: [..] UTC.
Dapr issuer certificate in certs expires in 20 days. Expiry date: [..] UTC.
Please see docs.dapr.io for certificate renewal instructions to avoid service interruptions.

"]]
    );
    let (stdout, _) = run("status --certs-dir certs -o json", home.path(), 0);
    assert!(!stdout.contains("docs.dapr.io"), "{stdout}");
}

#[test]
fn what_only_a_person_may_decide_needs_a_yes_without_a_terminal() {
    let home = with_ca(90);
    let before = trio(&home.path().join("certs"));
    let (_, stderr) = run("rotate --certs-dir certs --strategy replace", home.path(), 2);
    assert!(stderr.contains("`--yes`"), "{stderr}");
    assert_eq!(trio(&home.path().join("certs")), before);
    run("rotate --certs-dir certs --strategy replace --yes", home.path(), 0);
    let (stdout, _) = run("status --certs-dir certs -o json", home.path(), 0);
    assert_eq!(stdout.matches("\"trust anchor\"").count(), 1, "the old root is gone: {stdout}");
}

#[test]
fn a_directory_whose_ca_allows_no_bridge_is_left_alone_with_the_reasons_of_both() {
    let home = home();
    run("rotate --certs-dir certs --valid-until 12h", home.path(), 0);
    let certs = home.path().join("certs");
    let record = certs.join("mtls-rotation/record.json");
    let state = || (trio(&certs), fs::read(&record).expect("it is there"));
    let before = state();
    let (_, stderr) = run("rotate --certs-dir certs --valid-until 90", home.path(), 1);
    assert!(stderr.contains("no strategy is safe here: bridge: the bridge would end "), "{stderr}");
    assert!(stderr.contains("; append: it must be seen that every consumer holds the new root"), "{stderr}");
    assert!(stderr.contains("hint: `mtls status --certs-dir 'certs'`"), "{stderr}");
    assert!(!stderr.contains("--strategy append"), "nothing that was refused is advised: {stderr}");
    assert!(state() == before, "nothing was changed");
}

#[test]
fn of_two_at_once_one_is_told_who_works() {
    let home = with_ca(90);
    let lock = home.path().join("certs/mtls-rotation/lock");
    let held = File::options().write(true).open(&lock).expect("it is there");
    held.try_lock().expect("nobody has it");
    fs::write(&lock, "4711").expect("it is ours");
    let before = trio(&home.path().join("certs"));
    let (_, stderr) = run("rotate --certs-dir certs", home.path(), 1);
    assert!(stderr.contains("another mtls works on this directory (process 4711)"), "{stderr}");
    assert_eq!(trio(&home.path().join("certs")), before);
}

/// A home in which a rotation was cut off after the trust bundle: the record is open, the issuer still the old one.
fn cut_off() -> (TempDir, [Vec<u8>; 3]) {
    let home = with_ca(90);
    let certs = home.path().join("certs");
    run("export --certs-dir certs -o old", home.path(), 0);
    run("rotate --certs-dir certs", home.path(), 0);
    let goal = trio(&certs);
    let record = certs.join("mtls-rotation/record.json");
    let done = fs::read_to_string(&record).expect("it is there");
    let open = done.replace(r#"\"done\""#, r#"\"open\""#);
    assert_ne!(open, done);
    fs::write(&record, open).expect("it is ours");
    for name in ["issuer.crt", "issuer.key"] {
        fs::copy(home.path().join("old").join(name), certs.join(name)).expect("both are ours");
    }
    (home, goal)
}

#[test]
fn the_same_command_continues_what_was_cut_off() {
    let (home, goal) = cut_off();
    let (stdout, _) = run("status --certs-dir certs", home.path(), 0);
    assert!(stdout.contains("warning: a rotation (strategy bridge) is open since"), "{stdout}");
    assert!(stdout.contains("`mtls renew-certificate --resume --certs-dir 'certs'`"), "{stdout}");
    let (_, stderr) = run("rotate --certs-dir certs --valid-until 30", home.path(), 1);
    assert!(stderr.contains("--resume") && stderr.contains("--abort"), "{stderr}");
    let (_, stderr) = run("rotate --certs-dir certs", home.path(), 0);
    assert!(stderr.contains("continuing the rotation"), "{stderr}");
    assert_eq!(trio(&home.path().join("certs")), goal);
}

#[test]
fn a_kill_between_chain_and_key_is_mended() {
    let (home, goal) = cut_off();
    fs::write(home.path().join("certs/issuer.crt"), &goal[1]).expect("it is ours");
    let (stdout, _) = run("status --certs-dir certs", home.path(), 0);
    assert!(stdout.starts_with("Self-hosted") && stdout.contains("error: `issuer.key` does not belong"), "{stdout}");
    run("rotate --certs-dir certs --resume", home.path(), 0);
    assert_eq!(trio(&home.path().join("certs")), goal);
}

#[test]
fn an_abort_puts_the_issuer_back_and_leaves_the_anchors() {
    let home = with_ca(90);
    let old = trio(&home.path().join("certs"));
    run("rotate --certs-dir certs", home.path(), 0);
    let new = trio(&home.path().join("certs"));
    run("rotate --certs-dir certs --abort", home.path(), 2);
    run("rotate --certs-dir certs --abort --yes", home.path(), 0);
    let [trust, chain, key] = trio(&home.path().join("certs"));
    assert_eq!((chain, key), (old[1].clone(), old[2].clone()));
    let blocks = |pem: &[u8]| text(pem.to_vec()).matches("BEGIN CERTIFICATE").count();
    assert_eq!(blocks(&trust), blocks(&new[0]), "both roots stay");
}

/// Nobody can see who holds what in a directory, so that the one who stands for all of them must be allowed by number.
#[test]
fn a_prune_of_a_directory_wants_to_be_told_how_many_may_break() {
    let home = with_ca(90);
    run("prune --certs-dir certs --yes", home.path(), 0);
    run("rotate --certs-dir certs", home.path(), 0);
    let before = trio(&home.path().join("certs"));
    let (_, stderr) = run("prune --certs-dir certs --yes", home.path(), 1);
    assert!(stderr.contains("sidecar that cannot be seen") && stderr.contains("`--force=1`"), "{stderr}");
    run("prune --certs-dir certs --force=1", home.path(), 2);
    assert_eq!(trio(&home.path().join("certs")), before, "nothing was changed");
    let (stdout, _) = run("prune --certs-dir certs --force=1 --yes", home.path(), 0);
    assert!(stdout.starts_with("Retired what nobody needs any more. Trusted from now on: "), "{stdout}");
    let count = |bytes: &[u8]| String::from_utf8_lossy(bytes).matches("BEGIN CERTIFICATE").count();
    let [anchors, chain, key] = trio(&home.path().join("certs"));
    assert_eq!((count(&anchors), count(&chain)), (1, 1));
    assert_eq!(key, before[2], "the issuer stays");
}

/// A Sentry that finds a part of the three files makes all of them anew.
#[test]
fn what_sentry_overwrote_or_somebody_lost_comes_back_from_the_record() {
    let home = with_ca(90);
    let certs = home.path().join("certs");
    let (stdout, _) = run("restore --certs-dir certs", home.path(), 0);
    assert_eq!(stdout, "Nothing to restore: what is published is on record, and works.\n");
    let kept = trio(&certs);

    fs::remove_file(certs.join("issuer.key")).expect("it is there");
    let (_, stderr) = run("status --certs-dir certs", home.path(), 1);
    assert!(
        stderr.contains("hint: from the record of the last rotation: `mtls restore --certs-dir 'certs'`"),
        "{stderr}"
    );
    run("restore --certs-dir certs", home.path(), 0);
    assert_eq!(trio(&certs), kept);
    assert_eq!(mode(&certs.join("issuer.key")), 0o600);

    run("rotate --certs-dir other --valid-until 60", home.path(), 0);
    for name in ["ca.crt", "issuer.crt", "issuer.key"] {
        fs::copy(home.path().join("other").join(name), certs.join(name)).expect("both are ours");
    }
    let invented = trio(&certs);
    let (stdout, _) = run("status --certs-dir certs", home.path(), 0);
    assert!(stdout.contains("is not on record: Sentry has invented a CA"), "{stdout}");
    assert!(stdout.contains("the new one: `mtls restore --certs-dir 'certs'`; a renewal does that too"), "{stdout}");
    let (stdout, _) = run("restore --certs-dir certs --dry-run", home.path(), 0);
    assert_data_eq!(
        stdout,
        str![[r"
Would use strategy restore:
  1. publish the trust bundle: [..] + [..]
  2. publish the issuer [..] (3 in the chain)

"]]
    );
    assert_eq!(trio(&certs), invented);
    let (stdout, stderr) = run("restore --certs-dir certs", home.path(), 0);
    assert!(stdout.starts_with("The CA on record signs again; it is valid through "), "{stdout}");
    assert!(stderr.contains("which Sentry invented, accepts the chain until "), "{stderr}");
    assert_eq!(trio(&certs)[2], kept[2], "the kept issuer signs");
    let (stdout, _) = run("status --certs-dir certs -o json", home.path(), 0);
    assert_eq!(stdout.matches("\"trust anchor\"").count(), 2, "both stay trusted: {stdout}");
    run("restore --certs-dir certs", home.path(), 0);
}

#[test]
fn without_a_record_there_is_nothing_to_restore_from() {
    let home = with_ca(90);
    fs::remove_dir_all(home.path().join("certs/mtls-rotation")).expect("it is there");
    let (_, stderr) = run("restore --certs-dir certs", home.path(), 1);
    assert!(
        stderr.contains("error: no CA is kept that could be restored: there is no record of a rotation"),
        "{stderr}"
    );
    assert!(
        stderr.contains("hint: if you have it as files: `mtls renew-certificate --ca-root-certificate"),
        "{stderr}"
    );
    let (home, goal) = cut_off();
    let (_, stderr) = run("restore --certs-dir certs", home.path(), 1);
    assert!(stderr.contains("error: a rotation (strategy bridge) is open since "), "{stderr}");
    run("renew-certificate --certs-dir certs --resume", home.path(), 0);
    assert_eq!(trio(&home.path().join("certs")), goal);
}

#[test]
fn export_writes_private_files_and_no_more() {
    let home = with_ca(90);
    let out = home.path().join("out");
    let (stdout, stderr) = run("export --certs-dir certs -o out", home.path(), 0);
    assert_eq!(stdout, format!("Trust certs successfully exported to {}\n", out.display()));
    assert_eq!(stderr, "");
    assert_eq!(trio(&out), trio(&home.path().join("certs")));
    assert_eq!(mode(&out), 0o700);
    assert_eq!(mode(&out.join("issuer.key")), 0o600);
    assert_eq!(fs::read_dir(&out).expect("it is there").count(), 3);

    let victim = home.path().join("victim");
    fs::write(&victim, "precious").expect("there is room");
    fs::remove_file(out.join("issuer.key")).expect("it is there");
    symlink(&victim, out.join("issuer.key")).expect("a link");
    run("export --certs-dir certs --out out", home.path(), 0);
    assert_eq!(fs::read(&victim).expect("it is there"), b"precious");
    assert_eq!(trio(&out), trio(&home.path().join("certs")));
}

#[test]
fn the_root_key_is_offered_once_and_renews_the_root_by_itself() {
    let home = home();
    run("rotate --certs-dir certs --root-key-out root.key", home.path(), 0);
    assert_eq!(mode(&home.path().join("root.key")), 0o600);
    let (_, stderr) = run("rotate --certs-dir certs --private-key root.key --output-dir old", home.path(), 0);
    assert!(stderr.contains("strategy same-key"), "{stderr}");
    assert_eq!(mode(&home.path().join("old/issuer.key")), 0o600);
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let home = with_ca(90);
    for arguments in ["completion zsh", "man", "renew-certificate --help", "status --certs-dir certs"] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let ended = mtls(arguments, home.path()).stdout(writer).output().expect("the binary runs");
        assert_eq!((ended.status.code(), text(ended.stderr).as_str()), (Some(0), ""), "{arguments}");
    }
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    let home = with_ca(90);
    let full = File::options().write(true).open("/dev/full").expect("Linux has it");
    let ended = mtls("status --certs-dir certs", home.path()).stdout(full).output().expect("the binary runs");
    assert_eq!(ended.status.code(), Some(1));
    assert!(text(ended.stderr).contains("error: stdout could not be written"));
}

#[test]
fn colour_is_for_terminals_and_those_who_ask() {
    let home = home();
    let coloured = |flags: &str, no_color: &str| {
        let line = format!("status --certs-dir certs {flags}");
        let ended = mtls(&line, home.path()).env("NO_COLOR", no_color).output().expect("the binary runs");
        text(ended.stdout).contains('\x1b')
    };
    assert!(!coloured("", ""));
    assert!(coloured("--color always", ""));
    assert!(coloured("--color always", "1"), "a flag is stronger than a variable");
    assert!(!coloured("--color never", ""));
}

#[test]
fn quiet_leaves_results_and_errors() {
    let home = home();
    let (stdout, stderr) = run("rotate --certs-dir certs --quiet", home.path(), 0);
    assert!(stdout.contains("Certificate rotation is successful!"), "{stdout}");
    assert_eq!(stderr, "");
    let (_, stderr) = run("expiry --certs-dir nowhere --quiet", home.path(), 1);
    assert!(stderr.starts_with("error: "), "{stderr}");
}

#[test]
fn errors_are_said_once_each_with_their_cause() {
    let home = with_ca(90);
    fs::write(home.path().join("certs/mtls-rotation/record.json"), "{").expect("it is ours");
    let (_, stderr) = run("status --certs-dir certs", home.path(), 1);
    assert_data_eq!(
        stderr,
        str![[r"
error: the record `certs/mtls-rotation/record.json` cannot be read
  caused by: EOF while parsing an object at line 1 column 1
hint: move `certs/mtls-rotation/record.json` away if the rotation it tells of is of no interest

"]]
    );
}

#[test]
fn no_key_is_ever_shown() {
    let home = with_ca(90);
    let home = home.path();
    let mut shown = String::new();
    let mut show = |arguments: &str, code| {
        let (stdout, stderr) = run(arguments, home, code);
        shown.push_str(&stdout);
        shown.push_str(&stderr);
    };
    show("rotate --certs-dir certs -vv --dry-run -o json", 0);
    show("rotate --certs-dir certs -vv -o json --root-key-out root.key", 0);
    for format in ["table", "json", "yaml"] {
        show(&format!("status --certs-dir certs -vv -o {format}"), 0);
        show(&format!("expiry --certs-dir certs -vv -o {format}"), 0);
    }
    show("export --certs-dir certs -vv -o out", 0);
    fs::copy(home.join("certs/issuer.key"), home.join("certs/ca.crt")).expect("both are ours");
    show("status --certs-dir certs -vv", 0);
    show("rotate --certs-dir certs -vv --private-key certs/issuer.crt", 2);
    assert!(!shown.contains("-----BEGIN"), "{shown}");
    for file in ["certs/issuer.key", "root.key"] {
        let pem = fs::read_to_string(home.join(file)).expect("it is there");
        let secret = pem.lines().nth(1).expect("a body");
        assert!(!shown.contains(&secret[..24]), "{file}: {shown}");
        assert!(!shown.contains(&secret[secret.len() - 24..]), "{file}: {shown}");
    }
}
