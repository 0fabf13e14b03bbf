//! Pods: mounts that lag, watchers that live, see one change or none, SVIDs that are renewed, restarts, rollouts.

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::{Era, Nudge, Observed, Role};
use mtls::pki::Certificate;
use mtls::rotation::{Strategy, Trio};

use super::{Chance, Model, SKEW, TTL};

/// Whether a process sees its mount change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Watcher {
    Alive,
    /// Sees the first change of its life, and no other (dapr-facts §2).
    Once,
    Dead,
    NoMount,
}

/// A process that talks TLS with the others. Those of one pod have one name.
#[derive(Clone)]
pub struct Process {
    pub role: Role,
    pub name: String,
    pub held: Vec<Certificate>,
    pub shows: Vec<Certificate>,
    pub watcher: Watcher,
    /// Whether it is being deleted, and talks until it is gone.
    pub leaving: bool,
    /// By how much its clock differs.
    pub skew: SignedDuration,
    /// When its pod was made, and when it started itself.
    pub made: Timestamp,
    pub started: Timestamp,
    pub nudged: Option<String>,
    /// What its files say, whatever it has read of them.
    mount: Vec<Certificate>,
    /// Whether its watcher has seen a change.
    has_seen: bool,
    pub gone: Option<Timestamp>,
    pub renews: Timestamp,
    pub refresh: Option<Timestamp>,
}

impl Process {
    pub fn new(role: Role, name: &str, watcher: Watcher, held: &[Certificate], shows: &[Certificate]) -> Self {
        Self {
            role,
            name: name.to_owned(),
            held: held.to_vec(),
            shows: shows.to_vec(),
            watcher,
            leaving: false,
            skew: SignedDuration::ZERO,
            made: Timestamp::MIN,
            started: Timestamp::MIN,
            nudged: None,
            mount: held.to_vec(),
            has_seen: false,
            gone: None,
            renews: Timestamp::MAX,
            refresh: None,
        }
    }

    /// That CA, as if there had never been another one.
    pub fn live_with(&mut self, ca: &Trio) {
        self.held = ca.trust.anchors().to_vec();
        self.mount.clone_from(&self.held);
        self.shows.clone_from(&ca.issuer.chain);
    }

    pub fn is_sidecar(&self) -> bool {
        matches!(self.role, Role::Sidecar { .. })
    }

    pub fn next(&self) -> Option<Timestamp> {
        [Some(self.renews), self.gone, self.refresh].into_iter().flatten().min()
    }

    /// Whether it is a sidecar that reads the copy of its namespace.
    fn reads_a_copy(&self) -> bool {
        matches!(self.role, Role::Sidecar { era: Era::File, .. })
    }

    /// Whether its kubelet refreshes that copy.
    pub fn mounts_a_copy(&self) -> bool {
        self.watcher != Watcher::NoMount && self.reads_a_copy()
    }

    /// Whether its pod mounts the `ConfigMap`, so that its kubelet can be nudged.
    pub fn mounts_the_map(&self) -> bool {
        self.watcher != Watcher::NoMount && !self.is_sidecar() && self.role != Role::EtcdPeer
    }
}

pub fn sidecar(era: Era) -> Role {
    Role::Sidecar { era, app_id: "app".to_owned() }
}

impl Model {
    /// What is due in pods.
    pub fn run_pods(&mut self) {
        let now = self.now;
        self.processes.retain(|process| process.gone.is_none_or(|gone| gone > now));
        for index in 0..self.processes.len() {
            if self.processes[index].refresh.is_some_and(|at| at <= now) {
                self.refresh(index);
            }
            if self.processes[index].renews <= now {
                self.renew(index);
            }
        }
        while let Some(place) = self.rollouts.iter().position(|(at, _)| *at <= now) {
            let (_, name) = self.rollouts.remove(place);
            self.restart_pod(&name);
        }
    }

    fn refresh(&mut self, index: usize) {
        let fresh = if self.processes[index].is_sidecar() { &self.copies.mounted() } else { &self.config_map };
        let process = &mut self.processes[index];
        process.refresh = None;
        if process.mount == *fresh {
            return;
        }
        process.mount.clone_from(fresh);
        let sees = process.watcher == Watcher::Alive || process.watcher == Watcher::Once && !process.has_seen;
        process.has_seen = true;
        if sees {
            process.held.clone_from(fresh);
            self.note(format!("{} sees its mount change", self.processes[index].name));
            self.tell(index);
        }
    }

    /// What others do with what a process holds: the injector and the operator patch a `caBundle`, the operator
    /// distributes.
    fn tell(&mut self, index: usize) {
        let held = self.processes[index].held.clone();
        match self.processes[index].role {
            Role::Injector => self.webhook = held,
            Role::Operator => {
                self.conversion.clone_from(&held);
                self.operator_holds(&held);
            }
            _ => {}
        }
    }

    /// A kubelet refreshes its mounts in its own time. A change does not put off a refresh that is due.
    pub fn remount(&mut self) {
        for index in 0..self.processes.len() {
            let at = self.now + self.chance.seconds(14, 79);
            let process = &mut self.processes[index];
            if process.watcher != Watcher::NoMount {
                process.refresh = Some(process.refresh.map_or(at, |due| due.min(at)));
            }
        }
    }

