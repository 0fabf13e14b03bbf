//! Every certificate that is published, in layers, and who depends on each.

use std::sync::Arc;

use jiff::Timestamp;

use super::{Anchors, Consumer, Observed, Role};
use crate::pki::{Certificate, Profile};

/// What a published certificate is to the mesh.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LayerKind {
    /// A self-signed root in the trust bundle.
    TrustAnchor,
    /// What Sentry signs SVIDs with.
    Issuer,
    /// A root, cross-signed by an older issuer, for peers that hold only older anchors.
    Bridge,
    /// Behind a bridge, the issuer that signed it.
    FormerIssuer,
    /// Between the issuer and its root, in a chain of somebody's own.
    Intermediate,
}

impl LayerKind {
    /// The word for it in output.
    pub fn word(self) -> &'static str {
        match self {
            Self::TrustAnchor => "trust anchor",
            Self::Issuer => "issuer",
            Self::Bridge => "bridge",
            Self::FormerIssuer => "former issuer",
            Self::Intermediate => "intermediate",
        }
    }
}

/// Who depends on a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Dependents {
    /// Every consumer: what is signed with today ends with it.
    Everyone,
    /// These consumers accept what they are shown only through it, by name and by what a restart would name.
    These(Vec<Dependent>),
    /// None of those that could be seen; whether there are others is not known.
    Unknown,
}

/// A consumer that depends on a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dependent {
    /// `namespace/pod` or the object.
    pub name: String,
    /// What it is, in a word.
    pub role: &'static str,
    /// The workload that a restart would name.
    pub owner: Option<String>,
}

impl From<&Consumer> for Dependent {
    fn from(consumer: &Consumer) -> Self {
        Self { name: consumer.name.clone(), role: consumer.role.word(), owner: consumer.owner.clone() }
    }
}

/// One published certificate.
#[derive(Clone, Debug)]
pub struct Layer {
    /// What it is.
    pub kind: LayerKind,
    /// Itself.
    pub certificate: Certificate,
    /// Whether it is on the signing path: the issuer in use and the root that its chain ends in.
    pub in_use: bool,
    /// Who depends on it.
    pub dependents: Dependents,
}

impl Layer {
    /// Whether somebody depends on it, as far as can be seen.
    pub fn is_needed(&self) -> bool {
        match &self.dependents {
            Dependents::Everyone => true,
            Dependents::These(consumers) => !consumers.is_empty(),
            Dependents::Unknown => false,
        }
    }
}

/// The layers of what is published: anchors in their order, then the issuer's chain.
pub fn layers(seen: &Observed) -> Vec<Layer> {
    let root = seen.signing_root();
    let groups = groups(seen);
    let chain = &seen.published.chain;
    let anchors = seen.published.all_anchors();
    let anchor_layers = anchors.iter().map(|anchor| (LayerKind::TrustAnchor, anchor, root == Some(anchor)));
    let is_bridge = |certificate: &Certificate| anchors.iter().any(|anchor| same_name_and_key(anchor, certificate));
    let first_bridge = chain.iter().skip(1).position(is_bridge).map_or(chain.len(), |place| place + 1);
    let chain_layers = chain.iter().enumerate().map(|(place, certificate)| match place {
        0 => (LayerKind::Issuer, certificate, root.is_some()),
        _ if is_bridge(certificate) => (LayerKind::Bridge, certificate, false),
        _ if place > first_bridge => (LayerKind::FormerIssuer, certificate, false),
        _ => (LayerKind::Intermediate, certificate, false),
    });
    anchor_layers
        .chain(chain_layers)
        .map(|(kind, certificate, in_use)| Layer {
            kind,
            certificate: certificate.clone(),
            in_use,
            dependents: if in_use { Dependents::Everyone } else { dependents(certificate, seen, &groups) },
        })
        .collect()
}

/// How many bridges that have not expired the chain carries. Each adds about 900 bytes to every handshake.
pub fn live_bridges(layers: &[Layer], now: Timestamp) -> usize {
    layers.iter().filter(|layer| layer.kind == LayerKind::Bridge && !layer.certificate.is_expired(now)).count()
}

/// Consumers that refuse the live chain now, by the anchors that they hold.
pub fn refusing(seen: &Observed) -> Vec<Group<'_>> {
    let chain = &seen.published.chain;
    let refuses = |group: &Group| seen.until(chain, &group.held, group.profile).is_err();
    groups(seen).into_iter().filter(refuses).collect()
}

/// Consumers that hold the same anchors and judge alike: thousands of pods make a handful of groups.
pub struct Group<'a> {
    /// What they hold.
    pub held: Anchors,
    /// How they judge.
    pub profile: Profile,
    /// Who they are.
    pub consumers: Vec<&'a Consumer>,
}

fn groups(seen: &Observed) -> Vec<Group<'_>> {
    let mut groups: Vec<Group> = Vec::new();
    for consumer in seen.consumers.iter().filter(|consumer| consumer.role != Role::Sentry) {
        let Some(held) = consumer.held.proven() else { continue };
        let profile = consumer.role.profile();
        let alike =
            |group: &&mut Group| group.profile == profile && (Arc::ptr_eq(&group.held, held) || group.held == *held);
        match groups.iter_mut().find(alike) {
            Some(group) => group.consumers.push(consumer),
            None => groups.push(Group { held: Arc::clone(held), profile, consumers: vec![consumer] }),
        }
    }
    groups
}

/// Whoever accepts the live chain with `certificate` and refuses it without.
fn dependents(certificate: &Certificate, seen: &Observed, groups: &[Group]) -> Dependents {
    let without = |certificates: &[Certificate]| -> Vec<Certificate> {
        certificates.iter().filter(|other| *other != certificate).cloned().collect()
    };
    let chain = &seen.published.chain;
    let shorter = without(chain);
    let needs = |group: &&Group| {
        let accepts = |chain: &[Certificate], held: &[Certificate]| seen.until(chain, held, group.profile).is_ok();
        accepts(chain, &group.held) && !accepts(&shorter, &without(&group.held))
    };
    let those: Vec<Dependent> =
        groups.iter().filter(needs).flat_map(|group| &group.consumers).map(|consumer| (*consumer).into()).collect();
    // Why: that nobody is known to need it says something only where it is known of everybody what they hold.
    let unknown = |consumer: &Consumer| consumer.role != Role::Sentry && consumer.held.proven().is_none();
    if those.is_empty() && (!seen.consumers_complete || seen.consumers.iter().any(unknown)) {
        Dependents::Unknown
    } else {
        Dependents::These(those)
    }
}

fn same_name_and_key(anchor: &Certificate, certificate: &Certificate) -> bool {
    anchor.subject_der() == certificate.subject_der() && anchor.spki_der() == certificate.spki_der()
}
