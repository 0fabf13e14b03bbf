//! Asks the control plane's processes what they hold, accept and serve: facts that no object shows.

use std::collections::{BTreeSet, HashMap};
use std::fmt::Write as _;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::{StreamExt as _, stream};
use serde_json::{Value, json};

use super::api::Api;
use super::names;
use super::tunnel::{self, Canary, LIMIT, Trouble, Verdict};
use crate::mesh::{Answer, Consumer, Observed, Phase, Role};
use crate::pki::{Certificate, Fingerprint, Issuer, Shown, read_as_go, verify};
use crate::rotation::Need;

/// Proofs that stay true, so that they are not asked for again within a run.
///
/// # Why
/// A process that accepted a chain accepts it as long as it lives and no anchor leaves the bundle; what a process served
/// or injected counts as long as nothing new was published. Refusals are asked for anew every time.
#[derive(Default)]
pub struct Evidence {
    proofs: HashMap<String, Reply>,
    anchors: BTreeSet<Fingerprint>,
    /// Issuers that were the live one during this run: a process that accepts one of them is one that can be asked.
    controls: Vec<Issuer>,
}

/// How many connections are open at once, and how often one without a clear answer is tried.
const AT_ONCE: usize = 16;
const TRIES: u32 = 3;
/// Between two tries: a server that reloads closes its port for a moment.
const PAUSE: Duration = Duration::from_millis(300);

/// One question to one process.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Question {
    /// Which chain do you serve on this port?
    Serves(u16),
    /// What would you write into a new pod?
    Injects,
    /// Do you accept the chain of `Need::accepts`?
    Accepts,
    /// Do you accept that of `Need::holds`?
    Holds,
    /// Do you accept that of `Need::former`?
    AcceptsFormer,
}

#[derive(Clone)]
enum Reply {
    Chain(Answer<Vec<Certificate>>),
    Injection { held: Answer<Vec<Certificate>>, served: Answer<Vec<Certificate>> },
    Verdict(Answer<bool>),
}

/// Fills in what `need` asks of the control plane's processes.
pub async fn probe(api: &Api, need: &Need, seen: &mut Observed, evidence: &mut Evidence) {
    evidence.follow(seen);
    let canaries = Canaries::mint(need, seen, evidence);
    let mut replies: Vec<(usize, Question, Reply)> = Vec::new();
    let mut open = Vec::new();
    let unserved = seen.unserved();
    for (at, consumer) in seen.consumers.iter().enumerate() {
        // Why: it cannot have read what is not there yet.
        let may_hold = |question: &Question| *question != Question::Holds || !unserved.contains(&consumer.name);
        for question in questions(need, seen, consumer).into_iter().filter(may_hold) {
            let key = key(consumer, question, need, seen);
            if let Some(known) = evidence.proofs.get(&key) {
                replies.push((at, question, known.clone()));
            } else {
                open.push((at, question, key));
            }
        }
    }
    let (consumers, canaries) = (&seen.consumers, &canaries);
    let fresh: Vec<(usize, Question, String, Reply)> = stream::iter(open)
        .map(async |(at, question, key)| {
            let reply = ask(api, &consumers[at], question, canaries).await;
            (at, question, key, reply)
        })
        .buffer_unordered(AT_ONCE)
        .collect()
        .await;
    for (at, question, key, reply) in fresh {
        if stays_true(&consumers[at], question, &reply, seen) {
            evidence.proofs.insert(key, reply.clone());
        }
        replies.push((at, question, reply));
    }
    settle(seen, replies);
}

impl Evidence {
    fn follow(&mut self, seen: &Observed) {
        let anchors: BTreeSet<Fingerprint> = seen.published.anchors.iter().map(Certificate::fingerprint).collect();
        if !anchors.is_superset(&self.anchors) {
            self.proofs.clear();
        }
        self.anchors = anchors;
        if let Some(live) = seen.published.issuer()
            && !self.controls.iter().any(|known| known.chain == live.chain)
        {
            self.controls.push(live);
        }
    }
}

/// The canaries of one look.
struct Canaries {
    accepts: Result<Canary, String>,
    holds: Result<Canary, String>,
    former: Result<Canary, String>,
    controls: Vec<Canary>,
}

