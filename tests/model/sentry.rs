//! Sentry: reads two objects in two requests, invents a CA where they differ and stores it over whatever is there by
//! then; replicas that reload in their own time; a fence that keeps them from storing.

use jiff::{SignedDuration, Timestamp};
use mtls::pki::{
    Certificate, Fingerprint, Issuer, PrivateKey, Profile, Shown, TrustBundle, Validity, issuer, root, verify,
};
use mtls::rotation::Trio;
use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, KeyPair};
use time::OffsetDateTime;

use super::{Chance, Model, SKEW};

#[derive(Clone)]
pub struct Sentry {
    pub name: String,
    pub loaded: Trio,
    /// When its kubelet looks whether the Secret has changed.
    pub refreshes: Vec<Timestamp>,
    /// What the files of its mount say.
    mount: Files,
    /// When it will reload.
    pub reloads: Vec<Timestamp>,
    pub nudged: Option<String>,
    pub started: Timestamp,
    /// When it stores the CA that it is making.
    pub stores: Option<Timestamp>,
    /// It has exited, and starts again then.
    pub starts: Option<Timestamp>,
}

/// A list of certificates or keys for each file.
type Files = Vec<Vec<Fingerprint>>;

fn files(secret: &Trio) -> Files {
    let of = |certificates: &[Certificate]| certificates.iter().map(Certificate::fingerprint).collect();
    vec![of(secret.trust.anchors()), of(&secret.issuer.chain), vec![secret.issuer.key.public_fingerprint()]]
}

impl Sentry {
    pub fn new(name: String, loaded: Trio, started: Timestamp) -> Self {
        let (mount, none) = (files(&loaded), Vec::new);
        Self {
            name,
            loaded,
            refreshes: none(),
            mount,
            reloads: none(),
            nudged: None,
            started,
            stores: None,
            starts: None,
        }
    }

    pub fn is_up(&self) -> bool {
        self.starts.is_none()
    }

    /// Whether it may be about to read the objects, or has just started.
    fn is_busy(&self, now: Timestamp) -> bool {
        let is_new = now.duration_since(self.started) < SignedDuration::from_secs(10);
        is_new || !self.is_up() || self.stores.is_some()
    }

    /// Its kubelet looks at that time.
    pub fn refresh(&mut self, at: Timestamp) {
        self.refreshes.push(at);
        self.refreshes.sort_unstable();
    }

    /// Its mount gets these files, unless it has them. Its watcher tells of each name by itself, four that the kubelet
    /// works with and those that come or go: so often it reloads, two seconds apart.
    fn mount(&mut self, files: Files, now: Timestamp) {
        if self.mount == files {
            return;
        }
        let names = 4 + files.len().abs_diff(self.mount.len());
        self.mount = files;
        if self.is_up() {
            let reloads = (1..).map(|n| now + SignedDuration::from_millis(500) + SignedDuration::from_secs(2) * n);
            self.reloads.extend(reloads.take(names));
            self.reloads.sort_unstable();
        }
    }

    pub fn next(&self) -> Option<Timestamp> {
        let first = |times: &[Timestamp]| times.first().copied();
        [first(&self.refreshes), first(&self.reloads), self.stores, self.starts].into_iter().flatten().min()
    }
}

impl Model {
    /// What is due at Sentry.
    pub fn run_sentries(&mut self) {
        let now = self.now;
        for index in 0..self.sentries.len() {
            let due = self.sentries[index].refreshes.iter().filter(|at| **at <= now).count();
            if due > 0 {
                self.sentries[index].refreshes.drain(..due);
                let files = self.files();
                self.sentries[index].mount(files, now);
            }
            let due = self.sentries[index].reloads.iter().filter(|at| **at <= now).count();
            if self.sentries[index].starts.is_some_and(|at| at <= now) {
                self.start_sentry(index);
            } else if due > 0 {
                self.sentries[index].reloads.drain(..due);
                if self.sentries[index].is_up() {
                    self.read(index);
                }
            }
            if self.sentries[index].stores.is_some_and(|at| at <= now) {
                self.store(index);
            }
        }
    }

    /// The files that a fresh mount of the Secret has.
    fn files(&self) -> Files {
        let kept = if self.emptied { 0 } else { 3 - usize::from(self.lacks_key) };
        files(&self.secret).into_iter().take(kept).collect()
    }

    /// A replica's pod is a new one, on a fresh mount.
    pub fn replace_sentry(&mut self, index: usize) {
        self.sentries[index].mount = self.files();
        self.start_sentry(index);
    }

    /// A replica starts, on the mount that it has.
    pub fn start_sentry(&mut self, index: usize) {
        let sentry = &mut self.sentries[index];
        (sentry.started, sentry.starts, sentry.nudged) = (self.now, None, None);
        sentry.reloads.clear();
        self.note(format!("{} starts", self.sentries[index].name));
        self.read(index);
    }

