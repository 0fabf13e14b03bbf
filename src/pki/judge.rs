//! Says what Sentry and everyone who verifies its certificates will do with a CA, by showing them the leaves that Sentry would sign.
//!
//! Sentry accepts CAs under which every handshake then fails, so its own checks (`sentry/server/ca/validate.go`) are only the first step.

use std::error::Error as _;
use std::{fmt, slice};

use jiff::Timestamp;

use super::pem::check_anchor;
use super::{Certificate, PrivateKey, Profile, Refusal, Shown, Signing, verify};

/// Why: what applications call themselves stands in objects of theirs, which are not looked at.
const FOREIGN_TRUST_DOMAINS: &str = "compare its name constraints with `kubectl get configurations.dapr.io -A -o jsonpath='{.items[*].spec.accessControl.trustDomain}'`";

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

impl Refuser {
    fn of(profile: Profile) -> Self {
        match profile {
            Profile::Spiffe => Self::Sidecar,
            Profile::Webhook => Self::Webhook,
            Profile::EtcdPeer => Self::Etcd,
        }
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

/// Judges trust anchors, an issuer chain (issuer first, without a trailing root) and its key, as they would be published where `signing` says,
/// at the moment `now` and at `horizon`.
pub fn judge(
    anchors: &[Certificate],
    chain: &[Certificate],
    key: Option<&PrivateKey>,
    signing: &Signing<'_>,
    now: Timestamp,
    horizon: Timestamp,
) -> Judged {
    let mut judged = Judged { problems: Vec::new(), until: None };
    judge_as_sentry(&mut judged, anchors, chain, key, signing.dapr, now);

    let mut until = Some(Timestamp::MAX);
    for profile in [Profile::Spiffe, Profile::Webhook, Profile::EtcdPeer] {
        let by = Refuser::of(profile);
        for svid in signing.svids(profile) {
            let verify = |at| verify(Shown::Synthetic(slice::from_ref(&svid)), chain, anchors, profile, at);
            match verify(now) {
                Ok(end) => {
                    until = until.map(|until| until.min(end));
                    if let Err(refusal) = verify(horizon) {
                        judged.add(Severity::Warning, by, refusal.as_of(now), refusal.hint());
                    }
                }
                Err(refusal) => {
                    until = None;
                    judged.refuse(by, &refusal);
                }
            }
        }
    }
    judged.until = until;
    for constrained in anchors.iter().chain(chain).filter(|certificate| certificate.permits_some_uris_only()) {
        let what = format!(
            "`{}` ({}) permits some trust domains only: applications whose Configuration names another in \
             accessControl.trustDomain are refused",
            constrained.subject(),
            constrained.fingerprint().short()
        );
        judged.add(Severity::Warning, Refuser::Sidecar, what, FOREIGN_TRUST_DOMAINS);
    }
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
    for (anchor, problem) in anchors.iter().filter_map(|anchor| Some((anchor, check_anchor(anchor).err()?))) {
        let severity = if anchor.is_anchor() { Severity::Warning } else { Severity::Fatal };
        let why = problem.source().map(|why| format!(": {why}")).unwrap_or_default();
        judged.add(severity, by, format!("{problem}{why}"), problem.hint());
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
    if let Err(why) = key.algorithm().supported_by(dapr) {
        let severity = if dapr.is_some() { Severity::Fatal } else { Severity::Warning };
        judged.add(severity, by, why, "use an ECDSA P-256 issuer key, or upgrade Dapr first");
    }
}

#[cfg(test)]
mod tests;
