//! What must be published in the end, fixed before the first change.

use std::cmp::Reverse;

use jiff::{SignedDuration, Timestamp};

use super::next::{is_switched, serves};
use crate::mesh::{Consumer, Denied, Observed, Pair, Role, Settings};
use crate::pki::{
    Certificate, Entropy, Issuer, MintError, PemError, Profile, TrustBundle, Validity, below, cross_sign,
};

/// How a rotation gets there. The word is the same in `--strategy`, in the record and in output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Strategy {
    /// A new issuer under a live root: one write.
    Issuer,
    /// A new root with the live root's key beside it.
    SameKey,
    /// A new root, cross-signed by the live issuer.
    Bridge,
    /// A new root beside the old one; the issuer follows once every consumer holds that root.
    Append,
    /// New trust at once; calls fail until everything was restarted.
    Replace,
    /// The first CA of a mesh that has none.
    Create,
    /// The previous issuer back; anchors stay.
    Abort,
    /// What is published stays; services are restarted.
    Restart,
    /// Anchors and bridges that nobody needs any more go.
    Prune,
    /// The CA on record back, after Sentry invented one of its own or what was published was damaged; anchors stay.
    Restore,
}

impl Strategy {
    const WORDS: [(Self, &str); 10] = [
        (Self::Issuer, "issuer"),
        (Self::SameKey, "same-key"),
        (Self::Bridge, "bridge"),
        (Self::Append, "append"),
        (Self::Replace, "replace"),
        (Self::Create, "create"),
        (Self::Abort, "abort"),
        (Self::Restart, "restart"),
        (Self::Prune, "prune"),
        (Self::Restore, "restore"),
    ];

    /// The word for it.
    pub fn word(self) -> &'static str {
        Self::WORDS.iter().find(|(strategy, _)| *strategy == self).map_or("", |(_, word)| word)
    }

    /// Whether calls may fail on the way: a first CA has nobody yet who could fail, a replacement is asked for by name
    /// or made where nothing works any more.
    pub fn may_break(self) -> bool {
        matches!(self, Self::Replace | Self::Create)
    }

    /// The strategy that a record's word names.
    pub fn from_word(word: &str) -> Option<Self> {
        Self::WORDS.iter().find(|(_, known)| *known == word).map(|(strategy, _)| *strategy)
    }
}

