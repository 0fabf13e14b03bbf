//! One certificate's signature, checked with the algorithms that Go accepts in a chain.

use std::fmt;

use p256::ecdsa::signature::hazmat::PrehashVerifier;
use ring::digest::{self, Digest};
use ring::signature::{self as algorithms, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm};

use super::CertificateError;
use super::der::{Der, INTEGER, NULL, Oid, SEQUENCE, dotted};

/// Why one certificate is not the signer of another, as Go's `CheckSignatureFrom` decides it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// Basic constraints are absent or say that it is no CA (RFC 5280 §4.2.1.9).
    #[error("the signer is not a CA certificate")]
    NotACa,
    /// Its key usage is present without `keyCertSign` (RFC 5280 §4.2.1.3).
    #[error("the signer's key usage does not include signing certificates")]
    MayNotSign,
    /// SHA-1 or MD5, which Go no longer accepts in certificates.
    #[error("it is signed with {0}, which Go refuses")]
    Weak(&'static str),
    /// An algorithm that Go does not know.
    #[error("algorithm `{0}` is not one that Go supports")]
    Unsupported(String),
    /// An algorithm that Go knows and the libraries of this tool do not, so that Go may well accept it.
    #[error("this tool cannot check {0}")]
    Unchecked(String),
    /// The signature was made by another key, or the certificate was changed.
    #[error("the signature does not verify")]
    Mismatch,
}

impl SignatureError {
    /// What may be done about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotACa | Self::MayNotSign => {
                "make it again with `basicConstraints=critical,CA:true` and `keyUsage=critical,keyCertSign`"
            }
            Self::Weak(_) => "have it signed again with SHA-256",
            Self::Unsupported(_) | Self::Unchecked(_) => "use ECDSA P-256 keys and SHA-256, which work everywhere",
            Self::Mismatch => "the chain holds a certificate that was changed or signed by another key",
        }
    }
}

/// A public key as far as signatures are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P224,
    P256(Vec<u8>),
    P384(Vec<u8>),
    P521(Vec<u8>),
    Ed25519(Vec<u8>),
    Other(String),
}

/// How a signature was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hash {
    Sha256,
    Sha384,
    Sha512,
}

/// A certificate's signature algorithm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Scheme(Kind);

#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    Rsa(Hash),
    RsaPss(Hash),
    Ecdsa(Hash),
    Ed25519,
    Weak(&'static str),
    Other(String),
}

const RSA: Oid<'_> = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1];
const RSA_PSS: Oid<'_> = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 10];
const MGF1: Oid<'_> = &[0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 8];
const EC: Oid<'_> = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1];
const P224: Oid<'_> = &[0x2b, 0x81, 4, 0, 33];
const P256: Oid<'_> = &[0x2a, 0x86, 0x48, 0xce, 0x3d, 3, 1, 7];
const P384: Oid<'_> = &[0x2b, 0x81, 4, 0, 34];
const P521: Oid<'_> = &[0x2b, 0x81, 4, 0, 35];
const X25519: Oid<'_> = &[0x2b, 0x65, 110];
const ED25519: Oid<'_> = &[0x2b, 0x65, 112];
const DSA: Oid<'_> = &[0x2a, 0x86, 0x48, 0xce, 0x38, 4, 1];
const SHA256: Oid<'_> = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1];
const SHA384: Oid<'_> = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 2];
const SHA512: Oid<'_> = &[0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 3];

/// An algorithm, and its parameters as they are encoded; nothing where there are none.
pub(super) struct Algorithm<'a> {
    oid: Oid<'a>,
    parameters: &'a [u8],
}

impl<'a> Algorithm<'a> {
    /// Reads the inside of an `AlgorithmIdentifier`.
    pub(super) fn read(mut content: Der<'a>) -> Option<Self> {
        let oid = content.oid()?;
        let parameters = if content.is_empty() { &[][..] } else { content.any()?.whole };
        Some(Self { oid, parameters })
    }
}

impl PublicKey {
    /// Reads the inside of a `SubjectPublicKeyInfo`; refuses the encodings that Go's `parsePublicKey` refuses.
    pub(super) fn read(mut content: Der<'_>) -> Result<Self, CertificateError> {
        let malformed = |why: &str| CertificateError::Malformed(why.to_owned());
        let algorithm = content.inside(SEQUENCE).and_then(Algorithm::read);
        let (Some(Algorithm { oid, parameters }), Some(bits)) = (algorithm, content.bits()) else {
            return Err(malformed("its public key is malformed"));
        };
        let key = bits.right_aligned();
        match oid {
            RSA if parameters != NULL => Err(malformed("its RSA key lacks the NULL parameters that Go asks for")),
            RSA => Self::rsa(&key).ok_or_else(|| malformed("its RSA key is malformed")),
            EC => {
                let curve = Der::new(parameters).oid().ok_or_else(|| malformed("its EC key names no curve"))?;
                Self::on_curve(curve, key)
            }
            ED25519 | X25519 if !parameters.is_empty() || key.len() != 32 => {
                Err(malformed("its key on Curve25519 has parameters or a wrong length"))
            }
            ED25519 => Ok(Self::Ed25519(key)),
            DSA if dsa_parts(&key, parameters).is_none() => Err(malformed("its DSA key is malformed")),
            other => Ok(Self::Other(dotted(other))),
        }
    }

