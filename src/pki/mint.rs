//! Makes trust anchors, issuers, bridges and leaves.
//!
//! Keys and serial numbers come from the entropy that is given. The nonces inside ECDSA signatures are ring's own, from the operating system:
//! the same arguments make certificates that differ in their signatures alone.

use jiff::Timestamp;
use rcgen::string::Ia5String;
use rcgen::{DnType, ExtendedKeyUsagePurpose, KeyUsagePurpose, SanType};

use super::draft::{Draft, EMPTY_NAME, encode_name, key_id};
use super::{Certificate, CertificateError, Fingerprint, Issuer, PrivateKey};

/// Fills a buffer with bytes that nobody can guess.
pub type Entropy<'a> = &'a mut dyn FnMut(&mut [u8]);

/// From when to when, both inclusive, in whole seconds: fractions are cut off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Validity {
    /// The first valid moment; back-date it by the clock skew that the mesh allows.
    pub not_before: Timestamp,
    /// The last valid moment.
    pub not_after: Timestamp,
}

/// What a leaf is good for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeafName {
    /// A SPIFFE ID, `spiffe://…`.
    Spiffe(String),
    /// A DNS name.
    Dns(String),
}

/// Why a certificate can't be made.
#[derive(Debug, thiserror::Error)]
pub enum MintError {
    /// It would end before it begins.
    #[error("it would be valid from {0} to {1}, which is no time at all")]
    NoTime(Timestamp, Timestamp),
    /// The signer's key was made for another certificate.
    #[error("the private key is not the one of `{subject}` ({})", fingerprint.short())]
    WrongKey {
        /// Whose key it should be.
        subject: String,
        /// Which certificate.
        fingerprint: Fingerprint,
    },
    /// A cross certificate by the same key would be one more root.
    #[error("`{0}` can't be bridged by its own key")]
    SelfSigned(String),
    /// A name that can't stand in a certificate.
    #[error("`{0}` can't stand in a certificate")]
    Name(String),
    /// The signer's certificate is not one that may sign.
    #[error("`{0}` may not sign certificates")]
    MayNotSign(String, #[source] super::SignatureError),
    /// What was made does not read back as meant.
    #[error("the certificate made does not read back as meant")]
    ReadBack(#[source] Option<CertificateError>),
    /// The signature could not be made.
    #[error("signing failed")]
    Signing(#[from] rcgen::Error),
}

/// Makes a trust anchor `O=<trust domain>, CN=root <number>`. The number makes its Subject unlike that of any other root, so that a bridge to it is
/// never taken for an older root.
pub fn root(trust_domain: &str, key: &PrivateKey, v: &Validity, e: Entropy<'_>) -> Result<Certificate, MintError> {
    let draft = Draft::new(v, e)?;
    let number = draft.serial[..6].iter().fold(0_u64, |number, byte| number << 8 | u64::from(*byte));
    let subject =
        encode_name(&[(DnType::OrganizationName, trust_domain), (DnType::CommonName, &format!("root {number:012x}"))])?;
    let id = key_id(key);
    draft.ca(Some(&id)).sign(&subject, &key.spki_der(), &subject, Some(&id), key)
}

/// Renews a trust anchor with its own key: Subject and subject key identifier stay, so that everything under `live` verifies under it too,
/// and it has none if `live` has none.
pub fn same_key_root(
    live: &Certificate,
    key: &PrivateKey,
    v: &Validity,
    e: Entropy<'_>,
) -> Result<Certificate, MintError> {
    check_key(live, key)?;
    let id = live.subject_key_id();
    Draft::new(v, e)?.ca(id).sign(live.subject_der(), live.spki_der(), live.subject_der(), id, key)
}

/// Makes an issuer in the shape of Sentry's own (`sentry/server/ca/cert.go`): `O=spiffe://<trust domain>/ns/<namespace>/dapr-sentry`.
/// It does not outlast `root` only if `v` says so.
pub fn issuer(
    root: &Certificate,
    root_key: &PrivateKey,
    trust_domain: &str,
    namespace: &str,
    key: &PrivateKey,
    v: &Validity,
    e: Entropy<'_>,
) -> Result<Certificate, MintError> {
    check_signer(root, root_key)?;
    let name = format!("spiffe://{trust_domain}/ns/{namespace}/dapr-sentry");
    let subject = encode_name(&[(DnType::OrganizationName, &name)])?;
    Draft::new(v, e)?.ca(Some(&key_id(key))).sign(
        &subject,
        &key.spki_der(),
        root.subject_der(),
        root.subject_key_id(),
        root_key,
    )
}

/// Makes the bridge: `subject` once more, signed by `by`. Same Subject, key and subject key identifier (or none), so that certificates under `subject` chain
/// through it; it ends with the first of `subject`, `by` and `v`.
pub fn cross_sign(
    subject: &Certificate,
    by: &Certificate,
    by_key: &PrivateKey,
    v: &Validity,
    e: Entropy<'_>,
) -> Result<Certificate, MintError> {
    check_signer(by, by_key)?;
    if subject.spki_der() == by.spki_der() {
        return Err(MintError::SelfSigned(subject.subject().to_owned()));
    }
    let not_after = v.not_after.min(subject.not_after()).min(by.not_after());
    let draft = Draft::new(&Validity { not_after, ..*v }, e)?.ca(subject.subject_key_id());
    draft.sign(subject.subject_der(), subject.spki_der(), by.subject_der(), by.subject_key_id(), by_key)
}

/// Makes a leaf like Dapr's SVIDs: no Subject, one name, for servers and clients. For canaries and tests.
pub fn leaf(
    issuer: &Issuer,
    name: LeafName,
    key: &PrivateKey,
    v: &Validity,
    e: Entropy<'_>,
) -> Result<Certificate, MintError> {
    let by = issuer.certificate();
    check_key(by, &issuer.key)?;
    let mut draft = Draft::new(v, e)?;
    let ia5 = |name: String| Ia5String::try_from(name.clone()).map_err(|_| MintError::Name(name));
    draft.params.subject_alt_names = vec![match name {
        LeafName::Spiffe(id) => SanType::URI(ia5(id)?),
        LeafName::Dns(dns) => SanType::DnsName(ia5(dns)?),
    }];
    draft.params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    draft.params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    draft.sign(EMPTY_NAME, &key.spki_der(), by.subject_der(), by.subject_key_id(), &issuer.key)
}

fn check_key(certificate: &Certificate, key: &PrivateKey) -> Result<(), MintError> {
    if key.matches(certificate) {
        return Ok(());
    }
    Err(MintError::WrongKey { subject: certificate.subject().to_owned(), fingerprint: certificate.fingerprint() })
}

fn check_signer(certificate: &Certificate, key: &PrivateKey) -> Result<(), MintError> {
    check_key(certificate, key)?;
    certificate.check_may_sign().map_err(|why| MintError::MayNotSign(certificate.subject().to_owned(), why))
}

#[cfg(test)]
mod tests {
    use super::super::der::{OID, SEQUENCE, SET, encode};
    use super::super::testing::{Lab, validity};
    use super::*;

    #[test]
    fn a_root_has_a_subject_of_its_own_and_signs_itself() {
        let mut lab = Lab::new(1);
        let (one, _) = lab.root();
        let (two, _) = lab.root();
        assert!(one.self_signed() && one.check_signature_from(&one).is_ok());
        assert_ne!(one.subject_der(), two.subject_der());
        assert!(one.subject().starts_with("O=cluster.local, CN=root "), "{}", one.subject());
        assert_eq!(one.subject_key_id(), one.authority_key_id());
        assert!(one.subject_key_id().is_some());
        assert_eq!(one.not_after(), validity().not_after);
    }

    #[test]
    fn an_issuer_has_the_shape_of_sentrys_own() {
        let mut lab = Lab::new(2);
        let (root, key) = lab.root();
        let issuer = lab.issuer(&root, &key);
        let certificate = issuer.certificate();
        assert_eq!(certificate.subject(), "O=spiffe://cluster.local/ns/dapr-system/dapr-sentry");
        assert!(certificate.signed_by(&root) && !certificate.self_signed());
        assert!(issuer.key.matches(certificate));
        assert_eq!(certificate.authority_key_id(), root.subject_key_id());
    }

    #[test]
    fn a_root_renewed_with_its_key_still_signs_the_old_issuer() {
        let mut lab = Lab::new(3);
        let (root, key) = lab.root();
        let issuer = lab.issuer(&root, &key);
        let renewed = same_key_root(&root, &key, &validity(), &mut lab.entropy()).unwrap();
        assert_ne!(renewed, root);
        assert_eq!(renewed.subject_der(), root.subject_der());
        assert_eq!(renewed.subject_key_id(), root.subject_key_id());
        assert!(issuer.certificate().signed_by(&renewed));
    }

    #[test]
    fn a_bridge_is_the_new_root_under_the_old_issuer() {
        let mut lab = Lab::new(4);
        let (old, old_key) = lab.root();
        let issuer = lab.issuer(&old, &old_key);
        let (new, _) = lab.root();
        let bridge = lab.bridge(&new, &issuer);
        assert_eq!(bridge.subject_der(), new.subject_der());
        assert_eq!(bridge.spki_der(), new.spki_der());
        assert_eq!(bridge.subject_key_id(), new.subject_key_id());
        assert_eq!(bridge.issuer_der(), issuer.certificate().subject_der());
        assert_eq!(bridge.authority_key_id(), issuer.certificate().subject_key_id());
        assert!(bridge.signed_by(issuer.certificate()) && !bridge.self_signed());
        let own = cross_sign(&old, &old, &old_key, &validity(), &mut lab.entropy());
        assert!(matches!(own, Err(MintError::SelfSigned(_))));
    }

    #[test]
    fn names_survive_byte_for_byte() {
        // A Subject with the organisation twice, one as a PrintableString, which rcgen's own names can't hold.
        let mut lab = Lab::new(5);
        let attribute = |tag, text: &str| {
            encode(SET, &encode(SEQUENCE, &[encode(OID, &[0x55, 4, 10]), encode(tag, text.as_bytes())].concat()))
        };
        let subject = encode(SEQUENCE, &[attribute(0x13, "one"), attribute(0x0c, "two")].concat());
        let key = lab.key();
        let id = key_id(&key);
        let draft = Draft::new(&validity(), &mut lab.entropy()).unwrap().ca(Some(&id));
        let odd = draft.sign(&subject, &key.spki_der(), &subject, Some(&id), &key).unwrap();
        assert_eq!(odd.subject_der(), subject);
        let renewed = same_key_root(&odd, &key, &validity(), &mut lab.entropy()).unwrap();
        assert_eq!(renewed.subject_der(), subject);
        let issuer = lab.issuer(&odd, &key);
        assert_eq!(issuer.certificate().issuer_der(), subject);
        let (other, _) = lab.root();
        let bridge = cross_sign(&other, &odd, &key, &validity(), &mut lab.entropy()).unwrap();
        assert!(bridge.issuer_der() == subject && bridge.signed_by(&odd));
    }

    #[test]
    fn a_root_without_a_key_identifier_gets_none() {
        let mut lab = Lab::new(9);
        let key = lab.key();
        let name = encode_name(&[(DnType::OrganizationName, "bare")]).unwrap();
        let draft = Draft::new(&validity(), &mut lab.entropy()).unwrap().ca(None);
        let bare = draft.sign(&name, &key.spki_der(), &name, None, &key).unwrap();
        let renewed = same_key_root(&bare, &key, &validity(), &mut lab.entropy()).unwrap();
        let (root, root_key) = lab.root();
        let old = lab.issuer(&root, &root_key);
        let bridge = lab.bridge(&bare, &old);
        for made in [&bare, &renewed, &bridge] {
            assert_eq!(made.subject_key_id(), None);
            assert!(made.check_may_sign().is_ok());
        }
        assert!(renewed.is_anchor() && renewed.authority_key_id().is_none());
        assert_eq!(bridge.authority_key_id(), old.certificate().subject_key_id());
    }

    #[test]
    fn keys_that_do_not_belong_are_refused() {
        let mut lab = Lab::new(6);
        let (root, _) = lab.root();
        let stranger = lab.key();
        let made = issuer(&root, &stranger, "cluster.local", "dapr-system", &stranger, &validity(), &mut lab.entropy());
        assert!(matches!(made, Err(MintError::WrongKey { .. })));
        assert!(matches!(
            same_key_root(&root, &stranger, &validity(), &mut lab.entropy()),
            Err(MintError::WrongKey { .. })
        ));
    }

    #[test]
    fn no_time_and_odd_names_are_refused() {
        let mut lab = Lab::new(7);
        let key = lab.key();
        let none = Validity { not_after: validity().not_before, ..validity() };
        assert!(matches!(root("cluster.local", &key, &none, &mut lab.entropy()), Err(MintError::NoTime(..))));
        assert!(matches!(root("a\nb", &key, &validity(), &mut lab.entropy()), Err(MintError::Name(_))));
        assert!(matches!(root("", &key, &validity(), &mut lab.entropy()), Err(MintError::Name(_))));
    }

    #[test]
    fn a_leaf_has_one_name_and_no_subject() {
        let mut lab = Lab::new(8);
        let (root, key) = lab.root();
        let issuer = lab.issuer(&root, &key);
        let id = "spiffe://cluster.local/ns/default/app";
        let made = leaf(&issuer, LeafName::Spiffe(id.into()), &lab.key(), &validity(), &mut lab.entropy()).unwrap();
        assert_eq!(made.uris(), [id]);
        assert_eq!(made.subject_der(), EMPTY_NAME);
        assert!(made.signed_by(issuer.certificate()));
    }
}
