//! Each way in which a bundle is misread, as it is given and as it is published.

use rstest::rstest;

use crate::pki::testing::Lab;
use std::sync::OnceLock;

use super::*;
use crate::pki::reading::{Oddity, OddityKind, read_as_go};
use crate::pki::{CertificateError, Fingerprint, pem};

/// Three roots as PEM.
fn roots() -> [String; 3] {
    static ROOTS: OnceLock<[String; 3]> = OnceLock::new();
    let make = || {
        let mut lab = Lab::new(1);
        std::array::from_fn(|_| lab.root().0.to_pem())
    };
    ROOTS.get_or_init(make).clone()
}

/// Which of the roots Go reads, in order.
fn read(data: &str) -> Vec<usize> {
    let roots = roots();
    let index = |certificate: &Certificate| roots.iter().position(|root| *root == certificate.to_pem()).unwrap();
    read_as_go(data.as_bytes()).certificates.iter().map(index).collect()
}

fn refusal(data: &str) -> (Option<usize>, PemProblem) {
    let error = TrustBundle::parse(data.as_bytes()).unwrap_err();
    assert!(!error.hint().is_empty());
    (error.line, error.problem)
}

/// A PEM block with other words around it.
fn relabelled(pem: &str, label: &str) -> String {
    pem.replace("CERTIFICATE", label)
}

#[test]
fn two_joined_without_a_newline_are_neither_read_nor_accepted() {
    let [a, b, _] = roots();
    let joined = format!("{}{b}", a.trim_end());
    assert_eq!(read(&joined), [0; 0]);
    let kinds: Vec<_> = read_as_go(joined.as_bytes()).oddities.into_iter().map(|oddity| oddity.what).collect();
    assert!(
        kinds.contains(&OddityKind::Skipped(PemProblem::Joined)) && kinds.contains(&OddityKind::Nothing),
        "{kinds:?}"
    );
    assert_eq!(refusal(&joined), (Some(a.lines().count()), PemProblem::Joined));
}

#[rstest]
#[case("PRIVATE KEY", PemProblem::PrivateKey("PRIVATE KEY".into()))]
#[case("X509 CRL", PemProblem::Foreign("X509 CRL".into()))]
#[case("TRUSTED CERTIFICATE", PemProblem::Foreign("TRUSTED CERTIFICATE".into()))]
fn reading_stops_at_a_foreign_block(#[case] label: &str, #[case] problem: PemProblem) {
    let [a, b, c] = roots();
    let file = format!("{a}{}{c}", relabelled(&b, label));
    assert_eq!(read(&file), [0]);
    let line = a.lines().count() + 1;
    let oddities = read_as_go(file.as_bytes()).oddities;
    assert_eq!(oddities[0], Oddity { line: Some(line), what: OddityKind::StopsHere(problem.clone()) });
    assert_eq!(oddities[1].what, OddityKind::NeverReached);
    assert_eq!(refusal(&file), (Some(line), problem));
}

#[rstest]
#[case::cut_off(|b: &str| b.replace("-----END CERTIFICATE-----\n", ""))]
#[case::bad_base64(|b: &str| b.replacen('M', "!", 1))]
fn a_damaged_block_is_skipped_without_a_word(#[case] damage: fn(&str) -> String) {
    let [a, b, c] = roots();
    let file = format!("{a}{}{c}", damage(&b));
    assert_eq!(read(&file), [0, 2]);
    let line = a.lines().count() + 1;
    assert_eq!(
        read_as_go(file.as_bytes()).oddities,
        [Oddity { line: Some(line), what: OddityKind::Skipped(PemProblem::Damaged) }]
    );
    assert_eq!(refusal(&file), (Some(line), PemProblem::Damaged));
}

#[test]
fn a_byte_order_mark_hides_the_first() {
    let [a, b, _] = roots();
    let file = format!("\u{feff}{a}{b}");
    assert_eq!(read(&file), [1]);
    assert_eq!(
        read_as_go(file.as_bytes()).oddities,
        [Oddity { line: Some(1), what: OddityKind::Skipped(PemProblem::ByteOrderMark) }]
    );
    assert_eq!(refusal(&file), (Some(1), PemProblem::ByteOrderMark));
}

#[test]
fn a_block_that_does_not_parse_spoils_the_whole() {
    let [a, ..] = roots();
    let file = format!("{a}{}", pem::encode("CERTIFICATE", b"\x30\x03\x02\x01\x01").as_str());
    assert_eq!(read(&file), [0; 0]);
    assert!(matches!(refusal(&file), (Some(_), PemProblem::Unreadable(_))));
}

/// One that any other tool shows, and that Go refuses.
#[test]
fn a_negative_serial_number_spoils_the_whole() {
    let [a, b, _] = roots();
    let mut der = pem::decode(b.as_bytes(), 0).unwrap().bytes.to_vec();
    let serial = der.windows(2).position(|pair| pair == [0x02, 0x10]).unwrap() + 2;
    der[serial] |= 0x80;
    let file = format!("{a}{}", pem::encode("CERTIFICATE", &der).as_str());
    let line = a.lines().count() + 1;
    let problem = PemProblem::Unreadable(CertificateError::NegativeSerial);
    let refused = Oddity { line: Some(line), what: OddityKind::RefusedWhole(problem.clone()) };
    let reading = read_as_go(file.as_bytes());
    assert!(reading.certificates.is_empty() && reading.oddities.contains(&refused), "{reading:?}");
    assert!(problem.hint().contains("positive serial number"), "{}", problem.hint());
    assert_eq!(refusal(&file), (Some(line), problem));
}

