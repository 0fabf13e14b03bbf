//! The applications of the mesh in memory: a Deployment behind each sidecar, whose new pod takes a moment.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use mtls::mesh::{Consumer, Era, Role, Workload, WorkloadKind};

use super::Model;

/// A Deployment with one pod.
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

    fn pod(&self) -> String {
        format!("apps/{}", self.name.replace("app", "pod"))
    }
}

/// The workload of a process, as a look tells it.
pub fn owner(process: &str) -> Option<String> {
    process.strip_prefix("apps/pod-").map(|n| format!("deploy/app-{n}"))
}

impl Model {
    /// How often each application was restarted.
    pub fn restarts(&self) -> Vec<u32> {
        self.apps.iter().map(|app| app.restarts).collect()
    }

    pub(super) fn restart_applications(&mut self, workloads: &BTreeSet<String>) {
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
            app.replaced = None;
            app.whole = true;
            let pod = app.pod();
            let mut old = self.processes.iter().find(|process| process.name == pod).unwrap().clone();
            (old.leaving, old.gone) = (true, Some(self.now + GRACE));
            old.name.push_str("-old");
            self.processes.push(old);
            if self.bypassed {
                self.processes.retain(|process| process.name != pod);
                self.bare.push((pod, format!("deploy/{}", self.apps[n].name)));
            } else {
                self.restart(&pod);
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
        let bare = |(pod, owner): &(String, String)| Consumer {
            owner: Some(owner.clone()),
            ..Consumer::new(Role::Sidecar { era: Era::Env, app_id: "app".to_owned() }, pod)
        };
        self.bare.iter().map(bare).collect()
    }
}
