//! One certificate's signature, checked with the algorithms that Go accepts in a chain.

use ring::signature::{self as algorithms, UnparsedPublicKey, VerificationAlgorithm};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_NIST_EC_P521, OID_NIST_HASH_SHA256,
    OID_NIST_HASH_SHA384, OID_NIST_HASH_SHA512, OID_PKCS1_RSAENCRYPTION, OID_PKCS1_RSASSAPSS, OID_PKCS1_SHA1WITHRSA,
    OID_PKCS1_SHA256WITHRSA, OID_PKCS1_SHA384WITHRSA, OID_PKCS1_SHA512WITHRSA, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ECDSA_WITH_SHA512, OID_SIG_ED25519, Oid, asn1_rs::oid,
};
use x509_parser::signature_algorithm::RsaSsaPssParams;
use x509_parser::x509::{AlgorithmIdentifier, SubjectPublicKeyInfo};

use super::CertificateError;

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
    /// An algorithm that Go or this tool does not know.
    #[error("signature algorithm `{0}` is not supported")]
    Unsupported(String),
    /// The signature was made by another key, or the certificate was changed.
    #[error("the signature does not verify")]
    Mismatch,
}

/// A public key as far as signatures are concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PublicKey {
    Rsa(Vec<u8>),
    P256(Vec<u8>),
    P384(Vec<u8>),
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

const X25519: Oid<'static> = oid!(1.3.101.110);
const SHA1_WITH_RSA_ISO: Oid<'static> = oid!(1.3.14.3.2.29);
const ECDSA_WITH_SHA1: Oid<'static> = oid!(1.2.840.10045.4.1);
const MD5_WITH_RSA: Oid<'static> = oid!(1.2.840.113549.1.1.4);
const P224: Oid<'static> = oid!(1.3.132.0.33);

impl PublicKey {
    /// Refuses the encodings that Go's `parsePublicKey` refuses.
    pub(super) fn read(spki: &SubjectPublicKeyInfo<'_>) -> Result<Self, CertificateError> {
        let malformed = |why: &str| Err(CertificateError::Malformed(why.to_owned()));
        let key = spki.subject_public_key.data.to_vec();
        let algorithm = &spki.algorithm.algorithm;
        let parameters = spki.algorithm.parameters.as_ref();
        if *algorithm == OID_PKCS1_RSAENCRYPTION {
            return match parameters {
                Some(any) if any.tag().0 == 5 && any.data.is_empty() => Ok(Self::Rsa(key)),
                _ => malformed("its RSA key lacks the NULL parameters that Go asks for"),
            };
        }
        if *algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
            let Some(curve) = parameters.and_then(|any| any.as_oid().ok()) else {
                return malformed("its EC key names no curve");
            };
            let (length, read): (usize, fn(Vec<u8>) -> Self) = if curve == OID_EC_P256 {
                (65, Self::P256)
            } else if curve == OID_NIST_EC_P384 {
                (97, Self::P384)
            } else if curve == OID_NIST_EC_P521 {
                (133, |_| Self::Other("P-521".into()))
            } else if curve == P224 {
                (57, |_| Self::Other("P-224".into()))
            } else {
                return malformed("its EC key is on a curve that Go does not know");
            };
            return match key.first() {
                Some(4) if key.len() == length => Ok(read(key)),
                _ => malformed("its EC key is not an uncompressed point"),
            };
        }
        if *algorithm == OID_SIG_ED25519 {
            return match parameters {
                None if key.len() == 32 => Ok(Self::Ed25519(key)),
                _ => malformed("its Ed25519 key has parameters or a wrong length"),
            };
        }
        if *algorithm == X25519 && (parameters.is_some() || key.len() != 32) {
            return malformed("its X25519 key has parameters or a wrong length");
        }
        Ok(Self::Other(algorithm.to_id_string()))
    }
}