impl Canaries {
    fn mint(need: &Need, seen: &Observed, evidence: &Evidence) -> Self {
        let identity = &seen.identity;
        let mint = |issuer: &Issuer| {
            let skew = seen.settings.allowed_clock_skew;
            Canary::mint(issuer, &identity.trust_domain, &identity.namespace, seen.now, skew)
                .map_err(|why| format!("no canary can be minted: {why}"))
        };
        let wanted = |issuer: &Option<Issuer>| issuer.as_ref().map_or(Err("it was not asked".to_owned()), mint);
        Self {
            accepts: wanted(&need.accepts),
            holds: wanted(&need.holds),
            former: wanted(&need.former),
            controls: evidence.controls.iter().filter_map(|issuer| mint(issuer).ok()).collect(),
        }
    }
}

fn questions(need: &Need, seen: &Observed, consumer: &Consumer) -> Vec<Question> {
    let mut questions = Vec::new();
    if let Some(port) = port(&consumer.role).filter(|_| need.svids) {
        questions.push(Question::Serves(port));
    }
    match consumer.role {
        Role::Sidecar { .. } if consumer.held.proven().is_none() => {
            questions.extend(need.holds.as_ref().map(|_| Question::Holds));
            questions.extend(need.former.as_ref().map(|_| Question::AcceptsFormer));
        }
        Role::Sentry if need.served => questions.push(Question::Serves(names::SENTRY_PORT)),
        Role::Injector if need.held => questions.push(Question::Injects),
        Role::Operator | Role::Placement | Role::Scheduler => {
            if need.accepts.is_some() {
                questions.push(Question::Accepts);
            }
            if need.holds.is_some() {
                questions.push(Question::Holds);
            }
            if need.former.is_some() {
                questions.push(Question::AcceptsFormer);
            }
            let converts = seen.consumers.iter().any(|other| other.role == Role::Conversion);
            if need.held && consumer.role == Role::Operator && converts {
                questions.push(Question::Serves(names::CONVERSION_PORT));
            }
        }
        _ => {}
    }
    questions
}

/// Where a process that takes calls shows its SVID.
fn port(role: &Role) -> Option<u16> {
    Some(match role {
        Role::Operator => names::OPERATOR_PORT,
        Role::Placement => names::PLACEMENT_PORT,
        Role::Scheduler => names::SCHEDULER_PORT,
        Role::Sidecar { .. } => names::SIDECAR_PORT,
        Role::Sentry | Role::EtcdPeer | Role::Injector | Role::Webhook | Role::Conversion => return None,
    })
}

/// Names a question to a process, and whatever makes an old answer void.
fn key(consumer: &Consumer, question: Question, need: &Need, seen: &Observed) -> String {
    let mut key = format!("{} {:?} ", consumer.name, consumer.started);
    let chain = |issuer: &Option<Issuer>| {
        let chain = issuer.as_ref().map(|issuer| issuer.chain.as_slice()).unwrap_or_default();
        chain.iter().map(|certificate| certificate.fingerprint().to_string()).collect::<String>()
    };
    let published = || format!("{}/{}", seen.published.secret.0, seen.published.config_map.0);
    let _ = match question {
        Question::Serves(port) => write!(key, "serves {port} {}", published()),
        Question::Injects => write!(key, "injects {}", published()),
        Question::Accepts => write!(key, "accepts {}", chain(&need.accepts)),
        Question::Holds => write!(key, "accepts {}", chain(&need.holds)),
        Question::AcceptsFormer => write!(key, "accepts former {}", chain(&need.former)),
    };
    key
}

/// Whether an answer counts until something changes: what was not there yet may come at any moment.
fn stays_true(consumer: &Consumer, question: Question, reply: &Reply, seen: &Observed) -> bool {
    match reply {
        // Why: an SVID is renewed at any moment, by whichever Sentry answers.
        _ if port(&consumer.role).is_some_and(|port| question == Question::Serves(port)) => false,
        // Why: it is waited for until it accepts that no more.
        _ if question == Question::AcceptsFormer => false,
        Reply::Verdict(verdict) => verdict == &Answer::Proven(true),
        Reply::Chain(Answer::Proven(served)) => {
            consumer.role != Role::Sentry || served.get(1..) == Some(&seen.published.chain)
        }
        Reply::Injection { held: Answer::Proven(held), served: Answer::Proven(_) } => *held == seen.published.anchors,
        _ => false,
    }
}

