//! Who talks to whom, and whether each accepts what it is shown: real chains, real leaves, each verified once.

use std::collections::HashMap;

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::Role;
use mtls::pki::{
    Certificate, Fingerprint, Issuer, LeafName, PrivateKey, Profile, Refusal, Shown, Svid, Validity, leaf, verify,
};

use super::look::{CONVERSION, WEBHOOK};
use super::{Chance, Model};

/// What was counted, and what need not be verified twice.
#[derive(Clone, Default)]
pub struct Handshakes {
    /// Pairs of processes that were looked at.
    pub pairs: u64,
    /// Verifications of a chain under a set of anchors.
    pub distinct: u64,
    /// Changes after which they were.
    pub transitions: u64,
    /// Refusals that are nobody's fault: between the sides of an invented CA, or in a mesh that was broken before.
    pub pardoned: u64,
    names: HashMap<Vec<Fingerprint>, usize>,
    keys: HashMap<Fingerprint, PrivateKey>,
    leaves: HashMap<(Fingerprint, Profile), Certificate>,
    /// From when until when a chain is accepted under anchors.
    accepted: HashMap<Pair, (Timestamp, Timestamp)>,
    /// What was refused in this round.
    refused: HashMap<Pair, String>,
    last: Vec<(usize, usize)>,
    until: Option<Timestamp>,
    /// Whether nobody refused anybody then.
    was_well: bool,
}

/// A chain and a set of anchors, by number, and how the one is judged under the other.
type Pair = (usize, usize, Profile);

/// One end of a handshake, either way.
struct End<'a> {
    name: &'a str,
    role: &'a Role,
    held: &'a [Certificate],
    shows: &'a [Certificate],
    skew: SignedDuration,
}

fn talk(verifier: &Role, presenter: &Role) -> bool {
    match (verifier, presenter) {
        (Role::Webhook, Role::Injector) | (Role::Conversion, Role::Operator) | (Role::EtcdPeer, Role::EtcdPeer) => true,
        (Role::Sentry | Role::Webhook | Role::Conversion | Role::EtcdPeer, _)
        | (_, Role::EtcdPeer | Role::Webhook | Role::Conversion) => false,
        _ => true,
    }
}

impl Handshakes {
    /// A number for a list of certificates.
    fn name(&mut self, certificates: &[Certificate]) -> usize {
        let next = self.names.len();
        *self.names.entry(certificates.iter().map(Certificate::fingerprint).collect()).or_insert(next)
    }

    /// Notes the key that signs under a chain.
    pub fn learn(&mut self, issuer: &Issuer) {
        self.keys.entry(issuer.chain[0].fingerprint()).or_insert_with(|| issuer.key.clone());
    }

    /// A leaf as Sentry signs it with this chain, for the whole life of the chain's first certificate: the lives of
    /// SVIDs are the pods' affair.
    pub fn leaf(&mut self, chain: &[Certificate], profile: Profile) -> Option<Certificate> {
        let by = chain.first()?;
        let key = self.keys.get(&by.fingerprint())?;
        let number = u64::try_from(self.leaves.len()).expect("a few leaves");
        let leaf = self.leaves.entry((by.fingerprint(), profile)).or_insert_with(|| {
            let mut chance = Chance::new(number);
            let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
            let own = PrivateKey::generate(&mut entropy);
            let issuer = Issuer { chain: vec![by.clone()], key: key.clone() };
            let ever = by.not_before() + SignedDuration::from_hours(24 * 3650);
            let validity = Validity { not_before: by.not_before(), not_after: ever };
            let name = match profile {
                Profile::Spiffe => LeafName::Spiffe("spiffe://public/ns/apps/app".to_owned()),
                Profile::Webhook => LeafName::Dns("dapr-sidecar-injector.dapr-system.svc".to_owned()),
                Profile::EtcdPeer => {
                    LeafName::Spiffe("spiffe://cluster.local/ns/dapr-system/dapr-scheduler".to_owned())
                }
            };
            leaf(&issuer, name, &own, &validity, &mut entropy).expect("an issuer signs leaves")
        });
        Some(leaf.clone())
    }

    /// Until when a chain is accepted, or why it is not.
    fn verify(
        &mut self,
        chain: &[Certificate],
        held: &[Certificate],
        profile: Profile,
        at: Timestamp,
    ) -> Result<Timestamp, String> {
        let pair = (self.name(chain), self.name(held), profile);
        if let Some(why) = self.refused.get(&pair) {
            return Err(why.clone());
        }
        let known = self.accepted.get(&pair).copied();
        if let Some((_, until)) = known.filter(|(from, until)| (*from..=*until).contains(&at)) {
            return Ok(until);
        }
        self.distinct += 1;
        let leaf = self.leaf(chain, profile).expect("the key of every issuer is known");
        match verify(Shown::Leaf(&leaf), chain, held, profile, at) {
            Ok(until) => {
                let from = known.filter(|(_, known)| *known == until).map_or(at, |(from, _)| at.min(from));
                self.accepted.insert(pair, (from, until));
                Ok(until)
            }
            Err(why) => {
                self.refused.insert(pair, why.to_string());
                Err(why.to_string())
            }
        }
    }
}