#[test]
fn line_ends_text_and_duplicates_are_read_and_become_canonical() {
    let [a, b, _] = roots();
    let file = format!("# the old one\r\n{}Subject: O=x\n{b}\n{a}", a.replace('\n', "\r\n"));
    assert_eq!(read(&file), [0, 1, 0]);
    let bundle = TrustBundle::parse(file.as_bytes()).unwrap();
    assert_eq!(bundle.to_pem(), format!("{a}{b}"));
    assert_eq!(read_as_go(bundle.to_pem().as_bytes()).oddities, []);
}

#[rstest]
#[case("")]
#[case("no certificate")]
fn nothing_is_no_bundle(#[case] file: &str) {
    assert_eq!(refusal(file), (None, PemProblem::Empty));
    assert_eq!(read_as_go(file.as_bytes()).oddities, [Oddity { line: None, what: OddityKind::Nothing }]);
}

#[test]
fn an_issuer_is_no_anchor() {
    let mut lab = Lab::new(2);
    let (root, key) = lab.root();
    let issuer = lab.issuer(&root, &key);
    let file = format!("{}{}", root.to_pem(), issuer.chain_pem());
    let (line, problem) = refusal(&file);
    assert_eq!(line, Some(root.to_pem().lines().count() + 1));
    assert!(matches!(problem, PemProblem::NotSelfSigned { .. }));
    assert!(matches!(read_as_go(file.as_bytes()).oddities[0].what, OddityKind::NotAnAnchor(_)));
}

#[test]
fn a_new_root_goes_in_front_and_the_rest_stays_in_order() {
    let mut lab = Lab::new(3);
    let [a, b, c] = std::array::from_fn(|_| lab.root().0);
    let bundle = TrustBundle::from_anchors(vec![a.clone(), b.clone()]).unwrap();
    let with = bundle.with(&c).unwrap();
    assert_eq!(with.anchors(), [c.clone(), a.clone(), b.clone()]);
    assert_eq!(with.with(&b).unwrap().anchors(), [b.clone(), c.clone(), a]);
    assert_eq!(bundle.merged(&TrustBundle::from_anchors(vec![c.clone(), b]).unwrap()).unwrap().anchors()[2], c);
    assert!(with.contains(c.fingerprint()) && !bundle.contains(c.fingerprint()));
}

#[test]
fn more_than_fits_into_a_sidecars_environment_is_refused() {
    let mut lab = Lab::new(4);
    let mut anchors = vec![lab.root().0];
    let size = anchors[0].to_pem().len();
    while anchors.len() <= MAX_BYTES / size {
        anchors.push(lab.root().0);
    }
    let error = TrustBundle::from_anchors(anchors.clone()).unwrap_err();
    assert!(matches!(error.problem, PemProblem::TooLarge(size) if size > MAX_BYTES));
    assert!(error.hint().contains("fewer"), "{}", error.hint());
    let live = TrustBundle::published(anchors.clone()).unwrap();
    assert_eq!(live.anchors(), anchors, "what is published already is read whatever its size");
    assert_eq!(TrustBundle::parse_kept(live.to_pem().as_bytes()).unwrap(), live);
    assert!(matches!(refusal(&live.to_pem()), (None, PemProblem::TooLarge(_))));
    anchors.pop();
    assert!(TrustBundle::from_anchors(anchors).is_ok());
}

/// ring checks RSA keys of 1024 bits with SHA-256 and SHA-512 alone; Go, and so Sentry, with SHA-384 as well.
#[test]
fn an_anchor_that_can_not_be_checked_stays_and_nobody_is_said_to_refuse_it() {
    let [a, ..] = roots();
    let file = format!("{a}{}", include_str!("../testdata/rsa1024-sha384-root.pem"));
    let bundle = TrustBundle::parse(file.as_bytes()).unwrap();
    assert_eq!(bundle.anchors().len(), 2);
    let [oddity] = &read_as_go(file.as_bytes()).oddities[..] else { panic!("one oddity") };
    let OddityKind::Unchecked(problem) = &oddity.what else { panic!("{oddity}") };
    assert!(oddity.to_string().ends_with("is self-signed can't be told"), "{oddity}");
    assert_eq!(oddity.means(), "this tool cannot tell whether Dapr takes it");
    assert!(problem.hint().contains("P-256"), "{}", problem.hint());
}

proptest::proptest! {
    #[test]
    fn no_file_makes_the_parser_panic(file: Vec<u8>, text in "(-----BEGIN [A-Z:]{0,9}-----|\n-----END [A-Z]{0,9}-----|[a-zA-Z0-9+/=: \r\n-]{0,20}){0,9}") {
        for data in [&file[..], text.as_bytes()] {
            let reading = read_as_go(data);
            proptest::prop_assert!(TrustBundle::parse(data).is_err() && reading.certificates.is_empty());
        }
    }

    #[test]
    fn what_is_accepted_is_what_go_reads(order in proptest::collection::vec(0..3_usize, 1..6), junk in "[ -~\r\n]{0,30}") {
        let roots = roots();
        let file = order.iter().map(|index| format!("{junk}\n{}", roots[*index])).collect::<Vec<_>>().concat();
        if let Ok(bundle) = TrustBundle::parse(file.as_bytes()) {
            let read: BTreeSet<Fingerprint> = read_as_go(file.as_bytes()).certificates.iter().map(Certificate::fingerprint).collect();
            proptest::prop_assert_eq!(bundle.fingerprints(), read);
        }
    }
}
