//! A mesh in memory that behaves like Dapr: Sentry reads two objects and invents a CA where they differ, mounts lag,
//! watchers live or are dead, pods are born at any moment. After every change each process shakes hands with each
//! other one, and a refusal fails the test.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod applications;

use std::collections::HashMap;

use applications::App;

use jiff::{SignedDuration, Timestamp};
use mtls::error::Error;
use mtls::mesh::{
    Answer, Consumer, Era, Identity, Observed, Pair, Phase, Published, Role, Settings, Version, Workload, WorkloadKind,
};
use mtls::pki::{
    Certificate, Fingerprint, Issuer, PrivateKey, Profile, Shown, Svid, TrustBundle, Validity, issuer, root, verify,
};
use mtls::rotation::{Mesh, Move, Need, Record, Trio};

/// A small generator with a printed seed: the same seed, the same run.
pub struct Chance(u64);

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1)
    }

    pub fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    pub fn fill(&mut self, bytes: &mut [u8]) {
        for byte in bytes {
            *byte = self.below(256).to_le_bytes()[0];
        }
    }
}

/// Whether a process sees its mount change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    Alive,
    Dead,
    NoMount,
}

/// A process that talks TLS with the others.
#[derive(Clone)]
pub struct Process {
    pub role: Role,
    pub name: String,
    pub held: Vec<Certificate>,
    pub shows: Vec<Certificate>,
    pub watcher: Watcher,
    /// Whether it is being deleted, and talks until it is gone.
    pub leaving: bool,
    gone: Option<Timestamp>,
    started: Timestamp,
    refresh: Option<Timestamp>,
    nudged: Option<String>,
}

struct Sentry {
    name: String,
    loaded: Trio,
    /// When it will reload. Its watcher tells of each file name by itself: a refresh of its mount makes it reload four
    /// times, two seconds apart.
    reloads: Vec<Timestamp>,
    nudged: Option<String>,
}

impl Sentry {
    /// Its mount changes at `refresh`.
    fn refresh(&mut self, refresh: Timestamp) {
        let later = |seconds: i64| refresh + SignedDuration::from_millis(500) + SignedDuration::from_secs(seconds);
        self.reloads = [2, 4, 6, 8].map(later).to_vec();
    }
}

/// Where a run is cut off, as by kill -9.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cut {
    Before,
    BetweenThePair,
    After,
    /// A signal comes while the write is on its way: the run stops before the next move.
    Signal,
}

#[expect(clippy::struct_excessive_bools, reason = "each is a switch that a test sets")]
pub struct Model {
    pub now: Timestamp,
    pub secret: Trio,
    pub config_map: Vec<Certificate>,
    pub processes: Vec<Process>,
    pub record: Option<mtls::rotation::RecordData>,
    pub handshakes: u64,
    pub writes: u64,
    pub invented: u32,
    /// The write (moves and records alike, from 0) at which the run is cut.
    pub cut: Option<(u64, Cut)>,
    /// The move (from 0) after which Sentry invents a CA, under which a pod is born.
    pub invents_after: Option<u64>,
    /// Whether random events happen while time passes.
    pub restless: bool,
    /// Whether the caller may not ask the control plane's processes anything.
    pub muted: bool,
    /// Whether both objects were emptied, as `helm upgrade --reset-values` does it.
    pub emptied: bool,
    /// How many of the three replicas of each service are ready.
    pub ready: i32,
    /// Whether the sidecars cannot be listed.
    pub hidden: bool,
    /// Pairs that may refuse each other: those of a mesh that was broken before.
    pub broken: bool,
    /// Whether the injector goes on injecting what it holds now, restarted or not.
    pub stale_injector: bool,
    /// Whether the API server asks no injector about new pods.
    pub bypassed: bool,
    /// The workloads behind the sidecars, one pod each.
    pub apps: Vec<App>,
    pub chance: Chance,
    /// Pods that came up without a sidecar, and their workloads.
    bare: Vec<(String, String)>,
    accepted: HashMap<(Vec<Fingerprint>, Vec<Fingerprint>), Timestamp>,
    locked: bool,
    versions: (u64, u64),
    written: Timestamp,
    map_written: Timestamp,
    sentries: Vec<Sentry>,
    restarted: Vec<(String, Timestamp)>,
    steps: u64,
    born: u32,
}