impl Model {
    fn ends(&self) -> Vec<End<'_>> {
        let processes = self.processes.iter().map(|process| End {
            name: &process.name,
            role: &process.role,
            held: &process.held,
            shows: &process.shows,
            skew: process.skew,
        });
        let sentries = self.sentries.iter().filter(|sentry| sentry.is_up()).map(|sentry| End {
            name: &sentry.name,
            role: &Role::Sentry,
            held: &[],
            shows: &sentry.loaded.issuer.chain,
            skew: SignedDuration::ZERO,
        });
        let bundles = [(WEBHOOK, &Role::Webhook, &self.webhook), (CONVERSION, &Role::Conversion, &self.conversion)];
        let api_server = bundles.into_iter().map(|(name, role, bundle)| End {
            name,
            role,
            held: bundle,
            shows: &[],
            skew: SignedDuration::ZERO,
        });
        processes.chain(sentries).chain(api_server).collect()
    }

    /// Everybody who talks to somebody is shown that one's chain. Returns who refuses whom, and why.
    fn greet(&self, hands: &mut Handshakes) -> Vec<(String, String, bool)> {
        let ends = self.ends();
        let state: Vec<(usize, usize)> = ends.iter().map(|e| (hands.name(e.held), hands.name(e.shows))).collect();
        let is_known = state == hands.last && (hands.was_well || self.broken);
        if is_known && hands.until.is_some_and(|until| self.now < until) {
            return Vec::new();
        }
        let (mut refused, mut earliest) = (Vec::new(), Timestamp::MAX);
        hands.transitions += 1;
        hands.refused.clear();
        for verifier in &ends {
            for presenter in ends.iter().filter(|presenter| talk(verifier.role, presenter.role)) {
                hands.pairs += 1;
                match hands.verify(presenter.shows, verifier.held, verifier.role.profile(), self.now + verifier.skew) {
                    Ok(until) => earliest = earliest.min(until - CLOCKS),
                    Err(why) => {
                        let who = format!("{} refuses {}", verifier.name, presenter.name);
                        let is_foretold = self.is_named(verifier) || self.is_named(presenter);
                        refused.push((who, why, is_foretold || self.are_sides(verifier, presenter)));
                    }
                }
            }
        }
        hands.last = state;
        (hands.until, hands.was_well) = (Some(earliest), refused.is_empty());
        refused
    }

    /// Whether a run has said that it may refuse, or be refused.
    fn is_named(&self, end: &End) -> bool {
        let is_hidden = self.hidden && matches!(end.role, Role::Sidecar { .. });
        let names = [end.name, end.name.trim_end_matches("-old"), if is_hidden { UNSEEN } else { end.name }];
        names.iter().any(|name| self.named.contains(*name))
    }

    /// Whether one of them is of a CA that Sentry invented, and of no other; or of one that it overwrote for good.
    fn are_sides(&self, verifier: &End, presenter: &End) -> bool {
        let is_invented = |root: &Certificate| self.inventions.iter().any(|trio| trio.trust.anchors().contains(root));
        let is_gone = |root: &Certificate| self.forsaken.contains(root) || self.strange.contains(root);
        let by_forsaken = |last: &Certificate| self.forsaken.iter().any(|root| last.signed_by(root));
        let signs = presenter.shows.first();
        self.inventions.iter().any(|trio| trio.issuer.chain.first() == signs)
            || verifier.held.iter().all(|root| is_invented(root) || is_gone(root))
            || presenter.shows.last().is_some_and(by_forsaken)
    }

    /// Every process shows its chain to every other one.
    pub fn shake_hands(&mut self) {
        let mut hands = std::mem::take(&mut self.hands);
        hands.learn(&self.secret.issuer);
        self.sentries.iter().for_each(|sentry| hands.learn(&sentry.loaded.issuer));
        let refused = self.greet(&mut hands);
        self.hands = hands;
        for (who, why, is_foretold) in refused {
            assert!(self.broken || is_foretold, "{who}: {why}");
            self.hands.pardoned += 1;
        }
        if !self.usurped {
            let lost = self.kept.iter().find(|anchor| !self.secret.trust.anchors().contains(anchor));
            assert!(self.broken || lost.is_none(), "a CA is lost: {lost:?}");
        }
    }

    /// How many pairs refuse each other now.
    pub fn refusals(&mut self) -> usize {
        let mut hands = std::mem::take(&mut self.hands);
        hands.learn(&self.secret.issuer);
        hands.last.clear();
        let refused = self.greet(&mut hands).len();
        self.hands = hands;
        refused
    }
}

/// What stands for all that cannot be seen.
const UNSEEN: &str = "that cannot be seen";

/// By how much a process's clock may differ from the API server's.
pub const CLOCKS: SignedDuration = SignedDuration::from_mins(2);

/// How long a holder of `held` accepts what is signed with `chain`, worked out as the tool itself does.
pub fn until(chain: &[Certificate], held: &[Certificate], now: Timestamp) -> Result<Timestamp, Refusal> {
    let app = [Svid::new("spiffe://public/ns/apps/app")];
    verify(Shown::Synthetic(&app), chain, held, Profile::Spiffe, now)
}
