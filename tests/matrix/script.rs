//! One schedule: a mesh, and what happens to it.

use std::collections::BTreeMap;

use jiff::SignedDuration;
use mtls::rotation::strategy::Request;
use mtls::rotation::{Mesh as _, Record, Status};

use super::model::{self, Chance, Model, Topology, Watcher, any_sidecar, block_on};

pub struct Script {
    pub mesh: Model,
    pub chance: Chance,
    /// The request of the rotation that is open.
    pub open: Option<Request>,
    pub begun: u64,
    /// How many runs reached their goal, by strategy.
    pub done: BTreeMap<&'static str, u64>,
}

impl Script {
    pub fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(1) << 8);
        let (muted, file_era) = (chance.one_in(6), chance.one_in(2));
        // Why: a wait counts as an answer only of those that see every change.
        let kinds = if muted { vec![Watcher::Alive] } else { vec![Watcher::Alive, Watcher::Once, Watcher::Dead] };
        let topology = Topology {
            sentries: 1 + chance.place(3),
            injectors: 1 + chance.place(3),
            schedulers: *chance.from(&[1, 3]),
            watchers: (0..8).map(|_| *chance.from(&kinds)).collect(),
            sidecars: (0..2 + chance.below(5)).map(|_| any_sidecar(&mut chance, file_era)).collect(),
        };
        let mut mesh = Model::with(seed, 365, topology);
        (mesh.muted, mesh.hidden) = (muted, chance.one_in(10));
        (mesh.may_fence, mesh.may_nudge) = (!chance.one_in(3), !chance.one_in(6));
        if seed % 4 == 1 {
            mesh.live_without_bridges();
        }
        for process in &mut mesh.processes {
            process.skew = *chance.from(&[-1, 0, 0, 1].map(|sign| model::CLOCKS * sign));
        }
        for app in &mut mesh.apps {
            (app.takes, app.hangs) = (chance.seconds(1, 90), chance.one_in(5));
        }
        mesh.limits.parallel = 1 + chance.place(3);
        if chance.one_in(2) {
            // Sentry made it, and threw it away.
            mesh.root_keys.clear();
        }
        (mesh.restless, mesh.lively, mesh.file_era) = (true, true, file_era);
        if file_era && chance.one_in(2) {
            mesh.distribute_from_a_source();
        }
        mesh.flaky = *chance.from(&[None, None, Some(60), Some(1000)]);
        Self { mesh, chance, open: None, begun: 0, done: BTreeMap::new() }
    }

    pub fn play(&mut self) {
        for _ in 0..6 + self.chance.below(14) {
            self.act();
        }
        self.conclude();
    }

    fn act(&mut self) {
        match self.chance.below(30) {
            0..6 => self.rotate(),
            6..9 => self.resume(),
            9 => self.abort(),
            10 => self.restart_services(),
            11 | 25 | 29 => self.somebody_writes(),
            12 | 13 => self.restart_sidecars(),
            14 if self.chance.one_in(3) => self.replace(),
            14 => self.mesh.restart_control_plane(),
            15 => {
                let pods = self.mesh.pods(|_| true);
                let pod = self.chance.from(&pods).clone();
                self.mesh.crash(&pod);
            }
            16 | 17 => self.pass_hours(1, 13),
            18..21 => self.prune(),
            21 | 22 => self.restart_applications(),
            23 | 24 => self.trouble_applications(),
            _ => {
                let seconds = self.chance.seconds(0, 200);
                self.pass(seconds);
            }
        }
    }

    pub fn pass(&mut self, time: SignedDuration) {
        self.mesh.note(format!("- {time:#} pass"));
        self.mesh.pass(time);
    }

    /// Hours go by, but for a Sentry that comes and goes at an unequal pair behind a fence: somebody looks after that.
    pub fn pass_hours(&mut self, least: u32, most: u32) {
        if self.mesh.is_whole() {
            let hours = self.chance.seconds(least * 3600, most * 3600);
            self.pass(hours);
        }
    }

    pub fn record(&mut self) -> Option<Record> {
        block_on(self.mesh.load()).expect("a record can be read")
    }

    /// The record that is open.
    pub fn open_record(&mut self) -> Option<Record> {
        self.record().filter(|record| record.status == Status::Open)
    }

    pub fn is_open(&mut self) -> bool {
        self.open_record().is_some()
    }

    fn restart_sidecars(&mut self) {
        let mut sidecars = self.mesh.sidecars();
        for _ in 0..(1 + self.chance.place(sidecars.len() + 1)).min(sidecars.len()) {
            let pod = sidecars.swap_remove(self.chance.place(sidecars.len()));
            self.mesh.restart_pod(&pod);
            let time = self.chance.seconds(0, 5);
            self.mesh.pass(time);
        }
    }

    /// Whoever else may write.
    fn somebody_writes(&mut self) {
        match self.chance.below(6) {
            0 | 1 => self.somebody_tears_the_pair(),
            2 | 3 if self.mesh.is_whole() => {
                self.mesh.note("- another mesh's root is added");
                self.mesh.federate();
            }
            5 if self.mesh.file_era => {
                let stuck = !self.mesh.copies.stuck;
                self.mesh.copies.stuck = stuck;
                self.mesh
                    .note(format!("- whoever copies the trust bundle is {}", if stuck { "stuck" } else { "at work" }));
                self.mesh.count("distributors that stuck", stuck.into());
            }
            4 if self.mesh.is_whole() && !self.mesh.usurped && !self.is_open() => {
                self.mesh.note("- somebody deletes the record");
                self.mesh.record = None;
            }
            _ => {}
        }
    }

    /// As a `helm upgrade` does it that writes one of two objects, with or without a command right behind it. Where
    /// nothing is on record the CA would be gone.
    fn somebody_tears_the_pair(&mut self) {
        if self.mesh.record.is_none() {
            return;
        }
        self.mesh.note("- somebody tears the pair");
        if self.chance.one_in(2) {
            self.mesh.tear();
        } else {
            self.mesh.tear_config_map();
        }
        match self.chance.below(5) {
            0 => self.restart_services(),
            1 => self.rotate(),
            2 => self.prune(),
            3 => {
                self.pass(SignedDuration::from_secs(100));
                self.resume();
            }
            _ => {}
        }
    }

    pub fn restart_everything(&mut self) {
        self.mesh.restart_control_plane();
        // Why: an operator whose watch was dead copies what it holds now, and new pods mount that.
        self.pass(SignedDuration::from_secs(60));
        for pod in self.mesh.sidecars() {
            self.mesh.restart_pod(&pod);
            self.pass(SignedDuration::from_secs(1));
        }
    }
}
