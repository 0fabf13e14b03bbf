//! The trust bundle and the issuer as the objects carry them.

use std::collections::BTreeSet;
use std::fmt::Write as _;

use jiff::Timestamp;

use crate::pki::{Certificate, Fingerprint, Issuer, Oddity, PrivateKey, TrustBundle};

/// What a write names, so that it fails if somebody else wrote since the look: the `resourceVersion` of an object,
/// or a digest of a file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Version(pub String);

/// How the two objects that carry the trust bundle relate.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Pair {
    /// Neither object carries a trust bundle: Sentry invents a CA when it starts.
    #[default]
    Absent,
    /// Both carry the same bytes, which is what Sentry asks for.
    Equal,
    /// They differ, or a key is missing. Sentry invents a CA at its next reload
    /// (`dapr/pkg/sentry/server/ca/kube.go`); the text says what differs.
    Unequal(String),
    /// One of them may not be read by the caller; the text says which.
    Unknown(String),
}

/// What is published now, read as Go reads it.
#[derive(Clone, Default)]
pub struct Published {
    /// The anchors of the Secret's (or the directory's) `ca.crt`, in their order.
    pub anchors: Vec<Certificate>,
    /// The anchors of the `ConfigMap`'s `ca.crt`; the same as `anchors` where there is one place only.
    pub mirror: Vec<Certificate>,
    /// `issuer.crt`: the issuer first, then what it sends along with every SVID. A trailing trust anchor is left out.
    pub chain: Vec<Certificate>,
    /// `issuer.key`, if it is there, the caller may read it and it can be read.
    pub key: Option<PrivateKey>,
    /// How the two objects relate.
    pub pair: Pair,
    /// What is odd about the PEM text, with the object that it stands in.
    pub oddities: Vec<(String, Oddity)>,
    /// The version of the Secret that was read.
    pub secret: Version,
    /// The version of the `ConfigMap` that was read.
    pub config_map: Version,
    /// When the Secret's data was last written, by the API server's clock.
    pub written: Option<Timestamp>,
    /// Keys of the Secret that belong to others, such as `jwt.key` or `issuer.next.crt`.
    pub foreign_keys: Vec<String>,
    /// The mesh's own roots, which rotations published, switched from and switched to, by the note on the Secret; not all
    /// of them need be published. A root in use that is not among them came by other hands. Empty: there is no note.
    pub noted_roots: Vec<Fingerprint>,
}

impl Published {
    /// The trust bundle without what is no anchor in it, which Sentry would not take.
    pub fn bundle(&self) -> Option<TrustBundle> {
        TrustBundle::published(self.own_anchors()).ok()
    }

    /// The anchors of the Secret that are some.
    pub fn own_anchors(&self) -> Vec<Certificate> {
        self.anchors.iter().filter(|anchor| anchor.is_anchor()).cloned().collect()
    }

    /// The issuer with its key, if both are there and belong together.
    pub fn issuer(&self) -> Option<Issuer> {
        let key = self.key.clone()?;
        let first = self.chain.first()?;
        key.matches(first).then(|| Issuer { chain: self.chain.clone(), key })
    }

    /// Whether both objects are the versions that `other` has read.
    pub fn is_same_version(&self, other: &Self) -> bool {
        (&self.secret, &self.config_map) == (&other.secret, &other.config_map)
    }

    /// Whether every one of `anchors` is published in both places.
    pub fn has(&self, anchors: &[Certificate]) -> bool {
        anchors.iter().all(|anchor| self.anchors.contains(anchor) && self.mirror.contains(anchor))
    }

    /// Every anchor that either place carries, the Secret's first, each once.
    pub fn all_anchors(&self) -> Vec<Certificate> {
        let mut seen: BTreeSet<Fingerprint> = BTreeSet::new();
        self.anchors.iter().chain(&self.mirror).filter(|a| seen.insert(a.fingerprint())).cloned().collect()
    }

    /// What a pod is marked with that is nudged for this content, and what one that is nudged once more.
    pub fn marks(&self) -> [String; 2] {
        let mark = self.mark();
        let again = format!("{mark}+");
        [mark, again]
    }

    /// A name for this content that stays the same whoever reads it.
    fn mark(&self) -> String {
        let mut mark = format!("{:02}", self.chain.len());
        for certificate in self.chain.first().into_iter().chain(&self.anchors) {
            let _ = write!(mark, "{}", &certificate.fingerprint().short()[..8]);
        }
        mark.truncate(63);
        mark
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pki::read_as_go;

    #[test]
    fn an_anchor_that_can_not_be_checked_stays_in_the_bundle() {
        let anchors = read_as_go(include_bytes!("../pki/testdata/rsa1024-sha384-root.pem")).certificates;
        let published = Published { anchors: anchors.clone(), ..Published::default() };
        assert_eq!(published.bundle().map(|bundle| bundle.anchors().to_vec()), Some(anchors));
    }
}