async fn ask(api: &Api, consumer: &Consumer, question: Question, canaries: &Canaries) -> Reply {
    match question {
        Question::Serves(port) => {
            let served = patiently(consumer, async || tunnel::served(api, &consumer.name, port, b"h2").await).await;
            Reply::Chain(own(consumer, served))
        }
        Question::Injects => inject(api, consumer).await,
        Question::Accepts => Reply::Verdict(accepts(api, consumer, &canaries.accepts, &canaries.controls).await),
        Question::Holds => Reply::Verdict(accepts(api, consumer, &canaries.holds, &canaries.controls).await),
        Question::AcceptsFormer => Reply::Verdict(accepts(api, consumer, &canaries.former, &canaries.controls).await),
    }
}

/// A chain that a sidecar serves, if it is its own: on a node's network another pod's may answer at the same port.
fn own(consumer: &Consumer, served: Answer<Vec<Certificate>>) -> Answer<Vec<Certificate>> {
    let (Role::Sidecar { app_id, .. }, Answer::Proven(chain)) = (&consumer.role, &served) else { return served };
    let namespace = consumer.namespace();
    let suffix = format!("/ns/{namespace}/{app_id}");
    let is_own = chain.first().is_some_and(|leaf| leaf.uris().iter().any(|uri| uri.ends_with(&suffix)));
    if is_own { served } else { Answer::Unknown("another process answers at its port".to_owned()) }
}

/// A refusal says "not trusted" only of a process that accepts another issuer in the same pass: the alert gives no
/// reason, and it may be the clock, the identity or the port that is wrong.
async fn accepts(api: &Api, consumer: &Consumer, canary: &Result<Canary, String>, controls: &[Canary]) -> Answer<bool> {
    let Some(port) = port(&consumer.role) else {
        return Answer::Unknown("it takes no calls".to_owned());
    };
    let canary = match canary {
        Ok(canary) => canary,
        Err(why) => return Answer::Unknown(why.clone()),
    };
    let show = async |canary: &Canary| patiently(consumer, async || canary.show(api, &consumer.name, port).await).await;
    match show(canary).await {
        Answer::Proven((Verdict::Accepted, chain)) => own(consumer, Answer::Proven(chain)).map(|_| true),
        Answer::Proven((Verdict::NotAsked, _)) => Answer::Unknown("it asks for no client certificate".to_owned()),
        Answer::Proven((Verdict::Refused, _)) => {
            for control in controls {
                if matches!(show(control).await, Answer::Proven((Verdict::Accepted, _))) {
                    return Answer::Proven(false);
                }
            }
            Answer::Unknown("it refuses today's issuer too, so that its refusal says nothing of the root".to_owned())
        }
        none => none.map(|_| false),
    }
}

/// Asks an injector what it would write into a new pod, as the API server does
/// (`dapr/pkg/injector/service/handler.go`). It keeps nothing of it.
async fn inject(api: &Api, consumer: &Consumer) -> Reply {
    let namespace = consumer.namespace();
    let annotations = json!({ "dapr.io/enabled": "true", "dapr.io/app-id": "mtls-canary" });
    let review = json!({
        "apiVersion": "admission.k8s.io/v1",
        "kind": "AdmissionReview",
        "request": {
            "uid": "mtls-canary",
            "kind": { "group": "", "version": "v1", "kind": "Pod" },
            "resource": { "group": "", "version": "v1", "resource": "pods" },
            "namespace": namespace,
            "operation": "CREATE",
            "userInfo": { "username": "mtls-canary", "groups": ["system:masters"] },
            "object": {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": { "name": "mtls-canary", "namespace": namespace, "annotations": annotations },
                "spec": { "containers": [{ "name": "app", "image": "app" }] },
            },
        },
    })
    .to_string();
    let asked =
        patiently(consumer, async || tunnel::post(api, &consumer.name, names::INJECTOR_PORT, "/mutate", &review).await);
    match asked.await {
        Answer::Proven((answer, chain)) => {
            let held = injected(&answer).map_or_else(
                || Answer::Unknown("it writes no trust anchors into a new pod".to_owned()),
                |pem| Answer::Proven(read_as_go(pem.as_bytes()).certificates),
            );
            Reply::Injection { held, served: Answer::Proven(chain) }
        }
        none => Reply::Injection { held: none.clone().map(|_| Vec::new()), served: none.map(|_| Vec::new()) },
    }
}

/// The anchors in the JSON patch of an injector's answer.
fn injected(review: &[u8]) -> Option<String> {
    let review: Value = serde_json::from_slice(review).ok()?;
    let patch = STANDARD.decode(review.pointer("/response/patch")?.as_str()?).ok()?;
    variable(&serde_json::from_slice(&patch).ok()?, names::ENV_ANCHORS)
}