/// By then every mount is fresh, nudged or not.
const MOUNTS_LAG: SignedDuration = SignedDuration::from_secs(90);
const SKEW: SignedDuration = SignedDuration::from_mins(15);

impl Model {
    /// A mesh with a CA that lives `days`, two Sentry replicas, the control plane and four sidecars.
    pub fn new(seed: u64, days: i64, watcher: Watcher) -> Self {
        let mut chance = Chance::new(seed);
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let secret = make_ca(&mut chance, now, days);
        let held = secret.trust.anchors().to_vec();
        let process = |role: Role, name: &str, watcher| Process {
            role,
            name: name.to_owned(),
            held: held.clone(),
            shows: secret.issuer.chain.clone(),
            watcher,
            leaving: false,
            gone: None,
            started: now,
            refresh: None,
            nudged: None,
        };
        let mut processes = vec![
            process(Role::Operator, "dapr-system/operator", watcher),
            process(Role::Placement, "dapr-system/placement", watcher),
            process(Role::Scheduler, "dapr-system/scheduler", watcher),
            process(Role::Injector, "dapr-system/injector", watcher),
        ];
        for n in 0..4 {
            processes.push(process(sidecar(), &format!("apps/pod-{n}"), Watcher::NoMount));
        }
        let sentry = |n: u32| Sentry {
            name: format!("dapr-system/sentry-{n}"),
            loaded: secret.clone(),
            reloads: Vec::new(),
            nudged: None,
        };
        Self {
            now,
            config_map: held,
            processes,
            record: None,
            handshakes: 0,
            writes: 0,
            invented: 0,
            cut: None,
            invents_after: None,
            restless: false,
            ready: 3,
            muted: false,
            emptied: false,
            hidden: false,
            broken: false,
            stale_injector: false,
            bypassed: false,
            apps: (0..4).map(App::new).collect(),
            bare: Vec::new(),
            accepted: HashMap::new(),
            locked: false,
            versions: (1, 1),
            written: now,
            map_written: now,
            sentries: vec![sentry(0), sentry(1)],
            restarted: Vec::new(),
            steps: 0,
            born: 4,
            secret,
            chance,
        }
    }

    /// Lets time pass: mounts refresh, Sentry reloads, SVIDs are issued anew, pods come and go.
    pub fn pass(&mut self, time: SignedDuration) {
        self.now += time;
        let now = self.now;
        self.processes.retain(|process| process.gone.is_none_or(|gone| gone > now));
        for index in 0..self.sentries.len() {
            let due = self.sentries[index].reloads.iter().filter(|at| **at <= now).count();
            if due > 0 {
                self.sentries[index].reloads.drain(..due);
                self.reload(index);
            }
        }
        let config_map = self.config_map.clone();
        for process in self.processes.iter_mut().filter(|p| p.refresh.is_some_and(|at| at <= self.now)) {
            process.refresh = None;
            if process.watcher == Watcher::Alive {
                process.held.clone_from(&config_map);
            }
        }
        self.roll_out();
        if self.restless && self.chance.below(3) == 0 {
            match self.chance.below(2) {
                0 => self.renew_an_svid(),
                _ => self.restart_a_sidecar(),
            }
        }
        self.shake_hands();
    }

    fn reload(&mut self, index: usize) {
        if self.config_map != self.secret.trust.anchors() {
            self.secret = make_ca(&mut self.chance, self.now, 365);
            self.config_map = self.secret.trust.anchors().to_vec();
            self.invented += 1;
            self.versions = (self.versions.0 + 1, self.versions.1 + 1);
            self.schedule();
        }
        self.sentries[index].loaded = self.secret.clone();
    }