/// Why a strategy cannot be staged.
#[derive(Debug, thiserror::Error)]
pub enum CannotStage {
    /// No issuer to sign a bridge with.
    #[error("there is no live issuer with its key, so nothing can be signed with it")]
    NoIssuer,
    /// The live chain ends in no published anchor.
    #[error("the live chain ends in no trust anchor that is published")]
    NoRoot,
    /// The strategy needs an input that was not given.
    #[error("it needs {0}")]
    Needs(&'static str),
    /// The bundle would not be one.
    #[error(transparent)]
    Bundle(#[from] PemError),
    /// A certificate cannot be made.
    #[error(transparent)]
    Mint(#[from] MintError),
}

/// A bundle and the issuer that goes with it: what the Secret carries.
#[derive(Clone)]
pub struct Trio {
    /// `ca.crt`.
    pub trust: TrustBundle,
    /// `issuer.crt` and `issuer.key`.
    pub issuer: Issuer,
}

impl Trio {
    /// What is published now, if it is complete and fits together.
    pub fn published(seen: &Observed) -> Option<Self> {
        Some(Self { trust: seen.published.bundle()?, issuer: seen.published.issuer()? })
    }

    /// The anchor that the issuer's own chain ends in: what everybody should hold in the end. It is the one nearest to
    /// the issuer, of several with one key the one that lasts longest, the first of equals.
    pub fn root(&self) -> Option<&Certificate> {
        let chain = &self.issuer.chain;
        let signed = |root: &&Certificate| below(chain, root).last().is_some_and(|last| signs(root, last));
        let nearness = |root: &&Certificate| (Reverse(below(chain, root).len()), root.not_after());
        self.trust.anchors().iter().rev().filter(signed).max_by_key(nearness)
    }

    /// The anchor that the whole chain ends in, the former issuers behind the own chain included.
    pub fn last_root(&self) -> Option<&Certificate> {
        let last = self.issuer.chain.last()?;
        self.trust.anchors().iter().find(|root| signs(root, last))
    }

    /// When the issuer, what stands between it and its root, or that root ends first.
    pub fn end(&self) -> Timestamp {
        let own = self
            .root()
            .map(|root| below(&self.issuer.chain, root).iter().chain([root]).map(Certificate::not_after).min());
        own.flatten().unwrap_or_else(|| self.issuer.certificate().not_after())
    }

    /// How long a peer that holds the whole bundle accepts what the issuer signs; `None`: not even now.
    pub fn until(&self, seen: &Observed) -> Option<Timestamp> {
        seen.until(&self.issuer.chain, self.trust.anchors(), Profile::Spiffe).ok()
    }

    /// The issuer with nothing behind it that an older root could verify: what only a holder of its root accepts. `None`
    /// where another anchor accepts it too (one with the same key), so that acceptance would prove nothing.
    pub fn issuer_alone(&self, seen: &Observed) -> Option<Issuer> {
        let root = self.root()?;
        let chain = below(&self.issuer.chain, root).to_vec();
        let accepts = |anchor: &Certificate| seen.until(&chain, std::slice::from_ref(anchor), Profile::Spiffe).is_ok();
        let mut anchors = self.trust.anchors().iter().chain(&seen.published.anchors);
        let tells = !anchors.any(|anchor| anchor != root && accepts(anchor));
        tells.then(|| Issuer { chain, key: self.issuer.key.clone() })
    }

    /// How long a peer that holds `root` alone accepts what the issuer signs; `None`: not even now.
    pub fn until_under(&self, root: &Certificate, seen: &Observed) -> Option<Timestamp> {
        seen.until(&self.issuer.chain, std::slice::from_ref(root), Profile::Spiffe).ok()
    }

    /// This trio, accepted by pods that hold only `invented`'s roots as well: the root that the kept chain ends in is
    /// cross-signed by the invented issuer, whose chain follows, and the invented roots join the bundle.
    ///
    /// Shown on a live cluster: pods of both sides accept it (Dapr 1.14.0).
    pub fn over(&self, invented: &Self, now: Timestamp, entropy: Entropy) -> Result<Self, CannotStage> {
        // Why: a tail whose end has no signer any more leads nobody anywhere.
        let (reached, root) = match self.last_root() {
            Some(root) => (&self.issuer.chain[..], Some(root)),
            None => (self.root().map_or(&[][..], |root| below(&self.issuer.chain, root)), self.root()),
        };
        let mut chain = reached.to_vec();
        if let Some(root) = root {
            let validity = Validity { not_before: root.not_before(), not_after: root.not_after() };
            let signer = &invented.issuer;
            chain.push(cross_sign(root, signer.certificate(), &signer.key, &validity, entropy)?);
            chain.extend(live(&signer.chain, now));
        }
        let trust = self.trust.merged(&invented.trust)?;
        Ok(Self { trust, issuer: Issuer { chain, key: self.issuer.key.clone() } })
    }
}

/// By name and by signature: a root of another name may have the same key.
fn signs(root: &Certificate, below: &Certificate) -> bool {
    below.issuer_der() == root.subject_der() && below.signed_by(root)
}

/// The certificates of a chain up to the first that has expired: what is behind that one is reached by nobody. A
/// self-signed one (a root that is its own issuer) is left out, as Sentry leaves it out of what it sends.
pub(super) fn live(chain: &[Certificate], now: Timestamp) -> impl Iterator<Item = Certificate> {
    let lasting = chain.iter().take_while(move |certificate| !certificate.is_expired(now));
    lasting.filter(|certificate| !certificate.self_signed()).cloned()
}

/// A nudged Sentry signs with a new issuer after this at the latest (`dapr/cmd/sentry/app/app.go`).
const SENTRY_SWITCHES: SignedDuration = SignedDuration::from_secs(5);
/// By how much a renewal may be early or late: an SVID's validity begins when it is asked for, not when the process starts.
const RENEWAL_SLACK: SignedDuration = SignedDuration::from_mins(2);

/// What a rotation restarts once the new issuer is served; an append, before it switches.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of the control plane.
    ControlPlane,
    /// What of the control plane is not proven to hold the new trust.
    Stale,
    /// All of the control plane, then all applications.
    All,
    /// What of the control plane is not proven to hold the new trust, then the applications that hold older trust.
    AllStale,
}

impl Scope {
    /// The scope that two flags choose.
    pub fn new(stale_only: bool, applications: bool) -> Self {
        match (stale_only, applications) {
            (false, false) => Self::ControlPlane,
            (true, false) => Self::Stale,
            (false, true) => Self::All,
            (true, true) => Self::AllStale,
        }
    }

    /// Whether what holds the new trust is left alone.
    pub fn is_stale_only(self) -> bool {
        matches!(self, Self::Stale | Self::AllStale)
    }

    /// Whether applications follow the control plane.
    pub fn has_applications(self) -> bool {
        matches!(self, Self::All | Self::AllStale)
    }
}

/// Restarts that belong to a goal. One that happened after `since` counts, whoever asked for it, so that a second run
/// restarts only what is missing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Restart {
    /// What of them.
    pub scope: Scope,
    /// When the rotation began, by the API server's clock.
    pub since: Timestamp,
}

/// What must be published in the end.
#[derive(Clone)]
pub struct Goal {
    /// How it was made.
    pub strategy: Strategy,
    /// What must be published: the new root in front. For `replace` nothing else may stay.
    pub target: Trio,
    /// What was published when the rotation began: what an abort goes back to, and what a process may still hold. Of an
    /// abort it is what was published before the rotation that is aborted.
    pub previous: Option<Trio>,
    /// The end of the validity that was asked for. Where a CA that Sentry invented is bridged, the end of the kept
    /// chain if that is sooner: the invented side is reached through it, and is to be restarted anyway.
    pub valid_until: Timestamp,
    /// When the rotation began, by the API server's clock.
    pub began: Timestamp,
    /// What is restarted afterwards.
    pub restart: Option<Restart>,
    /// The root of a CA that Sentry invented and that this goal was bridged over.
    pub invented: Option<Certificate>,
    /// The consumers that may break on the way: those that were named and confirmed.
    pub allowed: Vec<String>,
    /// Until when SVIDs of a former issuer may live: known once every Sentry replica was seen to sign with the goal's.
    pub former_svids_end: Option<Timestamp>,
    /// A digest of the inputs, so that the same command continues and another is refused.
    pub inputs: String,
}

impl Goal {
    /// Whether calls may fail on the way: only where somebody asked for it by name or nothing works any more.
    pub fn may_break(&self) -> bool {
        self.strategy.may_break()
    }

