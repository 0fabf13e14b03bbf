//! Meshes in trouble, and what is said of them.

use std::sync::Arc;

use rstest::rstest;

use super::*;
use crate::mesh::{
    Answer, Denied, Distribution, Distributor, Era, Published, Settings, TrustCopy, TrustSource, Version, Workload,
    WorkloadKind, layers,
};
use crate::pki::{Certificate, Issuer, PrivateKey, Validity, cross_sign, issuer, read_as_go, root};

/// A generator that is the same in every run.
fn chance() -> impl FnMut(&mut [u8]) {
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    move |bytes| {
        for byte in bytes {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            *byte = state.to_le_bytes()[0];
        }
    }
}

fn now() -> Timestamp {
    "2026-11-23T10:00:00Z".parse().expect("a time")
}

struct Ca {
    root: Certificate,
    issuer: Issuer,
}

impl Ca {
    fn new(days: i64, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        Self::born(now() - SignedDuration::from_hours(24 * 300), days, entropy)
    }

    fn born(at: Timestamp, days: i64, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let validity = Validity {
            not_before: at - SignedDuration::from_mins(15),
            not_after: now() + SignedDuration::from_hours(24 * days),
        };
        let root_key = PrivateKey::generate(entropy);
        let root = root("cluster.local", &root_key, &validity, entropy).expect("a root");
        let key = PrivateKey::generate(entropy);
        let certificate = issuer(&root, &root_key, "cluster.local", "dapr-system", &key, &validity, entropy);
        Self { root, issuer: Issuer { chain: vec![certificate.expect("an issuer")], key } }
    }

    /// This CA after a rotation from `old`, whose issuer lasts for `days`.
    fn bridged(mut self, old: &Self, days: i64, entropy: &mut dyn FnMut(&mut [u8])) -> Self {
        let validity = Validity {
            not_before: now() - SignedDuration::from_hours(1),
            not_after: now() + SignedDuration::from_hours(24 * days),
        };
        let signer = &old.issuer;
        let cross = cross_sign(&self.root, signer.certificate(), &signer.key, &validity, entropy).expect("a bridge");
        self.issuer.chain.push(cross);
        self.issuer.chain.extend(signer.chain.iter().cloned());
        self
    }
}

/// A cluster that publishes `anchors` and the chain of `issuer`.
fn cluster(anchors: &[&Ca], issuer: &Issuer) -> Observed {
    let anchors: Vec<Certificate> = anchors.iter().map(|ca| ca.root.clone()).collect();
    let mut seen = Observed {
        now: now(),
        published: Published {
            mirror: anchors.clone(),
            anchors,
            chain: issuer.chain.clone(),
            key: Some(issuer.key.clone()),
            pair: Pair::Equal,
            ..Published::default()
        },
        consumers_complete: true,
        control_plane: vec![Workload {
            role: Some(Role::Sentry),
            kind: WorkloadKind::Deployment,
            name: "dapr-sentry".to_owned(),
            namespace: "dapr-system".to_owned(),
            created: None,
            replicas: 1,
            ready: 1,
            version: "1.14.0".to_owned(),
            restarted: None,
            complete: true,
            blocker: None,
        }],
        settings: Settings::default(),
        ..Observed::default()
    };
    seen.identity.server = "https://127.0.0.1:6443".to_owned();
    seen.identity.trust_domain = "cluster.local".to_owned();
    seen.identity.namespace = "dapr-system".to_owned();
    seen
}

fn sidecar(name: &str, holds: &Ca, started: Timestamp) -> Consumer {
    let role = Role::Sidecar { era: Era::Env, app_id: name.to_owned() };
    let mut consumer = Consumer::new(role, format!("shop/{name}-1"));
    consumer.held = Answer::Proven(Arc::from([holds.root.clone()]));
    consumer.started = Some(started);
    consumer.owner = Some(format!("deploy/{name}"));
    consumer
}

fn found(seen: &Observed, record: Option<&Recorded>) -> Vec<Finding> {
    findings(seen, &layers(seen), record)
}

fn record(mends: bool) -> Recorded {
    Recorded { open: false, began: now(), strategy: "bridge", roots: Vec::new(), mends, left: Vec::new() }
}