    /// It reads Secret and `ConfigMap`. Where they differ or lack something it makes a CA, which takes it some requests;
    /// where the issuer is of none of the anchors it exits.
    fn read(&mut self, index: usize) {
        if self.is_whole() && !self.emptied && !self.lacks_key {
            let (anchors, chain) = (self.secret.trust.anchors(), &self.secret.issuer.chain);
            if verify(Shown::Leaf(&chain[0]), &chain[1..], anchors, Profile::Webhook, self.now).is_err() {
                return self.exit(index, "refuses the CA");
            }
            self.sentries[index].loaded = self.secret.clone();
            self.note(format!("{} reads the pair", self.sentries[index].name));
        } else if self.sentries[index].stores.is_none() {
            self.sentries[index].stores = Some(self.now + SignedDuration::from_millis(100));
            self.note(format!("{} reads an unequal pair", self.sentries[index].name));
        }
    }

    /// It stores the CA that it made over whatever is there, or exits where a fence keeps it from that.
    fn store(&mut self, index: usize) {
        self.sentries[index].stores = None;
        if self.fenced.is_some() {
            return self.exit(index, "may not store a CA");
        }
        self.secret = make_ca(&mut self.chance, self.now, 365);
        self.config_map = self.secret.trust.anchors().to_vec();
        (self.emptied, self.lacks_key) = (false, false);
        self.invented += 1;
        self.usurped = true;
        self.kept.retain(|anchor| !self.strange.contains(anchor));
        self.inventions.push(self.secret.clone());
        self.note(format!("{} invents a CA", self.sentries[index].name));
        self.versions = (self.versions.0 + 1, self.versions.1 + 1);
        self.map_written = self.now;
        self.written_now();
        self.sentries[index].loaded = self.secret.clone();
    }

    /// It exits, and its kubelet starts it again.
    fn exit(&mut self, index: usize, why: &str) {
        self.note(format!("{} {why}, and exits", self.sentries[index].name));
        self.sentries[index].starts = Some(self.now + SignedDuration::from_secs(10));
    }

    /// Every replica reloads, and what it finds takes effect at once.
    pub fn reload_all(&mut self) {
        for index in 0..self.sentries.len() {
            self.read(index);
            if self.sentries[index].stores.is_some() {
                self.store(index);
            }
        }
    }

    /// The chain of an SVID from any replica that is up.
    pub fn issue(&mut self) -> Option<Vec<Certificate>> {
        let up: Vec<usize> = (0..self.sentries.len()).filter(|index| self.sentries[*index].is_up()).collect();
        let index = (!up.is_empty()).then(|| *self.chance.from(&up))?;
        Some(self.sentries[index].loaded.issuer.chain.clone())
    }

    pub fn is_whole(&self) -> bool {
        self.config_map == self.secret.trust.anchors()
    }

    /// Whether Sentry is known not to read the objects now: what a caller waits for who may not fence it.
    pub fn is_at_rest(&self) -> bool {
        self.now.duration_since(self.written) >= SignedDuration::from_secs(90 + 15)
            && !self.sentries.iter().any(|sentry| sentry.is_busy(self.now))
    }

    /// The Secret was written: every replica's mount follows in its own time.
    pub fn written_now(&mut self) {
        self.written = self.now;
        for index in 0..self.sentries.len() {
            let lag = self.chance.seconds(14, 79);
            self.sentries[index].refresh(self.now + lag);
        }
        self.remount();
    }

    /// A torn pair: the Secret's anchors change and the `ConfigMap`'s do not.
    pub fn tear(&mut self) {
        let other = make_ca(&mut self.chance, self.now, 365);
        self.secret.trust = self.secret.trust.with(&other.trust.anchors()[0]).unwrap();
        self.strange.extend_from_slice(other.trust.anchors());
        self.kept.extend_from_slice(other.trust.anchors());
        self.versions.0 += 1;
        self.written_now();
    }

    /// The other way round: the `ConfigMap` has an anchor that the Secret lacks.
    pub fn tear_config_map(&mut self) {
        let other = make_ca(&mut self.chance, self.now, 365);
        self.config_map.extend_from_slice(other.trust.anchors());
        self.strange.extend_from_slice(other.trust.anchors());
        self.versions.1 += 1;
        self.map_written = self.now;
    }

    /// Another mesh's root is published beside this one's, in both objects.
    pub fn federate(&mut self) {
        let other = make_ca(&mut self.chance, self.now, 365).trust;
        self.secret.trust = self.secret.trust.merged(&other).unwrap();
        self.config_map = self.secret.trust.anchors().to_vec();
        self.strange.extend_from_slice(other.anchors());
        self.kept.extend_from_slice(other.anchors());
        self.versions = (self.versions.0 + 1, self.versions.1 + 1);
        self.map_written = self.now;
        self.written_now();
    }