    /// The goal of a restart: what is published, an unequal pair made equal first, and services restarted. `None` where
    /// nothing complete is published.
    ///
    /// An unequal pair is what an `open` rotation was about to publish if the `ConfigMap` has the whole of its bundle:
    /// then the missing write is made, else the Secret counts.
    pub fn restart(scope: Scope, seen: &Observed, open: Option<&Self>) -> Option<Self> {
        let mut target = Trio::published(seen)?;
        let half_written = |goal: &&Self| goal.target.trust.anchors().iter().all(|a| seen.published.mirror.contains(a));
        if let Some(goal) = open.filter(half_written) {
            target.trust = goal.bundle(seen);
        }
        Some(Self {
            strategy: Strategy::Restart,
            valid_until: target.issuer.certificate().not_after(),
            previous: None,
            target,
            began: seen.now,
            restart: Some(Restart { scope, since: seen.now }),
            invented: None,
            allowed: Vec::new(),
            former_svids_end: None,
            inputs: String::new(),
        })
    }

    /// Holds a restart to what is published now, whoever published it since it began.
    pub(super) fn follow(&mut self, seen: &Observed) {
        if self.strategy == Strategy::Restart && seen.published.pair == Pair::Equal {
            self.target = Trio::published(seen).unwrap_or_else(|| self.target.clone());
        }
    }

    /// How long a consumer that holds an older anchor, and which one is not known, accepts the new chain.
    pub fn worst_until(&self, seen: &Observed, profile: Profile) -> Option<Timestamp> {
        let (chain, root) = (&self.target.issuer.chain, self.target.root());
        let older = self.previous.as_ref()?.trust.anchors().iter().filter(|anchor| Some(*anchor) != root);
        seen.worst(chain, older, profile)
    }

    /// The CA that a replacement puts out of use, as long as it works: it may have leaked, so nobody should accept it.
    pub fn former(&self, seen: &Observed) -> Option<&Trio> {
        let former = self.previous.as_ref().filter(|_| self.strategy == Strategy::Replace)?;
        former.until(seen).is_some().then_some(former)
    }

    /// Whether a record is kept of it: not of a restart, which leaves what is published as it is, and the record of the
    /// last rotation too.
    pub fn is_recorded(&self) -> bool {
        self.strategy != Strategy::Restart
    }

    /// Whether exactly the goal's anchors should be published now: a replacement lets go of the rest at once, a prune
    /// once the shorter chain is published.
    pub fn is_exact(&self, seen: &Observed) -> bool {
        let shortened =
            || self.strategy == Strategy::Prune && seen.published.pair == Pair::Equal && is_switched(self, seen);
        self.may_break() || shortened()
    }

    /// The bundle that should be published, given what is there: the goal's anchors in front, then whatever else is
    /// published, unless that is to go.
    ///
    /// # Why
    /// An anchor that has expired stays too: signed workflow history is verified at its signing time.
    pub fn bundle(&self, seen: &Observed) -> TrustBundle {
        if self.may_break() {
            return self.target.trust.clone();
        }
        if self.is_exact(seen) {
            return self.staying(seen);
        }
        let mut anchors = self.target.trust.anchors().to_vec();
        let lost = seen.published.mirror.iter().filter(|anchor| {
            let held = |consumer: &Consumer| consumer.held.proven().is_some_and(|held| held.contains(anchor));
            seen.consumers.iter().any(held)
        });
        let there = seen.published.anchors.iter().chain(lost);
        anchors.extend(there.filter(|anchor| anchor.is_anchor()).cloned());
        TrustBundle::from_anchors(anchors).unwrap_or_else(|_| self.target.trust.clone())
    }

