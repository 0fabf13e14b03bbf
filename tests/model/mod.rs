//! A mesh in memory that behaves like Dapr: Sentry reads two objects and invents a CA where they differ, mounts lag,
//! watchers live or are dead, pods are born at any moment. After every change each process shakes hands with each
//! other one, and a refusal fails the test.

#![allow(dead_code, unused_imports, reason = "each test target that includes it uses a part of it")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod api;
mod applications;
mod chance;
mod command;
mod copies;
mod cut;
mod handshakes;
mod life;
mod look;
mod pods;
mod prune;
mod sentry;

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::{Era, Role};
use mtls::pki::{Certificate, Fingerprint, PrivateKey};
use mtls::rotation::{Limits, Record, RecordData, Strategy, Trio};

use applications::App;
pub use chance::Chance;
pub use command::{LIMITS, block_on, command, go, request, restart};
use copies::Copies;
pub use cut::Cut;
pub use handshakes::CLOCKS;
use handshakes::Handshakes;
pub use life::any_sidecar;
pub use look::control_plane;
pub use pods::{Process, Watcher};
pub use prune::{is_outsider, prunable, prune};
use sentry::Sentry;
pub use sentry::{ca_with, ca_without_bridges, make_ca};

#[derive(Clone)]
#[expect(clippy::struct_excessive_bools, reason = "each is a switch that a test sets")]
pub struct Model {
    pub now: Timestamp,
    pub secret: Trio,
    pub config_map: Vec<Certificate>,
    pub processes: Vec<Process>,
    pub sentries: Vec<Sentry>,
    pub record: Option<RecordData>,
    pub hands: Handshakes,
    /// The strategy of the last run.
    pub strategy: Option<Strategy>,
    /// What happened, in words.
    pub diary: Vec<String>,
    /// How often what came about that a schedule is for.
    pub met: BTreeMap<String, u64>,
    pub writes: u64,
    pub invented: u32,
    /// The write (moves and records alike, from 0) at which the run is cut.
    pub cut: Option<(u64, Cut)>,
    /// The move (from 0) after which Sentry invents a CA, under which a pod is born.
    pub invents_after: Option<u64>,
    /// The move (from 0) after which somebody deletes the record.
    pub forgets_after: Option<u64>,
    /// Whether SVIDs are issued anew and sidecars are restarted while time passes.
    pub restless: bool,
    /// Whether pods are born, deleted and crash then too.
    pub lively: bool,
    /// Whether pods of the file era are among those that are born then.
    pub file_era: bool,
    /// How many looks and probes come out well for one that does not.
    pub flaky: Option<u64>,
    /// Whether the caller may take Sentry's right to write away.
    pub may_fence: bool,
    /// Whether the caller may patch pods, so that their mounts are fresh now.
    pub may_nudge: bool,
    /// Whether the first nudge after a change comes before the kubelets have heard of the change.
    pub nudges_are_lost: bool,
    /// Whether the caller may not ask the control plane's processes anything.
    pub muted: bool,
    /// Whether both objects were emptied, as `helm upgrade --reset-values` does it.
    pub emptied: bool,
    /// Whether the Secret lacks the issuer's key.
    pub lacks_key: bool,
    /// How many of the three replicas of each service are ready.
    pub ready: i32,
    /// Whether the sidecars cannot be listed.
    pub hidden: bool,
    /// Whether anybody may refuse anybody: the mesh was broken before, or a replacement is on its way.
    pub broken: bool,
    /// Those that a run has named or counted among those that may refuse, or be refused, afterwards.
    pub named: BTreeSet<String>,
    /// How many may break, as `--force=N` says it.
    pub force: usize,
    /// What a run may take.
    pub limits: Limits,
    /// Whether the injector goes on injecting what it holds now, restarted or not.
    pub stale_injector: bool,
    /// Whether the API server asks no injector about new pods, as a webhook that fails and is ignored has it.
    pub bypassed: bool,
    /// The workloads behind the first sidecars, one pod each.
    pub apps: Vec<App>,
    /// Pods that came up without a sidecar, and what they would be with one.
    bare: Vec<Process>,
    pub chance: Chance,
    /// The keys of the roots that somebody kept.
    pub root_keys: Vec<PrivateKey>,
    /// Anchors that must not leave the bundle.
    pub kept: Vec<Certificate>,
    /// Whether what is published is what Sentry invented over all else.
    pub usurped: bool,
    inventions: Vec<Trio>,
    /// Anchors of a CA that was overwritten and that nobody was seen to hold alone.
    forsaken: Vec<Certificate>,
    /// Anchors that nobody but one object knows: what Sentry overwrites of them is gone.
    strange: Vec<Certificate>,
    /// The roots that the annotation names as this mesh's own.
    pub noted: Vec<Fingerprint>,
    /// `caBundle`s, and the copies of the file era.
    webhook: Vec<Certificate>,
    conversion: Vec<Certificate>,
    pub copies: Copies,
    /// Since when a fence stands.
    pub fenced: Option<Timestamp>,
    /// The record as the run has read or written it.
    known: Option<Record>,
    locked: bool,
    killed: bool,
    versions: (u64, u64),
    /// What somebody puts back whenever the issuer is switched.
    pub put_back: Option<Trio>,
    written: Timestamp,
    map_written: Timestamp,
    rollouts: Vec<(Timestamp, String)>,
    restarted: Vec<(String, Timestamp)>,
    /// When the lock was taken last.
    began: Timestamp,
    steps: u64,
    /// Pauses since the last move.
    pauses: u32,
    born: usize,
}