    /// Whether nobody but one object, or another mesh, knows an anchor.
    pub fn is_strange(&self, anchor: &Certificate) -> bool {
        self.strange.contains(anchor)
    }

    /// A root that signs SVIDs itself, known to everybody.
    pub fn be_its_own_issuer(&mut self) {
        let validity = Validity { not_before: self.now - SKEW, not_after: self.now + SignedDuration::from_hours(2400) };
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
        let key = PrivateKey::generate(&mut entropy);
        let own = root("cluster.local", &key, &validity, &mut entropy).unwrap();
        let trust = TrustBundle::from_anchors(vec![own.clone()]).unwrap();
        self.live_with(Trio { trust, issuer: Issuer { chain: vec![own], key } });
    }

    /// An issuer that signs no bridge, known to everybody.
    pub fn live_without_bridges(&mut self) {
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
        self.live_with(ca_without_bridges(&key, &mut chance, self.now, 365));
        self.root_keys = vec![key];
    }

    /// That CA, as if there had never been another one.
    fn live_with(&mut self, ca: Trio) {
        let held = ca.trust.anchors().to_vec();
        for process in &mut self.processes {
            process.live_with(&ca);
        }
        for sentry in &mut self.sentries {
            (sentry.loaded, sentry.mount) = (ca.clone(), files(&ca));
        }
        for bundle in [&mut self.config_map, &mut self.kept, &mut self.webhook, &mut self.conversion] {
            bundle.clone_from(&held);
        }
        self.copies.live_with(&held, self.now);
        self.secret = ca;
        self.versions = (self.versions.0 + 1, self.versions.1 + 1);
    }

    /// An issuer under the live root, whose key is given, that ended an hour ago.
    pub fn expire_issuer(&mut self, root_key: &PrivateKey) {
        let hour = SignedDuration::from_hours(1);
        let validity = Validity { not_before: self.now - hour * 2, not_after: self.now - hour };
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
        let key = PrivateKey::generate(&mut entropy);
        let root = &self.secret.trust.anchors()[0];
        let ended = issuer(root, root_key, "cluster.local", "dapr-system", &key, &validity, &mut entropy).unwrap();
        self.secret.issuer.chain[0] = ended;
        self.secret.issuer.key = key;
        self.versions.0 += 1;
    }
}

/// A CA as Sentry makes it.
pub fn make_ca(chance: &mut Chance, now: Timestamp, days: i64) -> Trio {
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
    ca_with(&key, chance, now, days)
}

/// The same with a root key that somebody keeps.
pub fn ca_with(root_key: &PrivateKey, chance: &mut Chance, now: Timestamp, days: i64) -> Trio {
    let validity = Validity { not_before: now - SKEW, not_after: now + SignedDuration::from_hours(24 * days) };
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let root = root("cluster.local", root_key, &validity, &mut entropy).unwrap();
    let key = PrivateKey::generate(&mut entropy);
    let certificate = issuer(&root, root_key, "cluster.local", "dapr-system", &key, &validity, &mut entropy).unwrap();
    Trio { trust: TrustBundle::from_anchors(vec![root]).unwrap(), issuer: Issuer { chain: vec![certificate], key } }
}

/// A CA whose issuer may sign leaves and no other CA, as Dapr's openssl recipe makes it: it signs no bridge.
pub fn ca_without_bridges(root_key: &PrivateKey, chance: &mut Chance, now: Timestamp, days: i64) -> Trio {
    let draft = |name: &str, constraints| {
        let mut draft = CertificateParams::default();
        draft.distinguished_name = rcgen::DistinguishedName::new();
        draft.distinguished_name.push(DnType::OrganizationName, name);
        draft.is_ca = IsCa::Ca(constraints);
        let time = |at: Timestamp| OffsetDateTime::from_unix_timestamp(at.as_second()).unwrap();
        (draft.not_before, draft.not_after) = (time(now - SKEW), time(now + SignedDuration::from_hours(24 * days)));
        draft
    };
    let key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
    let [by, own] = [root_key, &key].map(|key| KeyPair::from_pem(&key.to_pem()).unwrap());
    let name = format!("root {}", root_key.public_fingerprint().short());
    let root = draft(&name, BasicConstraints::Unconstrained).self_signed(&by).unwrap();
    let by = rcgen::Issuer::new(draft(&name, BasicConstraints::Unconstrained), by);
    let name = "spiffe://cluster.local/ns/dapr-system/dapr-sentry";
    let issuer = draft(name, BasicConstraints::Constrained(0)).signed_by(&own, &by).unwrap();
    let [root, issuer] = [root, issuer].map(|made| Certificate::from_der(made.der()).unwrap());
    Trio { trust: TrustBundle::from_anchors(vec![root]).unwrap(), issuer: Issuer { chain: vec![issuer], key } }
}