    fn renew_an_svid(&mut self) {
        let index = usize::try_from(self.chance.below(self.processes.len() as u64)).unwrap();
        self.processes[index].shows = self.issue();
    }

    /// Restarts one sidecar: its anchors come from the injector, its SVID from any Sentry replica.
    pub fn restart_a_sidecar(&mut self) {
        let sidecars: Vec<usize> =
            (0..self.processes.len()).filter(|i| matches!(self.processes[*i].role, Role::Sidecar { .. })).collect();
        let index = sidecars[usize::try_from(self.chance.below(sidecars.len() as u64)).unwrap()];
        self.restart_process(index);
    }

    /// Restarts the whole control plane, as after the loss of a node.
    pub fn restart_control_plane(&mut self) {
        self.now += SignedDuration::from_secs(1);
        for index in 0..self.processes.len() {
            if !matches!(self.processes[index].role, Role::Sidecar { .. }) {
                self.restart_process(index);
            }
        }
    }

    /// Deletes a pod, which is gone after `grace`.
    pub fn die(&mut self, name: &str, grace: SignedDuration) {
        let gone = Some(self.now + grace);
        for process in self.processes.iter_mut().filter(|process| process.name == name) {
            process.leaving = true;
            process.gone = gone;
        }
    }

    /// Restarts every sidecar of a name.
    pub fn restart(&mut self, name: &str) {
        let index = self.processes.iter().position(|p| p.name == name).expect("there is a process of that name");
        self.restart_process(index);
        self.shake_hands();
    }

    fn restart_process(&mut self, index: usize) {
        let injected = self.processes.iter().find(|p| p.role == Role::Injector).unwrap().held.clone();
        let shows = self.issue();
        self.born += 1;
        let now = self.now;
        let mounted = self.config_map.clone();
        let process = &mut self.processes[index];
        process.held = match process.role {
            Role::Sidecar { .. } => injected,
            Role::Injector if self.stale_injector => injected,
            _ => mounted,
        };
        process.shows = shows;
        process.started = now;
    }

    fn issue(&mut self) -> Vec<Certificate> {
        let index = usize::try_from(self.chance.below(self.sentries.len() as u64)).unwrap();
        self.sentries[index].loaded.issuer.chain.clone()
    }

    /// Every process shows its chain to every other one.
    pub fn shake_hands(&mut self) {
        for verifier in &self.processes {
            for presenter in &self.processes {
                self.handshakes += 1;
                let names = |certificates: &[Certificate]| certificates.iter().map(Certificate::fingerprint).collect();
                let pair = (names(&presenter.shows), names(&verifier.held));
                if self.accepted.get(&pair).is_some_and(|until| *until >= self.now) {
                    continue;
                }
                match until(&presenter.shows, &verifier.held, Profile::Spiffe, self.now) {
                    Ok(until) => drop(self.accepted.insert(pair, until)),
                    Err(_) if self.broken => {}
                    Err(why) => panic!("{} refuses {}: {why}", verifier.name, presenter.name),
                }
            }
        }
    }

    /// How many pairs refuse each other now.
    pub fn refusals(&self) -> usize {
        let refuses = |verifier: &Process, presenter: &Process| {
            until(&presenter.shows, &verifier.held, Profile::Spiffe, self.now).is_err()
        };
        self.processes.iter().map(|v| self.processes.iter().filter(|p| refuses(v, p)).count()).sum()
    }

    /// A torn pair: the Secret's anchors change and the `ConfigMap`'s do not.
    pub fn tear(&mut self) {
        let other = make_ca(&mut self.chance, self.now, 365);
        self.secret.trust = self.secret.trust.with(&other.trust.anchors()[0]).unwrap();
        self.versions.0 += 1;
        self.schedule();
    }

    /// The other way round: the `ConfigMap` has an anchor that the Secret lacks.
    pub fn tear_config_map(&mut self) {
        self.config_map.extend(make_ca(&mut self.chance, self.now, 365).trust.anchors().iter().cloned());
        self.versions.1 += 1;
    }