const TTL: SignedDuration = SignedDuration::from_hours(24);
const SKEW: SignedDuration = SignedDuration::from_mins(15);

/// What a mesh consists of.
pub struct Topology {
    pub sentries: usize,
    pub injectors: usize,
    pub schedulers: usize,
    /// Of the control plane's processes, taken in turn.
    pub watchers: Vec<Watcher>,
    pub sidecars: Vec<(Era, Watcher)>,
}

impl Model {
    /// A mesh with a CA that lives `days`, two Sentry replicas, the control plane and four sidecars.
    pub fn new(seed: u64, days: i64, watcher: Watcher) -> Self {
        let sidecars = vec![(Era::Env, Watcher::NoMount); 4];
        Self::with(seed, days, Topology { sentries: 2, injectors: 1, schedulers: 1, watchers: vec![watcher], sidecars })
    }

    pub fn with(seed: u64, days: i64, topology: Topology) -> Self {
        let mut chance = Chance::new(seed);
        let now: Timestamp = "2026-03-01T12:00:00Z".parse().unwrap();
        let root_key = PrivateKey::generate(&mut |bytes: &mut [u8]| chance.fill(bytes));
        let secret = ca_with(&root_key, &mut chance, now, days);
        let held = secret.trust.anchors().to_vec();
        let Topology { sentries, injectors, schedulers, watchers, sidecars } = topology;
        let name = |name: &str, n: usize| if n == 0 { name.to_owned() } else { format!("{name}-{n}") };
        let mut control_plane = vec![
            (Role::Operator, "dapr-system/operator".to_owned()),
            (Role::Placement, "dapr-system/placement".to_owned()),
        ];
        for n in 0..schedulers {
            control_plane.push((Role::Scheduler, name("dapr-system/scheduler", n)));
            control_plane.extend((schedulers > 1).then(|| (Role::EtcdPeer, name("dapr-system/scheduler", n))));
        }
        control_plane.extend((0..injectors).map(|n| (Role::Injector, name("dapr-system/injector", n))));
        let new = |role, name: &str, watcher| Process::new(role, name, watcher, &held, &secret.issuer.chain);
        let mut watchers = watchers.iter().cycle();
        let mut processes: Vec<Process> = Vec::new();
        for (role, name) in control_plane {
            let watcher = if role == Role::EtcdPeer { Watcher::Dead } else { *watchers.next().unwrap() };
            processes.push(new(role, &name, watcher));
        }
        for (n, (era, watcher)) in sidecars.iter().enumerate() {
            processes.push(new(pods::sidecar(*era), &format!("apps/pod-{n}"), *watcher));
        }
        for process in &mut processes {
            (process.made, process.started) = (now, now);
            process.renews = now + pods::RENEWAL;
        }
        let sentry = |n| Sentry::new(format!("dapr-system/sentry-{n}"), secret.clone(), now);
        Self {
            now,
            config_map: held.clone(),
            born: sidecars.len(),
            processes,
            sentries: (0..sentries).map(sentry).collect(),
            record: None,
            hands: Handshakes::default(),
            strategy: None,
            diary: Vec::new(),
            met: BTreeMap::new(),
            writes: 0,
            invented: 0,
            cut: None,
            invents_after: None,
            forgets_after: None,
            known: None,
            restless: false,
            lively: false,
            file_era: sidecars.iter().any(|(era, _)| *era == Era::File),
            flaky: None,
            may_fence: true,
            may_nudge: true,
            nudges_are_lost: false,
            muted: false,
            emptied: false,
            lacks_key: false,
            ready: 3,
            hidden: false,
            broken: false,
            named: BTreeSet::new(),
            force: 0,
            limits: LIMITS,
            stale_injector: false,
            bypassed: false,
            apps: (0..sidecars.len()).map(App::new).collect(),
            bare: Vec::new(),
            root_keys: vec![root_key],
            kept: held.clone(),
            usurped: false,
            inventions: Vec::new(),
            forsaken: Vec::new(),
            strange: Vec::new(),
            noted: Vec::new(),
            webhook: held.clone(),
            conversion: held.clone(),
            copies: Copies::new(&held, now),
            fenced: None,
            locked: false,
            killed: false,
            versions: (1, 1),
            put_back: None,
            written: now,
            map_written: now,
            rollouts: Vec::new(),
            restarted: Vec::new(),
            began: now,
            steps: 0,
            pauses: 0,
            secret,
            chance,
        }
    }