#[track_caller]
fn only(found: &[Finding]) -> &Finding {
    assert_eq!(found.len(), 1, "{found:#?}");
    &found[0]
}

#[test]
fn a_sound_mesh_gives_no_cause_to_speak() {
    let ca = Ca::new(200, &mut chance());
    assert_eq!(found(&cluster(&[&ca], &ca.issuer), None), []);
}

#[rstest]
#[case(None, "make a CA that you know of with `mtls renew-certificate -k`")]
#[case(Some(record(true)), "put the kept CA back with `mtls restore -k`")]
fn an_empty_secret_is_an_error(#[case] record: Option<Recorded>, #[case] hint: &str) {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published = Published::default();
    let found = found(&seen, record.as_ref());
    let finding = only(&found);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.means.contains("Sentry invents a CA"), "{finding:?}");
    assert_eq!(finding.hint, hint);
}

#[test]
fn a_secret_that_may_not_be_read_is_not_called_empty() {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published = Published::default();
    seen.denied = vec![Denied {
        what: "the trust bundle".to_owned(),
        grant: "get secrets/dapr-trust-bundle in namespace dapr-system".to_owned(),
    }];
    let found = found(&seen, None);
    assert_eq!(only(&found).severity, Severity::Note);
    assert!(only(&found).hint.contains("get secrets/dapr-trust-bundle"), "{found:?}");
}

#[test]
fn no_control_plane_is_an_error() {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.control_plane.clear();
    assert!(only(&found(&seen, None)).what.contains("`dapr-system`"));
}

