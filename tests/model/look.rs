//! What a look at the mesh finds, each answer by the evidence that the real one has.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::mesh::{
    Answer, Consumer, Era, Identity, Observed, Pair, Phase, Published, Role, Settings, Version, Workload, WorkloadKind,
};
use mtls::pki::{Certificate, Issuer, Profile, Shown, verify};
use mtls::rotation::Need;

use super::handshakes::until;
use super::{Model, Process};

/// By then every mount is fresh, nudged or not.
const MOUNTS_LAG: SignedDuration = SignedDuration::from_secs(90);

/// The objects in which the API server holds what it verifies with.
pub const WEBHOOK: &str = "dapr-sidecar-injector";
pub const CONVERSION: &str = "subscriptions.dapr.io";

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

impl Model {
    pub fn look(&mut self, need: &Need) -> Result<Observed, Error> {
        if self.fails() {
            self.note("a look fails");
            return Err(Error::failed("the API server did not answer a look"));
        }
        let services = control_plane().into_iter().map(|(name, role)| Workload {
            kind: WorkloadKind::StatefulSet,
            restarted: self.restarted.iter().rev().find(|(n, _)| *n == name).map(|(_, at)| *at),
            name,
            namespace: "dapr-system".to_owned(),
            created: None,
            replicas: 3,
            ready: self.ready,
            version: "1.14.0".to_owned(),
            complete: !self.is_rolling(&role),
            blocker: None,
            role: Some(role),
        });
        let control_plane = services.collect();
        let mut seen = Observed {
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
            control_plane,
            applications: self.applications(),
            uninjected: self.uninjected(),
            nudge_refused: !self.may_nudge,
            mount_lag: if self.muted || !self.may_nudge { MOUNTS_LAG } else { SignedDuration::ZERO },
            ..Observed::default()
        };
        self.see_copies(need.distribution, &mut seen);
        Ok(seen)
    }

    /// Whether a look or a probe comes to nothing this time.
    fn fails(&mut self) -> bool {
        self.flaky.is_some_and(|times| self.chance.one_in(times))
    }

    pub fn published(&self) -> Published {
        let (secret, config_map) = (Version(self.versions.0.to_string()), Version(self.versions.1.to_string()));
        if self.emptied {
            return Published { secret, config_map, ..Published::default() };
        }
        let pair = match (self.lacks_key, self.is_whole()) {
            (true, _) => Pair::Unequal("issuer.key is missing".to_owned()),
            (_, false) => Pair::Unequal("ca.crt differs".to_owned()),
            _ => Pair::Equal,
        };
        Published {
            anchors: self.secret.trust.anchors().to_vec(),
            mirror: self.config_map.clone(),
            chain: self.secret.issuer.chain.clone(),
            key: (!self.lacks_key).then(|| self.secret.issuer.key.clone()),
            pair,
            oddities: Vec::new(),
            secret,
            config_map,
            written: Some(self.written),
            foreign_keys: Vec::new(),
            noted_roots: self.noted.clone(),
        }
    }

    fn consumers(&mut self, need: &Need) -> Vec<Consumer> {
        let mut found = Vec::new();
        for index in 0..self.sentries.len() {
            let unanswered = need.served && self.fails();
            let sentry = &self.sentries[index];
            let mut consumer = Consumer::new(Role::Sentry, &sentry.name);
            consumer.mounts = true;
            consumer.started = Some(sentry.started);
            consumer.nudged.clone_from(&sentry.nudged);
            if !sentry.is_up() {
                consumer.phase = Phase::CrashLoop;
            }
            if need.served {
                let chain = &sentry.loaded.issuer.chain;
                consumer.served = if unanswered || !sentry.is_up() {
                    Answer::Unknown("no answer".to_owned())
                } else {
                    Answer::Proven(chain.iter().take(1).chain(chain).cloned().collect())
                };
            }
            found.push(consumer);
        }
        for index in 0..self.processes.len() {
            let process = &self.processes[index];
            if !process.is_sidecar() || (need.consumers && !self.hidden) {
                let unanswered = self.fails();
                found.push(self.consumer(&self.processes[index], need, unanswered));
            }
        }
        if need.held {
            let bundles = [
                (Role::Webhook, WEBHOOK, Role::Injector, self.webhook.clone()),
                (Role::Conversion, CONVERSION, Role::Operator, self.conversion.clone()),
            ];
            for (role, name, server, bundle) in bundles {
                let mut consumer = Consumer::new(role, name);
                consumer.served = self.served_to(&bundle, &server);
                consumer.held = Answer::Proven(bundle.into());
                found.push(consumer);
            }
        }
        found
    }