    /// Lets time pass, and whatever is due in it happen in its order: mounts refresh, Sentry reloads, SVIDs are issued
    /// anew, pods come and go.
    pub fn pass(&mut self, time: SignedDuration) {
        let end = self.now + time;
        if self.restless && self.chance.one_in(3) {
            self.stir();
        }
        loop {
            self.shake_hands();
            match self.next_event().filter(|at| *at <= end) {
                Some(at) => self.now = self.now.max(at),
                None => break,
            }
            self.run_sentries();
            self.run_copies();
            self.run_pods();
            self.roll_out();
        }
        self.now = end;
        self.shake_hands();
    }

    fn next_event(&self) -> Option<Timestamp> {
        let processes = self.processes.iter().filter_map(Process::next);
        let sentries = self.sentries.iter().filter_map(Sentry::next);
        let apps = self.apps.iter().filter_map(App::next).chain(self.copies.next_event());
        processes.chain(sentries).chain(apps).chain(self.rollouts.iter().map(|(at, _)| *at)).min()
    }

    /// Writes something into the diary.
    pub fn note(&mut self, text: impl std::fmt::Display) {
        self.diary.push(format!("{} {text}", self.now.strftime("%d %T")));
    }

    /// Counts what came about.
    pub fn count(&mut self, what: &str, times: usize) {
        *self.met.entry(what.to_owned()).or_default() += times as u64;
    }

    /// How many writes there were, those of the record and those that were cut off included.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether the run came as far as the write that was to be cut.
    pub fn has_cut(&self) -> bool {
        self.cut.is_some_and(|(at, _)| self.steps > at)
    }
}