#[test]
fn an_unequal_pair_comes_before_everything_else() {
    let ca = Ca::new(20, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published.pair = Pair::Unequal("the ConfigMap has 1 anchor, the Secret 2".to_owned());
    seen.owners = vec![Owner::HelmUnknown("forbidden".to_owned())];
    let found = found(&seen, None);
    assert!(found[0].what.contains("the ConfigMap has 1 anchor"), "{found:#?}");
    assert!(found.is_sorted_by_key(|finding| finding.severity), "{found:#?}");
}

#[rstest]
#[case::of_another(Some(PrivateKey::generate(&mut chance())), "does not belong")]
#[case::unreadable(None, "cannot be used")]
fn an_issuer_key_that_does_not_fit_is_an_error(#[case] key: Option<PrivateKey>, #[case] what: &str) {
    let ca = Ca::born(now(), 200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published.key = key;
    assert!(only(&found(&seen, None)).what.contains(what));
}

#[test]
fn an_issuer_key_that_only_sentry_can_use_is_a_warning() {
    let ca = Ca::born(now(), 200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    let (key, oddity) = PrivateKey::read_as_go(include_bytes!("../../pki/testdata/p521.pem"));
    seen.published.key = key;
    seen.published.oddities.extend(oddity.map(|oddity| ("Secret".to_owned(), oddity)));
    let found = found(&seen, None);
    let finding = only(&found);
    assert_eq!((finding.severity, &finding.means[..]), (Severity::Warning, "no bridge can be signed with it"));
}

#[test]
fn an_issuer_of_another_root_is_an_error() {
    let entropy = &mut chance();
    let (one, other) = (Ca::new(200, entropy), Ca::new(200, entropy));
    let found = found(&cluster(&[&one], &other.issuer), None);
    assert!(only(&found).what.contains("no published trust anchor verifies the issuer"), "{found:?}");
}

#[test]
fn a_ca_that_can_not_be_checked_is_a_doubt_and_no_error() {
    let ca = Ca::born(now(), 200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published.anchors = read_as_go(include_bytes!("../../pki/testdata/rsa1024-sha384-root.pem")).certificates;
    seen.published.mirror = seen.published.anchors.clone();
    seen.published.chain = read_as_go(include_bytes!("../../pki/testdata/rsa1024-sha384-issuer.pem")).certificates;
    seen.published.key = None;
    seen.published.pair = Pair::Absent;
    let found = found(&seen, None);
    let doubts = found.iter().filter(|finding| finding.what.starts_with("this tool cannot check RSA signatures"));
    assert_eq!(doubts.map(|finding| finding.severity).collect::<Vec<_>>(), [Severity::Warning], "{found:#?}");
    assert!(found.iter().all(|finding| !finding.means.contains("handshake")), "{found:#?}");
}

#[test]
fn an_expired_ca_says_that_nothing_works() {
    let ca = Ca::new(-1, &mut chance());
    let found = found(&cluster(&[&ca], &ca.issuer), None);
    let finding = only(&found);
    assert_eq!(finding.severity, Severity::Error);
    assert!(finding.what.contains("trust anchor") && finding.what.contains("issuer"), "{finding:?}");
    assert!(finding.hint.contains("`mtls renew-certificate -k`"), "{finding:?}");
}

#[test]
fn an_expiring_ca_is_a_warning() {
    let ca = Ca::new(20, &mut chance());
    let found = found(&cluster(&[&ca], &ca.issuer), None);
    let finding = only(&found);
    assert_eq!(finding.severity, Severity::Warning);
    assert_eq!(finding.what.matches("expires in 20 days").count(), 2, "root and issuer: {finding:?}");
}

#[test]
fn an_expiring_bridge_matters_to_those_who_need_it() {
    let entropy = &mut chance();
    let old = Ca::new(20, entropy);
    let new = Ca::new(300, entropy).bridged(&old, 20, entropy);
    let mut seen = cluster(&[&new, &old], &new.issuer);
    assert_eq!(found(&seen, None), [], "nobody needs it");
    seen.consumers = vec![sidecar("cart", &old, now()), sidecar("server", &new, now())];
    let found = found(&seen, None);
    let finding = only(&found);
    assert_eq!(finding.severity, Severity::Warning);
    assert!(finding.what.starts_with("1 consumer (sidecar shop/cart-1)"), "{finding:?}");
    assert_eq!(finding.what.matches("expires in 20 days").count(), 3, "old root, old issuer, bridge: {finding:?}");
    assert_eq!(finding.hint, "restart them: `kubectl rollout restart deploy/cart -n shop`");
}

#[test]
fn an_expired_anchor_that_nobody_uses_is_a_note() {
    let entropy = &mut chance();
    let (old, new) = (Ca::new(-1, entropy), Ca::new(300, entropy));
    let found = found(&cluster(&[&new, &old], &new.issuer), None);
    assert_eq!(only(&found).severity, Severity::Note);
}

#[rstest]
#[case::on_record(record(true), "bridged to the new one: `mtls restore -k`; a renewal does that too")]
#[case::on_an_open_record(Recorded { open: true, ..record(true) }, "the new one: `mtls renew-certificate --resume -k`")]
#[case::lost(record(false), "so they must be restarted")]
fn a_ca_that_older_sidecars_do_not_know_was_invented(#[case] record: Recorded, #[case] hint: &str) {
    let entropy = &mut chance();
    let former = Ca::new(200, entropy);
    let invented = Ca::born(now() - SignedDuration::from_hours(1), 365, entropy);
    let mut seen = cluster(&[&invented], &invented.issuer);
    seen.consumers =
        vec![sidecar("client", &former, now() - SignedDuration::from_hours(48)), sidecar("server", &invented, now())];
    let found = found(&seen, Some(&record));
    let finding = &found[0];
    assert_eq!(found.len(), 1 + usize::from(record.open), "{found:#?}");
    assert!(finding.what.contains("invented") && finding.what.contains("shop/client-1"), "{finding:?}");
    assert!(!finding.what.contains("shop/server-1"), "{finding:?}");
    assert!(finding.hint.contains(hint), "{finding:?}");
}

#[rstest]
#[case("restore", "go on with `mtls restore -k`")]
#[case("prune", "go on with `mtls prune -k`, or go back with `mtls renew-certificate --abort -k`")]
#[case(
    "bridge",
    "go on with `mtls renew-certificate --resume -k`, or go back with `mtls renew-certificate --abort -k`"
)]
fn an_open_rotation_says_how_it_goes_on(#[case] strategy: &'static str, #[case] hint: &str) {
    let ca = Ca::new(200, &mut chance());
    let open = Recorded { open: true, strategy, ..record(false) };
    assert_eq!(only(&found(&cluster(&[&ca], &ca.issuer), Some(&open))).hint, hint);
}

#[test]
fn what_is_damaged_comes_back_from_the_record() {
    let ca = Ca::born(now(), 200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.published.key = None;
    let hint = |mends| {
        let record = Recorded { roots: vec![ca.root.fingerprint()], ..record(mends) };
        only(&found(&seen, Some(&record))).hint.clone()
    };
    assert_eq!(hint(true), "`mtls restore -k`");
    assert_eq!(hint(false), "`mtls renew-certificate -k`");
}

#[test]
fn a_pod_with_stale_trust_under_a_known_root_is_named() {
    let entropy = &mut chance();
    let (other, ca) = (Ca::new(200, entropy), Ca::new(200, entropy));
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.consumers = vec![sidecar("cart", &other, now() - SignedDuration::from_hours(24 * 400))];
    let known = Recorded { roots: vec![ca.root.fingerprint()], ..record(false) };
    let found = found(&seen, Some(&known));
    assert!(only(&found).what.contains("refuse what Sentry signs today"), "{found:?}");
}

#[test]
fn a_retired_ca_that_somebody_put_back_is_mended_from_the_record() {
    let entropy = &mut chance();
    let (retired, kept) = (Ca::born(now() - SignedDuration::from_hours(48), 200, entropy), Ca::new(200, entropy));
    let mut seen = cluster(&[&retired], &retired.issuer);
    seen.consumers = vec![sidecar("cart", &kept, now())];
    seen.published.noted_roots = vec![retired.root.fingerprint()];
    let record = Recorded { roots: vec![kept.root.fingerprint()], left: vec![kept.root.clone()], ..record(true) };
    let found = found(&seen, Some(&record));
    assert!(only(&found).what.contains("or somebody replaced it"), "{found:?}");
    assert!(only(&found).hint.contains("`mtls restore -k`"), "{found:?}");
}

#[test]
fn an_anchor_that_somebody_took_away_after_the_rotation_is_named() {
    let entropy = &mut chance();
    let (old, other) = (Ca::new(200, entropy), Ca::new(200, entropy));
    let new = Ca::new(200, entropy).bridged(&old, 200, entropy);
    let left = vec![new.root.clone(), old.root.clone()];
    let record = Recorded { roots: left.iter().map(Certificate::fingerprint).collect(), left, ..record(false) };
    assert!(found(&cluster(&[&new, &old], &new.issuer), Some(&record)).is_empty(), "as the rotation left it");
    let found = found(&cluster(&[&old], &old.issuer), Some(&record));
    let short = new.root.fingerprint().short();
    assert_eq!(
        only(&found).what,
        format!("trust anchor {short}, which the last rotation left, is not published any more")
    );
    let mut cut_off = cluster(&[&other], &other.issuer);
    cut_off.consumers = vec![sidecar("cart", &new, now() - SignedDuration::from_hours(24 * 400))];
    let found = self::found(&cut_off, Some(&record));
    assert!(only(&found).what.contains("somebody replaced it"), "told once: {found:?}");
}

#[test]
fn a_sentry_that_crashes_is_an_error_with_its_log() {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    let mut sentry = Consumer::new(Role::Sentry, "dapr-system/dapr-sentry-7f");
    sentry.phase = Phase::CrashLoop;
    seen.consumers.push(sentry);
    let found = found(&seen, None);
    assert!(only(&found).hint.contains("kubectl logs dapr-sentry-7f -n dapr-system"), "{found:?}");
}

#[rstest]
#[case(true, "renew-certificate --resume")]
#[case(false, "restart --stale")]
fn a_fence_left_behind_names_the_command_that_removes_it(#[case] open: bool, #[case] command: &str) {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.fence = Fence::Left;
    let known = Recorded { open, roots: vec![ca.root.fingerprint()], ..record(false) };
    let found = found(&seen, Some(&known));
    assert!(found.last().is_some_and(|finding| finding.hint.contains(command)), "{found:#?}");
    assert_eq!(found.iter().any(|finding| finding.what.contains("is open since")), open);
}

#[test]
fn others_who_write_are_named() {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    seen.owners = vec![
        Owner::HelmValues { release: "dapr-system/dapr".to_owned() },
        Owner::Reconciler { who: "Argo CD".to_owned(), remedy: "a patch".to_owned() },
        Owner::AutomaticRenewal("issuer.next.crt".to_owned()),
    ];
    let found = found(&seen, None);
    assert_eq!(found.len(), 3);
    assert!(found.iter().all(|finding| finding.severity == Severity::Warning), "{found:#?}");
}

#[test]
fn a_source_that_lacks_an_anchor_and_copies_that_lag_are_named() {
    let mut entropy = chance();
    let [old, new] = [(); 2].map(|()| Ca::new(300, &mut entropy));
    let mut seen = cluster(&[&new, &old], &new.issuer);
    let source = TrustSource {
        name: "dapr-root-ca.crt".to_owned(),
        anchors: vec![old.root.clone()],
        version: Version::default(),
        written: None,
    };
    seen.trust_source = Some(source);
    let copy = |anchors: &[&Ca], immutable| TrustCopy {
        anchors: anchors.iter().map(|ca| ca.root.clone()).collect(),
        since: now(),
        distributor: Some(Distributor::Operator),
        immutable,
        leaving: false,
    };
    let copies = [("a", copy(&[&old, &new], false)), ("b", copy(&[&old], false)), ("c", copy(&[&old], true))];
    let copies = copies.map(|(name, copy)| (name.to_owned(), copy)).into();
    seen.distribution = Answer::Proven(Arc::new(Distribution { copies, moved: now(), trouble: None }));
    let said: Vec<String> = found(&seen, None).into_iter().map(|finding| finding.what).collect();
    let short = new.root.fingerprint().short();
    assert_eq!(
        said,
        [
            format!("Secret `dapr-root-ca.crt` lacks the trust anchors {short}"),
            "ConfigMap `dapr-root-ca.crt` carries what is published in 1 of 2 namespaces (not in b)".to_owned(),
            "ConfigMap `c/dapr-root-ca.crt` does not carry what is published, and is immutable, so that nobody can \
             change it: delete it, and it is made anew"
                .to_owned(),
        ]
    );
    seen.published.anchors = vec![old.root.clone()];
    seen.published.chain.clone_from(&old.issuer.chain);
    seen.published.key = Some(old.issuer.key.clone());
    assert!(found(&seen, None).is_empty(), "an anchor more does no harm");
}

#[test]
fn what_is_odd_about_the_text_is_said_with_its_place() {
    let ca = Ca::new(200, &mut chance());
    let mut seen = cluster(&[&ca], &ca.issuer);
    let twice = format!("{0}{0}", ca.root.to_pem());
    let oddities = read_as_go(twice.as_bytes()).oddities;
    seen.published.oddities = oddities.into_iter().map(|oddity| ("secret ca.crt".to_owned(), oddity)).collect();
    assert!(only(&found(&seen, None)).what.starts_with("secret ca.crt: line"));
}

#[test]
fn the_third_live_bridge_is_spoken_of() {
    let entropy = &mut chance();
    let mut cas = vec![Ca::new(200, entropy)];
    for rotation in 1..=3 {
        let old = cas.last().expect("one");
        let new = Ca::new(200, entropy).bridged(old, 200, entropy);
        cas.push(new);
        let live = cas.last().expect("one");
        let anchors: Vec<&Ca> = cas.iter().rev().collect();
        let found = found(&cluster(&anchors, &live.issuer), None);
        assert_eq!(found.iter().any(|finding| finding.what.contains("3 bridges")), rotation == 3, "{found:#?}");
    }
}

#[test]
fn names_are_cut_short() {
    let ca = Ca::new(200, &mut chance());
    let many: Vec<Dependent> = (0..8).map(|n| Dependent::from(&sidecar(&format!("app{n}"), &ca, now()))).collect();
    assert!(names(&many).starts_with("8 consumers (sidecar shop/app0-1, "));
    assert!(names(&many).ends_with(" and 3 more)"));
}
