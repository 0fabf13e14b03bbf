//! Keys: they are shown nowhere and lie nowhere but where they were asked for.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::time::SystemTime;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE};
use crate::rotations::RENEW;

#[test]
#[ignore = "needs the lab"]
fn no_key_is_shown_anywhere() {
    let lab = Lab::calm(3);
    let mark = lab.mark();
    let mut keys = vec![lab.secret(TRUST_BUNDLE, "issuer.key")];
    let (root_key, old, exported) = (lab.path("new-root.key"), lab.path("old"), lab.path("exported"));
    lab.mtls(&[&RENEW[..], &["-vv", "--dry-run"]].concat()).succeeds();
    lab.mtls(&[&RENEW[..], &["-vv", "--root-key-out", &root_key, "--output-dir", &old]].concat()).succeeds();
    keys.push(fs::read_to_string(&root_key).expect("the root key is where it was asked for"));
    keys.push(lab.secret(TRUST_BUNDLE, "issuer.key"));
    lab.mtls(&["export", "-k", "-vv", "-o", &exported]).succeeds();
    for file in [&root_key, &format!("{old}/issuer.key"), &format!("{exported}/issuer.key")] {
        let mode = fs::metadata(file).expect("a key that was asked for").permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{file}");
    }
    lab.mtls(&[&RENEW[..], &["-vv", "--private-key", &root_key, "-o", "json"]].concat()).succeeds();
    keys.push(lab.secret(TRUST_BUNDLE, "issuer.key"));
    let flags = ["--ca-root-certificate", "--issuer-public-certificate", "--issuer-private-key"];
    let given: Vec<&str> = flags.iter().flat_map(|flag| [*flag, root_key.as_str()]).collect();
    assert_ne!(lab.mtls(&[&RENEW[..], &["-vv"], &given].concat()).code, Some(0));

    let before = changes(Path::new(&lab.path("")));
    for args in [
        &["-k", "-vv"][..],
        &["status", "-k", "-vv"],
        &["status", "-k", "-vv", "-o", "json"],
        &["expiry", "-k", "-vv", "-o", "yaml"],
        &["renew-certificate", "-k", "--valid-until", "90", "-vv"],
        &["renew-certificate", "-k", "--abort", "--yes", "-vv", "-o", "json"],
        &["restart", "-k", "--stale", "-vv"],
        &["completion", "bash"],
        &["man"],
    ] {
        lab.mtls(args).succeeds();
    }
    assert_eq!(changes(Path::new(&lab.path(""))), before, "a temporary file was made");

    let mut metadata = String::new();
    for kinds in ["secrets,configmaps,deployments,statefulsets,pods", "leases,roles"] {
        for object in lab.list(&["-n", CONTROL_PLANE, "get", kinds, "--show-managed-fields"]) {
            metadata.push_str(&object["metadata"].to_string());
        }
    }
    let places = [
        ("output", lab.everything_said()),
        ("events", lab.kubectl(&["get", "events", "-A", "-o", "json"]).into_bytes()),
        ("metadata", metadata.into_bytes()),
        ("the audit log", lab.audit_from(mark).into_bytes()),
    ];
    let has = |text: &[u8], form: &[u8]| text.windows(form.len()).any(|part| part == form);
    for (place, text) in &places {
        assert!(!text.is_empty(), "nothing to look through in {place}");
        for form in keys.iter().flat_map(|key| forms(key)) {
            assert!(!has(text, &form), "a key is in {place}");
        }
        for mark in ["PRIVATE KEY-----", &STANDARD.encode("-----BEGIN PRIVATE")[..20]] {
            assert!(!has(text, mark.as_bytes()), "a key is in {place}");
        }
    }
    lab.assert_no_failed_call();
}

/// When each directory below `root` was last changed: a file that was there for a moment only has changed its.
fn changes(root: &Path) -> BTreeMap<String, SystemTime> {
    let mut found = BTreeMap::new();
    let mut left = vec![root.to_owned()];
    while let Some(directory) = left.pop() {
        let changed = fs::metadata(&directory).and_then(|data| data.modified()).expect("a directory was changed once");
        found.insert(directory.display().to_string(), changed);
        let entries = fs::read_dir(&directory).expect("a directory").map(|entry| entry.expect("an entry").path());
        left.extend(entries.filter(|path| path.is_dir()));
    }
    found
}

/// A key in PEM, in every form in which it might be shown: lines of PEM; DER and scalar raw, in base64 and in hex; PEM
/// in base64.
fn forms(pem: &str) -> Vec<Vec<u8>> {
    let lines: Vec<&str> = pem.lines().filter(|line| !line.starts_with("-----") && !line.is_empty()).collect();
    let der = STANDARD.decode(lines.concat()).expect("a PEM body is base64");
    // The private scalar is the one octet string of 32 bytes (RFC 5915).
    let at = der.windows(2).position(|two| two == [0x04, 0x20]).expect("a P-256 key") + 2;
    let scalar = &der[at..at + 32];
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat();
    let mut forms: Vec<String> = lines.iter().filter(|line| line.len() > 20).map(|line| (*line).to_owned()).collect();
    forms.extend([hex(scalar), hex(scalar).to_uppercase(), format!("{scalar:?}"), format!("{scalar:x?}")]);
    // Base64 of a part depends on where it begins: the three ways, without the characters at the ends.
    for skip in 0..3 {
        forms.push(STANDARD.encode(&scalar[skip..skip + 27]));
    }
    let encoded = STANDARD.encode(pem);
    forms.push(encoded[encoded.len() / 2..encoded.len() / 2 + 40].to_owned());
    let mut forms: Vec<Vec<u8>> = forms.into_iter().map(String::into_bytes).collect();
    forms.push(scalar.to_owned());
    forms
}