    fn schedule(&mut self) {
        self.written = self.now;
        for index in 0..self.sentries.len() {
            let lag = SignedDuration::from_secs(14 + i64::try_from(self.chance.below(65)).unwrap());
            self.sentries[index].refresh(self.now + lag);
        }
        for index in 0..self.processes.len() {
            let lag = SignedDuration::from_secs(14 + i64::try_from(self.chance.below(65)).unwrap());
            if self.processes[index].watcher != Watcher::NoMount {
                self.processes[index].refresh = Some(self.now + lag);
            }
        }
    }

    /// How many writes there were, those of the record and those that were cut off included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// A root that signs SVIDs itself, known to everybody.
    pub fn be_its_own_issuer(&mut self) {
        let validity = Validity { not_before: self.now - SKEW, not_after: self.now + SignedDuration::from_hours(2400) };
        let mut chance = Chance::new(self.chance.below(u64::MAX));
        let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
        let key = PrivateKey::generate(&mut entropy);
        let own = root("cluster.local", &key, &validity, &mut entropy).unwrap();
        let trust = TrustBundle::from_anchors(vec![own.clone()]).unwrap();
        self.secret = Trio { trust, issuer: Issuer { chain: vec![own.clone()], key } };
        self.config_map = vec![own.clone()];
        for process in &mut self.processes {
            process.held = vec![own.clone()];
            process.shows = vec![own.clone()];
        }
        for sentry in &mut self.sentries {
            sentry.loaded = self.secret.clone();
        }
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

    fn cut_here(&mut self) -> Option<Cut> {
        let here = self.steps;
        self.steps += 1;
        self.cut.filter(|(at, cut)| *at == here && *cut != Cut::Signal).map(|(_, cut)| cut)
    }

    fn mutate(&mut self, step: &Move, cut: Option<Cut>) {
        match step {
            Move::PublishTrust { bundle, issuer } => {
                self.emptied = false;
                self.map_written = self.now;
                self.config_map = bundle.anchors().to_vec();
                self.versions.1 += 1;
                if cut == Some(Cut::BetweenThePair) {
                    return;
                }
                self.secret.trust = bundle.clone();
                if let Some(issuer) = issuer {
                    self.secret.issuer = issuer.clone();
                }
                self.versions.0 += 1;
                self.schedule();
            }
            Move::PublishIssuer { issuer } => {
                self.secret.issuer = issuer.clone();
                self.versions.0 += 1;
                self.schedule();
            }
            Move::Nudge => self.nudge(),
            Move::RestartApplications { workloads } => self.restart_applications(workloads),
            Move::Restart { workload } => {
                self.restarted.push((workload.clone(), self.now));
                let role = control_plane().into_iter().find(|(name, _)| name == workload).map(|(_, role)| role);
                for index in 0..self.processes.len() {
                    if Some(&self.processes[index].role) == role.as_ref() {
                        self.restart_process(index);
                    }
                }
                if role == Some(Role::Sentry) {
                    (0..self.sentries.len()).for_each(|index| self.reload(index));
                }
            }
        }
    }

    fn nudge(&mut self) {
        let mark = self.published().mark();
        let soon = Some(self.now + SignedDuration::from_millis(400));
        for sentry in &mut self.sentries {
            sentry.nudged = Some(mark.clone());
            sentry.refresh(self.now + SignedDuration::from_millis(400));
        }
        for process in self.processes.iter_mut().filter(|p| p.watcher != Watcher::NoMount) {
            process.nudged = Some(mark.clone());
            process.refresh = soon;
        }
    }

    fn published(&self) -> Published {
        if self.emptied {
            return Published::default();
        }
        let equal = self.config_map == self.secret.trust.anchors();
        Published {
            anchors: self.secret.trust.anchors().to_vec(),
            mirror: self.config_map.clone(),
            chain: self.secret.issuer.chain.clone(),
            key: Some(self.secret.issuer.key.clone()),
            pair: if equal { Pair::Equal } else { Pair::Unequal("ca.crt differs".to_owned()) },
            oddities: Vec::new(),
            secret: Version(self.versions.0.to_string()),
            config_map: Version(self.versions.1.to_string()),
            written: Some(self.written),
            foreign_keys: Vec::new(),
            ..Published::default()
        }
    }

    fn consumers(&self, need: &Need) -> Vec<Consumer> {
        let mut found = Vec::new();
        for sentry in &self.sentries {
            let mut consumer = Consumer::new(Role::Sentry, &sentry.name);
            consumer.mounts = true;
            consumer.nudged.clone_from(&sentry.nudged);
            let chain = &sentry.loaded.issuer.chain;
            if need.served {
                consumer.served = Answer::Proven(chain.iter().take(1).chain(chain).cloned().collect());
            }
            found.push(consumer);
        }
        for process in &self.processes {
            let is_sidecar = matches!(process.role, Role::Sidecar { .. });
            if is_sidecar && (self.hidden || !need.consumers) {
                continue;
            }
            let mut consumer = Consumer::new(process.role.clone(), &process.name);
            consumer.started = Some(process.started);
            consumer.owner = applications::owner(&process.name);
            consumer.phase = if process.leaving { Phase::Terminating } else { Phase::Ready };
            consumer.mounts = process.watcher != Watcher::NoMount;
            consumer.nudged.clone_from(&process.nudged);
            if need.svids {
                consumer.served = Answer::Proven(process.shows.iter().take(1).chain(&process.shows).cloned().collect());
            }
            let accepts = |chain: &[Certificate]| until(chain, &process.held, Profile::Spiffe, self.now).is_ok();
            match process.role {
                Role::Sidecar { .. } => consumer.held = Answer::Proven(process.held.clone().into()),
                _ if self.muted => {
                    consumer.accepts = Answer::Forbidden("get pods/portforward".to_owned());
                    if self.now >= self.map_written + MOUNTS_LAG {
                        consumer.held = Answer::Assumed(self.config_map.clone().into());
                    }
                }
                Role::Injector if need.held => consumer.held = Answer::Proven(process.held.clone().into()),
                Role::Injector => {}
                _ => {
                    let ask = |issuer: &Option<Issuer>| match issuer {
                        Some(issuer) => Answer::Proven(accepts(&issuer.chain)),
                        None => Answer::NotAsked,
                    };
                    if process.started > self.written {
                        consumer.held = Answer::Proven(process.held.clone().into());
                    }
                    consumer.accepts = ask(&need.accepts);
                    consumer.holds = ask(&need.holds);
                }
            }
            found.push(consumer);
        }
        if need.held {
            let injector = self.processes.iter().find(|process| process.role == Role::Injector).unwrap();
            let mut webhook = Consumer::new(Role::Webhook, "dapr-sidecar-injector");
            webhook.held = Answer::Proven(injector.held.clone().into());
            found.push(webhook);
        }
        found
    }
}

/// What a control plane consists of, in restart order.
pub fn control_plane() -> [(String, Role); 5] {
    [
        ("dapr-sentry", Role::Sentry),
        ("dapr-operator", Role::Operator),
        ("dapr-placement-server", Role::Placement),
        ("dapr-scheduler-server", Role::Scheduler),
        ("dapr-sidecar-injector", Role::Injector),
    ]
    .map(|(name, role)| (name.to_owned(), role))
}

fn sidecar() -> Role {
    Role::Sidecar { era: Era::Env, app_id: "app".to_owned() }
}

/// A CA as Sentry makes it.
pub fn make_ca(chance: &mut Chance, now: Timestamp, days: i64) -> Trio {
    let validity = Validity { not_before: now - SKEW, not_after: now + SignedDuration::from_hours(24 * days) };
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let root_key = PrivateKey::generate(&mut entropy);
    let root = root("cluster.local", &root_key, &validity, &mut entropy).unwrap();
    let key = PrivateKey::generate(&mut entropy);
    let certificate = issuer(&root, &root_key, "cluster.local", "dapr-system", &key, &validity, &mut entropy).unwrap();
    Trio { trust: TrustBundle::from_anchors(vec![root]).unwrap(), issuer: Issuer { chain: vec![certificate], key } }
}

impl Mesh for Model {
    async fn observe(&mut self, need: &Need) -> Result<Observed, Error> {
        self.pass(SignedDuration::from_millis(100));
        let services = control_plane().into_iter().map(|(name, role)| Workload {
            role: Some(role),
            kind: WorkloadKind::StatefulSet,
            restarted: self.restarted.iter().rev().find(|(n, _)| *n == name).map(|(_, at)| *at),
            name,
            namespace: "dapr-system".to_owned(),
            created: None,
            replicas: 3,
            ready: self.ready,
            version: "1.14.0".to_owned(),
            complete: true,
            blocker: None,
        });
        Ok(Observed {
            now: self.now,
            identity: Identity {
                trust_domain: "cluster.local".to_owned(),
                namespace: "dapr-system".to_owned(),
                server: "https://model".to_owned(),
                ..Identity::default()
            },
            settings: Settings::default(),
            published: self.published(),
            consumers: self.consumers(need),
            consumers_complete: !self.hidden,
            control_plane: services.collect(),
            applications: self.applications(),
            uninjected: self.uninjected(),
            mount_lag: if self.muted { MOUNTS_LAG } else { SignedDuration::ZERO },
            ..Observed::default()
        })
    }

