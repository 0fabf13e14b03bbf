//! The documents that programs read are as `docs/schema` describes them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;

use jiff::Timestamp;
use mtls::mesh::{
    Answer, Consumer, Dependent, Dependents, Distribution, Era, Finding, Layer, LayerKind, Observed, Recorded, Role,
    Severity, TrustCopy, Workload, WorkloadKind,
};
use mtls::pki::{Certificate, Issuer, PrivateKey, TrustBundle, Validity, root};
use mtls::report::expiry::Expiry;
use mtls::report::renewal::{Renewal, Result as RenewalResult};
use mtls::report::status::Status;
use mtls::rotation::{Blocked, Goal, Strategy, Trio};
use serde_json::{Map, Value, json};

#[test]
fn documents_of_a_directory_follow_their_schemas() {
    let home = tempfile::tempdir().expect("a directory");
    let run = |arguments: &str| -> Value {
        let mut command = Command::new(env!("CARGO_BIN_EXE_mtls"));
        command.args(arguments.split_whitespace()).args(["--certs-dir", "certs", "-o", "json"]);
        let output = command.current_dir(home.path()).output().expect("the binary runs");
        serde_json::from_slice(&output.stdout).unwrap_or_else(|why| {
            panic!("mtls {arguments}: {why}: {}", String::from_utf8_lossy(&output.stdout));
        })
    };
    check("status", &run("status"));
    check("renew-certificate", &run("rotate --dry-run"));
    check("renew-certificate", &run("rotate --valid-until 20"));
    check("renew-certificate", &run("rotate"));
    check("renew-certificate", &run("restore"));
    check("status", &run("status"));
    check("expiry", &run("expiry"));
}

#[test]
fn documents_of_a_cluster_follow_their_schemas() {
    let (seen, layers) = cluster();
    let findings = [Finding {
        severity: Severity::Warning,
        what: "a bridge ends".to_owned(),
        means: "calls fail then".to_owned(),
        hint: String::new(),
    }];
    let record =
        Recorded { open: true, began: seen.now, strategy: "bridge", roots: Vec::new(), mends: false, left: Vec::new() };
    let status = Status::new(&seen, &layers, &findings, Some(&record));
    let status = serde_json::to_value(&status).expect("it serialises");
    check("status", &status);
    assert_eq!(status["fileEra"], json!({ "namespaces": 1, "current": 1 }));
    assert_eq!(status["services"][0]["name"], "dapr-sentry");
    assert_eq!(status["certificates"][0]["consumers"][0]["restart"], "deploy/cart");
    let blocked = Blocked { workload: "shop/job/import".to_owned(), why: "its next run".to_owned() };
    let renewal = Renewal::new(&goal(seen.now), RenewalResult::Done, Vec::new(), &[]);
    let renewal = renewal.restarted(vec!["dapr-sentry".to_owned()], vec!["shop/deploy/cart".to_owned()]);
    let table = renewal.clone().blocked(vec![blocked.clone()]).to_string();
    assert!(table.contains("Restarted shop/deploy/cart\n"), "{table}");
    assert!(table.contains("  not restarted: shop/job/import: its next run\n"), "{table}");
    check("renew-certificate", &serde_json::to_value(renewal.blocked(vec![blocked])).expect("it serialises"));
    let expiry = Expiry::new(&seen, &layers).expect("something is published");
    check("expiry", &serde_json::to_value(&expiry).expect("it serialises"));
}

#[test]
fn control_characters_from_outside_are_shown_and_not_obeyed() {
    let (mut seen, layers) = cluster();
    seen.control_plane[0].version = "1.14\u{1b}[2J\u{202e}".to_owned();
    let status = Status::new(&seen, &layers, &[], None);
    assert!(status.table(true).contains(r"1.14\u{1b}[2J\u{202e}"), "{}", status.table(true));
    let json = serde_json::to_string(&status).expect("it serialises");
    assert!(!json.contains('\u{202e}') && !json.contains("\\u001b"), "{json}");
}

#[test]
fn the_table_of_services_is_that_of_dapr_status() {
    let (seen, layers) = cluster();
    let table = Status::new(&seen, &layers, &[], None).table(true);
    let lines: Vec<&str> = table.lines().map(str::trim_end).collect();
    assert_eq!(lines[0], "NAME         NAMESPACE    HEALTHY  STATUS   REPLICAS  VERSION  AGE  CREATED");
    assert_eq!(lines[1], "dapr-sentry  dapr-system  True     Running  1         1.14.0   2d   2026-11-21 10:00.00");
    assert!(!Status::new(&seen, &layers, &[], None).table(false).contains("NAME"));
}

/// A cluster with one service and one sidecar that depends on a trust anchor.
fn cluster() -> (Observed, Vec<Layer>) {
    let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
    let anchor = anchor(now);
    let mut sidecar = Consumer::new(Role::Sidecar { era: Era::Env, app_id: "cart".to_owned() }, "shop/cart-1");
    sidecar.held = Answer::Proven(Arc::from([anchor.clone()]));
    sidecar.owner = Some("deploy/cart".to_owned());
    let layers = vec![Layer {
        kind: LayerKind::TrustAnchor,
        certificate: anchor,
        in_use: false,
        dependents: Dependents::These(vec![Dependent::from(&sidecar)]),
    }];
    let copy = TrustCopy { anchors: Arc::from([]), since: now, distributor: None, immutable: false, leaving: false };
    let copies = BTreeMap::from([("shop".to_owned(), copy)]);
    let mut seen = Observed {
        now,
        consumers: vec![sidecar],
        consumers_complete: true,
        control_plane: vec![Workload {
            role: Some(Role::Sentry),
            kind: WorkloadKind::Deployment,
            name: "dapr-sentry".to_owned(),
            namespace: "dapr-system".to_owned(),
            created: Some("2026-11-21T10:00:00Z".parse().expect("a time")),
            replicas: 1,
            ready: 1,
            version: "1.14.0".to_owned(),
            restarted: None,
            complete: true,
            blocker: None,
        }],
        distribution: Answer::Proven(Arc::new(Distribution { copies, ..Distribution::default() })),
        ..Observed::default()
    };
    seen.identity.server.push_str("https://127.0.0.1:6443");
    (seen, layers)
}

