//! Every encoding of a key that people have, and every file that is none.

use rstest::rstest;

use super::*;
use crate::pki::testing::{Lab, validity};
use crate::pki::{issuer, root};

const P256_PKCS8: &[u8] = include_bytes!("../testdata/p256-pkcs8.pem");
const P384_PKCS8: &[u8] = include_bytes!("../testdata/p384-pkcs8.pem");
const RSA_PKCS8: &[u8] = include_bytes!("../testdata/rsa2048-pkcs8.pem");
const ED25519: &[u8] = include_bytes!("../testdata/ed25519.pem");

#[rstest]
#[case::p256_pkcs8(P256_PKCS8, P256_PKCS8, Algorithm::EcdsaP256)]
#[case::p256_sec1(include_bytes!("../testdata/p256-sec1.pem"), P256_PKCS8, Algorithm::EcdsaP256)]
#[case::p256_sec1_after_parameters(include_bytes!("../testdata/p256-sec1-parameters.pem"), P256_PKCS8, Algorithm::EcdsaP256)]
#[case::p256_private_half(include_bytes!("../testdata/p256-private-half.pem"), P256_PKCS8, Algorithm::EcdsaP256)]
#[case::p384_pkcs8(P384_PKCS8, P384_PKCS8, Algorithm::EcdsaP384)]
#[case::p384_sec1(include_bytes!("../testdata/p384-sec1.pem"), P384_PKCS8, Algorithm::EcdsaP384)]
#[case::rsa_pkcs8(RSA_PKCS8, RSA_PKCS8, Algorithm::Rsa { bits: 2048 })]
#[case::rsa_pkcs1(include_bytes!("../testdata/rsa2048-pkcs1.pem"), RSA_PKCS8, Algorithm::Rsa { bits: 2048 })]
#[case::ed25519(ED25519, ED25519, Algorithm::Ed25519)]
fn every_encoding_becomes_the_pkcs8_that_openssl_writes(
    #[case] given: &[u8],
    #[case] pkcs8: &[u8],
    #[case] algorithm: Algorithm,
) {
    let key = PrivateKey::parse(given).unwrap();
    assert_eq!(key.algorithm(), algorithm);
    assert_eq!(key.to_pem().as_bytes(), pkcs8);
    assert_eq!(PrivateKey::parse(key.to_pem().as_bytes()).unwrap().public_fingerprint(), key.public_fingerprint());
}

#[rstest]
#[case(P256_PKCS8)]
#[case(P384_PKCS8)]
#[case(RSA_PKCS8)]
#[case(ED25519)]
fn every_kind_of_key_signs(#[case] given: &[u8]) {
    let mut lab = Lab::new(1);
    let key = PrivateKey::parse(given).unwrap();
    let made = root("cluster.local", &key, &validity(), &mut lab.entropy()).unwrap();
    assert!(made.self_signed() && key.matches(&made));
    let below = lab.key();
    let below = issuer(&made, &key, "cluster.local", "dapr-system", &below, &validity(), &mut lab.entropy()).unwrap();
    assert!(below.signed_by(&made));
}

#[rstest]
#[case::encrypted_pkcs8(include_bytes!("../testdata/encrypted-pkcs8.pem"), KeyError::Encrypted("PKCS#8"), "openssl pkey -in")]
#[case::encrypted_sec1(include_bytes!("../testdata/encrypted-sec1.pem"), KeyError::Encrypted("Proc-Type: 4,ENCRYPTED"), "openssl pkey -in")]
#[case::x25519(include_bytes!("../testdata/x25519.pem"), KeyError::X25519, "P-256")]
#[case::public_only(include_bytes!("../testdata/p256-public.pem"), KeyError::PublicOnly, "private key")]
#[case::p521(include_bytes!("../testdata/p521.pem"), KeyError::Curve("P-521".into()), "P-256")]
#[case::rsa1024(include_bytes!("../testdata/rsa1024.pem"), KeyError::Rsa, "P-256")]
#[case::certificate(include_bytes!("../testdata/sha1-root.pem"), KeyError::Certificate, "belongs to this certificate")]
#[case::parameters_only(include_bytes!("../testdata/parameters.pem"), KeyError::ParametersOnly, "genpkey")]
#[case::p384_private_half(include_bytes!("../testdata/p384-private-half.pem"), KeyError::NoPublicHalf, "public half")]
#[case::no_pem(b"MC4CAQAwBQYDK2VwBCIEIA==", KeyError::NotPem, "inform DER")]
#[case::empty(b"", KeyError::NotPem, "inform DER")]
#[case::damaged(
    b"-----BEGIN PRIVATE KEY-----\nMC4CAQAw\n-----END PRIVATE KEY-----\n",
    KeyError::Damaged,
    "copy the file again"
)]
fn what_is_no_usable_key_is_named_with_the_way_out(#[case] given: &[u8], #[case] error: KeyError, #[case] hint: &str) {
    let Err(found) = PrivateKey::parse(given) else { panic!("it was accepted") };
    assert_eq!(found, error);
    assert!(found.hint().contains(hint), "{}", found.hint());
}