    /// The chain that the servers behind a `caBundle` serve: of several one that it does not verify, if there is one.
    fn served_to(&mut self, bundle: &[Certificate], server: &Role) -> Answer<Vec<Certificate>> {
        let servers = self.processes.iter().filter(|process| process.role == *server);
        let chains: Vec<Vec<Certificate>> = servers.map(|process| process.shows.clone()).collect();
        let mut answer = Answer::NotAsked;
        for chain in chains {
            let Some(leaf) = self.hands.leaf(&chain, Profile::Webhook) else { continue };
            let refused = verify(Shown::Leaf(&leaf), &chain, bundle, Profile::Webhook, self.now).is_err();
            if refused || answer == Answer::NotAsked {
                answer = Answer::Proven([leaf].into_iter().chain(chain).collect());
            }
        }
        answer
    }

    /// What a process answers that is asked through a port-forward.
    fn answer<T>(&self, unanswered: bool, answer: impl FnOnce() -> T) -> Answer<T> {
        match (self.muted, unanswered) {
            (true, _) => Answer::Forbidden("get pods/portforward".to_owned()),
            (_, true) => Answer::Unknown("no answer".to_owned()),
            _ => Answer::Proven(answer()),
        }
    }

    fn consumer(&self, process: &Process, need: &Need, unanswered: bool) -> Consumer {
        let mut consumer = Consumer::new(process.role.clone(), &process.name);
        consumer.started = Some(process.started);
        consumer.phase = if process.leaving { Phase::Terminating } else { Phase::Ready };
        consumer.mounts = process.mounts_the_map() || process.mounts_a_copy();
        consumer.reads_copy = matches!(process.role, Role::Sidecar { era: Era::File, .. });
        consumer.scheduled = Some(process.made);
        consumer.nudged.clone_from(&process.nudged);
        consumer.owner = self.owner(&process.name);
        if need.svids && process.role != Role::EtcdPeer {
            let shows = || process.shows.iter().take(1).chain(&process.shows).cloned().collect();
            consumer.served = self.answer(unanswered, shows);
        }
        let proven = || Answer::Proven(process.held.clone().into());
        // Why: the mount of a new pod is fresh, that of a restarted container need not be.
        let is_born_with_it = self.is_whole() && process.made > self.map_written;
        let accepts = |chain: &[Certificate]| until(chain, &process.held, self.now + process.skew).is_ok();
        let ask = |issuer: &Option<Issuer>| match issuer {
            Some(issuer) => self.answer(unanswered, || accepts(&issuer.chain)),
            None => Answer::NotAsked,
        };
        match process.role {
            Role::Sidecar { era: Era::Env, .. } => consumer.held = proven(),
            Role::Sidecar { era: Era::File, .. } => {
                consumer.held = Answer::Unknown("they come from a file".to_owned());
                consumer.holds = ask(&need.holds);
                consumer.accepts_former = ask(&need.former);
            }
            Role::EtcdPeer if is_born_with_it => consumer.held = proven(),
            Role::EtcdPeer => consumer.held = Answer::Unknown("it may have read them before".to_owned()),
            _ if self.muted => {
                consumer.accepts = Answer::Forbidden("get pods/portforward".to_owned());
                if self.now >= self.map_written + MOUNTS_LAG {
                    consumer.held = Answer::Assumed(self.config_map.clone().into());
                }
            }
            Role::Injector if !need.held => {}
            Role::Injector if unanswered => consumer.held = Answer::Unknown("no answer".to_owned()),
            Role::Injector => consumer.held = proven(),
            _ => {
                if is_born_with_it {
                    consumer.held = Answer::Proven(self.config_map.clone().into());
                }
                consumer.accepts = ask(&need.accepts);
                consumer.holds = ask(&need.holds);
                consumer.accepts_former = ask(&need.former);
            }
        }
        consumer
    }
}
