//! The least rights, as `tests/lab/ci-rights.yaml` has them: with all of them everything works, and each is missed.

use serde_json::{Value, json};

use crate::bindings::Bindings;
use crate::lab::{CONTROL_PLANE, Lab, TRUST_BUNDLE, User};
use crate::rotations::RENEW;
use crate::run::Run;
use crate::wait::{figure, until};

#[test]
#[ignore = "needs the lab"]
fn with_each_right_taken_away_in_turn_the_message_is_clear_and_no_harm_is_done() {
    let lab = Lab::calm(1);
    let roles = [Role::of(&lab, "role", &["-n", CONTROL_PLANE]), Role::of(&lab, "clusterrole", &[])];
    for role in &roles {
        for right in role.rights() {
            let began = std::time::Instant::now();
            // Before the right is taken away: a reset gives it back.
            lab.make_room(2);
            // What is created the first time is changed from then on: both rights are needed then.
            lab.kubectl(&[
                "-n",
                CONTROL_PLANE,
                "delete",
                "secret/mtls-rotation",
                "lease/mtls-rotation",
                "--ignore-not-found",
            ]);
            role.set(&lab, &role.without(&right));
            let without = if right.resource == "nodes" { without_nodes } else { without };
            let message = without(&lab, &right, &|| role.set(&lab, &role.rules));
            figure(format!("without {right}, {:.0} s: {message}", began.elapsed().as_secs_f64()));
            lab.assert_no_failed_call();
        }
    }
    lab.let_sentry_settle();
    lab.mtls_as(User::Ci, &RENEW).succeeds();
    lab.assert_no_failed_call();
}

/// Runs what may need a right that is missing; `give_back` gives it back. Returns what was said about it. The run may
/// fence Sentry, so that nobody waits until that one is at rest.
fn without(lab: &Lab, right: &Right, give_back: &dyn Fn()) -> String {
    let _fence = FenceRights::grant(lab);
    let (before, issuer) = (lab.anchors(), lab.secret(TRUST_BUNDLE, "issuer.crt"));
    let mut running = lab.start_as(User::Ci, &RENEW);
    if right.to_string() == "patch pods" {
        // What the run may not do, so that it need not wait until the kubelets do it by themselves.
        until(20, "the new issuer", || running.has_ended() || lab.secret(TRUST_BUNDLE, "issuer.crt") != issuer);
        lab.nudge("app.kubernetes.io/part-of=dapr");
    }
    let run = lab.finish(running);
    let missed = right.missed_by(&run);
    let restart = missed.is_none().then(|| lab.mtls_as(User::Ci, &["restart", "-k"]));
    give_back();
    let changed = lab.anchors() != before;
    match run.code {
        Some(0) => assert!(changed, "without {right}: {run}"),
        Some(1) => assert!(!changed, "without {right}: something was changed: {run}"),
        Some(4) => {
            // A lock that could not be given back.
            lab.let_lock_run_out();
            lab.mtls_as(User::Ci, &RENEW).succeeds();
        }
        _ => panic!("without {right}: {run}"),
    }
    let missed = missed.or_else(|| right.missed_by(restart.as_ref()?));
    missed
        .unwrap_or_else(|| panic!("nothing needs {right}, or nothing says so: {run} {}", restart.expect("it was run")))
}

/// Only a run that waits for Sentry asks how far its node's mounts may lag; where it may not, the longest lag counts.
fn without_nodes(lab: &Lab, right: &Right, give_back: &dyn Fn()) -> String {
    lab.mtls(&RENEW).succeeds();
    let run = lab.mtls_as(User::Ci, &[&RENEW[..], &["--timeout", "1"]].concat()).exits(1);
    give_back();
    let message = run.stderr.lines().find(|line| line.contains("get nodes"));
    message.unwrap_or_else(|| panic!("nothing needs {right}: {run}")).to_owned()
}

/// The rights to fence Sentry, which the CI account does not need; gone when dropped.
struct FenceRights<'a> {
    lab: &'a Lab,
    _bindings: Bindings<'a>,
}

impl<'a> FenceRights<'a> {
    const NAME: &'static str = "mtls-ci-fence";
    const KINDS: [&'static str; 2] = ["role", "clusterrole"];

    fn grant(lab: &'a Lab) -> Self {
        let rules = [("roles", "get,patch,escalate"), ("subjectaccessreviews", "create")];
        for (kind, (resource, verbs)) in Self::KINDS.into_iter().zip(rules) {
            let (verbs, resource) = (format!("--verb={verbs}"), format!("--resource={resource}"));
            lab.kubectl(&["-n", CONTROL_PLANE, "create", kind, Self::NAME, &verbs, &resource]);
        }
        Self { lab, _bindings: Bindings::of(lab, Self::NAME, &Self::KINDS) }
    }
}

impl Drop for FenceRights<'_> {
    fn drop(&mut self) {
        // What fails here must not hide why a test has failed.
        let kinds = Self::KINDS.join(",");
        let _ = self.lab.try_kubectl(&["-n", CONTROL_PLANE, "delete", &kinds, Self::NAME, "--ignore-not-found"]);
    }
}

/// A role of the CI account.
struct Role {
    kind: &'static str,
    place: &'static [&'static str],
    rules: Vec<Value>,
}

/// One verb on one resource, in one of a role's rules.
struct Right {
    rule: usize,
    verb: String,
    resource: String,
}

impl Role {
    fn of(lab: &Lab, kind: &'static str, place: &'static [&'static str]) -> Self {
        let role = lab.get(&[place, &["get", kind, "mtls-ci"]].concat());
        Self { kind, place, rules: role["rules"].as_array().cloned().unwrap_or_default() }
    }

    fn rights(&self) -> Vec<Right> {
        let mut rights = Vec::new();
        for (rule, content) in self.rules.iter().enumerate() {
            for resource in strings(&content["resources"]) {
                rights.extend(strings(&content["verbs"]).into_iter().map(|verb| Right {
                    rule,
                    verb,
                    resource: resource.clone(),
                }));
            }
        }
        rights
    }

    /// The rules with one right less.
    fn without(&self, right: &Right) -> Vec<Value> {
        let mut rules = self.rules.clone();
        let rule = rules.remove(right.rule);
        let but = |list: &str, one: &str| strings(&rule[list]).into_iter().filter(|s| s != one).collect::<Vec<_>>();
        let (verbs, resources) = (but("verbs", &right.verb), but("resources", &right.resource));
        let mut add = |verbs: Value, resources: Value| {
            let mut rule = rule.clone();
            rule["verbs"] = verbs;
            rule["resources"] = resources;
            rules.push(rule);
        };
        if !verbs.is_empty() {
            add(json!(verbs), json!([right.resource]));
        }
        if !resources.is_empty() {
            add(rule["verbs"].clone(), json!(resources));
        }
        rules
    }

    fn set(&self, lab: &Lab, rules: &[Value]) {
        let patch = json!({ "rules": rules }).to_string();
        lab.kubectl(&[self.place, &["patch", self.kind, "mtls-ci", "--type", "merge", "-p", &patch]].concat());
    }
}

impl Right {
    /// The line that says that it is missing.
    fn missed_by(&self, run: &Run) -> Option<String> {
        let names = |line: &&str| line.contains(&self.to_string());
        run.stderr.lines().chain(run.stdout.lines()).find(names).map(str::to_owned)
    }
}

impl std::fmt::Display for Right {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

fn strings(list: &Value) -> Vec<String> {
    list.as_array().into_iter().flatten().filter_map(|v| v.as_str().map(str::to_owned)).collect()
}