    pub fn renew(&mut self, index: usize) {
        match self.issue() {
            Some(shows) => self.certify(index, &shows),
            None => self.processes[index].renews = self.now + SignedDuration::from_secs(10),
        }
    }

    /// The processes of a pod show one SVID.
    fn certify(&mut self, index: usize, shows: &[Certificate]) {
        let (name, renews) = (self.processes[index].name.clone(), self.now + RENEWAL);
        for process in self.processes.iter_mut().filter(|process| process.name == name) {
            process.shows = shows.to_vec();
            process.renews = renews;
        }
    }

    /// The pods of a role, the leaving ones left out.
    pub fn pods(&self, is_theirs: impl Fn(&Role) -> bool) -> Vec<String> {
        let theirs = self.processes.iter().filter(|p| is_theirs(&p.role) && p.role != Role::EtcdPeer && !p.leaving);
        let sentries = self.sentries.iter().filter(|_| is_theirs(&Role::Sentry)).map(|sentry| &sentry.name);
        theirs.map(|process| &process.name).chain(sentries).cloned().collect()
    }

    pub fn sidecars(&self) -> Vec<String> {
        self.pods(|role| matches!(role, Role::Sidecar { .. }))
    }

    /// Restarts a pod.
    pub fn restart(&mut self, name: &str) {
        assert!(self.processes.iter().any(|p| p.name == name), "there is no pod {name}");
        self.restart_pod(name);
        self.shake_hands();
    }

    pub fn restart_pod(&mut self, name: &str) {
        if let Some(index) = self.sentries.iter().position(|sentry| sentry.name == name) {
            return self.replace_sentry(index);
        }
        if self.bypassed && self.processes.iter().any(|process| process.name == name && process.is_sidecar()) {
            return self.lose_sidecar(name);
        }
        for index in 0..self.processes.len() {
            if self.processes[index].name == name {
                self.start(index, true);
            }
        }
    }

    /// A container crashes and starts again in its old pod.
    pub fn crash(&mut self, name: &str) {
        for index in 0..self.processes.len() {
            if self.processes[index].name == name {
                self.start(index, false);
            }
        }
    }

    fn start(&mut self, index: usize, anew: bool) {
        let Some(shows) = self.issue() else {
            let name = &self.processes[index].name;
            if !self.rollouts.iter().any(|(_, again)| again == name) {
                self.rollouts.push((self.now + SignedDuration::from_secs(10), name.clone()));
            }
            return;
        };
        let injectors: Vec<usize> =
            (0..self.processes.len()).filter(|i| self.processes[*i].role == Role::Injector).collect();
        let injected = self.processes[*self.chance.from(&injectors)].held.clone();
        let (now, config_map, distributed) = (self.now, self.config_map.clone(), self.copies.mounted());
        let process = &mut self.processes[index];
        let fresh = match process.role {
            Role::Sidecar { era: Era::Env, .. } => injected,
            Role::Sidecar { era: Era::File, .. } => distributed,
            Role::Injector if self.stale_injector => injected,
            _ => config_map,
        };
        // Why: after a replacement nobody knows yet who will be born into a copy that is behind.
        let is_behind = process.reads_a_copy() && self.secret.root().is_some_and(|root| !fresh.contains(root));
        if anew && is_behind && self.strategy == Some(Strategy::Replace) {
            self.named.insert(process.name.clone());
        }
        if anew {
            (process.made, process.mount, process.nudged) = (now, fresh, None);
        }
        process.held.clone_from(&process.mount);
        (process.started, process.has_seen) = (now, false);
        self.certify(index, &shows);
        self.note(format!("{} {}", self.processes[index].name, if anew { "is a new pod" } else { "crashes" }));
        self.tell(index);
    }

    /// Makes every pod of a role a new one, one after the other.
    pub fn roll(&mut self, role: &Role) {
        let mut at = self.now;
        for name in self.pods(|other| other == role) {
            at += SignedDuration::from_secs(1);
            self.rollouts.push((at, name));
        }
    }

    pub fn is_rolling(&self, role: &Role) -> bool {
        let theirs = self.pods(|other| other == role);
        self.rollouts.iter().any(|(_, name)| theirs.contains(name))
    }

    pub fn nudge(&mut self, seen: &Observed) {
        let Some(Nudge { pods, mark, is_first }) = seen.nudge() else { return };
        let is_lost = is_first && self.nudges_are_lost;
        let (now, chance) = (self.now, &mut self.chance);
        for sentry in self.sentries.iter_mut().filter(|sentry| pods.contains(&sentry.name)) {
            sentry.nudged = Some(mark.clone());
            let refresh = now + chance.seconds(0, 1);
            if !is_lost {
                sentry.refresh(refresh);
            }
        }
        let mounts = |p: &&mut Process| p.mounts_the_map() || p.mounts_a_copy();
        for process in self.processes.iter_mut().filter(mounts).filter(|p| pods.contains(&p.name)) {
            process.nudged = Some(mark.clone());
            let refresh = now + chance.seconds(0, 1);
            if !is_lost {
                process.refresh = Some(refresh);
            }
        }
    }
}

/// An SVID, back-dated by the clock skew, is renewed at half its validity (dapr-facts §5).
pub const RENEWAL: SignedDuration =
    SignedDuration::from_mins(i64::midpoint(TTL.as_mins(), SKEW.as_mins()) - SKEW.as_mins());
