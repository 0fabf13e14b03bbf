//! What is minted and accepted here, judged by others: Go above all, for Dapr is written in Go; rustls-webpki and openssl beside it.
//!
//! `tests/oracle/verdicts.jsonl` holds Go's committed verdicts. Tests that need Go or openssl are ignored in a plain `cargo test`.

#![allow(clippy::unwrap_used, reason = "a test that can't go on has failed")]

mod oracle;

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::{Command, Stdio};
use std::sync::{Arc, OnceLock};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jiff::Timestamp;
use mtls::pki::{self, Certificate, Issuer, LeafName, PrivateKey, TrustBundle, Validity, read_as_go};
use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Value, json};

use oracle::{ask, difference};

#[test]
fn paths_are_verified_as_the_committed_verdicts_of_go_say() {
    let verdicts = std::fs::read_to_string(oracle::folder().join("verdicts.jsonl")).unwrap();
    let cases: Vec<Value> = verdicts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert!(cases.len() > 100, "the committed verdicts are incomplete");
    let differences: Vec<String> = cases.iter().filter_map(difference).collect();
    assert_eq!(differences, Vec::<String>::new());
}

#[test]
#[ignore = "needs Go"]
fn the_committed_verdicts_are_what_go_says_today() {
    let verdicts = std::fs::read_to_string(oracle::folder().join("verdicts.jsonl")).unwrap();
    let answers = ask(&["verify"], &verdicts);
    for (committed, today) in verdicts.lines().zip(answers.lines()) {
        let (committed, today): (Value, Value) =
            (serde_json::from_str(committed).unwrap(), serde_json::from_str(today).unwrap());
        for field in ["ok", "error", "until"] {
            assert_eq!(committed[field], today[field], "{}", committed["name"]);
        }
    }
    assert_eq!(verdicts.lines().count(), answers.lines().count());
}

/// `ORACLE_SEED` repeats a run, `ORACLE_CASES` makes it longer or shorter.
#[test]
#[ignore = "needs Go; about two minutes"]
fn twenty_thousand_chains_of_random_shape_are_verified_as_go_does() {
    let seed = number("ORACLE_SEED", seed_of_now());
    let count = number("ORACLE_CASES", 20_000);
    let cases = ask(&["generate", &seed.to_string(), &count.to_string()], "");
    let (mut accepted, mut all, mut differences) = (0_u64, 0_u64, String::new());
    for line in cases.lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        all += 1;
        accepted += u64::from(case["ok"] == true);
        if let Some(difference) = difference(&case) {
            writeln!(differences, "{difference}\n{line}").unwrap();
        }
    }
    say(&format!("seed {seed}: {all} chains, of which Go accepts {accepted}"));
    assert_eq!(all, count);
    assert!(accepted > all / 4 && accepted < all * 9 / 10, "the shapes are one-sided");
    assert!(differences.is_empty(), "seed {seed}:\n{differences}");
}

/// `ORACLE_SEED` repeats a run.
#[test]
#[ignore = "needs Go"]
fn damaged_certificates_are_parsed_where_go_parses_them() {
    let seed = number("ORACLE_SEED", seed_of_now());
    let mut entropy = entropy(seed);
    let verdicts = std::fs::read_to_string(oracle::folder().join("verdicts.jsonl")).unwrap();
    let cases: Vec<Value> = verdicts.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    // Whether a point lies on P-224, no library here can tell.
    let known = cases.iter().filter(|case| case["name"] != "differs: P-224");
    let sound: Vec<Vec<u8>> = known.filter_map(|case| STANDARD.decode(case["anchors"][0].as_str()?).ok()).collect();
    let damaged: Vec<Vec<u8>> = sound.iter().cycle().take(100_000).map(|der| damage(der, &mut entropy)).collect();
    let question = |der: &Vec<u8>| format!("{}\n", json!({ "der": STANDARD.encode(der) }));
    let answers = ask(&["parse"], &damaged.iter().map(question).collect::<String>());
    let mut parsed = 0;
    for (der, answer) in damaged.iter().zip(answers.lines()) {
        let go: Value = serde_json::from_str(answer).unwrap();
        let here = Certificate::from_der(der);
        assert_eq!(go["ok"] == true, here.is_ok(), "seed {seed}: Go {go}, here {here:?}\n{}", STANDARD.encode(der));
        parsed += u32::from(here.is_ok());
    }
    say(&format!("seed {seed}: {} damaged certificates, of which Go parses {parsed}", damaged.len()));
    assert_eq!(answers.lines().count(), damaged.len());
}

