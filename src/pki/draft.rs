//! A certificate between its parameters and its signature: names and keys go in as they are encoded elsewhere, byte for byte.

use std::cell::RefCell;

use jiff::{Timestamp, Unit};
use rcgen::{
    BasicConstraints, CertificateParams, CustomExtension, DistinguishedName, DnType, IsCa, KeyIdMethod, KeyPair,
    KeyUsagePurpose, PublicKeyData, SignatureAlgorithm, SigningKey,
};
use time::OffsetDateTime;

use super::der::{BIT_STRING, BOOLEAN, Der, OID, SEQUENCE, SET, encode};
use super::mint::{Entropy, MintError, Validity};
use super::{Certificate, PrivateKey};

const CA_USAGES: [KeyUsagePurpose; 3] =
    [KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
pub(super) const EMPTY_NAME: &[u8] = &[SEQUENCE, 0];
const UTF8_STRING: u8 = 0x0c;

/// A certificate before it has names, a key and a signature.
pub(super) struct Draft {
    pub(super) params: CertificateParams,
    pub(super) serial: [u8; 16],
}

impl Draft {
    pub(super) fn new(v: &Validity, entropy: Entropy<'_>) -> Result<Self, MintError> {
        let mut serial = [0; 16];
        entropy(&mut serial);
        // Positive, never zero, and of the same length whatever was drawn (RFC 5280 §4.1.2.2).
        serial[0] = serial[0] & 0x3f | 0x40;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.serial_number = Some(serial.to_vec().into());
        params.not_before = whole_seconds(v.not_before);
        params.not_after = whole_seconds(v.not_after);
        if params.not_before >= params.not_after {
            return Err(MintError::NoTime(v.not_before, v.not_after));
        }
        Ok(Self { params, serial })
    }

    /// A CA with this subject key identifier, or with none.
    /// # Why
    /// rcgen gives every CA one, by default that of the key that signs. One that the older certificate of the same key lacks would part from what was
    /// issued under that one: openssl compares it with their authority key identifier.
    pub(super) fn ca(mut self, id: Option<&[u8]>) -> Self {
        self.params.key_usages = CA_USAGES.to_vec();
        if let Some(id) = id {
            self.params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            self.params.key_identifier_method = KeyIdMethod::PreSpecified(id.to_vec());
        } else {
            let mut constraints =
                CustomExtension::from_oid_content(&[2, 5, 29, 19], encode(SEQUENCE, &encode(BOOLEAN, &[0xff])));
            constraints.set_criticality(true);
            self.params.custom_extensions.push(constraints);
        }
        self
    }

    /// Signs with the two names and the public key as they are encoded, byte for byte: rcgen's own names lose repeated attributes and string types,
    /// and Go links certificates by these bytes.
    pub(super) fn sign(
        mut self,
        subject: &[u8],
        spki: &[u8],
        issuer: &[u8],
        issuer_id: Option<&[u8]>,
        key: &PrivateKey,
    ) -> Result<Certificate, MintError> {
        self.params.use_authority_key_identifier_extension = issuer_id.is_some();
        let key_pair = key.signing_key();
        let recorder = Recorder { key: &key_pair, signed: RefCell::default() };
        let mut signer = CertificateParams::default();
        signer.key_identifier_method = KeyIdMethod::PreSpecified(issuer_id.unwrap_or_default().to_vec());
        let draft = self.params.signed_by(&*key_pair, &rcgen::Issuer::new(signer, &recorder))?;

        let tbs =
            replace_names(&recorder.signed.into_inner(), subject, spki, issuer).ok_or(MintError::ReadBack(None))?;
        let signature = key_pair.sign(&tbs)?;
        let algorithm = outer_algorithm(draft.der()).ok_or(MintError::ReadBack(None))?;
        let mut bits = vec![0];
        bits.extend(signature);
        let der = encode(SEQUENCE, &[&tbs[..], algorithm, &encode(BIT_STRING, &bits)].concat());

        let made = Certificate::from_der(&der).map_err(|error| MintError::ReadBack(Some(error)))?;
        let as_meant = made.subject_der() == subject && made.issuer_der() == issuer && made.spki_der() == spki;
        if as_meant { Ok(made) } else { Err(MintError::ReadBack(None)) }
    }
}

/// Lets rcgen encode a certificate, keeps what it wants signed, and signs nothing.
struct Recorder<'a> {
    key: &'a KeyPair,
    signed: RefCell<Vec<u8>>,
}

impl PublicKeyData for &Recorder<'_> {
    fn der_bytes(&self) -> &[u8] {
        self.key.der_bytes()
    }

    fn algorithm(&self) -> &'static SignatureAlgorithm {
        self.key.algorithm()
    }
}

impl SigningKey for &Recorder<'_> {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        *self.signed.borrow_mut() = message.to_vec();
        Ok(Vec::new())
    }
}

/// Puts other names and another public key into the part of a certificate that is signed.
fn replace_names(tbs: &[u8], subject: &[u8], spki: &[u8], issuer: &[u8]) -> Option<Vec<u8>> {
    let mut old = Der::new(tbs).inside(SEQUENCE)?;
    let mut kept = || old.any().map(|element| element.whole);
    let [version, serial, algorithm] = [kept()?, kept()?, kept()?];
    let [_issuer, validity, _subject, _spki] = [kept()?, kept()?, kept()?, kept()?];
    let content = [version, serial, algorithm, issuer, validity, subject, spki, old.rest()];
    Some(encode(SEQUENCE, &content.concat()))
}

/// The signature algorithm after the signed part of a certificate.
fn outer_algorithm(der: &[u8]) -> Option<&[u8]> {
    let mut certificate = Der::new(der).inside(SEQUENCE)?;
    certificate.any()?;
    certificate.any().map(|algorithm| algorithm.whole)
}

pub(super) fn encode_name(attributes: &[(DnType, &str)]) -> Result<Vec<u8>, MintError> {
    let der = |(kind, value): &(DnType, &str)| {
        let attribute = match kind {
            DnType::CommonName => 3,
            _ => 10,
        };
        let oid = encode(OID, &[0x55, 0x04, attribute]);
        encode(SET, &encode(SEQUENCE, &[oid, encode(UTF8_STRING, value.as_bytes())].concat()))
    };
    if let Some((_, bad)) = attributes.iter().find(|(_, value)| value.is_empty() || value.chars().any(char::is_control))
    {
        return Err(MintError::Name((*bad).to_owned()));
    }
    Ok(encode(SEQUENCE, &attributes.iter().flat_map(der).collect::<Vec<u8>>()))
}

/// RFC 7093 §2 method 1: the first 20 bytes of the SHA-256 of the public key.
pub(super) fn key_id(key: &PrivateKey) -> Vec<u8> {
    let spki = key.spki_der();
    let bits = Der::new(&spki).inside(SEQUENCE).and_then(|mut spki| {
        spki.any()?;
        spki.bits()
    });
    let public = bits.expect("this tool encoded it").right_aligned();
    ring::digest::digest(&ring::digest::SHA256, &public).as_ref()[..20].to_vec()
}

fn whole_seconds(at: Timestamp) -> OffsetDateTime {
    let second = at
        .round(jiff::TimestampRound::new().smallest(Unit::Second).mode(jiff::RoundMode::Floor))
        .unwrap_or(at)
        .as_second();
    OffsetDateTime::from_unix_timestamp(second).unwrap_or(OffsetDateTime::UNIX_EPOCH)
}
