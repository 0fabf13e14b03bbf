//! The file era: one Secret, copied into a `ConfigMap` of every namespace, which sidecars mount.
//!
//! # Why
//! A distributor takes minutes for many namespaces, and says nothing of how far it is (dapr-facts §12). What a sidecar
//! can have read is told by the copy in its own namespace, and what it has read by the sidecar alone.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{Anchors, Answer, Consumer, Era, Observed, Role, Version};
use crate::pki::Certificate;

/// The `ConfigMap` of every namespace (proposal 20231024), and the usual name of the Secret that it is copied from.
pub const DISTRIBUTED: &str = "dapr-root-ca.crt";

/// The Secret that a distributor copies from.
#[derive(Clone, Debug)]
pub struct TrustSource {
    /// Its name.
    pub name: String,
    /// What it carries, whoever needs it.
    pub anchors: Vec<Certificate>,
    /// The version that was read.
    pub version: Version,
    /// When its anchors were last written, as far as that is noted.
    pub written: Option<Timestamp>,
}

/// By what a copy is known to be somebody's (dapr-facts §2, §12).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Distributor {
    /// A Bundle of trust-manager, by its name.
    TrustManager(String),
    /// Dapr's operator.
    Operator,
    /// Another controller, by its kind and name.
    Other(String),
}

impl std::fmt::Display for Distributor {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::TrustManager(bundle) => write!(f, "trust-manager (Bundle {bundle})"),
            Self::Operator => f.write_str("Dapr's operator"),
            Self::Other(who) => f.write_str(who),
        }
    }
}

/// The `ConfigMap` of one namespace.
#[derive(Clone, Debug)]
pub struct TrustCopy {
    /// What it carries: a set, since a distributor encodes it anew.
    pub anchors: Anchors,
    /// Since when it is seen to carry them.
    pub since: Timestamp,
    /// Whose it is; `None`: it has nobody's mark.
    pub distributor: Option<Distributor>,
    /// Whether nobody can change it.
    pub immutable: bool,
    /// Whether it is being deleted.
    pub leaving: bool,
}

/// All copies, as far as they were seen.
#[derive(Clone, Debug, Default)]
pub struct Distribution {
    /// By namespace.
    pub copies: BTreeMap<String, TrustCopy>,
    /// When the anchors of one of them were last seen to change, to whatever; when they were first looked at, if none were.
    /// One that comes or goes with its namespace says nothing of the others.
    pub moved: Timestamp,
    /// What speaks for a distributor that stands still, where that was looked for.
    pub trouble: Option<String>,
}

/// How many copies carry what is published, of those that are to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Propagation {
    /// So many do.
    pub done: usize,
    /// So many should.
    pub total: usize,
}

/// A mount that is made sooner than this after its `ConfigMap` was seen may be one of before (a kubelet hears of a
/// change within 0.4 s, dapr-facts §12; clocks are read in whole seconds).
const KUBELET_HEARS: SignedDuration = SignedDuration::from_secs(2);

/// Where one copy stands.
#[derive(Clone, Debug, PartialEq, Eq)]
enum State {
    /// It carries what is published.
    Right,
    /// It will, once the distributor comes to it.
    Behind,
    /// The distributor leaves it as it is; the text ends a sentence about that `ConfigMap`.
    Hindered(String),
}

impl Distribution {
    /// Who copies: whose mark most copies have. `None`: most have nobody's.
    pub fn distributor(&self) -> Option<&Distributor> {
        let mut counts: BTreeMap<Option<&Distributor>, usize> = BTreeMap::new();
        for copy in self.copies.values() {
            *counts.entry(copy.distributor.as_ref()).or_default() += 1;
        }
        counts.into_iter().max_by_key(|(_, count)| *count).and_then(|(distributor, _)| distributor)
    }

    /// Where the copies stand that should carry `wanted`, by namespace.
    fn states(&self, wanted: &[Certificate]) -> BTreeMap<&str, State> {
        let distributor = self.distributor();
        let state = |copy: &TrustCopy| match hindrance(copy, distributor) {
            _ if copy.carries(wanted) => State::Right,
            Some(why) => State::Hindered(why),
            None => State::Behind,
        };
        self.copies.iter().map(|(namespace, copy)| (namespace.as_str(), state(copy))).collect()
    }
}

impl TrustCopy {
    fn carries(&self, wanted: &[Certificate]) -> bool {
        wanted.iter().all(|anchor| self.anchors.contains(anchor))
    }
}