    fn rsa(key: &[u8]) -> Option<Self> {
        let mut key = Der::new(key).inside(SEQUENCE)?;
        let n = key.positive()?.to_vec();
        let e = key.positive().filter(|e| e.len() < 8 || e.len() == 8 && e[0] < 0x80)?.to_vec();
        Some(Self::Rsa { n, e })
    }

    fn on_curve(curve: Oid<'_>, key: Vec<u8>) -> Result<Self, CertificateError> {
        let (is_point, key) = match curve {
            P256 => (key.len() == 65 && p256::PublicKey::from_sec1_bytes(&key).is_ok(), Self::P256(key)),
            P384 => (key.len() == 97 && p384::PublicKey::from_sec1_bytes(&key).is_ok(), Self::P384(key)),
            P521 => (key.len() == 133 && p521::PublicKey::from_sec1_bytes(&key).is_ok(), Self::P521(key)),
            // Whether it lies on the curve, no library here can tell.
            P224 => (key.len() == 57 && key[0] == 4, Self::P224),
            _ => return Err(CertificateError::Malformed("its EC key is on a curve that Go does not know".into())),
        };
        is_point
            .then_some(key)
            .ok_or_else(|| CertificateError::Malformed("its EC key is not an uncompressed point of its curve".into()))
    }
}

fn dsa_parts(key: &[u8], parameters: &[u8]) -> Option<()> {
    Der::new(key).positive()?;
    let mut parameters = Der::new(parameters).inside(SEQUENCE)?;
    (0..3).try_for_each(|_| parameters.positive().map(drop))
}

impl Scheme {
    pub(super) fn read(algorithm: &Algorithm<'_>) -> Self {
        let pkcs1: Option<&[u8]> = algorithm.oid.strip_prefix(&RSA[..8]);
        let ecdsa = algorithm.oid.strip_prefix(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 4]);
        let kind = match (algorithm.oid, pkcs1, ecdsa) {
            (_, Some([11]), _) => Some(Kind::Rsa(Hash::Sha256)),
            (_, Some([12]), _) => Some(Kind::Rsa(Hash::Sha384)),
            (_, Some([13]), _) => Some(Kind::Rsa(Hash::Sha512)),
            (RSA_PSS, ..) => pss_hash(algorithm.parameters).map(Kind::RsaPss),
            (_, _, Some([3, 2])) => Some(Kind::Ecdsa(Hash::Sha256)),
            (_, _, Some([3, 3])) => Some(Kind::Ecdsa(Hash::Sha384)),
            (_, _, Some([3, 4])) => Some(Kind::Ecdsa(Hash::Sha512)),
            (ED25519, ..) => algorithm.parameters.is_empty().then_some(Kind::Ed25519),
            (_, Some([5]), _) | (_, _, Some([1])) | ([0x2b, 0x0e, 3, 2, 29], ..) => Some(Kind::Weak("SHA-1")),
            (_, Some([4]), _) => Some(Kind::Weak("MD5")),
            _ => None,
        };
        Self(kind.unwrap_or_else(|| Kind::Other(dotted(algorithm.oid))))
    }
}

/// Verifies `signature` over `message` by `key`. SHA-1 is refused, as Go does for certificates.
pub(super) fn verify(scheme: &Scheme, message: &[u8], signature: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    let by_ring = |algorithm: &'static dyn VerificationAlgorithm, key| {
        UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| SignatureError::Mismatch)
    };
    match (&scheme.0, key) {
        (Kind::Weak(hash), _) => Err(SignatureError::Weak(hash)),
        (Kind::Other(name), _) | (_, PublicKey::Other(name)) => Err(SignatureError::Unsupported(name.clone())),
        (Kind::Rsa(hash), PublicKey::Rsa { n, e }) => verify_rsa(*hash, false, message, signature, n, e),
        (Kind::RsaPss(hash), PublicKey::Rsa { n, e }) => verify_rsa(*hash, true, message, signature, n, e),
        (Kind::Ecdsa(Hash::Sha256), PublicKey::P256(key)) => by_ring(&algorithms::ECDSA_P256_SHA256_ASN1, key),
        (Kind::Ecdsa(Hash::Sha384), PublicKey::P256(key)) => by_ring(&algorithms::ECDSA_P256_SHA384_ASN1, key),
        (Kind::Ecdsa(Hash::Sha256), PublicKey::P384(key)) => by_ring(&algorithms::ECDSA_P384_SHA256_ASN1, key),
        (Kind::Ecdsa(Hash::Sha384), PublicKey::P384(key)) => by_ring(&algorithms::ECDSA_P384_SHA384_ASN1, key),
        (Kind::Ecdsa(hash), PublicKey::P256(key)) => verify_digest(
            &p256::ecdsa::VerifyingKey::from_sec1_bytes(key),
            hash.digest(message),
            &p256::ecdsa::DerSignature::from_bytes(signature),
        ),
        (Kind::Ecdsa(hash), PublicKey::P384(key)) => verify_digest(
            &p384::ecdsa::VerifyingKey::from_sec1_bytes(key),
            hash.digest(message),
            &p384::ecdsa::DerSignature::from_bytes(signature),
        ),
        (Kind::Ecdsa(hash), PublicKey::P521(key)) => verify_digest(
            &p521::ecdsa::VerifyingKey::from_sec1_bytes(key),
            hash.digest(message),
            &p521::ecdsa::DerSignature::from_bytes(signature),
        ),
        (Kind::Ecdsa(_), PublicKey::P224) => Err(SignatureError::Unchecked("signatures by P-224 keys".into())),
        (Kind::Ed25519, PublicKey::Ed25519(key)) => by_ring(&algorithms::ED25519, key),
        _ => Err(SignatureError::Mismatch),
    }
}

