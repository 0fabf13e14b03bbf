//! One X.509 certificate, with what Go's `crypto/x509` would take from it.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use jiff::civil::DateTime;

use super::der::{Der, INTEGER, SEQUENCE};
use super::extensions::Extensions;
use super::signature::{Algorithm, PublicKey, Scheme, SignatureError};
use super::{Fingerprint, name, pem, signature};

const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;

/// A parsed certificate; cloning it copies a pointer.
#[derive(Clone)]
pub struct Certificate(Arc<Parsed>);

struct Parsed {
    der: Vec<u8>,
    tbs: Vec<u8>,
    fingerprint: Fingerprint,
    version: i64,
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
    /// A name whose encoding Go refuses.
    #[error("its {whose} {why}")]
    Name {
        /// The Subject, or the issuer's name.
        whose: &'static str,
        /// What is wrong with it.
        why: &'static str,
    },
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
    /// Reads one certificate, as strictly as Go's `x509.ParseCertificate` (`parser.go`), and no more so.
    pub fn from_der(der: &[u8]) -> Result<Self, CertificateError> {
        let malformed = |what: &str| CertificateError::Malformed(format!("{what} is malformed"));
        let mut outer = Der::new(der);
        let mut certificate = outer.inside(SEQUENCE).ok_or_else(|| malformed("it"))?;
        if !outer.is_empty() {
            return Err(CertificateError::TrailingData(outer.rest().len()));
        }
        let signed = certificate.element(SEQUENCE).ok_or_else(|| malformed("the part that is signed"))?;
        let mut tbs = Der::new(signed.content);
        let version = read_version(&mut tbs).ok_or_else(|| malformed("its version"))?;
        let serial = tbs.integer().ok_or_else(|| malformed("its serial number"))?;
        if serial[0] & 0x80 != 0 {
            return Err(CertificateError::NegativeSerial);
        }
        let algorithm = tbs.content(SEQUENCE).ok_or_else(|| malformed("its signature algorithm"))?;
        if certificate.content(SEQUENCE) != Some(algorithm) {
            return Err(CertificateError::Malformed("its two signature algorithms differ".into()));
        }
        let algorithm = Algorithm::read(Der::new(algorithm)).ok_or_else(|| malformed("its signature algorithm"))?;
        let (issuer_der, issuer) = read_name(&mut tbs, "issuer's name")?;
        let mut validity = tbs.inside(SEQUENCE).ok_or_else(|| malformed("its validity"))?;
        let mut time = || read_time(&mut validity).ok_or_else(|| malformed("its validity"));
        let (not_before, not_after) = (time()?, time()?);
        let (subject_der, subject) = read_name(&mut tbs, "Subject")?;
        let spki = tbs.element(SEQUENCE).ok_or_else(|| malformed("its public key"))?;
        let public_key = PublicKey::read(Der::new(spki.content))?;
        let extensions = read_extensions(version, &mut tbs)?;
        let signature = certificate.bits().ok_or_else(|| malformed("its signature"))?;
        Ok(Self(Arc::new(Parsed {
            der: der.to_vec(),
            tbs: signed.whole.to_vec(),
            fingerprint: Fingerprint::of(der),
            version,
            subject,
            issuer,
            subject_der,
            issuer_der,
            spki_der: spki.whole.to_vec(),
            public_key,
            scheme: Scheme::read(&algorithm),
            signature: signature.right_aligned(),
            not_before,
            not_after,
            extensions,
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

    /// Whether its own key made its signature. Names say nothing about that: Dapr's openssl recipe gives root and issuer the same Subject. They
    /// decide only where this tool can't check the signature.
    pub fn self_signed(&self) -> bool {
        match self.check_signature(self) {
            Err(SignatureError::Unchecked(_)) => self.subject_der() == self.issuer_der(),
            checked => checked.is_ok(),
        }
    }

    /// Whether Sentry takes it for a trust anchor (`dapr/pkg/sentry/server/ca/validate.go`): self-signed, by a key that may sign.
    pub fn is_anchor(&self) -> bool {
        self.self_signed() && self.check_may_sign().is_ok()
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
            None if self.0.version == 3 => Err(SignatureError::NotACa),
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
        pem::encode("CERTIFICATE", self.der()).to_string()
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

/// 1 to 3.
fn read_version(tbs: &mut Der<'_>) -> Option<i64> {
    let Some(mut explicit) = tbs.optional(0xa0)? else { return Some(1) };
    let version = explicit.int64(INTEGER).filter(|version| explicit.is_empty() && (0..3).contains(version))?;
    Some(version + 1)
}

/// A name as it is encoded, and for people.
fn read_name(tbs: &mut Der<'_>, whose: &'static str) -> Result<(Vec<u8>, String), CertificateError> {
    let malformed = |why| CertificateError::Name { whose, why };
    let name = tbs.element(SEQUENCE).ok_or(malformed("is missing"))?;
    Ok((name.whole.to_vec(), name::read(name.whole).map_err(malformed)?))
}

/// Only version 3 has any.
fn read_extensions(version: i64, tbs: &mut Der<'_>) -> Result<Extensions, CertificateError> {
    let malformed = || CertificateError::Malformed("its list of extensions is malformed".into());
    for unique_id in [0x81, 0x82].into_iter().filter(|_| version > 1) {
        tbs.optional(unique_id).ok_or_else(malformed)?;
    }
    if version < 3 {
        return Ok(Extensions::default());
    }
    match tbs.optional(0xa3).ok_or_else(malformed)? {
        Some(mut explicit) => Extensions::read(explicit.inside(SEQUENCE).ok_or_else(malformed)?),
        None => Ok(Extensions::default()),
    }
}

/// `UTCTime`, also without seconds, or `GeneralizedTime`; in UTC or with an offset that is not zero, as Go has it. One beyond what [`Timestamp`] can
/// hold (`99991231235959Z`, "no expiry") becomes its last or first moment.
fn read_time(validity: &mut Der<'_>) -> Option<Timestamp> {
    let element = validity.any()?;
    let text = std::str::from_utf8(element.content).ok()?;
    let (digits, zone) = text.split_at(text.find(|c: char| !c.is_ascii_digit())?);
    let (year, rest) = digits.split_at_checked(if element.tag == UTC_TIME { 2 } else { 4 })?;
    let year = match (element.tag, rest.len(), year.parse::<i16>().ok()?) {
        (UTC_TIME, 8 | 10, year @ ..50) => 2000 + year,
        (UTC_TIME, 8 | 10, year) => 1900 + year,
        (GENERALIZED_TIME, 10, year) => year,
        _ => return None,
    };
    let part = |index: usize| rest.get(2 * index..2 * index + 2).map_or(Ok(0), str::parse::<i8>).ok();
    let time = DateTime::new(year, part(0)?, part(1)?, part(2)?, part(3)?, part(4)?, 0).ok()?;
    let seconds = time.duration_since(DateTime::constant(1970, 1, 1, 0, 0, 0, 0)).as_secs() - read_offset(zone)?;
    Some(Timestamp::from_second(seconds).unwrap_or(if seconds > 0 { Timestamp::MAX } else { Timestamp::MIN }))
}

/// Seconds east of UTC.
fn read_offset(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.split_at_checked(1)? {
        ("Z", "") => return Some(0),
        ("+", digits) => (60, digits),
        ("-", digits) => (-60, digits),
        _ => return None,
    };
    let number = digits.parse::<i64>().ok().filter(|_| digits.len() == 4 && !digits.starts_with(['+', '-']))?;
    let (hours, minutes) = (number / 100, number % 100);
    (hours <= 24 && minutes < 60 && number > 0).then_some(sign * (60 * hours + minutes))
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

    proptest::proptest! {
        #[test]
        fn no_bytes_make_the_parser_panic(bytes: Vec<u8>, at: proptest::sample::Index, byte: u8, uri in "\\PC{0,30}") {
            static ROOT: std::sync::OnceLock<Vec<u8>> = std::sync::OnceLock::new();
            let mut root = ROOT.get_or_init(|| Lab::new(1).root().0.der().to_vec()).clone();
            *at.get_mut(&mut root) = byte;
            let _ = (Certificate::from_der(&bytes), Certificate::from_der(&root), super::super::uri::host(&uri));
        }
    }

    #[test]
    fn debug_names_it_and_no_more() {
        let root = Lab::new(1).root().0;
        let short = root.fingerprint().short();
        assert_eq!(format!("{root:?}"), format!("Certificate({} {short})", root.subject()));
    }
}