#[test]
fn of_several_keys_none_is_taken() {
    let several = [P256_PKCS8, RSA_PKCS8].concat();
    assert_eq!(PrivateKey::parse(&several).err(), Some(KeyError::Several(2)));
    let with_certificate = [include_bytes!("../testdata/sha1-root.pem"), P256_PKCS8].concat();
    assert!(PrivateKey::parse(&with_certificate).is_ok());
}

/// What Sentry makes of a live `issuer.key`, and whether this tool can use the key all the same.
#[rstest]
#[case::its_own(P256_PKCS8, None, true)]
#[case::sec1(include_bytes!("../testdata/p256-sec1.pem"), None, true)]
#[case::two_and_the_first_is_right(&[P256_PKCS8, RSA_PKCS8].concat(), None, true)]
#[case::parameters_first(include_bytes!("../testdata/p256-sec1-parameters.pem"), Some("`EC PARAMETERS` is not a private key"), true)]
#[case::certificate_first(&[&include_bytes!("../testdata/sha1-root.pem")[..], P256_PKCS8].concat(), Some("`CERTIFICATE` is not"), true)]
#[case::byte_order_mark(&[&b"\xef\xbb\xbf"[..], P256_PKCS8].concat(), Some("no private key"), true)]
#[case::encrypted(include_bytes!("../testdata/encrypted-pkcs8.pem"), Some("`ENCRYPTED PRIVATE KEY` is not"), false)]
#[case::x25519(include_bytes!("../testdata/x25519.pem"), Some("X25519"), false)]
#[case::nothing(b"", Some("no private key"), false)]
fn a_live_key_is_read_as_sentry_reads_it(#[case] file: &[u8], #[case] odd: Option<&str>, #[case] usable: bool) {
    let (key, oddity) = PrivateKey::read_as_go(file);
    assert_eq!(key.map(|key| key.to_pem().as_bytes() == P256_PKCS8), usable.then_some(true));
    assert_eq!(oddity.is_some(), odd.is_some());
    if let (Some(oddity), Some(odd)) = (oddity, odd) {
        assert!(matches!(oddity.what, OddityKind::NoKey(_)) && oddity.to_string().contains(odd), "{oddity}");
        assert_eq!(oddity.means(), "Sentry exits when it starts");
    }
}

#[rstest]
#[case::p521(include_bytes!("../testdata/p521.pem"), "curve `P-521`")]
#[case::rsa1024(include_bytes!("../testdata/rsa1024.pem"), "RSA")]
fn a_live_key_that_only_sentry_can_use_is_said_to_be_that(#[case] file: &[u8], #[case] odd: &str) {
    let (key, oddity) = PrivateKey::read_as_go(file);
    assert!(key.is_none());
    let oddity = oddity.unwrap();
    assert!(matches!(oddity.what, OddityKind::ForeignKey(_)) && oddity.to_string().contains(odd), "{oddity}");
    assert!(!oddity.means().contains("Sentry exits"), "{oddity}");
}

#[test]
fn a_key_matches_its_own_certificate_alone() {
    let mut lab = Lab::new(1);
    let (one, one_key) = lab.root();
    let (two, _) = lab.root();
    assert!(one_key.matches(&one) && !one_key.matches(&two));
}

proptest::proptest! {
    #[test]
    fn no_file_makes_the_parser_panic(file: Vec<u8>, text in "(-----BEGIN (EC )?PRIVATE KEY-----\n[A-Za-z0-9+/=:]{0,80}\n-----END (EC )?PRIVATE KEY-----\n)?") {
        let _ = PrivateKey::parse(&file);
        let _ = PrivateKey::parse(text.as_bytes());
        let _ = PrivateKey::from_pkcs8_der(&file);
    }
}
