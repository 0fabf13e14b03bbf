//! Every way in which a CA is known to fail in a Dapr mesh, and who refuses it.

use rcgen::{CertificateParams, CustomExtension, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose};
use rstest::rstest;

use super::*;
use crate::pki::testing::{Lab, at, now, path_length, permits, validity};
use crate::pki::{Issuer, LeafName, Svid, Validity, cross_sign, issuer, leaf, same_key_root};

type Oddity = Box<dyn FnOnce(&mut CertificateParams)>;

fn mesh(dapr: Option<(u32, u32, u32)>) -> Signing<'static> {
    Signing { trust_domain: "cluster.local", namespace: "dapr-system", dapr }
}

fn judged(anchors: &[Certificate], chain: &[Certificate]) -> Judged {
    let week = jiff::Span::new().hours(7 * 24);
    judge(anchors, chain, None, &mesh(Some((1, 17, 9))), now(), now() + week)
}

/// A root and an issuer, each odd in its way.
fn ca(
    root: impl FnOnce(&mut CertificateParams) + 'static,
    issuer: impl FnOnce(&mut CertificateParams) + 'static,
) -> (Certificate, Issuer, PrivateKey) {
    let mut lab = Lab::new(1);
    let (root, root_key) = lab.odd(None, root);
    let (certificate, key) = lab.odd(Some((&root, &root_key)), issuer);
    (root, Issuer { chain: vec![certificate], key }, root_key)
}

fn everyone() -> Vec<Refuser> {
    vec![Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd]
}

#[test]
fn what_is_minted_here_is_fine_for_all() {
    let mut lab = Lab::new(1);
    let (root, key) = lab.root();
    let issuer = lab.issuer(&root, &key);
    let judged = judged(&[root], &issuer.chain);
    assert_eq!(judged.problems, []);
    assert_eq!(judged.until, Some(validity().not_after));
}

#[rstest]
#[case::pathlen_0_root(Box::new(path_length(0)), Box::new(|_: &mut _| {}), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "allows 0 further certificates", "without a path length")]
#[case::issuer_not_a_ca(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.is_ca = IsCa::ExplicitNoCa), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "not a CA", "CA:true")]
#[case::issuer_without_constraints(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.is_ca = IsCa::NoCa), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "not a CA", "CA:true")]
#[case::issuer_without_cert_sign(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.key_usages = vec![KeyUsagePurpose::DigitalSignature]), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "does not include signing certificates", "keyCertSign")]
#[case::uri_constraint(Box::new(permits(6, &["other.local"])), Box::new(|_: &mut _| {}), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "URI `spiffe://cluster.local/", "trust domain")]
#[case::dns_constraint(Box::new(permits(2, &["example.com"])), Box::new(|_: &mut _| {}), &[Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "DNS name `dapr-sidecar-injector.dapr-system.svc`", "DNS names")]
#[case::client_auth_only(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth]), &[Refuser::Sentry, Refuser::Webhook, Refuser::Etcd], "excludes server authentication", "both serverAuth and clientAuth")]
#[case::server_auth_only(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]), &[Refuser::Etcd], "excludes client authentication", "both serverAuth and clientAuth")]
#[case::critical_extension(Box::new(|_: &mut _| {}), Box::new(unknown_critical), &[Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "critical extension 1.2.3.4", "not critical")]
#[case::expired_issuer(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 5, 1)), &[Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "expired at 2026-05-01", "renew")]
#[case::expired_root(Box::new(|p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 5, 1)), Box::new(|_: &mut _| {}), &[Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "expired at 2026-05-01", "renew")]
#[case::issuer_of_tomorrow(Box::new(|_: &mut _| {}), Box::new(|p: &mut CertificateParams| p.not_before = rcgen::date_time_ymd(2026, 6, 2)), &[Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "valid only from 2026-06-02", "clock")]
#[case::root_of_tomorrow(Box::new(|p: &mut CertificateParams| p.not_before = rcgen::date_time_ymd(2026, 6, 2)), Box::new(|_: &mut _| {}), &[Refuser::Sentry, Refuser::Sidecar, Refuser::Webhook, Refuser::Etcd], "valid only from 2026-06-02", "clock")]
fn each_odd_ca_is_refused_by_those_who_will(
    #[case] root: Oddity,
    #[case] issuer: Oddity,
    #[case] by: &[Refuser],
    #[case] what: &str,
    #[case] hint: &str,
) {
    let (root, issuer, _) = ca(root, issuer);
    let judged = judged(&[root], &issuer.chain);
    let mut refusers: Vec<Refuser> = judged.problems.iter().flat_map(|problem| problem.by.clone()).collect();
    refusers.sort();
    refusers.dedup();
    assert_eq!(refusers, by, "{judged:?}");
    assert!(
        judged.problems.iter().any(|problem| problem.what.contains(what) && problem.hint.contains(hint)),
        "{judged:?}"
    );
    assert!(!judged.is_usable() && judged.until.is_none());
}

