//! What a verifier is shown: a leaf, or the leaf that an issuer would sign.

use jiff::Timestamp;

use super::name_constraints::Names;
use super::{Certificate, Refusal, SignatureError, Svid};

/// What is presented to the verifier.
#[derive(Debug, Clone, Copy)]
pub enum Shown<'a> {
    /// This leaf; the chain is what comes after it.
    Leaf(&'a Certificate),
    /// Each of these, as `chain[0]` would sign it, good for servers and clients, for ever.
    Synthetic(&'a [Svid]),
}

/// The presented leaf, real or not; those that are not differ in their names alone.
pub(super) struct Leaf<'a> {
    pub(super) certificate: Option<&'a Certificate>,
    /// Whose key signs a leaf that is not real.
    signer: Option<&'a Certificate>,
    pub(super) issuer_der: &'a [u8],
    pub(super) authority_key_id: Option<&'a [u8]>,
    /// Of each leaf; `None` for one without alternative names.
    pub(super) names: Vec<Option<Names<'a>>>,
}

impl<'a> Leaf<'a> {
    pub(super) fn of(shown: Shown<'a>, chain: &'a [Certificate]) -> Result<Self, Refusal> {
        match shown {
            Shown::Leaf(certificate) => Ok(Self {
                certificate: Some(certificate),
                signer: None,
                issuer_der: certificate.issuer_der(),
                authority_key_id: certificate.authority_key_id(),
                names: vec![Names::of(certificate.extensions())],
            }),
            Shown::Synthetic(svids) => {
                let signer = chain.first().ok_or(Refusal::NoChain)?;
                Ok(Self {
                    certificate: None,
                    signer: Some(signer),
                    issuer_der: signer.subject_der(),
                    authority_key_id: signer.subject_key_id(),
                    names: svids
                        .iter()
                        .map(|Svid { uris, dns }| Some(Names { dns, uris, emails: &[], addresses: &[] }))
                        .collect(),
                })
            }
        }
    }

    /// What go-spiffe asks of a leaf before it looks at the chain (`x509svid.Verify`).
    pub(super) fn check_svid(&self) -> Result<(), Refusal> {
        for names in &self.names {
            let [id] = names.map_or(&[][..], |names| names.uris) else {
                return Err(Refusal::NotAnSvid("it needs exactly one URI"));
            };
            if !is_spiffe_id(id) {
                return Err(Refusal::NotAnSvid("its URI is not a SPIFFE ID"));
            }
        }
        let Some(extensions) = self.certificate.map(Certificate::extensions) else {
            return Ok(());
        };
        if extensions.basic_constraints.is_some_and(|constraints| constraints.ca) {
            return Err(Refusal::NotAnSvid("it is a CA certificate"));
        }
        if extensions.may_sign_certificates() || extensions.may_sign_revocations() {
            return Err(Refusal::NotAnSvid("its key usage lets it sign certificates or revocation lists"));
        }
        Ok(())
    }

    pub(super) fn check_signature_from(&self, parent: &Certificate) -> Result<(), SignatureError> {
        match (self.certificate, self.signer) {
            (Some(certificate), _) => certificate.check_signature_from(parent),
            (None, Some(signer)) if signer.spki_der() == parent.spki_der() => parent.check_may_sign(),
            _ => Err(SignatureError::Mismatch),
        }
    }

    pub(super) fn until(&self, path: &[&Certificate]) -> Timestamp {
        self.certificate
            .into_iter()
            .chain(path.iter().copied())
            .map(Certificate::not_after)
            .min()
            .unwrap_or(Timestamp::MAX)
    }
}

/// SPIFFE ID §2: `spiffe://`, a trust domain in lower case, and path segments without empty or dot ones.
fn is_spiffe_id(uri: &str) -> bool {
    let Some(rest) = uri.strip_prefix("spiffe://") else {
        return false;
    };
    let (domain, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let domain_valid = !domain.is_empty()
        && domain.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"-._".contains(&byte));
    let segment_valid = |segment: &str| {
        !matches!(segment, "" | "." | "..")
            && segment.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte))
    };
    domain_valid && path.split('/').skip(1).all(segment_valid)
}