#[test]
#[ignore = "needs Go"]
fn bundles_are_read_as_go_reads_them() {
    let seed = number("ORACLE_SEED", seed_of_now());
    let mut bytes = [0; 32];
    bytes[..8].copy_from_slice(&seed.to_be_bytes());
    let rng = TestRng::from_seed(RngAlgorithm::ChaCha, &bytes);
    let mut runner = TestRunner::new_with_rng(Config::default(), rng);
    let files: Vec<Vec<u8>> = (0..5_000).map(|_| bundle_file().new_tree(&mut runner).unwrap().current()).collect();
    let questions =
        files.iter().map(|file| format!("{}\n", json!({ "pem": STANDARD.encode(file) }))).collect::<Vec<_>>().concat();
    let mut strict = 0;
    for (file, answer) in files.iter().zip(ask(&["pem"], &questions).lines()) {
        let answer: Value = serde_json::from_str(answer).unwrap();
        let go: Vec<&str> = answer["sha256"].as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let reading = read_as_go(file);
        let here: Vec<String> =
            reading.certificates.iter().map(|certificate| certificate.fingerprint().to_string()).collect();
        let shown = String::from_utf8_lossy(file);
        assert_eq!(here, go, "seed {seed}: {answer}\n{shown}");
        if let Ok(bundle) = TrustBundle::parse(file) {
            strict += 1;
            let mut go = go;
            let mut once = std::collections::BTreeSet::new();
            go.retain(|sum| once.insert(*sum));
            let parsed: Vec<String> = bundle.anchors().iter().map(|anchor| anchor.fingerprint().to_string()).collect();
            assert_eq!(parsed, go, "seed {seed}: accepted and read otherwise than Go does\n{shown}");
        }
    }
    say(&format!("seed {seed}: 5000 bundles, of which {strict} are accepted when given"));
    assert!(strict > 200, "the files are one-sided");
}

#[test]
fn webpki_accepts_what_is_minted_up_to_its_limit_of_six() {
    let mint = Mesh::rotated(2);
    for root in &mint.roots {
        webpki(root, &mint.issuer.chain, &mint.leaf).unwrap();
    }
    let third = Mesh::rotated(3);
    assert!(webpki(&third.roots[0], &third.issuer.chain, &third.leaf).is_err(), "7 intermediates are beyond it");
    let stranger = Mesh::rotated(0);
    assert!(webpki(&stranger.roots[0], &mint.issuer.chain, &mint.leaf).is_err());
}

