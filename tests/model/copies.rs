//! The file era: whoever distributes the trust bundle copies it into one namespace after the other, in no order.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use mtls::mesh::{Answer, Distribution, Distributor, Observed, TrustCopy, TrustSource, Version};
use mtls::pki::Certificate;

use super::Model;

/// Where the sidecars are, and where nobody is.
const NAMESPACES: [&str; 4] = ["apps", "quiet-1", "quiet-2", "quiet-3"];

/// The copies, and those that are on their way.
#[derive(Clone)]
pub struct Copies {
    held: BTreeMap<&'static str, (Vec<Certificate>, Timestamp)>,
    coming: Vec<(Timestamp, &'static str)>,
    /// What the pass that is on its way carries, or carried.
    wanted: Vec<Certificate>,
    /// What the one after it will carry.
    next: Option<Vec<Certificate>>,
    moved: Timestamp,
    /// What the Secret carries that is copied; `None`: the operator copies what it holds.
    pub source: Option<Vec<Certificate>>,
    version: u64,
    written: Timestamp,
    /// Whether whoever copies does nothing for now.
    pub stuck: bool,
}

impl Copies {
    pub fn new(anchors: &[Certificate], now: Timestamp) -> Self {
        Self {
            held: NAMESPACES.map(|namespace| (namespace, (anchors.to_vec(), now))).into(),
            coming: Vec::new(),
            wanted: anchors.to_vec(),
            next: None,
            moved: now,
            source: None,
            version: 1,
            written: now,
            stuck: false,
        }
    }

    /// As if there had never been other ones.
    pub fn live_with(&mut self, anchors: &[Certificate], now: Timestamp) {
        let source = self.source.as_ref().map(|_| anchors.to_vec());
        *self = Self { source, ..Self::new(anchors, now) };
    }

    pub fn next_event(&self) -> Option<Timestamp> {
        self.coming.iter().map(|(at, _)| *at).min().filter(|_| !self.stuck)
    }

    /// Whether every namespace has exactly these.
    pub fn all_have(&self, anchors: &[Certificate]) -> bool {
        let has = |held: &[Certificate]| held.len() == anchors.len() && held.iter().all(|it| anchors.contains(it));
        self.held.values().all(|(held, _)| has(held))
    }

    /// What a pod in the applications' namespace mounts.
    pub fn mounted(&self) -> Vec<Certificate> {
        self.held[NAMESPACES[0]].0.clone()
    }
}

impl Model {
    /// Somebody distributes through a Secret from now on.
    pub fn distribute_from_a_source(&mut self) {
        self.copies.source = Some(self.copies.wanted.clone());
    }

    /// The operator holds something else: it copies that, if it is the one who copies.
    pub fn operator_holds(&mut self, anchors: &[Certificate]) {
        if self.copies.source.is_none() {
            self.distribute(anchors);
        }
    }

    pub fn publish_source(&mut self, anchors: &[Certificate]) {
        self.copies.source = Some(anchors.to_vec());
        self.copies.version += 1;
        self.copies.written = self.now;
        self.distribute(anchors);
    }

    /// A pass of the distributor. One that trust-manager has begun comes to its end before another begins (dapr-facts
    /// §12).
    fn distribute(&mut self, anchors: &[Certificate]) {
        if self.copies.source.is_some() && !self.copies.coming.is_empty() {
            self.copies.next = Some(anchors.to_vec());
            return;
        }
        self.copies.wanted = anchors.to_vec();
        self.copies.coming.clear();
        for namespace in NAMESPACES {
            let at = self.now + self.chance.seconds(0, 40);
            self.copies.coming.push((at, namespace));
        }
    }

    /// What is due.
    pub fn run_copies(&mut self) {
        let now = self.now;
        if self.copies.stuck {
            return;
        }
        let (due, coming): (Vec<_>, _) =
            std::mem::take(&mut self.copies.coming).into_iter().partition(|(at, _)| *at <= now);
        self.copies.coming = coming;
        for (_, namespace) in due {
            // It is encoded anew: compare sets.
            let anchors: Vec<Certificate> = self.copies.wanted.iter().rev().cloned().collect();
            if self.copies.held[namespace].0 == anchors {
                continue;
            }
            self.copies.held.insert(namespace, (anchors, now));
            self.copies.moved = now;
            if namespace == NAMESPACES[0] {
                self.note("the copy of the applications' namespace is new");
                self.remount();
            }
        }
        if self.copies.coming.is_empty()
            && let Some(next) = self.copies.next.take()
        {
            self.distribute(&next);
        }
    }

    /// What a look finds of it.
    pub fn see_copies(&self, asked: bool, seen: &mut Observed) {
        if let Some(anchors) = self.copies.source.clone() {
            let version = Version(self.copies.version.to_string());
            let written = Some(self.copies.written);
            seen.trust_source = Some(TrustSource { name: "dapr-root-ca.crt".to_owned(), anchors, version, written });
        }
        if asked && self.file_era {
            let distributor = Some(match self.copies.source {
                Some(_) => Distributor::TrustManager("trust".to_owned()),
                None => Distributor::Operator,
            });
            let copy = |(anchors, since): &(Vec<Certificate>, Timestamp)| TrustCopy {
                anchors: anchors.clone().into(),
                since: *since,
                distributor: distributor.clone(),
                immutable: false,
                leaving: false,
            };
            let copies = self.copies.held.iter().map(|(name, held)| ((*name).to_owned(), copy(held))).collect();
            seen.distribution =
                Answer::Proven(Arc::new(Distribution { copies, moved: self.copies.moved, trouble: None }));
        }
        seen.settle_files();
        let unserved = seen.unserved();
        for consumer in seen.consumers.iter_mut().filter(|consumer| unserved.contains(&consumer.name)) {
            consumer.holds = Answer::NotAsked;
        }
    }
}