/// Why the distributor does not write a copy.
fn hindrance(copy: &TrustCopy, distributor: Option<&Distributor>) -> Option<String> {
    if copy.leaving {
        return Some("is being deleted".to_owned());
    }
    if copy.immutable {
        return Some("is immutable, so that nobody can change it: delete it, and it is made anew".to_owned());
    }
    let distributor = distributor.filter(|distributor| copy.distributor.as_ref() != Some(distributor))?;
    Some(match &copy.distributor {
        Some(other) => format!("belongs to {other}, and {distributor} leaves it alone"),
        None => format!("has no mark of {distributor}, which writes those of other namespaces"),
    })
}

impl Observed {
    /// What a copy should carry: every published anchor that has not expired, as far as its source has it. The root in
    /// use is missed in any case.
    fn wanted(&self) -> Vec<Certificate> {
        let root = self.signing_root();
        let comes = |anchor: &Certificate| {
            Some(anchor) == root || self.trust_source.as_ref().is_none_or(|source| source.anchors.contains(anchor))
        };
        let published = self.published.own_anchors().into_iter();
        published.filter(|anchor| !anchor.is_expired(self.now) && comes(anchor)).collect()
    }

    fn states(&self) -> BTreeMap<&str, State> {
        self.distribution.proven().map(|seen| seen.states(&self.wanted())).unwrap_or_default()
    }

    /// How far the trust bundle has come; `None`: that was not seen.
    pub fn propagation(&self) -> Option<Propagation> {
        self.distribution.proven()?;
        let states = self.states();
        let count = |wanted: State| states.values().filter(|state| **state == wanted).count();
        let done = count(State::Right);
        Some(Propagation { done, total: done + count(State::Behind) })
    }

    /// The namespaces whose copy should carry what is published and does not yet.
    pub fn behind(&self) -> Vec<&str> {
        self.states().into_iter().filter(|(_, state)| *state == State::Behind).map(|(namespace, _)| namespace).collect()
    }

    /// The namespaces whose copy does not carry what is published and is left as it is, each with why.
    pub fn hindered(&self) -> Vec<(&str, String)> {
        let hindered = |(namespace, state)| match state {
            State::Hindered(why) => Some((namespace, why)),
            State::Right | State::Behind => None,
        };
        self.states().into_iter().filter_map(hindered).collect()
    }

    /// The sidecars whose `ConfigMap` is known not to carry what is published: there is nothing to ask them.
    pub fn unserved(&self) -> BTreeSet<String> {
        if self.distribution.proven().is_none() {
            return BTreeSet::new();
        }
        let states = self.states();
        let is_unserved = |consumer: &&Consumer| states.get(consumer.namespace()) != Some(&State::Right);
        let readers = self.consumers.iter().filter(|consumer| consumer.reads_copy);
        readers.filter(is_unserved).map(|consumer| consumer.name.clone()).collect()
    }

    /// Whether sidecars that mount a `ConfigMap` are among the consumers.
    pub fn has_file_era(&self) -> bool {
        self.consumers.iter().any(is_of_file_era)
    }

    /// Fills in what the copies say of the sidecars that mount them: a kubelet is worth a nudge only once the copy is
    /// seen to be right, and a pod that came to its node after that has never mounted another.
    ///
    /// # Why
    /// A container's start is no proof: images are pulled between the mount and the start. The API server notes when a
    /// pod is given its node, by the clock that looks are dated with, and the kubelet mounts after that.
    pub fn settle_files(&mut self) {
        let distribution = self.distribution.proven().cloned();
        let Some(distribution) = distribution else {
            self.consumers.iter_mut().filter(|consumer| is_of_file_era(consumer)).for_each(|c| c.mounts = false);
            return;
        };
        let wanted = self.wanted();
        let states = distribution.states(&wanted);
        for consumer in self.consumers.iter_mut().filter(|consumer| consumer.reads_copy) {
            let copy = distribution.copies.get(consumer.namespace());
            let state = states.get(consumer.namespace());
            consumer.mounts &= state == Some(&State::Right) && copy.is_some_and(|copy| !copy.immutable);
            let unknown = |why: &str| Answer::Unknown(format!("ConfigMap `{DISTRIBUTED}` of its namespace {why}"));
            consumer.held = match (state, copy) {
                (Some(State::Right), Some(copy)) => match consumer.scheduled {
                    Some(at) if at < copy.since + KUBELET_HEARS => continue,
                    _ => Answer::Proven(copy.anchors.clone()),
                },
                (Some(State::Behind), _) => unknown("does not carry what is published yet"),
                (Some(State::Hindered(why)), _) => unknown(why),
                _ => Answer::Unknown(format!("its namespace has no ConfigMap `{DISTRIBUTED}`")),
            };
        }
    }
}

/// Whether a sidecar mounts its trust anchors.
pub fn is_of_file_era(consumer: &Consumer) -> bool {
    matches!(consumer.role, Role::Sidecar { era: Era::File, .. })
}
