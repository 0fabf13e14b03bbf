//! How long the core takes: reading a bundle, verifying a chain, judging a CA. `cargo bench --bench core`.

use std::hint::black_box;

use criterion::{Criterion, criterion_group, criterion_main};
use jiff::Timestamp;
use mtls::pki::{
    Certificate, Issuer, PrivateKey, Profile, Shown, Signing, Svid, TrustBundle, Validity, cross_sign, issuer, judge,
    read_as_go, root, verify,
};

/// A mesh after some rotations by bridge, each with the whole tail.
struct Mesh {
    roots: Vec<Certificate>,
    issuer: Issuer,
}

impl Mesh {
    fn rotated(bridges: usize) -> Self {
        let mut entropy = entropy();
        let (mut roots, mut live) = (Vec::new(), None::<Issuer>);
        for _ in 0..=bridges {
            let root_key = PrivateKey::generate(&mut entropy);
            let root = root("cluster.local", &root_key, &year(), &mut entropy).expect("a root");
            let key = PrivateKey::generate(&mut entropy);
            let made = issuer(&root, &root_key, "cluster.local", "dapr-system", &key, &year(), &mut entropy);
            let mut chain = vec![made.expect("an issuer")];
            if let Some(old) = live {
                let bridge = cross_sign(&root, old.certificate(), &old.key, &year(), &mut entropy);
                chain.push(bridge.expect("a bridge"));
                chain.extend(old.chain);
            }
            roots.push(root);
            live = Some(Issuer { chain, key });
        }
        Self { roots, issuer: live.expect("one at least") }
    }

    /// The chain and anchors parsed anew, for verdicts on signatures are kept with a certificate.
    fn fresh(&self) -> (Vec<Certificate>, Vec<Certificate>) {
        let again = |certificate: &Certificate| Certificate::from_der(certificate.der()).expect("it was one");
        (self.issuer.chain.iter().map(again).collect(), self.roots[..1].iter().map(again).collect())
    }
}

fn core(c: &mut Criterion) {
    let (one, eight) = (Mesh::rotated(1), Mesh::rotated(8));
    let svid = [Svid::new("spiffe://public/ns/default/app")];
    for mesh in [&one, &eight] {
        let length = mesh.issuer.chain.len();
        let verify = |chain: &[Certificate], anchors: &[Certificate]| {
            verify(Shown::Synthetic(&svid), chain, anchors, Profile::Spiffe, now())
                .expect("the oldest root verifies it")
        };
        let (chain, anchors) = mesh.fresh();
        c.bench_function(&format!("path of {length} certificates, signatures known"), |b| {
            b.iter(|| verify(black_box(&chain), black_box(&anchors)));
        });
        c.bench_function(&format!("path of {length} certificates"), |b| {
            b.iter_batched(
                || mesh.fresh(),
                |(chain, anchors)| verify(&chain, &anchors),
                criterion::BatchSize::SmallInput,
            );
        });
    }

    let signing = Signing { trust_domain: "cluster.local", namespace: "dapr-system", dapr: None };
    c.bench_function("judge a CA with a bridge", |b| {
        b.iter_batched(
            || one.fresh(),
            |(chain, anchors)| judge(&anchors, &chain, Some(&one.issuer.key), &signing, now(), now()),
            criterion::BatchSize::SmallInput,
        );
    });

    let bundle = TrustBundle::from_anchors(eight.roots.clone()).expect("a bundle").to_pem();
    c.bench_function("parse a bundle of 9 that is given", |b| {
        b.iter(|| TrustBundle::parse(black_box(bundle.as_bytes())).expect("a bundle"));
    });
    c.bench_function("read a bundle of 9 that is live", |b| b.iter(|| read_as_go(black_box(bundle.as_bytes()))));
}

fn now() -> Timestamp {
    "2026-06-01T00:00:00Z".parse().expect("a time")
}

fn year() -> Validity {
    let at = |text: &str| text.parse().expect("a time");
    Validity { not_before: at("2026-01-01T00:00:00Z"), not_after: at("2027-01-01T00:00:00Z") }
}

/// Numbers that repeat from run to run.
fn entropy() -> impl FnMut(&mut [u8]) {
    let mut count = 0_u64;
    move |buffer| {
        count += 1;
        let digest = ring::digest::digest(&ring::digest::SHA256, &count.to_be_bytes());
        buffer.copy_from_slice(&digest.as_ref()[..buffer.len()]);
    }
}

criterion_group!(benches, core);
criterion_main!(benches);
