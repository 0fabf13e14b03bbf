//! Private keys: every common encoding in, PKCS#8 out, and an error that names the way out for what can't be used.

use std::fmt;

use p256::pkcs8::der::asn1::{AnyRef, ObjectIdentifier};
use p256::pkcs8::der::{Decode, Encode};
use p256::pkcs8::spki::AlgorithmIdentifierRef;
use p256::pkcs8::{EncodePrivateKey, PrivateKeyInfoRef};
use rcgen::PublicKeyData;
use rcgen::{
    KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384, PKCS_ED25519, PKCS_RSA_SHA256, SignatureAlgorithm,
};
use ring::signature::KeyPair as _;
use sec1::EcPrivateKey;
use zeroize::Zeroizing;

use super::mint::Entropy;
use super::pem::{self, Block};
use super::{Certificate, Fingerprint, Oddity, OddityKind};

const EC: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const P256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7");
const P384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.132.0.34");
const RSA: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const ED25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.112");
const X25519: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.101.110");

/// A private key that can sign. It has no way to be printed, and its memory is wiped.
///
/// ```compile_fail
/// # fn key() -> mtls::pki::PrivateKey { unimplemented!() }
/// format!("{:?}", key());
/// ```
#[derive(Clone)]
pub struct PrivateKey {
    pkcs8: Zeroizing<Vec<u8>>,
    spki: Vec<u8>,
    algorithm: Algorithm,
}

/// The kinds of key that can be used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Algorithm {
    /// The default of Dapr and of this tool.
    EcdsaP256,
    /// ECDSA on P-384.
    EcdsaP384,
    /// Ed25519.
    Ed25519,
    /// RSA, with the size of its modulus.
    Rsa {
        /// 2048 to 4096.
        bits: usize,
    },
}

/// Why a file is not a private key that can be used. Never holds any of its bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// No PEM block at all.
    #[error("it holds no private key in PEM form")]
    NotPem,
    /// A certificate file.
    #[error("it holds a certificate, not a private key")]
    Certificate,
    /// Only the public half.
    #[error("it holds only a public key")]
    PublicOnly,
    /// `EC PARAMETERS` and nothing after it.
    #[error("it holds only the parameters of a curve")]
    ParametersOnly,
    /// More than one key: Dapr would take the first.
    #[error("it holds {0} private keys, of which Dapr would take the first")]
    Several(usize),
    /// A passphrase is needed.
    #[error("it is encrypted with a passphrase ({0})")]
    Encrypted(&'static str),
    /// A key for key agreement.
    #[error("an X25519 key can't sign certificates")]
    X25519,
    /// Another curve than P-256 and P-384.
    #[error("EC curve `{0}` is not supported")]
    Curve(String),
    /// Another kind of key.
    #[error("key algorithm `{0}` is not supported")]
    Algorithm(String),
    /// A block of another kind.
    #[error("a PEM block `{0}` is not a private key")]
    Block(String),
    /// A P-384 key that lacks its public half.
    #[error("the P-384 key lacks its public half")]
    NoPublicHalf,
    /// An RSA key outside of 2048 to 4096 bits, or damaged.
    #[error("the RSA key is damaged or not of 2048 to 4096 bits")]
    Rsa,
    /// The content does not fit its label.
    #[error("the private key is damaged")]
    Damaged,
}

impl KeyError {
    /// The way out, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NotPem => "convert a DER file with `openssl pkey -inform DER -in FILE -out KEY.pem`",
            Self::Certificate => "give the key file that belongs to this certificate",
            Self::PublicOnly => "give the private key; the public one is in the certificate already",
            Self::ParametersOnly => {
                "make a key with `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem`"
            }
            Self::Several(_) => "keep one `PRIVATE KEY` block in the file",
            Self::Encrypted(_) => {
                "decrypt it to a file only you can read: `(umask 077; openssl pkey -in FILE -out KEY.pem)`"
            }
            Self::X25519 | Self::Curve(_) | Self::Algorithm(_) | Self::Block(_) | Self::Rsa => {
                "use an ECDSA P-256 key, which works with every Dapr: `openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out KEY.pem`"
            }
            Self::NoPublicHalf => "rewrite it with its public half: `(umask 077; openssl pkey -in FILE -out KEY.pem)`",
            Self::Damaged => {
                "copy the file again from where it was made; `openssl pkey -in FILE -noout` must accept it"
            }
        }
    }
}

