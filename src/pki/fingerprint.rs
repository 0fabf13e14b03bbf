//! The SHA-256 of a DER encoding: how certificates and public keys are told apart.

use std::fmt;
use std::str::FromStr;

use serde::{Serialize, Serializer};

/// The SHA-256 of a certificate's DER, or of a key's `SubjectPublicKeyInfo`.
#[derive(Copy, Clone, Eq, PartialEq, Ord, PartialOrd, Hash)]
pub struct Fingerprint([u8; 32]);

impl Fingerprint {
    /// Hashes `der`.
    pub fn of(der: &[u8]) -> Self {
        let digest = ring::digest::digest(&ring::digest::SHA256, der);
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        Self(bytes)
    }

    /// The raw digest.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }

    /// The first 12 hexadecimal digits: enough for people to tell certificates apart.
    pub fn short(&self) -> String {
        self.to_string()[..12].to_owned()
    }
}

/// Lower-case hexadecimal, 64 digits.
impl fmt::Display for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for Fingerprint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Fingerprint({})", self.short())
    }
}

/// What was given is not 64 hexadecimal digits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is not a SHA-256 fingerprint of 64 hexadecimal digits")]
pub struct FingerprintError(String);

/// Accepts either case, with or without colons, as `openssl x509 -fingerprint -sha256` prints it.
impl FromStr for Fingerprint {
    type Err = FingerprintError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = || FingerprintError(text.to_owned());
        let digits: Vec<u8> = text
            .trim()
            .chars()
            .filter(|c| *c != ':')
            .map(|c| c.to_digit(16).and_then(|digit| u8::try_from(digit).ok()))
            .collect::<Option<_>>()
            .ok_or_else(wrong)?;
        let bytes: Vec<u8> =
            digits.chunks(2).map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit)).collect();
        match <[u8; 32]>::try_from(bytes) {
            Ok(bytes) if digits.len() == 64 => Ok(Self(bytes)),
            _ => Err(wrong()),
        }
    }
}

impl Serialize for Fingerprint {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_and_openssl_print() {
        let fingerprint = Fingerprint::of(b"abc");
        let text = fingerprint.to_string();
        assert_eq!(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
        assert_eq!(text.parse(), Ok(fingerprint));
        let colons: Vec<String> =
            text.to_uppercase().as_bytes().chunks(2).map(|p| String::from_utf8_lossy(p).into()).collect();
        assert_eq!(colons.join(":").parse(), Ok(fingerprint));
        assert_eq!(fingerprint.short(), "ba7816bf8f01");
    }

    #[rstest::rstest]
    #[case("")]
    #[case("ba7816bf")]
    #[case("zz7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")]
    #[case("ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015a")]
    fn refuses_what_is_no_fingerprint(#[case] text: &str) {
        assert!(text.parse::<Fingerprint>().is_err());
    }
}
