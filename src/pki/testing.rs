//! What the tests of this module share: a certificate authority out of a counter instead of randomness.

use jiff::Timestamp;
use rcgen::{BasicConstraints, CertificateParams, CustomExtension, IsCa};

use super::der::{SEQUENCE, encode};
use super::draft::{Draft, encode_name, key_id};
use super::{Certificate, Issuer, MintError, PrivateKey, Validity, cross_sign, issuer, root};

/// Makes certificates from numbers that repeat from run to run.
pub(super) struct Lab(u64);

pub(super) fn at(text: &str) -> Timestamp {
    text.parse().unwrap()
}

/// A year around [`now`].
pub(super) fn validity() -> Validity {
    Validity { not_before: at("2026-01-01T00:00:00Z"), not_after: at("2027-01-01T00:00:00Z") }
}

pub(super) fn now() -> Timestamp {
    at("2026-06-01T00:00:00Z")
}

impl Lab {
    pub(super) fn new(seed: u64) -> Self {
        Self(seed << 32)
    }

    pub(super) fn entropy(&mut self) -> impl FnMut(&mut [u8]) {
        |buffer| {
            self.0 += 1;
            let digest = ring::digest::digest(&ring::digest::SHA256, &self.0.to_be_bytes());
            buffer.copy_from_slice(&digest.as_ref()[..buffer.len()]);
        }
    }

    pub(super) fn key(&mut self) -> PrivateKey {
        PrivateKey::generate(&mut self.entropy())
    }

    pub(super) fn root(&mut self) -> (Certificate, PrivateKey) {
        let key = self.key();
        (root("cluster.local", &key, &validity(), &mut self.entropy()).unwrap(), key)
    }

    pub(super) fn issuer(&mut self, root: &Certificate, root_key: &PrivateKey) -> Issuer {
        let key = self.key();
        let made =
            issuer(root, root_key, "cluster.local", "dapr-system", &key, &validity(), &mut self.entropy()).unwrap();
        Issuer { chain: vec![made], key }
    }

    pub(super) fn bridge(&mut self, new: &Certificate, old: &Issuer) -> Certificate {
        cross_sign(new, old.certificate(), &old.key, &validity(), &mut self.entropy()).unwrap()
    }

    /// A CA certificate that is odd in some way; self-signed where there is no signer.
    pub(super) fn odd(
        &mut self,
        signer: Option<(&Certificate, &PrivateKey)>,
        oddity: impl FnOnce(&mut CertificateParams),
    ) -> (Certificate, PrivateKey) {
        self.try_odd(signer, oddity).unwrap()
    }

    pub(super) fn try_odd(
        &mut self,
        signer: Option<(&Certificate, &PrivateKey)>,
        oddity: impl FnOnce(&mut CertificateParams),
    ) -> Result<(Certificate, PrivateKey), MintError> {
        let key = self.key();
        let id = key_id(&key);
        let mut draft = Draft::new(&validity(), &mut self.entropy())?.ca(Some(&id));
        oddity(&mut draft.params);
        let name = encode_name(&[(rcgen::DnType::OrganizationName, &format!("odd {}", self.0))])?;
        let spki = key.spki_der();
        let made = match signer {
            Some((by, by_key)) => draft.sign(&name, &spki, by.subject_der(), by.subject_key_id(), by_key),
            None => draft.sign(&name, &spki, &name, Some(&id), &key),
        };
        Ok((made?, key))
    }
}

pub(super) fn path_length(length: u8) -> impl FnOnce(&mut CertificateParams) {
    move |params| params.is_ca = IsCa::Ca(BasicConstraints::Constrained(length))
}

/// Permits names of one kind: `tag` is 2 for DNS, 6 for URI.
pub(super) fn permits(tag: u8, names: &'static [&'static str]) -> impl FnOnce(&mut CertificateParams) {
    move |params| {
        let bases = names.iter().map(|name| encode(SEQUENCE, &encode(0x80 | tag, name.as_bytes())));
        let content = encode(SEQUENCE, &encode(0xa0, &bases.collect::<Vec<_>>().concat()));
        let mut extension = CustomExtension::from_oid_content(&[2, 5, 29, 30], content);
        extension.set_criticality(true);
        params.custom_extensions.push(extension);
    }
}