impl PrivateKey {
    /// Reads PKCS#8, SEC1 (also after an `EC PARAMETERS` block) and PKCS#1. Certificates beside the key are ignored.
    pub fn parse(pem: &[u8]) -> Result<Self, KeyError> {
        let blocks = pem::blocks(pem.strip_prefix(b"\xef\xbb\xbf").unwrap_or(pem));
        let keys: Vec<&Block> = blocks.iter().filter(|block| block.label.ends_with("PRIVATE KEY")).collect();
        let [key] = keys[..] else {
            return Err(match blocks.iter().find(|block| block.label != "EC PARAMETERS") {
                _ if keys.len() > 1 => KeyError::Several(keys.len()),
                None if blocks.is_empty() => KeyError::NotPem,
                None => KeyError::ParametersOnly,
                Some(block) if block.label == "CERTIFICATE" => KeyError::Certificate,
                Some(block) if block.label.ends_with("PUBLIC KEY") => KeyError::PublicOnly,
                Some(block) => KeyError::Block(block.label.clone()),
            });
        };
        let der = &key.bytes;
        if key.headers.iter().any(|(name, value)| name == "Proc-Type" && value.contains("ENCRYPTED")) {
            return Err(KeyError::Encrypted("Proc-Type: 4,ENCRYPTED"));
        }
        match key.label.as_str() {
            "PRIVATE KEY" => Self::from_pkcs8_der(der),
            "EC PRIVATE KEY" => {
                let parameters = blocks.iter().find(|block| block.label == "EC PARAMETERS");
                let curve = parameters.and_then(|block| ObjectIdentifier::from_der(&block.bytes).ok());
                Self::from_sec1(der, curve)
            }
            "RSA PRIVATE KEY" => Self::from_pkcs1(der),
            "ENCRYPTED PRIVATE KEY" => Err(KeyError::Encrypted("PKCS#8")),
            other => Err(KeyError::Block(other.to_owned())),
        }
    }

    /// Reads a key that is published as Sentry does (`DecodePEMPrivateKey` in `kit/crypto/pem/pem.go`): the first block alone. Tells what is odd;
    /// where Sentry gets no key, one that [`parse`](Self::parse) finds is still good to mend things with.
    pub fn read_as_go(pem: &[u8]) -> (Option<Self>, Option<Oddity>) {
        let Some(block) = pem::decode(pem, 0) else {
            return (Self::parse(pem).ok(), Some(Oddity { line: None, what: OddityKind::NoKey(KeyError::NotPem) }));
        };
        let read = match block.label.as_str() {
            "EC PRIVATE KEY" => Self::from_sec1(&block.bytes, None),
            "RSA PRIVATE KEY" => Self::from_pkcs1(&block.bytes),
            "PRIVATE KEY" => Self::from_pkcs8_der(&block.bytes),
            _ => Err(KeyError::Block(block.label.clone())),
        };
        let what = match read {
            Ok(key) => return (Some(key), None),
            Err(error @ (KeyError::NoPublicHalf | KeyError::Rsa)) => OddityKind::ForeignKey(error),
            Err(KeyError::Curve(curve)) if curve.starts_with("P-") => OddityKind::ForeignKey(KeyError::Curve(curve)),
            Err(error) => OddityKind::NoKey(error),
        };
        let usable = matches!(what, OddityKind::NoKey(_)).then(|| Self::parse(pem).ok()).flatten();
        (usable, Some(Oddity { line: Some(pem::line_number(pem, block.begin)), what }))
    }

