//! The applications of the mesh in memory: a Deployment behind each sidecar, whose new pod takes a moment.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::{Consumer, Era, Role, Workload, WorkloadKind};

use super::{Model, Process, Sentry};

/// A Deployment with one pod.
#[derive(Clone)]
pub struct App {
    /// `app-0`; its pod is `apps/pod-0`.
    pub name: String,
    /// How often it was restarted.
    pub restarts: u32,
    /// Whether its rollouts never come to an end.
    pub hangs: bool,
    /// How long a rollout takes.
    pub takes: SignedDuration,
    /// Whether all of it runs, as long as nobody restarts it.
    pub whole: bool,
    /// Whether somebody takes the mark of each restart away again.
    pub undone: bool,
    /// Why it cannot be restarted.
    pub blocker: Option<&'static str>,
    restarted: Option<Timestamp>,
    /// When its new pod takes the place of the old one.
    replaced: Option<Timestamp>,
}

/// How long a pod that is being deleted goes on talking.
const GRACE: SignedDuration = SignedDuration::from_secs(30);

impl App {
    pub fn new(n: usize) -> Self {
        let name = format!("app-{n}");
        let takes = SignedDuration::from_secs(3);
        let (restarted, replaced) = (None, None);
        Self { name, restarts: 0, hangs: false, takes, whole: true, undone: false, blocker: None, restarted, replaced }
    }

    pub fn next(&self) -> Option<Timestamp> {
        self.replaced.filter(|_| !self.hangs)
    }

    pub fn pod(&self) -> String {
        format!("apps/{}", self.name.replace("app", "pod"))
    }
}

impl Model {
    /// The workload of a process, as a look tells it.
    pub(super) fn owner(&self, process: &str) -> Option<String> {
        let pod = process.trim_end_matches("-old");
        self.apps.iter().find(|app| app.pod() == pod).map(|app| format!("deploy/{}", app.name))
    }

    /// How often each application was restarted.
    pub fn restarts(&self) -> Vec<u32> {
        self.apps.iter().map(|app| app.restarts).collect()
    }

    /// A wave: no more than may be at once, none beside one of the same run, none against a stale injector.
    pub(super) fn restart_applications(&mut self, workloads: &BTreeSet<String>) {
        assert!(workloads.len() <= self.limits.parallel, "{} applications at once", workloads.len());
        let rolls = |app: &&App| !app.undone && app.replaced.is_some() && app.restarted >= Some(self.began);
        let rolling = self.apps.iter().find(rolls).map(|app| &app.name);
        assert_eq!(rolling, None, "the wave before has not come to an end");
        let root = self.secret.root().expect("a CA that works");
        let stale = self.processes.iter().find(|it| it.role == Role::Injector && !it.held.contains(root));
        assert!(stale.is_none(), "{} gives new pods older trust anchors", stale.unwrap().name);
        self.count("waves", 1);
        self.count("applications restarted", workloads.len());
        let now = self.now;
        for app in self.apps.iter_mut().filter(|app| workloads.contains(&format!("apps/deploy/{}", app.name))) {
            assert_eq!(app.blocker, None, "{} cannot be restarted", app.name);
            app.restarts += 1;
            app.restarted = Some(now);
            app.replaced = Some(now + app.takes);
        }
    }

    pub(super) fn roll_out(&mut self) {
        for n in 0..self.apps.len() {
            let app = &mut self.apps[n];
            if app.hangs || app.replaced.is_none_or(|at| at > self.now) {
                continue;
            }
            if !self.sentries.iter().any(Sentry::is_up) {
                app.replaced = Some(self.now + SignedDuration::from_secs(10));
                continue;
            }
            app.replaced = None;
            app.whole = true;
            let pod = app.pod();
            if let Some(mut old) = self.processes.iter().find(|process| process.name == pod).cloned() {
                (old.leaving, old.gone) = (true, Some(self.now + GRACE));
                old.name.push_str("-old");
                self.processes.push(old);
            }
            self.inject(&pod);
            self.restart_pod(&pod);
            self.shake_hands();
        }
    }

    /// A new pod comes up without a sidecar, and takes part in nothing.
    pub(super) fn lose_sidecar(&mut self, name: &str) {
        let (lost, stay) = std::mem::take(&mut self.processes).into_iter().partition(|process| process.name == name);
        self.processes = stay;
        self.bare.extend::<Vec<_>>(lost);
        self.note(format!("{name} comes up without a sidecar"));
        self.count("pods without a sidecar", 1);
    }

    fn inject(&mut self, name: &str) {
        let (lost, stay) = std::mem::take(&mut self.bare).into_iter().partition(|process| process.name == name);
        self.bare = stay;
        self.processes.extend::<Vec<_>>(lost);
    }

    /// New pods get a sidecar again, and those that have none are restarted.
    pub fn heal(&mut self) {
        if self.sentries.iter().any(Sentry::is_up) {
            self.bypassed = false;
            for name in self.bare.iter().map(|pod| pod.name.clone()).collect::<Vec<_>>() {
                self.inject(&name);
                self.restart_pod(&name);
            }
        }
    }

    pub(super) fn applications(&self) -> Vec<Workload> {
        let workload = |app: &App| Workload {
            role: None,
            kind: WorkloadKind::Deployment,
            name: app.name.clone(),
            namespace: "apps".to_owned(),
            created: None,
            replicas: 1,
            ready: 1,
            version: String::new(),
            restarted: app.restarted.filter(|_| !app.undone),
            complete: app.whole && app.replaced.is_none(),
            blocker: app.blocker.map(str::to_owned),
        };
        self.apps.iter().map(workload).collect()
    }

    pub(super) fn uninjected(&self) -> Vec<Consumer> {
        let bare = |pod: &Process| Consumer {
            owner: self.owner(&pod.name),
            ..Consumer::new(Role::Sidecar { era: Era::Env, app_id: "app".to_owned() }, &pod.name)
        };
        self.bare.iter().map(bare).collect()
    }
}
