//! One X.509 certificate, with what Go's `crypto/x509` would take from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use jiff::Timestamp;
use x509_parser::prelude::{ASN1Time, FromDer, X509Certificate};

use super::extensions::Extensions;
use super::pem;
use super::signature::{PublicKey, Scheme, SignatureError};
use super::{Fingerprint, signature};

/// A parsed certificate; cloning it copies a pointer.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    tbs: Vec<u8>,
    fingerprint: Fingerprint,
    version: u32,
    subject: String,
    issuer: String,
    subject_der: Vec<u8>,
    issuer_der: Vec<u8>,
    spki_der: Vec<u8>,
    public_key: PublicKey,
    scheme: Scheme,
    signature: Vec<u8>,
    not_before: Timestamp,
    not_after: Timestamp,
    extensions: Extensions,
    self_signed: OnceLock<bool>,
    /// Verdicts on its signature, by the fingerprint of who may have made it: one look asks for the same few thousands
    /// of times.
    signers: Mutex<BTreeMap<Fingerprint, Result<(), SignatureError>>>,
}

/// Why bytes are not a certificate that Go would parse.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CertificateError {
    /// Not the DER of an X.509 certificate.
    #[error("not a DER-encoded X.509 certificate ({0})")]
    Malformed(String),
    /// Bytes after the end of the certificate.
    #[error("{0} bytes follow the certificate")]
    TrailingData(usize),
    /// Go 1.23 and later refuse these (`GODEBUG=x509negativeserial`).
    #[error("its serial number is negative, which Go refuses")]
    NegativeSerial,
    /// RFC 5280 §4.2: one instance of each extension.
    #[error("extension `{0}` occurs twice")]
    DuplicateExtension(String),
    /// An extension that Go can't parse or that is wrongly marked critical.
    #[error("extension `{name}` {why}")]
    Extension {
        /// Its name, or its object identifier.
        name: String,
        /// What is wrong with it.
        why: String,
    },
}

impl Certificate {
    /// Reads one certificate, as strictly as Go's `x509.ParseCertificate`.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let (rest, x509) = X509Certificate::from_der(der).map_err(|e| CertificateError::Malformed(e.to_string()))?;
        if !rest.is_empty() {
            return Err(CertificateError::TrailingData(rest.len()));
        }
        if x509.raw_serial().first().is_some_and(|byte| byte & 0x80 != 0) {
            return Err(CertificateError::NegativeSerial);
        }
        if x509.signature_algorithm != x509.tbs_certificate.signature {
            return Err(CertificateError::Malformed("its two signature algorithms differ".into()));
        }
        Ok(Self(Arc::new(Parsed {
            der: der.to_vec(),
            tbs: x509.tbs_certificate.as_ref().to_vec(),
            fingerprint: Fingerprint::of(der),
            version: x509.version().0,
            subject: x509.subject().to_string(),
            issuer: x509.issuer().to_string(),
            subject_der: x509.subject().as_raw().to_vec(),
            issuer_der: x509.issuer().as_raw().to_vec(),
            spki_der: x509.public_key().raw.to_vec(),
            public_key: PublicKey::read(x509.public_key())?,
            scheme: Scheme::read(&x509.signature_algorithm),
            signature: x509.signature_value.data.to_vec(),
            not_before: timestamp(x509.validity().not_before),
            not_after: timestamp(x509.validity().not_after),
            extensions: Extensions::read(&x509)?,
            self_signed: OnceLock::new(),
            signers: Mutex::default(),
        })))
    }

    /// The whole certificate.
    pub fn der(&self) -> &[u8] {
        &self.0.der
    }

    /// The SHA-256 of [`der`](Self::der).
    pub fn fingerprint(&self) -> Fingerprint {
        self.0.fingerprint
    }

    /// The Subject, for people. May hold anything its author wrote: make it safe before it reaches a terminal.
    pub fn subject(&self) -> &str {
        &self.0.subject
    }

    /// The issuer's Subject, for people, under the same warning as [`subject`](Self::subject).
    pub fn issuer(&self) -> &str {
        &self.0.issuer
    }

    /// The Subject as it is encoded; Go links certificates by comparing these bytes.
    pub fn subject_der(&self) -> &[u8] {
        &self.0.subject_der
    }

    /// The issuer's Subject as it is encoded.
    pub fn issuer_der(&self) -> &[u8] {
        &self.0.issuer_der
    }

    /// The `SubjectPublicKeyInfo` as it is encoded.
    pub fn spki_der(&self) -> &[u8] {
        &self.0.spki_der
    }

    /// The first moment at which it is valid.
    pub fn not_before(&self) -> Timestamp {
        self.0.not_before
    }

    /// The last moment at which it is valid.
    pub fn not_after(&self) -> Timestamp {
        self.0.not_after
    }

    /// Whether `at` lies after its last valid moment.
    pub fn is_expired(&self, at: Timestamp) -> bool {
        at > self.0.not_after
    }

    /// Whether its own key made its signature. Names say nothing about that: Dapr's openssl recipe gives root and issuer the same Subject.
    pub fn self_signed(&self) -> bool {
        *self.0.self_signed.get_or_init(|| self.signed_by(self))
    }

    /// The subject key identifier (RFC 5280 §4.2.1.2).
    pub fn subject_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.subject_key_id.as_deref()
    }

    /// The authority key identifier (RFC 5280 §4.2.1.1).
    pub fn authority_key_id(&self) -> Option<&[u8]> {
        self.0.extensions.authority_key_id.as_deref()
    }

    /// The URIs among its subject alternative names, SPIFFE IDs included.
    pub fn uris(&self) -> &[String] {
        &self.0.extensions.uris
    }

    /// The DNS names among its subject alternative names.
    pub fn dns_names(&self) -> &[String] {
        &self.0.extensions.dns_names
    }

    /// How many further certificates its basic constraints allow below it; `None` is no limit.
    pub fn path_length(&self) -> Option<u32> {
        self.0.extensions.path_length()
    }

    /// Whether its name constraints list the URIs that may stand below it.
    pub(super) fn permits_some_uris_only(&self) -> bool {
        self.0.extensions.constraints.as_ref().is_some_and(|constraints| !constraints.permitted.uris.is_empty())
    }

    /// Whether `other`'s key made its signature, by an algorithm that Go accepts. Whether `other` is a CA is not asked.
    pub fn signed_by(&self, other: &Certificate) -> bool {
        self.check_signature(other).is_ok()
    }

    /// Go's `CheckSignatureFrom`: the signature, and whether `parent` may sign certificates at all.
    pub fn check_signature_from(&self, parent: &Certificate) -> Result<(), SignatureError> {
        parent.check_may_sign()?;
        self.check_signature(parent)
    }

    fn check_signature(&self, signer: &Certificate) -> Result<(), SignatureError> {
        let mut signers = self.0.signers.lock().unwrap_or_else(PoisonError::into_inner);
        let verify = || signature::verify(&self.0.scheme, &self.0.tbs, &self.0.signature, &signer.0.public_key);
        signers.entry(signer.fingerprint()).or_insert_with(verify).clone()
    }

    /// The half of Go's `CheckSignatureFrom` that does not look at the signature.
    pub(super) fn check_may_sign(&self) -> Result<(), SignatureError> {
        let extensions = &self.0.extensions;
        match extensions.basic_constraints {
            None if self.0.version == 2 => Err(SignatureError::NotACa),
            Some(constraints) if !constraints.ca => Err(SignatureError::NotACa),
            _ if extensions.key_usage != 0 && !extensions.may_sign_certificates() => Err(SignatureError::MayNotSign),
            _ => Ok(()),
        }
    }

    pub(super) fn extensions(&self) -> &Extensions {
        &self.0.extensions
    }

    /// One PEM block, LF line ends, one final newline.
    pub fn to_pem(&self) -> String {
        pem::encode("CERTIFICATE", self.der())
    }
}