fn unknown_critical(params: &mut CertificateParams) {
    let mut extension = CustomExtension::from_oid_content(&[1, 2, 3, 4], vec![5, 0]);
    extension.set_criticality(true);
    params.custom_extensions.push(extension);
}

#[test]
fn an_issuer_that_ends_before_the_horizon_is_a_warning() {
    let ends = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 6, 4);
    let (root, issuer, _) = ca(|_| {}, ends);
    let judged = judged(&[root], &issuer.chain);
    assert!(judged.is_usable());
    assert_eq!(judged.until, Some(at("2026-06-04T00:00:00Z")));
    let [problem] = &judged.problems[..] else { panic!("{judged:?}") };
    assert_eq!(problem.severity, Severity::Warning);
    assert_eq!(problem.by, everyone()[1..]);
    assert!(problem.what.ends_with(" expires at 2026-06-04T00:00:00Z"), "{}", problem.what);
}

#[test]
fn a_root_for_the_control_planes_trust_domain_alone_fails_every_application() {
    let (root, issuer, _) = ca(permits(6, &["cluster.local"]), |_| {});
    let judged = judged(&[root], &issuer.chain);
    assert!(!judged.is_usable() && judged.until.is_none());
    let problem = &judged.problems[0];
    assert!(problem.what.contains("URI `spiffe://public/ns/default/app` is outside"), "{problem:?}");
    assert_eq!(problem.by, [Refuser::Sidecar]);
    assert!(problem.hint.contains("of `public`, which applications have"), "{problem:?}");
}

#[test]
fn a_root_that_permits_some_trust_domains_is_fine_with_a_warning() {
    let (root, issuer, _) = ca(permits(6, &["cluster.local", "public"]), |_| {});
    let judged = judged(&[root], &issuer.chain);
    assert!(judged.is_usable());
    assert_eq!(judged.until, Some(validity().not_after));
    let [problem] = &judged.problems[..] else { panic!("{judged:?}") };
    assert_eq!(problem.severity, Severity::Warning);
    assert!(problem.what.contains("accessControl.trustDomain"), "{problem:?}");
    assert!(problem.hint.contains("kubectl get configurations.dapr.io -A"), "{problem:?}");
}

#[rstest]
#[case((1, 14, 0), &[])]
#[case((1, 15, 0), &[Refuser::Etcd])]
fn an_issuer_for_servers_alone_harms_an_etcd_that_asks_for_certificates(
    #[case] dapr: (u32, u32, u32),
    #[case] by: &[Refuser],
) {
    let server_auth = |p: &mut CertificateParams| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
    let (root, issuer, _) = ca(|_| {}, server_auth);
    let judged = judge(&[root], &issuer.chain, None, &mesh(Some(dapr)), now(), now());
    let refusers: Vec<Refuser> = judged.problems.iter().flat_map(|problem| problem.by.clone()).collect();
    assert_eq!(refusers, by, "{judged:?}");
}

#[test]
fn an_anchor_that_is_a_bridge_makes_sentry_exit() {
    let mut lab = Lab::new(2);
    let (old, old_key) = lab.root();
    let issuer = lab.issuer(&old, &old_key);
    let (new, _) = lab.root();
    let bridge = lab.bridge(&new, &issuer);
    let judged = judged(&[old, bridge], &issuer.chain);
    let [problem] = &judged.problems[..] else { panic!("{judged:?}") };
    assert_eq!(problem.by, [Refuser::Sentry]);
    assert!(problem.what.contains("not a self-signed CA certificate"), "{problem:?}");
    assert!(problem.hint.contains("cross certificates belong into the issuer chain"), "{problem:?}");
}