fn variable(value: &Value, name: &str) -> Option<String> {
    match value {
        Value::Object(fields) if fields.get("name").and_then(Value::as_str) == Some(name) => {
            fields.get("value").and_then(Value::as_str).map(str::to_owned)
        }
        Value::Object(fields) => fields.values().find_map(|below| variable(below, name)),
        Value::Array(items) => items.iter().find_map(|item| variable(item, name)),
        _ => None,
    }
}

/// Asks again where there was no clear answer; a process that is not ready is asked once.
async fn patiently<T, F: Future<Output = Result<T, Trouble>>>(
    consumer: &Consumer,
    mut question: impl FnMut() -> F,
) -> Answer<T> {
    match consumer.phase {
        Phase::Terminating => return Answer::Unknown("it is being deleted".to_owned()),
        Phase::Pending => return Answer::Unknown("it has not started yet".to_owned()),
        Phase::Ready | Phase::NotReady | Phase::CrashLoop => {}
    }
    let tries = if consumer.phase == Phase::Ready { TRIES } else { 1 };
    let mut last = String::new();
    for n in 0..tries {
        if n > 0 {
            tokio::time::sleep(PAUSE).await;
        }
        match tokio::time::timeout(LIMIT, question()).await {
            Ok(Ok(answer)) => return Answer::Proven(answer),
            Ok(Err(Trouble::Api(failure))) if failure.is_forbidden() => return failure.answer(),
            Ok(Err(trouble)) => last = trouble.to_string(),
            Err(_) => last = format!("no answer within {} s", LIMIT.as_secs()),
        }
    }
    Answer::Unknown(last)
}

/// Puts the answers where they belong. The chain that an injector or operator serves is what a `caBundle` must verify:
/// of several replicas one that it does not verify, if there is one.
fn settle(seen: &mut Observed, replies: Vec<(usize, Question, Reply)>) {
    let mut behind: Vec<(Role, Answer<Vec<Certificate>>)> = Vec::new();
    for (at, question, reply) in replies {
        let consumer = &mut seen.consumers[at];
        match (reply, question) {
            (Reply::Chain(served), Question::Serves(names::CONVERSION_PORT)) => {
                behind.push((Role::Conversion, served));
            }
            (Reply::Chain(served), _) => consumer.served = served,
            (Reply::Injection { held, served }, _) => {
                consumer.held = held.map(Into::into);
                consumer.served = served.clone();
                behind.push((Role::Webhook, served));
            }
            (Reply::Verdict(verdict), Question::Holds) => consumer.holds = verdict,
            (Reply::Verdict(verdict), Question::AcceptsFormer) => consumer.accepts_former = verdict,
            (Reply::Verdict(verdict), _) => consumer.accepts = verdict,
        }
    }
    let now = seen.now;
    for webhook in
        seen.consumers.iter_mut().filter(|consumer| matches!(consumer.role, Role::Webhook | Role::Conversion))
    {
        let held = webhook.held.proven().cloned().unwrap_or_default();
        let profile = webhook.role.profile();
        let refused = |served: &Answer<Vec<Certificate>>| {
            served
                .proven()
                .and_then(|served| served.split_first())
                .is_some_and(|(leaf, chain)| verify(Shown::Leaf(leaf), chain, &held, profile, now).is_err())
        };
        let mut servers: Vec<Answer<Vec<Certificate>>> =
            behind.iter().filter(|(role, _)| *role == webhook.role).map(|(_, served)| served.clone()).collect();
        servers.sort_by_key(|served| (!refused(served), served.proven().is_none()));
        if let Some(served) = servers.into_iter().next() {
            webhook.served = served;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_anchors_are_found_in_whatever_place_the_patch_has_them() {
        let patch = json!([
            { "op": "add", "path": "/spec/containers/0/env", "value": [{ "name": "DAPR_HTTP_PORT", "value": "3500" }] },
            { "op": "add", "path": "/spec/containers/-", "value": { "name": "daprd", "env": [
                { "name": "NAMESPACE", "value": "x" }, { "name": "DAPR_TRUST_ANCHORS", "value": "PEM" }] } },
        ]);
        let review = |patch: &Value| {
            json!({ "response": { "uid": "u", "allowed": true, "patch": STANDARD.encode(patch.to_string()) } })
                .to_string()
        };
        assert_eq!(injected(review(&patch).as_bytes()).as_deref(), Some("PEM"));
        assert_eq!(injected(review(&json!([])).as_bytes()), None);
        assert_eq!(injected(br#"{"response":{"uid":"u","allowed":true}}"#), None);
    }
}
