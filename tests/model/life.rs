//! What pods do that nobody asked for: they come, go, crash, are moved to another node, have their SVIDs issued anew.

use jiff::SignedDuration;
use mtls::mesh::{Era, Role};

use super::applications::App;
use super::pods::{Process, sidecar};
use super::{Chance, Model, Watcher};

impl Model {
    /// A pod comes that was not there, of a Deployment or of nothing that could be restarted.
    pub fn bear(&mut self, era: Era, watcher: Watcher) {
        let number = self.born;
        self.born += 1;
        let name = format!("apps/pod-{number}");
        self.processes.push(Process::new(sidecar(era), &name, watcher, &[], &[]));
        self.restart_pod(&name);
        // Why: without Sentry it does not start.
        self.processes.retain(|process| !process.shows.is_empty());
        if self.processes.iter().any(|process| process.name == name) && self.chance.one_in(2) {
            self.apps.push(App::new(number));
        }
    }

    /// Deletes a pod, which is gone after `grace`, and the Deployment behind it.
    pub fn die(&mut self, name: &str, grace: SignedDuration) {
        let gone = Some(self.now + grace);
        self.note(format!("{name} is deleted"));
        self.apps.retain(|app| app.pod() != name);
        for process in self.processes.iter_mut().filter(|process| process.name == name) {
            process.leaving = true;
            process.gone = gone;
        }
    }

    /// Restarts one sidecar: its anchors come from the injector, its SVID from any Sentry replica.
    pub fn restart_a_sidecar(&mut self) {
        let sidecars = self.sidecars();
        if !sidecars.is_empty() {
            let name = self.chance.from(&sidecars).clone();
            self.restart_pod(&name);
        }
    }

    /// Restarts the whole control plane, as after the loss of a node.
    pub fn restart_control_plane(&mut self) {
        self.now += SignedDuration::from_secs(1);
        for name in self.pods(Role::is_control_plane) {
            self.restart_pod(&name);
        }
    }

    /// Something that nobody asked for.
    pub fn stir(&mut self) {
        let sidecars = self.sidecars();
        match self.chance.below(if self.lively { 10 } else { 6 }) {
            0..3 => {
                let index = self.chance.place(self.processes.len());
                self.renew(index);
            }
            3..6 => self.restart_a_sidecar(),
            6 if sidecars.len() < 8 => {
                let (era, watcher) = any_sidecar(&mut self.chance, self.file_era);
                self.bear(era, watcher);
            }
            7 if sidecars.len() > 3 => {
                let (name, grace) = (self.chance.from(&sidecars).clone(), self.chance.seconds(0, 40));
                self.die(&name, grace);
            }
            8 => {
                let pods = self.pods(Role::is_control_plane);
                let name = self.chance.from(&pods).clone();
                self.restart_pod(&name);
            }
            _ => {
                let pods = self.pods(|_| true);
                let name = self.chance.from(&pods).clone();
                self.crash(&name);
            }
        }
    }
}

/// A sidecar, one in three of the file era where that has come, with any watcher.
pub fn any_sidecar(chance: &mut Chance, file_era: bool) -> (Era, Watcher) {
    let watcher = *chance.from(&[Watcher::Alive, Watcher::Once, Watcher::Dead]);
    if file_era && chance.one_in(3) { (Era::File, watcher) } else { (Era::Env, Watcher::NoMount) }
}
