//! Puts questions to the oracle in Go, and compares its verdicts with ours.
//!
//! The committed verdicts are made again by `(go run . named; go run . generate 7 60) > verdicts.jsonl`.

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mtls::pki::{self, Certificate, Profile, Shown};
use serde_json::Value;

/// Where this tool is stricter than Go, by the name of the committed case, and why.
const DIFFERENCES: [(&str, &str); 4] = [
    ("differs: P-224", "no library here knows P-224, so the chain can't be judged and is refused"),
    ("differs: RSA 1024, SHA384-RSA", "ring checks keys of 1024 bits with SHA-256 and SHA-512 alone"),
    ("differs: RSA-PSS 1024, SHA256-RSAPSS", "ring checks RSA-PSS from 2048 bits on"),
    ("differs: explicit policy", "policies are not evaluated, so a chain that requires them is refused"),
];

/// Says how our verdict on a judged case differs from Go's, unless it is on the list.
pub fn difference(case: &Value) -> Option<String> {
    let ours = verify(case);
    let same = match &ours {
        Ok(until) => case["ok"] == true && case["until"].as_str().and_then(|text| text.parse().ok()) == Some(*until),
        Err(_) => case["ok"] == false,
    };
    let listed = DIFFERENCES.iter().any(|(name, _)| case["name"] == *name);
    match (same, listed) {
        (true, false) => None,
        (false, true) if ours.is_err() => None,
        _ => Some(format!("{}: Go {} {} {}, here {ours:?}", case["name"], case["ok"], case["error"], case["until"])),
    }
}

fn verify(case: &Value) -> Result<Timestamp, String> {
    let read = |value: &Value| {
        let der = STANDARD.decode(value.as_str().unwrap_or_default()).unwrap();
        Certificate::from_der(&der).map_err(|error| error.to_string())
    };
    let list = |name: &str| case[name].as_array().into_iter().flatten().map(read).collect::<Result<Vec<_>, _>>();
    let profile = match case["profile"].as_str() {
        Some("spiffe") => Profile::Spiffe,
        Some("webhook") => Profile::Webhook,
        _ => Profile::EtcdPeer,
    };
    let at = case["at"].as_str().unwrap().parse().unwrap();
    let leaf = read(&case["leaf"])?;
    pki::verify(Shown::Leaf(&leaf), &list("chain")?, &list("anchors")?, profile, at)
        .map_err(|refusal| refusal.to_string())
}

/// Where the oracle's source and its committed verdicts are.
pub fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/oracle")
}

/// Builds Go's oracle once, puts questions to it and returns what it answers.
pub fn ask(args: &[&str], questions: &str) -> String {
    static ORACLE: OnceLock<PathBuf> = OnceLock::new();
    let oracle = ORACLE.get_or_init(|| {
        let oracle = Path::new(env!("CARGO_TARGET_TMPDIR")).join("oracle");
        let mut build = Command::new("go");
        build.arg("build").arg("-o").arg(&oracle).arg(".").current_dir(folder());
        let output = build.env("GOTOOLCHAIN", "local").output().expect("Go is installed");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        oracle
    });
    let mut child = Command::new(oracle)
        .args(args)
        .env_remove("GODEBUG")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let output = std::thread::scope(|scope| {
        scope.spawn(move || stdin.write_all(questions.as_bytes()));
        child.wait_with_output().unwrap()
    });
    assert!(output.status.success());
    String::from_utf8(output.stdout).unwrap()
}
