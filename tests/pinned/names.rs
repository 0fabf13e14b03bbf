//! CAs by name: a trace tells of A and of "invented 1", whoever made them, and when.

use std::collections::BTreeMap;

use jiff::Timestamp;
use mtls::pki::{Certificate, Fingerprint, Issuer, TrustBundle};
use mtls::rotation::Trio;

use crate::model::{Chance, make_ca};

pub struct Names {
    now: Timestamp,
    made: BTreeMap<char, Trio>,
    /// Root and issuer of each CA that a Sentry made, in their order.
    invented: Vec<[Fingerprint; 2]>,
}

/// What the two objects have.
pub struct Objects {
    pub secret: Vec<Certificate>,
    pub config_map: Vec<Certificate>,
    pub chain: Vec<Certificate>,
    pub has_key: bool,
}

const UNHEARD_OF: &str = "unheard of";

impl Names {
    /// CAs that are valid at `now`.
    pub fn new(now: Timestamp) -> Self {
        Self { now, made: BTreeMap::new(), invented: Vec::new() }
    }

    /// This one is A: the CA that the model begins with.
    pub fn beginning_with(now: Timestamp, ca: Trio) -> Self {
        Self { made: BTreeMap::from([('A', ca)]), ..Self::new(now) }
    }

    fn ca(&mut self, name: char) -> &Trio {
        let now = self.now;
        self.made.entry(name).or_insert_with(|| make_ca(&mut Chance::new(name.into()), now, 365))
    }

    /// The roots with these names, a letter each.
    pub fn bundle(&mut self, names: &str) -> TrustBundle {
        let roots = names.chars().map(|name| self.ca(name).trust.anchors()[0].clone()).collect();
        TrustBundle::from_anchors(roots).expect("some roots")
    }

    pub fn issuer(&mut self, name: char) -> Issuer {
        self.ca(name).issuer.clone()
    }

    /// What these are called, roots and issuers alike.
    pub fn of(&self, certificates: &[Certificate]) -> String {
        certificates.iter().map(|certificate| self.name(certificate)).collect::<Vec<_>>().join("+")
    }

    fn name(&self, certificate: &Certificate) -> String {
        let is_made = |ca: &Trio| ca.trust.anchors()[0] == *certificate || ca.issuer.chain[0] == *certificate;
        if let Some((name, _)) = self.made.iter().find(|(_, ca)| is_made(ca)) {
            return name.to_string();
        }
        let invented = self.invented.iter().position(|ca| ca.contains(&certificate.fingerprint()));
        invented.map_or_else(|| UNHEARD_OF.to_owned(), |number| format!("invented {}", number + 1))
    }

    /// What the two objects say. A CA that is new in them is an invented one.
    pub fn objects(&mut self, found: &Objects) -> String {
        if let ([root], [issuer]) = (&found.secret[..], &found.chain[..])
            && self.name(root) == UNHEARD_OF
        {
            self.invented.push([root.fingerprint(), issuer.fingerprint()]);
        }
        let [secret, config_map, chain] = [&found.secret, &found.config_map, &found.chain].map(|part| self.of(part));
        let key = if found.has_key { "" } else { " without a key" };
        format!("Secret [{secret}], ConfigMap [{config_map}], issuer [{chain}]{key}")
    }
}