    async fn apply(&mut self, step: &Move, seen: &Observed) -> Result<(), Error> {
        let here = self.steps;
        let cut = self.cut_here();
        if cut == Some(Cut::Before) {
            return Err(Error::failed("killed before a move"));
        }
        if !matches!(step, Move::Nudge) {
            let now = self.published();
            let versions = (&seen.published.secret, &seen.published.config_map);
            assert_eq!(versions, (&now.secret, &now.config_map), "a write on a stale look");
        }
        self.mutate(step, cut);
        self.writes += 1;
        if self.invents_after == Some(here) {
            self.broken = true;
            self.tear();
            (0..self.sentries.len()).for_each(|index| self.reload(index));
            let held = self.config_map.clone();
            let born = self.processes.iter_mut().find(|process| process.name == "apps/pod-0").unwrap();
            (born.held, born.shows, born.started) = (held, self.secret.issuer.chain.clone(), self.now);
        }
        self.shake_hands();
        if cut.is_some() { Err(Error::failed("killed in or after a move")) } else { Ok(()) }
    }

    async fn lock(&mut self) -> Result<(), Error> {
        if std::mem::replace(&mut self.locked, true) { Err(Error::failed("locked")) } else { Ok(()) }
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        self.locked = false;
        Ok(())
    }

    async fn load(&mut self) -> Result<Option<Record>, Error> {
        Ok(self.record.as_ref().map(|data| Record::from_data(data).unwrap()))
    }

    async fn save(&mut self, record: &Record) -> Result<(), Error> {
        let cut = self.cut_here();
        if cut == Some(Cut::Before) {
            return Err(Error::failed("killed before a record"));
        }
        self.record = Some(record.to_data());
        self.writes += 1;
        if cut.is_some() { Err(Error::failed("killed after a record")) } else { Ok(()) }
    }

    async fn pause(&mut self) {
        self.pass(SignedDuration::from_secs(1));
    }

    fn interrupted(&self) -> Option<u8> {
        self.cut.filter(|(at, cut)| *cut == Cut::Signal && self.steps > *at).map(|_| 15)
    }
}

fn until(
    chain: &[Certificate],
    held: &[Certificate],
    profile: Profile,
    now: Timestamp,
) -> Result<Timestamp, mtls::pki::Refusal> {
    let app = [Svid::new("spiffe://public/ns/apps/app")];
    verify(Shown::Synthetic(&app), chain, held, profile, now)
}