#[test]
fn a_chain_out_of_order_makes_sentry_exit() {
    let mut lab = Lab::new(2);
    let (old, old_key) = lab.root();
    let issuer = lab.issuer(&old, &old_key);
    let (new, new_key) = lab.root();
    let mut chain = lab.issuer(&new, &new_key).chain;
    chain.extend([issuer.certificate().clone(), lab.bridge(&new, &issuer)]);
    let judged = judged(&[old], &chain);
    assert_eq!(judged.problems[0].by, [Refuser::Sentry]);
    assert!(judged.problems[0].what.contains("not signed by the next"), "{judged:?}");
    assert!(judged.problems[0].hint.starts_with("put the issuer first"), "{judged:?}");
}

#[test]
fn a_foreign_root_and_a_foreign_key_are_named() {
    let mut lab = Lab::new(2);
    let (root, key) = lab.root();
    let issuer = lab.issuer(&root, &key);
    let (other, other_key) = lab.root();
    let judged = judge(&[other], &issuer.chain, Some(&other_key), &mesh(None), now(), now());
    let told = |what: &str, hint: &str, by: &[Refuser]| {
        let problem = judged.problems.iter().find(|problem| problem.what.starts_with(what));
        problem.is_some_and(|problem| problem.hint.contains(hint) && problem.by == by)
    };
    assert!(told("no trust anchor signed `O=spiffe://", "needs the root that signed it", &everyone()), "{judged:?}");
    assert!(told("the issuer key is not the one of", "give the key that", &[Refuser::Sentry]), "{judged:?}");
}

#[rstest]
#[case::ed25519(include_bytes!("../testdata/ed25519.pem"))]
#[case::rsa(include_bytes!("../testdata/rsa2048-pkcs8.pem"))]
fn keys_that_crash_sentry_are_refused_with_the_versions_that_can(#[case] key: &[u8]) {
    let mut lab = Lab::new(2);
    let (root, root_key) = lab.root();
    let key = PrivateKey::parse(key).unwrap();
    let made = issuer(&root, &root_key, "cluster.local", "dapr-system", &key, &validity(), &mut lab.entropy()).unwrap();
    let judged = |dapr| judge(slice::from_ref(&root), slice::from_ref(&made), Some(&key), &mesh(dapr), now(), now());
    for crashes in [(1, 12, 0), (1, 16, 14), (1, 17, 0), (1, 17, 6)] {
        let judged = judged(Some(crashes));
        let [problem] = &judged.problems[..] else { panic!("{judged:?}") };
        assert_eq!((problem.severity, &problem.by[..]), (Severity::Fatal, &[Refuser::Sentry][..]));
        assert!(problem.what.contains("1.16.15, 1.17.7, 1.18.0") && problem.hint.contains("P-256"), "{problem:?}");
    }
    for fine in [(1, 16, 15), (1, 17, 7), (1, 18, 0)] {
        assert_eq!(judged(Some(fine)).problems, []);
    }
    let unknown = judged(None);
    let [problem] = &unknown.problems[..] else { panic!("{unknown:?}") };
    assert_eq!(problem.severity, Severity::Warning);
    assert!(problem.what.contains("1.16.15, 1.17.7, 1.18.0"), "{problem:?}");
}

/// Who still verifies a new issuer, by path length of the old root and issuer; `by_root`: the old root's key signed the bridge.
#[rstest]
#[case(None, None, false, true)]
#[case(Some(3), Some(2), false, true)]
#[case(None, Some(1), false, false)]
#[case(None, Some(0), false, false)]
#[case(Some(2), None, false, false)]
#[case(Some(1), Some(0), false, false)]
#[case(None, Some(0), true, true)]
#[case(Some(2), Some(0), true, true)]
#[case(Some(1), Some(0), true, false)]
fn a_bridge_needs_path_length_to_spare(
    #[case] root: Option<u8>,
    #[case] issuer: Option<u8>,
    #[case] by_root: bool,
    #[case] accepted: bool,
) {
    let constrain = |length: Option<u8>| {
        move |params: &mut CertificateParams| {
            if let Some(length) = length {
                path_length(length)(params);
            }
        }
    };
    let (old_root, old, old_key) = ca(constrain(root), constrain(issuer));
    let mut lab = Lab::new(9);
    let (new_root, new_key) = lab.root();
    let (by, by_key) = if by_root { (&old_root, &old_key) } else { (old.certificate(), &old.key) };
    let bridge = cross_sign(&new_root, by, by_key, &validity(), &mut lab.entropy()).unwrap();
    let mut chain = lab.issuer(&new_root, &new_key).chain;
    chain.push(bridge);
    if !by_root {
        chain.extend(old.chain.clone());
    }
    let old_only = judged(std::slice::from_ref(&old_root), &chain);
    assert_eq!(old_only.is_usable(), accepted, "{old_only:?}");
    if !accepted {
        assert!(old_only.problems[0].what.contains("further certificates below it"), "{old_only:?}");
        assert!(old_only.problems[0].hint.contains("without a path length"), "{old_only:?}");
    }
    assert!(judged(std::slice::from_ref(&new_root), &chain).is_usable());
    assert!(judged(&[new_root, old_root], &chain).is_usable(), "whoever holds both takes the short way, Sentry too");
}