impl Scheme {
    pub(super) fn read(algorithm: &AlgorithmIdentifier<'_>) -> Self {
        let oid = &algorithm.algorithm;
        let table: [(Oid<'static>, Kind); 11] = [
            (OID_PKCS1_SHA256WITHRSA, Kind::Rsa(Hash::Sha256)),
            (OID_PKCS1_SHA384WITHRSA, Kind::Rsa(Hash::Sha384)),
            (OID_PKCS1_SHA512WITHRSA, Kind::Rsa(Hash::Sha512)),
            (OID_SIG_ECDSA_WITH_SHA256, Kind::Ecdsa(Hash::Sha256)),
            (OID_SIG_ECDSA_WITH_SHA384, Kind::Ecdsa(Hash::Sha384)),
            (OID_SIG_ECDSA_WITH_SHA512, Kind::Ecdsa(Hash::Sha512)),
            (OID_SIG_ED25519, Kind::Ed25519),
            (OID_PKCS1_SHA1WITHRSA, Kind::Weak("SHA-1")),
            (SHA1_WITH_RSA_ISO, Kind::Weak("SHA-1")),
            (ECDSA_WITH_SHA1, Kind::Weak("SHA-1")),
            (MD5_WITH_RSA, Kind::Weak("MD5")),
        ];
        let known = table.into_iter().find(|(known, _)| known == oid).map(|(_, kind)| kind);
        let kind = match known {
            Some(Kind::Ed25519) if algorithm.parameters.is_some() => None,
            None if *oid == OID_PKCS1_RSASSAPSS => pss_hash(algorithm).map(Kind::RsaPss),
            other => other,
        };
        Self(kind.unwrap_or_else(|| Kind::Other(oid.to_id_string())))
    }
}

/// Verifies `signature` over `message` by `key`. SHA-1 is refused, as Go does for certificates.
pub(super) fn verify(scheme: &Scheme, message: &[u8], signature: &[u8], key: &PublicKey) -> Result<(), SignatureError> {
    let unsupported = |what: &str| Err(SignatureError::Unsupported(what.to_owned()));
    let (algorithm, key): (&'static dyn VerificationAlgorithm, &[u8]) = match (&scheme.0, key) {
        (Kind::Weak(hash), _) => return Err(SignatureError::Weak(hash)),
        (Kind::Other(name), _) | (_, PublicKey::Other(name)) => return unsupported(name),
        (Kind::Rsa(hash), PublicKey::Rsa(key)) => (
            match hash {
                Hash::Sha256 => &algorithms::RSA_PKCS1_2048_8192_SHA256,
                Hash::Sha384 => &algorithms::RSA_PKCS1_2048_8192_SHA384,
                Hash::Sha512 => &algorithms::RSA_PKCS1_2048_8192_SHA512,
            },
            key,
        ),
        (Kind::RsaPss(hash), PublicKey::Rsa(key)) => (
            match hash {
                Hash::Sha256 => &algorithms::RSA_PSS_2048_8192_SHA256,
                Hash::Sha384 => &algorithms::RSA_PSS_2048_8192_SHA384,
                Hash::Sha512 => &algorithms::RSA_PSS_2048_8192_SHA512,
            },
            key,
        ),
        (Kind::Ecdsa(Hash::Sha512), PublicKey::P256(_) | PublicKey::P384(_)) => {
            return unsupported("ECDSA with SHA-512");
        }
        (Kind::Ecdsa(Hash::Sha256), PublicKey::P256(key)) => (&algorithms::ECDSA_P256_SHA256_ASN1, key),
        (Kind::Ecdsa(Hash::Sha384), PublicKey::P256(key)) => (&algorithms::ECDSA_P256_SHA384_ASN1, key),
        (Kind::Ecdsa(Hash::Sha256), PublicKey::P384(key)) => (&algorithms::ECDSA_P384_SHA256_ASN1, key),
        (Kind::Ecdsa(Hash::Sha384), PublicKey::P384(key)) => (&algorithms::ECDSA_P384_SHA384_ASN1, key),
        (Kind::Ed25519, PublicKey::Ed25519(key)) => (&algorithms::ED25519, key),
        _ => return Err(SignatureError::Mismatch),
    };
    UnparsedPublicKey::new(algorithm, key).verify(message, signature).map_err(|_| SignatureError::Mismatch)
}

/// The hash of the three RSA-PSS parameter sets that Go knows: MGF1 with the same hash, salt as long as the hash.
fn pss_hash(algorithm: &AlgorithmIdentifier<'_>) -> Option<Hash> {
    let parameters = RsaSsaPssParams::try_from(algorithm.parameters.as_ref()?).ok()?;
    let mask = parameters.mask_gen_algorithm().ok()?;
    let hash = parameters.hash_algorithm_oid();
    if mask.hash != *hash || parameters.trailer_field() != 1 {
        return None;
    }
    match parameters.salt_length() {
        32 if *hash == OID_NIST_HASH_SHA256 => Some(Hash::Sha256),
        48 if *hash == OID_NIST_HASH_SHA384 => Some(Hash::Sha384),
        64 if *hash == OID_NIST_HASH_SHA512 => Some(Hash::Sha512),
        _ => None,
    }
}