#[test]
#[ignore = "needs Go"]
fn go_accepts_what_is_minted_under_every_root_of_four_rotations() {
    let mint = Mesh::rotated(4);
    let profiles = ["spiffe", "webhook", "etcd"];
    let questions: String = mint
        .roots
        .iter()
        .flat_map(|root| profiles.map(|profile| format!("{}\n", mint.question(root, profile))))
        .collect();
    let answers = ask(&["verify"], &questions);
    assert_eq!(answers.lines().count(), 15);
    for answer in answers.lines() {
        assert!(answer.contains(r#""ok":true"#), "{answer}");
    }
}

#[test]
#[ignore = "needs Go"]
fn go_accepts_what_every_kind_of_key_signs() {
    let keys: [&[u8]; 4] = [
        include_bytes!("../src/pki/testdata/p256-pkcs8.pem"),
        include_bytes!("../src/pki/testdata/p384-pkcs8.pem"),
        include_bytes!("../src/pki/testdata/rsa2048-pkcs8.pem"),
        include_bytes!("../src/pki/testdata/ed25519.pem"),
    ];
    let mut questions = String::new();
    for key in keys {
        let mesh = Mesh::signed_with(&PrivateKey::parse(key).unwrap());
        writeln!(questions, "{}", mesh.question(&mesh.roots[0], "etcd")).unwrap();
    }
    let answers = ask(&["verify"], &questions);
    assert_eq!(answers.matches(r#""ok":true"#).count(), 4, "{answers}");
}

#[test]
#[ignore = "needs openssl"]
fn openssl_accepts_what_is_minted_under_every_root_of_four_rotations() {
    let mint = Mesh::rotated(4);
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str, content: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, content).unwrap();
        path
    };
    let (leaf, chain) = (file("leaf.pem", &mint.leaf.to_pem()), file("chain.pem", &mint.issuer.chain_pem()));
    for root in &mint.roots {
        let root = file("root.pem", &root.to_pem());
        let mut verify = Command::new("openssl");
        verify.args(["verify", "-x509_strict", "-attime", &now().as_second().to_string()]);
        verify.arg("-CAfile").arg(&root).arg("-untrusted").arg(&chain).arg(&leaf);
        let output = verify.output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }
}

#[test]
#[ignore = "needs openssl"]
fn openssl_reads_the_keys_that_are_written() {
    let mut entropy = entropy(3);
    let key = PrivateKey::generate(&mut entropy);
    let mut openssl = Command::new("openssl");
    openssl.args(["pkey", "-pubout", "-outform", "DER"]).stdin(Stdio::piped()).stdout(Stdio::piped());
    let mut openssl = openssl.spawn().unwrap();
    openssl.stdin.take().unwrap().write_all(key.to_pem().as_bytes()).unwrap();
    assert_eq!(openssl.wait_with_output().unwrap().stdout, key.spki_der());
}

/// A mesh after some rotations by bridge, each with the whole tail, and a leaf of now.
struct Mesh {
    roots: Vec<Certificate>,
    issuer: Issuer,
    leaf: Certificate,
}

impl Mesh {
    fn rotated(times: u64) -> Self {
        let mut entropy = entropy(100 * times);
        let (mut roots, mut live) = (Vec::new(), None::<Issuer>);
        for _ in 0..=times {
            let root_key = PrivateKey::generate(&mut entropy);
            let root = pki::root("cluster.local", &root_key, &year(), &mut entropy).unwrap();
            let key = PrivateKey::generate(&mut entropy);
            let made = pki::issuer(&root, &root_key, "cluster.local", "dapr-system", &key, &year(), &mut entropy);
            let mut chain = vec![made.unwrap()];
            if let Some(old) = live {
                chain.push(pki::cross_sign(&root, old.certificate(), &old.key, &year(), &mut entropy).unwrap());
                chain.extend(old.chain);
            }
            roots.push(root);
            live = Some(Issuer { chain, key });
        }
        let issuer = live.unwrap();
        let key = PrivateKey::generate(&mut entropy);
        let id = LeafName::Spiffe("spiffe://cluster.local/ns/default/app".into());
        let leaf = pki::leaf(&issuer, id, &key, &year(), &mut entropy).unwrap();
        Self { roots, issuer, leaf }
    }

    /// Root, issuer and leaf by one key.
    fn signed_with(key: &PrivateKey) -> Self {
        let mut entropy = entropy(7);
        let (domain, namespace) = ("cluster.local", "dapr-system");
        let root = pki::root(domain, key, &year(), &mut entropy).unwrap();
        let made = pki::issuer(&root, key, domain, namespace, key, &year(), &mut entropy).unwrap();
        let issuer = Issuer { chain: vec![made], key: key.clone() };
        let id = LeafName::Spiffe("spiffe://cluster.local/ns/default/app".into());
        let leaf = pki::leaf(&issuer, id, key, &year(), &mut entropy).unwrap();
        Self { roots: vec![root], issuer, leaf }
    }

    fn question(&self, root: &Certificate, profile: &str) -> Value {
        let chain: Vec<String> =
            self.issuer.chain.iter().map(|certificate| STANDARD.encode(certificate.der())).collect();
        json!({
            "anchors": [STANDARD.encode(root.der())], "chain": chain, "leaf": STANDARD.encode(self.leaf.der()),
            "profile": profile, "at": now().to_string(),
        })
    }
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().unwrap()
}

fn year() -> Validity {
    Validity { not_before: "2026-01-01T00:00:00Z".parse().unwrap(), not_after: "2027-01-01T00:00:00Z".parse().unwrap() }
}

/// Numbers that repeat from run to run.
fn entropy(seed: u64) -> impl FnMut(&mut [u8]) {
    let mut count = seed << 32;
    move |buffer| {
        count += 1;
        let digest = ring::digest::digest(&ring::digest::SHA256, &count.to_be_bytes());
        buffer.copy_from_slice(&digest.as_ref()[..buffer.len()]);
    }
}

fn webpki(root: &Certificate, chain: &[Certificate], leaf: &Certificate) -> Result<(), rustls::Error> {
    let der = |certificate: &Certificate| rustls::pki_types::CertificateDer::from(certificate.der().to_vec());
    let mut roots = rustls::RootCertStore::empty();
    roots.add(der(root))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
        .build()
        .map_err(|error| rustls::Error::General(error.to_string()))?;
    let intermediates: Vec<_> = chain.iter().map(der).collect();
    let seconds = u64::try_from(now().as_second()).unwrap();
    let at = rustls::pki_types::UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
    verifier.verify_client_cert(&der(leaf), &intermediates, at).map(drop)
}

/// Files that are nearly trust bundles: pieces that each are right or wrong in one way.
fn bundle_file() -> impl Strategy<Value = Vec<u8>> {
    static ROOTS: OnceLock<Vec<String>> = OnceLock::new();
    let roots = ROOTS.get_or_init(|| Mesh::rotated(2).roots.iter().map(Certificate::to_pem).collect());
    let root = prop::sample::select(roots.clone());
    let damage =
        (root.clone(), any::<prop::sample::Index>(), prop::sample::select(vec!["", " ", "\n", "!", "=", ":", "-"]));
    let damaged = damage.prop_map(|(pem, at, with)| {
        let at = at.index(pem.len());
        format!("{}{with}{}", &pem[..at], &pem[at + 1..])
    });
    let cut = (root.clone(), any::<prop::sample::Index>()).prop_map(|(pem, at)| pem[..at.index(pem.len())].to_owned());
    let relabelled =
        (root.clone(), prop::sample::select(vec!["TRUSTED CERTIFICATE", "X509 CRL", "PRIVATE KEY", "certificate", ""]))
            .prop_map(|(pem, label)| pem.replace("CERTIFICATE", label));
    let other_end = root.clone().prop_map(|pem| pem.replace("END CERTIFICATE", "END PRIVATE KEY"));
    let headers = root.clone().prop_map(|pem| pem.replacen('\n', "\nName: root\nOther:\n\n", 1));
    let bits = "[ -~\r\n\t]{0,40}";
    let marks = prop::sample::select(vec![
        "\u{feff}",
        "\n",
        "\r\n",
        " ",
        "-----BEGIN ",
        "-----END ",
        "-----BEGIN CERTIFICATE-----\n",
        "-----END CERTIFICATE-----\n",
        "\n-----BEGIN CERTIFICATE-----\n-----END CERTIFICATE-----\n",
        "\n-----BEGIN CERTIFICATE-----\nMAA=\n-----END CERTIFICATE-----\n",
    ]);
    let piece = prop_oneof![
        8 => root.clone(),
        1 => root.clone().prop_map(|pem| pem.trim_end().to_owned()),
        1 => root.clone().prop_map(|pem| pem.replace('\n', "\r\n")),
        1 => root.prop_map(|pem| pem.replace('\n', " \t\n")),
        1 => damaged,
        1 => cut,
        1 => relabelled,
        1 => other_end,
        1 => headers,
        1 => bits,
        2 => marks.prop_map(str::to_owned),
    ];
    prop::collection::vec(piece, 0..5).prop_map(|pieces| pieces.concat().into_bytes())
}

/// A certificate with a few bytes changed, lengths and tags above all others.
fn damage(der: &[u8], entropy: &mut impl FnMut(&mut [u8])) -> Vec<u8> {
    let mut der = der.to_vec();
    let mut chance = [0; 12];
    entropy(&mut chance);
    for [high, low, kind, value] in chance.as_chunks::<4>().0.iter().take(1 + usize::from(chance[0] % 3)) {
        let at = usize::from(u16::from_be_bytes([*high, *low])) % der.len();
        der[at] = match kind % 4 {
            0 => *value,
            1 => der[at] ^ 1 << (value % 8),
            2 => [0x00, 0xff, 0x80, 0x7f, 0x81, 0x01][usize::from(value % 6)],
            _ => [0x01, 0x02, 0x03, 0x05, 0x06, 0x0c, 0x13, 0x17, 0x18, 0x30][usize::from(value % 10)],
        };
    }
    der
}

fn number(variable: &str, default: u64) -> u64 {
    std::env::var(variable).ok().and_then(|text| text.parse().ok()).unwrap_or(default)
}

fn seed_of_now() -> u64 {
    u64::try_from(Timestamp::now().as_millisecond()).unwrap_or_default()
}

/// The seed must be known whatever becomes of the run.
fn say(text: &str) {
    let mut stderr = std::io::stderr();
    writeln!(stderr, "{text}").unwrap();
}