#[test]
fn without_the_tail_peers_with_an_older_root_are_lost() {
    let mut lab = Lab::new(3);
    let (first, key) = lab.root();
    let mut issuer = lab.issuer(&first, &key);
    let mut roots = vec![first.clone()];
    for _ in 0..3 {
        let (root, key) = lab.root();
        let bridge = lab.bridge(&root, &issuer);
        let mut next = lab.issuer(&root, &key);
        next.chain.push(bridge);
        next.chain.append(&mut issuer.chain);
        issuer = next;
        roots.push(root);
    }
    assert_eq!(issuer.chain.len(), 7);
    for root in &roots {
        assert!(judged(std::slice::from_ref(root), &issuer.chain).is_usable());
    }
    let without_tail = judged(&[first], &issuer.chain[..3]);
    assert!(!without_tail.is_usable());
}

#[test]
fn a_bridge_ends_with_the_old_root_but_harms_nobody_who_has_the_new_one() {
    let mut lab = Lab::new(4);
    let soon = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 6, 3);
    let (old_root, old_key) = lab.odd(None, soon);
    let old = lab.issuer(&old_root, &old_key);
    let (new_root, new_key) = lab.root();
    let mut chain = lab.issuer(&new_root, &new_key).chain;
    chain.push(lab.bridge(&new_root, &old));
    chain.extend(old.chain);
    assert_eq!(judged(std::slice::from_ref(&old_root), &chain).until, Some(at("2026-06-03T00:00:00Z")));
    assert_eq!(judged(&[old_root, new_root.clone()], &chain).until, Some(validity().not_after));
    let later = at("2026-09-01T00:00:00Z");
    let after = judge(&[new_root], &chain, None, &mesh(None), later, later);
    assert_eq!(after.problems, []);
}

#[test]
fn a_bridge_ends_with_the_old_issuer_if_that_is_first() {
    let mut lab = Lab::new(4);
    let (old_root, old_key) = lab.root();
    let soon = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 6, 3);
    let (certificate, key) = lab.odd(Some((&old_root, &old_key)), soon);
    let old = Issuer { chain: vec![certificate], key };
    let (new_root, new_key) = lab.root();
    let mut chain = lab.issuer(&new_root, &new_key).chain;
    chain.push(lab.bridge(&new_root, &old));
    chain.extend(old.chain);
    assert_eq!(judged(std::slice::from_ref(&old_root), &chain).until, Some(at("2026-06-03T00:00:00Z")));
    assert_eq!(judged(&[old_root, new_root], &chain).until, Some(validity().not_after));
}

/// SVIDs outlive the switch by their TTL: who takes one that was not issued again yet.
#[test]
fn an_old_svid_needs_the_old_root_and_a_live_issuer() {
    let mut lab = Lab::new(4);
    let soon = |p: &mut CertificateParams| p.not_after = rcgen::date_time_ymd(2026, 6, 3);
    let (old_root, old_key) = lab.root();
    let (certificate, key) = lab.odd(Some((&old_root, &old_key)), soon);
    let old = Issuer { chain: vec![certificate], key };
    let (new_root, _) = lab.root();
    let id = LeafName::Spiffe("spiffe://public/ns/default/app".into());
    let svid = leaf(&old, id, &lab.key(), &validity(), &mut lab.entropy()).unwrap();
    let shown_to = |anchors: &[Certificate], at| verify(Shown::Leaf(&svid), &old.chain, anchors, Profile::Spiffe, at);
    let both = [new_root.clone(), old_root];
    assert_eq!(shown_to(&both, now()), Ok(at("2026-06-03T00:00:00Z")));
    assert_eq!(shown_to(&both, at("2026-06-04T00:00:00Z")), Err(Refusal::Expired(old.chain[0].clone())));
    assert!(
        matches!(shown_to(&[new_root], now()), Err(Refusal::UnknownAuthority { of: Some(of), .. }) if of == old.chain[0])
    );
}