fn goal(now: Timestamp) -> Goal {
    let chain = vec![anchor(now)];
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| bytes.fill(7));
    Goal {
        strategy: Strategy::Restart,
        target: Trio {
            trust: TrustBundle::from_anchors(chain.clone()).expect("a bundle"),
            issuer: Issuer { chain, key },
        },
        previous: None,
        valid_until: now,
        began: now,
        restart: None,
        invented: None,
        allowed: Vec::new(),
        former_svids_end: None,
        inputs: String::new(),
    }
}

fn anchor(now: Timestamp) -> Certificate {
    let mut state = 7_u8;
    let mut entropy = |bytes: &mut [u8]| {
        for byte in bytes {
            state = state.wrapping_mul(29).wrapping_add(113);
            *byte = state;
        }
    };
    let key = PrivateKey::generate(&mut entropy);
    let validity = Validity { not_before: now, not_after: now + jiff::SignedDuration::from_hours(24) };
    root("cluster.local", &key, &validity, &mut entropy).expect("a root")
}

#[track_caller]
fn check(schema: &str, document: &Value) {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("docs/schema/{schema}.json"));
    let schema: Value = serde_json::from_slice(&fs::read(path).expect("it is there")).expect("it is JSON");
    let mut wrong = Vec::new();
    validate(&schema, &schema, document, "", &mut wrong);
    assert!(wrong.is_empty(), "{wrong:#?}\n{document:#}");
}

#[test]
fn the_check_itself_sees_what_is_wrong() {
    let schema = json!({
        "type": "object", "additionalProperties": false, "required": ["a"],
        "properties": {"a": {"const": 1}, "b": {"type": "array", "items": {"enum": ["x"]}}}
    });
    let wrongs = |document: Value| {
        let mut wrong = Vec::new();
        validate(&schema, &schema, &document, "", &mut wrong);
        wrong.len()
    };
    assert_eq!(wrongs(json!({"a": 1, "b": ["x"]})), 0);
    assert_eq!(wrongs(json!({"a": 2, "b": ["y"], "c": 0})), 3);
    assert_eq!(wrongs(json!({"b": 1})), 2);
}

/// The part of JSON Schema that `docs/schema` uses.
fn validate(root: &Value, schema: &Value, value: &Value, at: &str, wrong: &mut Vec<String>) {
    let Some(schema) = schema.as_object() else { return };
    if let Some(Value::String(reference)) = schema.get("$ref") {
        let target = root.pointer(&reference[1..]).expect("a reference leads somewhere");
        return validate(root, target, value, at, wrong);
    }
    if schema.get("const").is_some_and(|constant| constant != value) {
        wrong.push(format!("{at}: {value} is not the constant"));
    }
    if let Some(Value::Array(choices)) = schema.get("enum")
        && !choices.contains(value)
    {
        wrong.push(format!("{at}: {value} is none of {choices:?}"));
    }
    if let Some(kind) = schema.get("type")
        && !is_of(kind, value)
    {
        return wrong.push(format!("{at}: {value} is not of type {kind}"));
    }
    if schema.get("format").is_some_and(|format| format == "date-time")
        && value.as_str().is_some_and(|text| text.parse::<Timestamp>().is_err())
    {
        wrong.push(format!("{at}: {value} is no time"));
    }
    let is_fingerprint = |text: &str| text.len() == 64 && text.bytes().all(|byte| byte.is_ascii_hexdigit());
    if schema.contains_key("pattern") && !value.as_str().is_some_and(is_fingerprint) {
        wrong.push(format!("{at}: {value} is no fingerprint"));
    }
    for (index, item) in value.as_array().into_iter().flatten().enumerate() {
        if let Some(items) = schema.get("items") {
            validate(root, items, item, &format!("{at}/{index}"), wrong);
        }
    }
    if let Some(object) = value.as_object() {
        members(root, schema, object, at, wrong);
    }
}

fn members(root: &Value, schema: &Map<String, Value>, object: &Map<String, Value>, at: &str, wrong: &mut Vec<String>) {
    for name in schema.get("required").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        if !object.contains_key(name) {
            wrong.push(format!("{at}: `{name}` is missing"));
        }
    }
    let properties = schema.get("properties").and_then(Value::as_object);
    for (name, value) in object {
        match properties.and_then(|properties| properties.get(name)) {
            Some(property) => validate(root, property, value, &format!("{at}/{name}"), wrong),
            None if schema.get("additionalProperties") == Some(&Value::Bool(false)) => {
                wrong.push(format!("{at}: `{name}` is not described"));
            }
            None => {}
        }
    }
}

fn is_of(kind: &Value, value: &Value) -> bool {
    let is = |kind: &Value| match kind.as_str() {
        Some("object") => value.is_object(),
        Some("array") => value.is_array(),
        Some("string") => value.is_string(),
        Some("integer") => value.is_i64() || value.is_u64(),
        Some("boolean") => value.is_boolean(),
        Some("null") => value.is_null(),
        _ => false,
    };
    match kind {
        Value::Array(kinds) => kinds.iter().any(is),
        kind => is(kind),
    }
}