    /// Makes a P-256 key out of 32 bytes of `entropy`, drawn again in the vanishing case that they are no valid scalar.
    pub fn generate(entropy: Entropy<'_>) -> Self {
        loop {
            let mut scalar = Zeroizing::new([0_u8; 32]);
            entropy(scalar.as_mut());
            if let Ok(key) = Self::from_p256(scalar.as_ref()) {
                return key;
            }
        }
    }

    /// Reads the inside of a `PRIVATE KEY` block.
    pub fn from_pkcs8_der(der: &[u8]) -> Result<Self, KeyError> {
        let info = PrivateKeyInfoRef::try_from(der).map_err(|_| KeyError::Damaged)?;
        let inner = info.private_key.as_bytes();
        match info.algorithm.oid {
            EC => Self::from_sec1(inner, info.algorithm.parameters_oid().ok()),
            RSA => Self::from_pkcs1(inner),
            ED25519 => {
                // RFC 8410 §7: an OCTET STRING of 32 bytes. An attached public half is left out: older readers refuse it.
                let bare =
                    PrivateKeyInfoRef::new(AlgorithmIdentifierRef { oid: ED25519, parameters: None }, info.private_key);
                Self::usable(encode(&bare)?, &PKCS_ED25519, Algorithm::Ed25519).ok_or(KeyError::Damaged)
            }
            X25519 => Err(KeyError::X25519),
            other => Err(KeyError::Algorithm(other.to_string())),
        }
    }

    /// Its kind.
    pub fn algorithm(&self) -> Algorithm {
        self.algorithm
    }

    /// The `SubjectPublicKeyInfo` of its public half.
    pub fn spki_der(&self) -> Vec<u8> {
        self.spki.clone()
    }

    /// Whether `certificate` was made for this key.
    pub fn matches(&self, certificate: &Certificate) -> bool {
        certificate.spki_der() == self.spki
    }

    /// PKCS#8 in PEM: what Dapr writes itself.
    pub fn to_pem(&self) -> Zeroizing<String> {
        pem::encode("PRIVATE KEY", &self.pkcs8)
    }

    /// The SHA-256 of [`spki_der`](Self::spki_der): names the key without showing it.
    pub fn public_fingerprint(&self) -> Fingerprint {
        Fingerprint::of(&self.spki)
    }

    /// The form in which rcgen signs with it.
    pub(super) fn signing_key(&self) -> Zeroizing<KeyPair> {
        key_pair(&self.pkcs8, self.algorithm.signing()).expect("it was read the same way when this key was made")
    }

    fn from_sec1(der: &[u8], curve: Option<ObjectIdentifier>) -> Result<Self, KeyError> {
        let key = EcPrivateKey::try_from(der).map_err(|_| KeyError::Damaged)?;
        let inner = key.parameters.as_ref().and_then(|parameters| parameters.named_curve());
        let curve = inner.or(curve).ok_or_else(|| KeyError::Curve("unnamed".into()))?;
        match curve {
            P256 => Self::from_p256(key.private_key),
            P384 => {
                let public_key = Some(key.public_key.ok_or(KeyError::NoPublicHalf)?);
                let bare = EcPrivateKey { private_key: key.private_key, parameters: None, public_key };
                let inner = encode(&bare)?;
                let parameters = Some(AnyRef::from(&P384));
                Self::usable(wrap(EC, parameters, &inner)?, &PKCS_ECDSA_P384_SHA384, Algorithm::EcdsaP384)
                    .ok_or(KeyError::Damaged)
            }
            other => Err(KeyError::Curve(curve_name(other))),
        }
    }

    fn from_p256(scalar: &[u8]) -> Result<Self, KeyError> {
        let key = p256::SecretKey::from_slice(scalar).map_err(|_| KeyError::Damaged)?;
        let document = key.to_pkcs8_der().map_err(|_| KeyError::Damaged)?;
        let pkcs8 = Zeroizing::new(document.as_bytes().to_vec());
        Self::usable(pkcs8, &PKCS_ECDSA_P256_SHA256, Algorithm::EcdsaP256).ok_or(KeyError::Damaged)
    }