#[test]
fn a_root_renewed_with_its_key_verifies_the_old_issuer_and_another_subject_does_not() {
    let mut lab = Lab::new(5);
    let (old, key) = lab.root();
    let issuer = lab.issuer(&old, &key);
    let longer = Validity { not_after: at("2028-01-01T00:00:00Z"), ..validity() };
    let renewed = same_key_root(&old, &key, &longer, &mut lab.entropy()).unwrap();
    assert!(judged(&[renewed], &issuer.chain).is_usable());
    let renamed = crate::pki::root("cluster.local", &key, &validity(), &mut lab.entropy()).unwrap();
    assert!(!judged(&[renamed], &issuer.chain).is_usable());
}

#[test]
fn equal_subjects_do_not_make_an_issuer_self_signed() {
    let mut lab = Lab::new(6);
    let (root, root_key) = lab.root();
    let key = lab.key();
    let draft = crate::pki::draft::Draft::new(&validity(), &mut lab.entropy()).unwrap();
    let id = crate::pki::draft::key_id(&key);
    let issuer = draft
        .ca(Some(&id))
        .sign(root.subject_der(), &key.spki_der(), root.subject_der(), root.subject_key_id(), &root_key)
        .unwrap();
    assert!(!issuer.self_signed());
    assert!(judged(&[root], &[issuer]).is_usable());
}

#[test]
fn sentry_takes_no_sha1_root() {
    let sha1 = crate::pki::read_as_go(include_bytes!("../testdata/sha1-root.pem")).certificates;
    let (_, issuer, _) = ca(|_| {}, |_| {});
    let judged = judged(&sha1, &issuer.chain);
    let [problem, ..] = &judged.problems[..] else { panic!("it was accepted") };
    assert!(problem.what.contains("not a self-signed CA certificate") && problem.what.contains("SHA-1"), "{problem:?}");
    assert_eq!(problem.by, [Refuser::Sentry]);
    assert!(problem.hint.contains("SHA-256"), "{problem:?}");
}

#[test]
fn an_anchor_that_can_not_be_checked_is_a_warning_and_no_word_about_sentry() {
    let mut lab = Lab::new(8);
    let (root, key) = lab.root();
    let issuer = lab.issuer(&root, &key);
    let odd = crate::pki::read_as_go(include_bytes!("../testdata/rsa1024-sha384-root.pem")).certificates;
    let judged = judged(&[vec![root], odd].concat(), &issuer.chain);
    let [problem] = &judged.problems[..] else { panic!("{judged:?}") };
    assert_eq!(problem.severity, Severity::Warning);
    assert!(
        problem.what.ends_with("this tool cannot check RSA signatures with SHA-384 by keys of 1024 bits"),
        "{problem:?}"
    );
    assert!(!problem.what.contains("Sentry") && problem.hint.contains("P-256"), "{problem:?}");
}

#[test]
fn the_fiftieth_bridge_is_one_too_many() {
    let mut lab = Lab::new(7);
    let (first, key) = lab.root();
    let mut issuer = lab.issuer(&first, &key);
    let mut usable = 0;
    for _ in 0..55 {
        let (root, key) = lab.root();
        let bridge = lab.bridge(&root, &issuer);
        let mut next = lab.issuer(&root, &key);
        next.chain.push(bridge);
        next.chain.append(&mut issuer.chain);
        issuer = next;
        let svid = [Svid::new("spiffe://cluster.local/ns/a/b")];
        match verify(Shown::Synthetic(&svid), &issuer.chain, std::slice::from_ref(&first), Profile::Spiffe, now()) {
            Ok(_) => usable += 1,
            Err(refusal) => {
                assert_eq!(refusal, Refusal::TooManySignatures);
                break;
            }
        }
    }
    assert_eq!(usable, 49);
}
