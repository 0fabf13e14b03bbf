//! What a run may cost, what it may do, and what it may never show.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::rotations::RENEW;
use crate::wait::figure;

#[test]
#[ignore = "needs the lab"]
fn requests_stay_in_their_budgets() {
    let lab = Lab::calm(1);
    let budgets: [(&[&str], usize); 3] = [(&RENEW, 60), (&["status", "-k"], 12), (&["expiry", "-k"], 6)];
    for (args, most) in budgets {
        let mark = lab.mark();
        let run = lab.mtls(args).succeeds();
        let requests = lab.requests(mark);
        let (all, writes) = (requests.len(), requests.iter().filter(|request| request.mutating).count());
        let (seconds, kib) = (run.took.as_secs_f64(), run.peak_kib);
        figure(format!("{}: {all} requests ({writes} writes), {seconds:.2} s, {kib} KiB", run.line));
        assert!(!requests.is_empty() && requests.len() <= most, "{most} at most: {requests:#?}");
    }
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn with_each_right_taken_away_in_turn_the_message_is_clear_and_no_harm_is_done() {
    let lab = Lab::fresh();
    for (kind, namespace) in [("role", Some(CONTROL_PLANE)), ("clusterrole", None)] {
        let rules = role(&lab, kind, namespace);
        for (index, rule) in rules.iter().enumerate() {
            for verb in strings(&rule["verbs"]) {
                let mut fewer = rules.clone();
                let left: Vec<String> = strings(&rule["verbs"]).into_iter().filter(|v| *v != verb).collect();
                if left.is_empty() {
                    fewer.remove(index);
                } else {
                    fewer[index]["verbs"] = left.into();
                }
                let resources = strings(&rule["resources"]).join(",");
                without(&lab, kind, namespace, &rules, &fewer, &verb, &resources);
            }
        }
    }
}

/// Runs a rotation with fewer rights than it needs, then with all of them.
fn without(
    lab: &Lab,
    kind: &str,
    namespace: Option<&str>,
    rules: &[Value],
    fewer: &[Value],
    verb: &str,
    resources: &str,
) {
    lab.make_room(2);
    lab.let_sentry_settle();
    let before = lab.anchors();
    set_rules(lab, kind, namespace, fewer);
    let run = lab.mtls_as(User::Ci, &RENEW);
    set_rules(lab, kind, namespace, rules);
    let message =
        run.stderr.lines().find(|line| line.contains(verb) || line.contains("not allowed")).unwrap_or_default();
    figure(format!("without {verb} {resources} ({kind}): {:?}: {message}", run.code));
    match run.code {
        Some(0) => assert_eq!(lab.anchors(), before + 1, "without {verb} {resources}: {run}"),
        Some(1 | 4) => {
            let names = resources.split(',').any(|resource| run.stderr.contains(resource));
            assert!(
                names && run.stderr.contains(verb),
                "without {verb} {resources}: it does not say what is missing: {run}"
            );
            let anchors = lab.anchors();
            assert!(
                run.code == Some(4) || anchors == before,
                "without {verb} {resources}: something was changed: {run}"
            );
            lab.let_sentry_settle();
            lab.mtls_as(User::Ci, &RENEW).succeeds();
            assert_eq!(lab.anchors(), before + 1, "without {verb} {resources}: {run}");
        }
        _ => panic!("without {verb} {resources}: {run}"),
    }
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn no_key_is_shown_anywhere() {
    let lab = Lab::calm(2);
    let mut keys = vec![lab.secret(TRUST_BUNDLE, "issuer.key")];
    let (root_key, old) = (lab.path("new-root.key"), lab.path("old"));
    let renew = [&RENEW[..], &["-vv", "--root-key-out", &root_key, "--output-dir", &old]].concat();
    lab.mtls(&[&RENEW[..], &["-vv", "--dry-run"]].concat()).succeeds();
    lab.mtls(&renew).succeeds();
    keys.push(std::fs::read_to_string(&root_key).expect("the root key is where it was asked for"));
    keys.push(lab.secret(TRUST_BUNDLE, "issuer.key"));
    for args in
        [&["status", "-k", "-vv"][..], &["status", "-k", "-vv", "-o", "json"], &["expiry", "-k", "-vv", "-o", "yaml"]]
    {
        lab.mtls(args).succeeds();
    }
    lab.mtls(&["export", "-k", "-vv", "-o", &lab.path("exported")]).succeeds();
    lab.mtls(&[&RENEW[..], &["-vv", "--private-key", &root_key, "-o", "json"]].concat()).succeeds();
    keys.push(lab.secret(TRUST_BUNDLE, "issuer.key"));
    let refused = lab.mtls(
        &[
            &RENEW[..],
            &[
                "-vv",
                "--ca-root-certificate",
                &root_key,
                "--issuer-public-certificate",
                &root_key,
                "--issuer-private-key",
                &root_key,
            ],
        ]
        .concat(),
    );
    assert_ne!(refused.code, Some(0));

    let events = lab.kubectl(&["get", "events", "-A", "-o", "json"]);
    let mut metadata = String::new();
    for kinds in ["secrets,configmaps,deployments,statefulsets,pods", "leases,roles"] {
        for object in lab.list(&["-n", CONTROL_PLANE, "get", kinds]) {
            metadata.push_str(&object["metadata"].to_string());
        }
    }
    let places = [("output", lab.everything_said()), ("events", events), ("metadata", metadata)];
    for key in &keys {
        for form in forms(key) {
            for (place, text) in &places {
                assert!(!text.contains(&form), "a key is in {place}");
            }
        }
    }
    for (place, text) in &places {
        assert!(
            !text.contains("PRIVATE KEY-----") && !text.contains(&STANDARD.encode("-----BEGIN PRIVATE")[..20]),
            "a key is in {place}"
        );
    }
    lab.assert_no_failed_call();
}

/// A key in PEM, in every form in which it might be shown: lines, DER and scalar in base64 and hex, PEM in base64.
fn forms(pem: &str) -> Vec<String> {
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
    forms
}

fn role(lab: &Lab, kind: &str, namespace: Option<&str>) -> Vec<Value> {
    let mut args = vec!["get", kind, "mtls-ci"];
    args.extend(namespace.iter().flat_map(|namespace| ["-n", namespace]));
    lab.get(&args)["rules"].as_array().cloned().unwrap_or_default()
}

fn set_rules(lab: &Lab, kind: &str, namespace: Option<&str>, rules: &[Value]) {
    let patch = serde_json::json!({ "rules": rules }).to_string();
    let mut args = vec!["patch", kind, "mtls-ci", "--type", "merge", "-p", &patch];
    args.extend(namespace.iter().flat_map(|namespace| ["-n", namespace]));
    lab.kubectl(&args);
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