    /// The bundle once a prune has come to its end: the goal's anchors, and those that somebody added since it began.
    pub(super) fn staying(&self, seen: &Observed) -> TrustBundle {
        let added = seen.published.anchors.iter().filter(|anchor| anchor.is_anchor() && !self.knows(anchor));
        let anchors = self.target.trust.anchors().iter().chain(added).cloned().collect();
        TrustBundle::from_anchors(anchors).unwrap_or_else(|_| self.target.trust.clone())
    }

    /// Whether an anchor was there when the rotation began, or is to be there in the end.
    pub(super) fn knows(&self, anchor: &Certificate) -> bool {
        let in_trust = |trio: &Trio| trio.trust.contains(anchor.fingerprint());
        in_trust(&self.target) || self.previous.as_ref().is_some_and(in_trust)
    }

    /// When the last SVID of a former issuer ends, if every Sentry replica signs with the goal's issuer now.
    pub fn last_former_svid(&self, seen: &Observed) -> Option<Timestamp> {
        let mut sentries = seen.consumers.iter().filter(|consumer| consumer.role == Role::Sentry).peekable();
        sentries.peek()?;
        let Settings { workload_cert_ttl: ttl, allowed_clock_skew: skew, .. } = seen.settings;
        let is_known = !seen.denied.iter().any(Denied::hides_settings);
        (is_known && sentries.all(|sentry| serves(sentry, &self.target.issuer.chain))).then(|| seen.now + ttl + skew)
    }

    /// Whether Sentry invented a CA while this goal was on its way: a complete pair whose root is neither the goal's
    /// nor what was there before.
    pub fn invented<'a>(&self, seen: &'a Observed) -> Option<&'a Certificate> {
        if self.may_break() || !self.is_recorded() {
            return None;
        }
        let root = seen.signing_root()?;
        (!self.knows(root)).then_some(root)
    }

    /// Whether a process may have an SVID of the invented CA: it was born while that one was the live one, or its SVID
    /// was due to be renewed then. The invented root's `NotBefore` is back-dated by the clock skew
    /// (`dapr/pkg/sentry/server/ca/bundle`); an SVID, back-dated too, is renewed at half its validity
    /// (`dapr/kit/crypto/spiffe`).
    pub fn has_invented_svid(&self, consumer: &Consumer, seen: &Observed) -> bool {
        let (Some(root), Some(started)) = (&self.invented, consumer.started) else { return false };
        if matches!(consumer.role, Role::Sentry | Role::EtcdPeer | Role::Webhook | Role::Conversion) {
            return false;
        }
        let Settings { workload_cert_ttl: ttl, allowed_clock_skew: skew, .. } = seen.settings;
        let born = root.not_before() + skew;
        let period = ((ttl + skew) / 2 - skew).max(SignedDuration::from_secs(1));
        let renewals = |at: Timestamp| (at.duration_since(started).as_secs() / period.as_secs()).max(0);
        let switched = seen.published.written.unwrap_or(self.began).max(self.began) + SENTRY_SWITCHES;
        let is_born = started >= born && started < switched;
        is_born || renewals(switched + RENEWAL_SLACK) > renewals(born - RENEWAL_SLACK)
    }

    /// Extends the goal over a CA that Sentry invented, so that pods which hold only the invented root accept it too.
    pub fn adopt(&mut self, seen: &Observed, entropy: Entropy) -> Result<(), CannotStage> {
        if let Some(invented) = Trio::published(seen) {
            // Why: nobody has seen the issuer of an append that still waits, and a prune has something better to do now.
            // The kept one brings everybody back.
            match (self.strategy, &self.previous) {
                (Strategy::Append, Some(previous)) => self.target.issuer = previous.issuer.clone(),
                (Strategy::Prune, Some(previous)) => self.target = previous.clone(),
                _ => {}
            }
            if matches!(self.strategy, Strategy::Append | Strategy::Prune) {
                self.strategy = Strategy::Bridge;
            }
            self.allowed.clear();
            self.target = self.target.over(&invented, seen.now, entropy)?;
            self.invented = seen.signing_root().cloned();
            let reached = self.invented.as_ref().and_then(|root| self.target.until_under(root, seen));
            self.valid_until = self.valid_until.min(reached.unwrap_or(seen.now));
            self.began = seen.now;
        }
        Ok(())
    }
}
