//! Applications that are restarted in waves, among rollouts that hang, workloads that nobody can restart, and an injector
//! that nobody asks.

use mtls::mesh::{Era, Role};
use mtls::rotation::{Outcome, Run, Scope};

use super::model::{block_on, restart};
use super::script::Script;

impl Script {
    /// Waves, with something wrong at first or not.
    pub fn restart_applications(&mut self) {
        for _ in 0..self.chance.below(3) {
            self.trouble_applications();
        }
        self.cut();
        let scope = *self.chance.from(&[Scope::All, Scope::All, Scope::AllStale]);
        self.restart_in_waves(scope);
        if self.chance.one_in(2) {
            self.mend_applications();
        }
    }

    pub fn restart_in_waves(&mut self, scope: Scope) {
        self.mesh.note(format!("- restart {scope:?}"));
        let ended = block_on(restart(&mut self.mesh, scope));
        self.mesh.cut = None;
        if let Ok((_, Run { outcome: Outcome::Done(_), .. })) = ended {
            self.mesh.count("restarts that reached all", 1);
            self.check_applications();
        }
        self.end(ended.map(|(_, run)| run));
    }

    /// Whoever can be restarted and is seen to hold what it holds has the root in use.
    fn check_applications(&self) {
        let root = self.mesh.secret.root().expect("a CA that works");
        let may_be = |name: &str| self.mesh.apps.iter().any(|app| app.pod() == name && app.blocker.is_none());
        let is_seen = |role: &Role| !self.mesh.hidden && matches!(role, Role::Sidecar { era: Era::Env, .. });
        let seen = self.mesh.processes.iter().filter(|it| is_seen(&it.role) && !it.leaving && may_be(&it.name));
        for app in seen {
            assert!(app.held.contains(root), "{} was not restarted into the root in use", app.name);
        }
    }

    /// Something is wrong with an application, or with all new ones, or no more.
    pub fn trouble_applications(&mut self) {
        if self.chance.one_in(3) {
            return self.mend_applications();
        }
        if self.chance.one_in(4) {
            self.mesh.note("- the API server does not ask the injector");
            self.mesh.bypassed = true;
        }
        if self.mesh.apps.is_empty() {
            return;
        }
        let (trouble, seconds) = (self.chance.below(4), self.chance.seconds(1, 400));
        let place = self.chance.place(self.mesh.apps.len());
        let app = &mut self.mesh.apps[place];
        match trouble {
            0 => app.hangs = true,
            1 => app.blocker = Some("it is paused"),
            2 => app.undone = true,
            _ => app.takes = seconds,
        }
        let what = ["its rollouts hang", "it is paused", "its restarts are undone", "its rollouts are slow"];
        let note = format!("- {}: {}", app.name, what[usize::try_from(trouble).expect("one of four")]);
        self.mesh.note(note);
    }

    pub fn mend_applications(&mut self) {
        self.mesh.note("- applications are well again");
        self.mesh.heal();
        for app in &mut self.mesh.apps {
            (app.hangs, app.blocker, app.undone) = (false, None, false);
        }
    }
}
