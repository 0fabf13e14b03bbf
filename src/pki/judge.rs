//! Says what Sentry and everyone who verifies its certificates will do with a CA, by showing them the leaves that Sentry would sign.
//!
//! Sentry accepts CAs under which every handshake then fails, so its own checks (`sentry/server/ca/validate.go`) are only the first step.

use std::fmt;

use jiff::Timestamp;

use super::pem::check_anchor;
use super::{Certificate, PrivateKey, Profile, Refusal, Shown, verify};

/// What was found about a CA.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Judged {
    /// Worst first.
    pub problems: Vec<Problem>,
    /// Up to when everyone accepts what Sentry signs, as far as the CA decides it; `None` if someone refuses it now.
    pub until: Option<Timestamp>,
}

/// One reason to refuse a CA, now or at the horizon.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Now, or only later.
    pub severity: Severity,
    /// What is wrong, and with which certificate.
    pub what: String,
    /// The way out.
    pub hint: String,
    /// Everyone who refuses it for this reason.
    pub by: Vec<Refuser>,
}

/// How bad a [`Problem`] is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Refused now.
    Fatal,
    /// Accepted now, refused before the horizon.
    Warning,
}

/// Who refuses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Refuser {
    /// Sentry exits, or keeps the CA it had.
    Sentry,
    /// Sidecars and control plane refuse each other.
    Sidecar,
    /// The API server refuses injector and operator: pods come up without a sidecar.
    Webhook,
    /// Schedulers refuse each other.
    Etcd,
}

impl Judged {
    /// Whether nobody refuses it now.
    pub fn is_usable(&self) -> bool {
        self.problems.iter().all(|problem| problem.severity != Severity::Fatal)
    }

    fn add(&mut self, severity: Severity, by: Refuser, what: impl Into<String>, hint: &str) {
        let what = what.into();
        match self.problems.iter_mut().find(|problem| problem.severity == severity && problem.what == what) {
            Some(problem) if problem.by.contains(&by) => {}
            Some(problem) => problem.by.push(by),
            None => self.problems.push(Problem { severity, what, hint: hint.to_owned(), by: vec![by] }),
        }
    }

    fn refuse(&mut self, by: Refuser, refusal: &Refusal) {
        self.add(Severity::Fatal, by, refusal.to_string(), refusal.hint());
    }
}

impl fmt::Display for Refuser {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sentry => "Sentry",
            Self::Sidecar => "sidecars and control plane",
            Self::Webhook => "the API server, calling the webhooks",
            Self::Etcd => "the schedulers' etcd",
        })
    }
}

/// Judges trust anchors, an issuer chain (issuer first, without a trailing root) and its key, as they would be published for version `dapr`
/// (unknown: `None`) with its control plane in `namespace`, at the moment `now` and at `horizon`.
#[allow(
    clippy::too_many_arguments,
    reason = "each is one fact of the mesh; a struct would be made for this call alone"
)]
pub fn judge(
    anchors: &[Certificate],
    chain: &[Certificate],
    key: Option<&PrivateKey>,
    trust_domain: &str,
    namespace: &str,
    dapr: Option<(u32, u32, u32)>,
    now: Timestamp,
    horizon: Timestamp,
) -> Judged {
    let mut judged = Judged { problems: Vec::new(), until: None };
    judge_as_sentry(&mut judged, anchors, chain, key, dapr, now);

    let id = |namespace: &str, app: &str| [format!("spiffe://{trust_domain}/ns/{namespace}/{app}")];
    let mut consumers = vec![
        (Refuser::Sidecar, Profile::Spiffe, id("default", "app"), Vec::new()),
        // Sentry gives these DNS names to injector and operator (`sentry/server/validator/kubernetes`).
        (
            Refuser::Webhook,
            Profile::Webhook,
            id(namespace, "dapr-injector"),
            vec![format!("dapr-sidecar-injector.{namespace}.svc")],
        ),
        (
            Refuser::Webhook,
            Profile::Webhook,
            id(namespace, "dapr-operator"),
            vec![format!("dapr-webhook.{namespace}.svc")],
        ),
    ];
    if dapr.is_none_or(|version| version >= (1, 14, 0)) {
        consumers.push((Refuser::Etcd, Profile::EtcdPeer, id(namespace, "dapr-scheduler"), Vec::new()));
    }
    let mut until = Some(Timestamp::MAX);
    for (by, profile, uris, dns) in &consumers {
        let shown = Shown::Synthetic { uris, dns };
        match verify(shown, chain, anchors, *profile, now) {
            Ok(end) => {
                until = until.map(|until| until.min(end));
                if let Err(refusal) = verify(shown, chain, anchors, *profile, horizon) {
                    judged.add(Severity::Warning, *by, refusal.to_string(), refusal.hint());
                }
            }
            Err(refusal) => {
                until = None;
                judged.refuse(*by, &refusal);
            }
        }
    }
    judged.until = until;
    judged.problems.sort_by_key(|problem| problem.severity);
    judged
}

/// Sentry's own checks, in its order.
fn judge_as_sentry(
    judged: &mut Judged,
    anchors: &[Certificate],
    chain: &[Certificate],
    key: Option<&PrivateKey>,
    dapr: Option<(u32, u32, u32)>,
    now: Timestamp,
) {
    let by = Refuser::Sentry;
    for problem in anchors.iter().filter_map(|anchor| check_anchor(anchor).err()) {
        judged.add(Severity::Fatal, by, problem.to_string(), problem.hint());
    }
    for pair in chain.windows(2) {
        if let Err(why) = pair[0].check_signature_from(&pair[1]) {
            judged.refuse(by, &Refusal::OutOfOrder { below: pair[0].clone(), above: pair[1].clone(), why });
        }
    }
    let Some((issuer, above)) = chain.split_first() else {
        return judged.refuse(by, &Refusal::NoChain);
    };
    if let Err(refusal) = verify(Shown::Leaf(issuer), above, anchors, Profile::Webhook, now) {
        judged.refuse(by, &refusal);
    }
    let Some(key) = key else { return };
    if !key.matches(issuer) {
        let what =
            format!("the issuer key is not the one of `{}` ({})", issuer.subject(), issuer.fingerprint().short());
        judged.add(Severity::Fatal, by, what, "give the key that the issuer certificate was made for");
    }
    if let Some(Err(why)) = dapr.map(|version| key.algorithm().supported_by(version)) {
        judged.add(Severity::Fatal, by, why, "use an ECDSA P-256 issuer key, or upgrade Dapr first");
    }
}

#[cfg(test)]
mod tests;