/// Equal if every byte is.
impl PartialEq for Certificate {
    fn eq(&self, other: &Self) -> bool {
        self.fingerprint() == other.fingerprint()
    }
}

impl Eq for Certificate {}

impl fmt::Debug for Certificate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Certificate({} {})", self.subject(), self.fingerprint().short())
    }
}

/// A time beyond what [`Timestamp`] can hold (`99991231235959Z`, "no expiry") becomes its last or first moment.
fn timestamp(time: ASN1Time) -> Timestamp {
    let seconds = time.timestamp();
    Timestamp::from_second(seconds).unwrap_or(if seconds > 0 { Timestamp::MAX } else { Timestamp::MIN })
}

#[cfg(test)]
mod tests {
    use super::super::MintError;
    use super::super::testing::{Lab, at, validity};
    use super::*;

    #[test]
    fn what_go_would_not_parse_is_refused() {
        let mut lab = Lab::new(1);
        let der = lab.root().0.der().to_vec();
        assert!(matches!(Certificate::from_der(&der[..der.len() - 1]), Err(CertificateError::Malformed(_))));
        assert_eq!(Certificate::from_der(&[&der[..], &[0]].concat()), Err(CertificateError::TrailingData(1)));
        // The serial number is the first INTEGER of 16 bytes.
        let serial = der.windows(2).position(|pair| pair == [0x02, 0x10]).unwrap() + 2;
        let mut negative = der;
        negative[serial] |= 0x80;
        assert_eq!(Certificate::from_der(&negative), Err(CertificateError::NegativeSerial));
    }

    #[test]
    fn an_extension_may_not_occur_twice() {
        let mut lab = Lab::new(1);
        let twice = |params: &mut rcgen::CertificateParams| {
            for value in [1, 2] {
                let extension = rcgen::CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![2, 1, value]);
                params.custom_extensions.push(extension);
            }
        };
        let made = lab.try_odd(None, twice);
        let twice = CertificateError::DuplicateExtension("1.2.3.4".into());
        assert!(matches!(made, Err(MintError::ReadBack(Some(error))) if error == twice));
    }

    #[test]
    fn the_last_moment_is_valid_and_the_next_is_not() {
        let root = Lab::new(1).root().0;
        assert!(!root.is_expired(validity().not_after));
        assert!(root.is_expired(validity().not_after + jiff::Span::new().milliseconds(1)));
    }

    #[test]
    fn a_time_without_end_is_read() {
        let far = |params: &mut rcgen::CertificateParams| {
            params.not_after = rcgen::date_time_ymd(9999, 12, 31);
        };
        let (root, _) = Lab::new(1).odd(None, far);
        assert!(root.not_after() > at("9999-12-29T00:00:00Z"));
    }

    #[test]
    fn debug_names_it_and_no_more() {
        let root = Lab::new(1).root().0;
        let short = root.fingerprint().short();
        assert_eq!(format!("{root:?}"), format!("Certificate({} {short})", root.subject()));
    }
}
