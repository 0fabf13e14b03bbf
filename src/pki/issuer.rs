//! What Sentry signs with: the issuer certificate, the chain above it, and the key.

use super::pem::{self, PemError, PemProblem};
use super::{Certificate, OddityKind, PrivateKey, Reading, SignatureError, read_as_go};

/// An issuer chain and the key of its first certificate.
#[derive(Clone)]
pub struct Issuer {
    /// Issuer first, then each signer, without a trailing root. Never empty.
    pub chain: Vec<Certificate>,
    /// The key of `chain[0]`.
    pub key: PrivateKey,
}

impl Issuer {
    /// The certificate that signs SVIDs.
    pub fn certificate(&self) -> &Certificate {
        &self.chain[0]
    }

    /// The chain as it is published in `issuer.crt`.
    pub fn chain_pem(&self) -> String {
        self.chain.iter().map(Certificate::to_pem).collect()
    }
}

/// The part of a chain that ends right below `root`: the issuer and intermediates of its own. What follows it, if
/// anything does, is `root` cross-signed by an older issuer, and the chain of that one.
pub fn below<'a>(chain: &'a [Certificate], root: &Certificate) -> &'a [Certificate] {
    let crosses = |c: &Certificate| c.subject_der() == root.subject_der() && c.spki_der() == root.spki_der();
    let end = chain.iter().skip(1).position(crosses).map_or(chain.len(), |before| before + 1);
    &chain[..end]
}

/// Reads an issuer chain that was given, as Sentry does (`sentry/server/ca/validate.go`): the issuer first, each signed by the next, and one
/// self-signed root at the end left out. A self-signed certificate alone is its own issuer, and stays.
pub fn parse_chain(data: &[u8]) -> Result<Vec<Certificate>, PemError> {
    let read = pem::certificates(data)?;
    for pair in read.windows(2) {
        let [(line, below), (_, above)] = pair else {
            continue;
        };
        match below.check_signature_from(above) {
            // What can't be checked is for whoever judges the chain to say.
            Ok(()) | Err(SignatureError::Unchecked(_)) => {}
            Err(why) => {
                let (below, above) = (below.subject().to_owned(), above.subject().to_owned());
                return Err(PemError { line: Some(*line), problem: PemProblem::OutOfOrder { below, above, why } });
            }
        }
    }
    let mut chain: Vec<Certificate> = read.iter().map(|(_, certificate)| certificate.clone()).collect();
    if chain.len() > 1 {
        chain.pop_if(|last| last.self_signed());
        if let Some((line, within)) = read[..chain.len()].iter().find(|(_, certificate)| certificate.self_signed()) {
            return Err(PemError {
                line: Some(*line),
                problem: PemProblem::SelfSignedWithin(within.subject().to_owned()),
            });
        }
    }
    Ok(chain)
}

/// Reads a live issuer chain as Sentry does: one trailing root is left out
/// (`dapr/pkg/sentry/server/ca/validate.go`), and what is no anchor is not odd in a chain.
pub fn read_chain_as_go(data: &[u8]) -> Reading {
    let mut reading = read_as_go(data);
    if reading.certificates.len() > 1 {
        reading.certificates.pop_if(|last| last.self_signed());
    }
    reading.oddities.retain(|oddity| !matches!(oddity.what, OddityKind::NotAnAnchor(_) | OddityKind::Unchecked(_)));
    reading
}

#[cfg(test)]
mod tests {
    use super::super::testing::Lab;
    use super::*;

    #[test]
    fn a_trailing_root_is_left_out_and_a_lone_one_stays() {
        let mut lab = Lab::new(1);
        let (root, key) = lab.root();
        let issuer = lab.issuer(&root, &key);
        let file = format!("{}{}", issuer.chain_pem(), root.to_pem());
        assert_eq!(parse_chain(file.as_bytes()).unwrap(), issuer.chain);
        assert_eq!(parse_chain(root.to_pem().as_bytes()).unwrap(), [root]);
    }

    #[test]
    fn a_bridge_with_its_tail_is_a_chain_and_another_order_is_not() {
        let mut lab = Lab::new(2);
        let (old, old_key) = lab.root();
        let tail = lab.issuer(&old, &old_key);
        let (new, new_key) = lab.root();
        let mut issuer = lab.issuer(&new, &new_key);
        issuer.chain.extend([lab.bridge(&new, &tail), tail.certificate().clone()]);
        assert_eq!(parse_chain(issuer.chain_pem().as_bytes()).unwrap(), issuer.chain);
        issuer.chain.reverse();
        let error = parse_chain(issuer.chain_pem().as_bytes()).unwrap_err();
        assert!(error.line == Some(1) && matches!(error.problem, PemProblem::OutOfOrder { .. }));
    }

    #[test]
    fn a_root_within_the_chain_is_refused() {
        let mut lab = Lab::new(3);
        let (root, key) = lab.root();
        let issuer = lab.issuer(&root, &key);
        let file = format!("{}{}{}", issuer.chain_pem(), root.to_pem(), root.to_pem());
        let error = parse_chain(file.as_bytes()).unwrap_err();
        assert!(matches!(error.problem, PemProblem::SelfSignedWithin(_)), "{error}");
    }
}