    fn from_pkcs1(der: &[u8]) -> Result<Self, KeyError> {
        let pkcs8 = wrap(RSA, Some(AnyRef::NULL), der)?;
        let key = ring::rsa::KeyPair::from_pkcs8(&pkcs8).map_err(|_| KeyError::Rsa)?;
        let bits = key.public_key().modulus_len() * 8;
        Self::usable(pkcs8, &PKCS_RSA_SHA256, Algorithm::Rsa { bits }).ok_or(KeyError::Rsa)
    }

    fn usable(pkcs8: Zeroizing<Vec<u8>>, signing: &'static SignatureAlgorithm, algorithm: Algorithm) -> Option<Self> {
        let spki = key_pair(&pkcs8, signing)?.subject_public_key_info();
        Some(Self { pkcs8, spki, algorithm })
    }
}

impl Algorithm {
    /// Whether the Sentry of Dapr `version` can sign with such a key; otherwise which versions can. Unknown: whether every version can.
    /// Sentry 1.12 to 1.16.14 and 1.17.0 to 1.17.6 crash on issuer keys that are not ECDSA.
    pub fn supported_by(&self, version: Option<(u32, u32, u32)>) -> Result<(), String> {
        let fixed = |version| version >= (1, 17, 7) || ((1, 16, 15)..(1, 17, 0)).contains(&version);
        let sentry = match version {
            _ if matches!(self, Self::EcdsaP256 | Self::EcdsaP384) => return Ok(()),
            Some(version) if fixed(version) => return Ok(()),
            Some((major, minor, patch)) => format!("Sentry {major}.{minor}.{patch}"),
            None => "an older Sentry".to_owned(),
        };
        Err(format!("{sentry} crashes on {self} issuer keys; 1.16.15, 1.17.7, 1.18.0 and later releases can use them"))
    }

    fn signing(self) -> &'static SignatureAlgorithm {
        match self {
            Self::EcdsaP256 => &PKCS_ECDSA_P256_SHA256,
            Self::EcdsaP384 => &PKCS_ECDSA_P384_SHA384,
            Self::Ed25519 => &PKCS_ED25519,
            Self::Rsa { .. } => &PKCS_RSA_SHA256,
        }
    }
}

impl fmt::Display for Algorithm {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::EcdsaP256 => write!(f, "ECDSA P-256"),
            Self::EcdsaP384 => write!(f, "ECDSA P-384"),
            Self::Ed25519 => write!(f, "Ed25519"),
            Self::Rsa { bits } => write!(f, "RSA {bits}"),
        }
    }
}

/// rcgen keeps a copy of `pkcs8`, which it does not wipe by itself.
fn key_pair(pkcs8: &[u8], signing: &'static SignatureAlgorithm) -> Option<Zeroizing<KeyPair>> {
    KeyPair::from_pkcs8_der_and_sign_algo(&pkcs8.into(), signing).ok().map(Zeroizing::new)
}

fn wrap(oid: ObjectIdentifier, parameters: Option<AnyRef<'_>>, inner: &[u8]) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    let inner = inner.try_into().map_err(|_| KeyError::Damaged)?;
    encode(&PrivateKeyInfoRef::new(AlgorithmIdentifierRef { oid, parameters }, inner))
}

fn encode(value: &impl Encode) -> Result<Zeroizing<Vec<u8>>, KeyError> {
    value.to_der().map(Zeroizing::new).map_err(|_| KeyError::Damaged)
}

fn curve_name(oid: ObjectIdentifier) -> String {
    match oid.to_string().as_str() {
        "1.3.132.0.35" => "P-521".into(),
        "1.3.132.0.33" => "P-224".into(),
        "1.3.132.0.10" => "secp256k1".into(),
        other => other.into(),
    }
}

#[cfg(test)]
mod tests;