/// By the crates of each curve: ring knows neither P-521 nor SHA-512 on the other curves.
fn verify_digest<Key: PrehashVerifier<Signature>, Signature>(
    key: &Result<Key, p256::ecdsa::Error>,
    digest: Digest,
    signature: &Result<Signature, p256::ecdsa::Error>,
) -> Result<(), SignatureError> {
    match (key, signature) {
        (Ok(key), Ok(signature)) if key.verify_prehash(digest.as_ref(), signature).is_ok() => Ok(()),
        _ => Err(SignatureError::Mismatch),
    }
}

fn verify_rsa(
    hash: Hash,
    pss: bool,
    message: &[u8],
    signature: &[u8],
    n: &[u8],
    e: &[u8],
) -> Result<(), SignatureError> {
    let parameters = match (n.len() * 8, pss, hash) {
        (2048..=8192, false, Hash::Sha256) => &algorithms::RSA_PKCS1_2048_8192_SHA256,
        (2048..=8192, false, Hash::Sha384) => &algorithms::RSA_PKCS1_2048_8192_SHA384,
        (2048..=8192, false, Hash::Sha512) => &algorithms::RSA_PKCS1_2048_8192_SHA512,
        (2048..=8192, true, Hash::Sha256) => &algorithms::RSA_PSS_2048_8192_SHA256,
        (2048..=8192, true, Hash::Sha384) => &algorithms::RSA_PSS_2048_8192_SHA384,
        (2048..=8192, true, Hash::Sha512) => &algorithms::RSA_PSS_2048_8192_SHA512,
        (1024..2048, false, Hash::Sha256) => &algorithms::RSA_PKCS1_1024_8192_SHA256_FOR_LEGACY_USE_ONLY,
        (1024..2048, false, Hash::Sha512) => &algorithms::RSA_PKCS1_1024_8192_SHA512_FOR_LEGACY_USE_ONLY,
        (bits, ..) => {
            let kind = if pss { "RSA-PSS" } else { "RSA" };
            return Err(SignatureError::Unchecked(format!("{kind} signatures with {hash} by keys of {bits} bits")));
        }
    };
    RsaPublicKeyComponents { n, e }.verify(parameters, message, signature).map_err(|_| SignatureError::Mismatch)
}

impl Hash {
    fn digest(self, message: &[u8]) -> Digest {
        let algorithm = match self {
            Self::Sha256 => &digest::SHA256,
            Self::Sha384 => &digest::SHA384,
            Self::Sha512 => &digest::SHA512,
        };
        digest::digest(algorithm, message)
    }
}

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Sha256 => "SHA-256",
            Self::Sha384 => "SHA-384",
            Self::Sha512 => "SHA-512",
        })
    }
}

/// The hash of the three RSA-PSS parameter sets that Go knows: MGF1 with the same hash, salt as long as the hash.
fn pss_hash(parameters: &[u8]) -> Option<Hash> {
    let mut parameters = Der::new(parameters).inside(SEQUENCE)?;
    let mut hash = parameters.inside(0xa0)?;
    let hash = hash.inside(SEQUENCE).and_then(Algorithm::read)?;
    let mut mask = parameters.inside(0xa1)?;
    let mask = mask.inside(SEQUENCE).and_then(Algorithm::read).filter(|mask| mask.oid == MGF1)?;
    let mask_hash = Der::new(mask.parameters).inside(SEQUENCE).and_then(Algorithm::read)?;
    let salt = parameters.inside(0xa2)?.int64(INTEGER)?;
    let trailer = parameters.optional(0xa3)?.map_or(Some(1), |mut trailer| trailer.int64(INTEGER))?;
    let plain = |algorithm: &Algorithm<'_>| algorithm.parameters.is_empty() || algorithm.parameters == NULL;
    if !plain(&hash) || !plain(&mask_hash) || mask_hash.oid != hash.oid || trailer != 1 {
        return None;
    }
    match (hash.oid, salt) {
        (SHA256, 32) => Some(Hash::Sha256),
        (SHA384, 48) => Some(Hash::Sha384),
        (SHA512, 64) => Some(Hash::Sha512),
        _ => None,
    }
}
