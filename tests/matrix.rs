//! Random schedules on the mesh in memory: rotations of every kind, cut off anywhere, among pods that come and go.
//!
//! After every transition every pair of processes that may talk does a handshake. One refusal, one lost CA, or a report
//! that is not true fails the run, with its seed and what happened in words. `MTLS_SCHEDULES` says how many schedules
//! are played, `MTLS_SEED` plays one and tells what happens in it.

#![expect(clippy::print_stdout, reason = "a schedule that fails is told, and what was counted")]

mod model;

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use jiff::SignedDuration;
use model::{Chance, Cut, Model, Topology, Watcher, any_sidecar, block_on, ca_with, command, request, restart};
use mtls::error::Error;
use mtls::mesh::{Era, Role};
use mtls::pki::PrivateKey;
use mtls::rotation::safety::in_words;
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{Ask, Mesh as _, Outcome, Run, Scope, Status, Strategy};

/// Seeds that found a mistake once, in the tool or in the model. They are played first.
const KEPT: [u64; 1] = [408];
/// How many others a plain run plays: the same ones each time, and a few that are fresh.
const SCHEDULES: u64 = 80;
const FRESH: u64 = 4;

#[test]
fn no_schedule_costs_a_call_or_a_ca() {
    let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse::<u64>().ok());
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("it is after 1970").as_nanos();
    let fresh = u64::try_from(now % 1_000_000_007).expect("it is below a u64") * 1000;
    let seeds: Vec<u64> = match (number("MTLS_SEED"), number("MTLS_SCHEDULES")) {
        (Some(seed), schedules) => (seed..seed + schedules.unwrap_or(1)).collect(),
        (None, Some(schedules)) => KEPT.into_iter().chain(fresh..fresh + schedules).collect(),
        (None, None) => KEPT.into_iter().chain(0..SCHEDULES).chain(fresh..fresh + FRESH).collect(),
    };
    let (next, tell) = (AtomicU64::new(0), seeds.len() == 1);
    let played: Vec<Played> = std::thread::scope(|scope| {
        let threads = std::thread::available_parallelism().map_or(1, usize::from);
        let player = || {
            let place = || usize::try_from(next.fetch_add(1, Ordering::Relaxed)).expect("a few seeds");
            std::iter::from_fn(|| seeds.get(place()).map(|seed| play(*seed, tell))).collect::<Vec<_>>()
        };
        let players: Vec<_> = (0..threads).map(|_| scope.spawn(player)).collect();
        players.into_iter().flat_map(|player| player.join().expect("failures are caught")).collect()
    });
    let sum = |of: fn(&Played) -> u64| played.iter().map(of).sum::<u64>();
    let failed: Vec<u64> = played.iter().filter(|played| played.failed).map(|played| played.seed).collect();
    let mut done = BTreeMap::<&str, u64>::new();
    for (strategy, times) in played.iter().flat_map(|played| &played.done) {
        *done.entry(strategy).or_default() += times;
    }
    println!(
        "{} schedules (fresh ones from seed {fresh}), {done:?}, {} transitions, {} handshakes ({} distinct), \
         {} pardoned after {} invented CAs, {} failed",
        played.len(),
        sum(|played| played.transitions),
        sum(|played| played.handshakes),
        sum(|played| played.distinct),
        sum(|played| played.pardoned),
        sum(|played| played.invented),
        failed.len()
    );
    assert!(failed.is_empty(), "seeds {failed:?}");
    let all = ["abort", "append", "bridge", "issuer", "replace", "restart", "restore", "same-key"];
    assert!(played.len() < 50 || done.keys().copied().eq(all), "a strategy never reaches its goal");
}

/// What came of a schedule.
struct Played {
    seed: u64,
    failed: bool,
    done: BTreeMap<&'static str, u64>,
    transitions: u64,
    handshakes: u64,
    distinct: u64,
    pardoned: u64,
    invented: u64,
}

fn play(seed: u64, tell: bool) -> Played {
    let mut script = Script::new(seed);
    let ended = catch_unwind(AssertUnwindSafe(|| script.play()));
    if tell || ended.is_err() {
        println!("seed {seed}:\n  {}", script.mesh.diary.join("\n  "));
    }
    let hands = &script.mesh.hands;
    Played {
        seed,
        failed: ended.is_err(),
        done: script.done,
        transitions: hands.transitions,
        handshakes: hands.pairs,
        distinct: hands.distinct,
        pardoned: hands.pardoned,
        invented: script.mesh.invented.into(),
    }
}

/// One schedule: a mesh, and what happens to it.
struct Script {
    mesh: Model,
    chance: Chance,
    /// The request of the rotation that is open.
    open: Option<Request>,
    begun: u64,
    /// How many runs reached their goal, by strategy.
    done: BTreeMap<&'static str, u64>,
}

impl Script {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed.wrapping_add(1) << 8);
        let (muted, file_era) = (chance.one_in(6), chance.one_in(2));
        // Why: a wait counts as an answer only of those that see every change.
        let kinds = if muted { vec![Watcher::Alive] } else { vec![Watcher::Alive, Watcher::Once, Watcher::Dead] };
        let topology = Topology {
            sentries: 1 + chance.place(3),
            injectors: 1 + chance.place(2),
            schedulers: *chance.from(&[1, 3]),
            watchers: (0..7).map(|_| *chance.from(&kinds)).collect(),
            sidecars: (0..2 + chance.below(5)).map(|_| any_sidecar(&mut chance, file_era)).collect(),
        };
        let mut mesh = Model::with(seed, 365, topology);
        (mesh.muted, mesh.hidden) = (muted, chance.one_in(10));
        (mesh.may_fence, mesh.may_nudge) = (!chance.one_in(3), !chance.one_in(6));
        for process in &mut mesh.processes {
            process.skew = *chance.from(&[-1, 0, 0, 1].map(|sign| model::CLOCKS * sign));
        }
        if chance.one_in(2) {
            // Sentry made it, and threw it away.
            mesh.root_keys.clear();
        }
        (mesh.restless, mesh.lively, mesh.file_era) = (true, true, file_era);
        mesh.flaky = chance.one_in(2).then_some(60);
        Self { mesh, chance, open: None, begun: 0, done: BTreeMap::new() }
    }

    fn play(&mut self) {
        for _ in 0..6 + self.chance.below(14) {
            self.act();
        }
        self.conclude();
    }

    fn act(&mut self) {
        match self.chance.below(20) {
            0..5 => self.rotate(),
            5..8 => self.resume(),
            8 => self.abort(),
            9 => self.restart_services(),
            10 => self.somebody_tears_the_pair(),
            11 | 12 => self.restart_sidecars(),
            13 if self.chance.one_in(3) => self.replace(),
            13 => self.mesh.restart_control_plane(),
            14 => {
                let pods = self.mesh.pods(|_| true);
                let pod = self.chance.from(&pods).clone();
                self.mesh.crash(&pod);
            }
            15 | 16 => {
                let hours = self.chance.seconds(600, 13 * 3600);
                self.pass(hours);
            }
            _ => {
                let seconds = self.chance.seconds(0, 200);
                self.pass(seconds);
            }
        }
    }

    fn pass(&mut self, time: SignedDuration) {
        self.mesh.note(format!("- {time:#} pass"));
        self.mesh.pass(time);
    }

    /// A rotation with inputs of its own, whatever is open.
    fn rotate(&mut self) {
        self.begun += 1;
        let days = *self.chance.from(&[30, 90, 365]);
        let live = self.mesh.secret.root().cloned();
        let key = live.and_then(|root| self.mesh.root_keys.iter().find(|key| key.matches(&root)).cloned());
        let (inputs, strategy) = match (self.chance.below(8), key) {
            (0 | 1, _) => (Inputs::Fresh, Some(Strategy::Append)),
            (2, _) => {
                let mut given = Chance::new(self.chance.below(u64::MAX));
                let key = PrivateKey::generate(&mut |bytes: &mut [u8]| given.fill(bytes));
                let own = ca_with(&key, &mut given, self.mesh.now, days);
                self.mesh.root_keys.push(key);
                (Inputs::Given(own), None)
            }
            (3 | 4, Some(key)) => (Inputs::Key(key), Some(Strategy::Issuer)),
            (5 | 6, Some(key)) => (Inputs::Key(key), None),
            _ => (Inputs::Fresh, None),
        };
        let restart = match (strategy, self.chance.below(4)) {
            (Some(Strategy::Append), _) | (_, 0) => Some(Scope::ControlPlane),
            (_, 1) => Some(Scope::Stale),
            _ => None,
        };
        let digest = format!("rotation {}", self.begun);
        let request = Request { strategy, restart, digest, ..request(inputs, days) };
        self.command(Ask::Renew, &request);
    }

    /// Goes on with what is open, or brings back what Sentry has overwritten.
    fn resume(&mut self) {
        if let Some(request) = self.open.clone() {
            self.command(Ask::Resume, &request);
        } else if self.mesh.usurped {
            self.command(Ask::Restore, &request(Inputs::Fresh, 90));
        }
    }

    fn abort(&mut self) {
        let request = self.open.clone().unwrap_or_else(|| request(Inputs::Fresh, 90));
        self.command(Ask::Abort, &request);
    }

    /// Calls may fail from the first write until everything was restarted, and no longer.
    fn replace(&mut self) {
        if !self.mesh.is_whole() || self.mesh.usurped {
            return;
        }
        self.mesh.broken = true;
        let request = Request {
            strategy: Some(Strategy::Replace),
            digest: format!("replacement {}", self.begun),
            ..request(Inputs::Fresh, 90)
        };
        self.command(Ask::Renew, &request);
        for _ in 0..6 {
            if self.is_open() {
                self.finish();
            }
        }
        if !self.is_open() && self.mesh.is_whole() && !self.mesh.usurped {
            self.recover();
        }
    }

    fn recover(&mut self) {
        self.restart_everything();
        self.pass(SignedDuration::from_hours(13));
        assert_eq!(self.mesh.refusals(), 0, "somebody refuses somebody after everything was restarted");
        self.mesh.broken = false;
    }

    fn command(&mut self, ask: Ask, request: &Request) {
        if self.chance.one_in(3) {
            let cuts = [Cut::Before, Cut::BetweenThePair, Cut::After, Cut::Signal, Cut::Lost, Cut::Refused];
            self.mesh.cut = Some((self.mesh.steps() + self.chance.below(9), *self.chance.from(&cuts)));
        }
        let how = request.strategy.map_or("any strategy", Strategy::word);
        self.mesh.note(format!("- {ask:?} {}, {how}, restart {:?}", request.digest, request.restart));
        let ended = block_on(command(&mut self.mesh, ask, request));
        self.mesh.cut = None;
        self.check_refusal(ask, request, &ended);
        self.end(ended);
        self.open = self.is_open().then(|| Request { strategy: None, ..request.clone() });
    }

    /// A mesh that is whole is rotated on any day, but for reasons that are known.
    fn check_refusal(&self, ask: Ask, request: &Request, ended: &Result<Run, Error>) {
        let is_whole = self.mesh.is_whole() && !self.mesh.broken && self.mesh.invented == 0;
        if let Err(why) = ended
            && (ask, is_whole) == (Ask::Renew, true)
            && request.strategy != Some(Strategy::Append)
        {
            let why = why.to_string();
            assert!(!why.contains("no strategy is safe") || why.contains("bridges already"), "refused: {why}");
        }
    }

    fn end(&mut self, ended: Result<Run, Error>) {
        let how = match ended.map(|run| run.outcome) {
            Ok(Outcome::Done(left)) => {
                *self.done.entry(self.mesh.strategy.map_or("", Strategy::word)).or_default() += 1;
                let named: Vec<String> = left.iter().map(|l| format!("{} {:?}", l.consumer, l.concern)).collect();
                format!("done, left: {}", named.join(", "))
            }
            Ok(Outcome::Blocked(breaks)) => format!("blocked: {}", in_words(&breaks)),
            Ok(outcome) => format!("{outcome:?}"),
            Err(why) => format!("failed: {why}"),
        };
        self.mesh.note(format!("- {how}"));
    }

    fn is_open(&mut self) -> bool {
        block_on(self.mesh.load()).expect("a record can be read").is_some_and(|record| record.status == Status::Open)
    }

    fn restart_services(&mut self) {
        let scope = *self.chance.from(&[Scope::ControlPlane, Scope::Stale]);
        self.mesh.note(format!("- restart {scope:?}"));
        let ended = block_on(restart(&mut self.mesh, scope));
        self.end(ended);
    }

    fn restart_sidecars(&mut self) {
        let mut sidecars = self.mesh.sidecars();
        for _ in 0..=self.chance.place(sidecars.len()) {
            let pod = sidecars.swap_remove(self.chance.place(sidecars.len()));
            self.mesh.restart_pod(&pod);
            let time = self.chance.seconds(0, 5);
            self.mesh.pass(time);
        }
    }

    /// As a `helm upgrade` does it that writes one of two objects, with or without a command right behind it. Where
    /// nothing is on record the CA would be gone.
    fn somebody_tears_the_pair(&mut self) {
        if self.mesh.record.is_none() || !self.chance.one_in(3) {
            return;
        }
        self.mesh.note("- somebody tears the pair");
        if self.chance.one_in(2) {
            self.mesh.tear();
        } else {
            self.mesh.tear_config_map();
        }
        match self.chance.below(4) {
            0 => self.restart_services(),
            1 => self.rotate(),
            2 => {
                self.pass(SignedDuration::from_secs(100));
                self.resume();
            }
            _ => {}
        }
    }

    /// Whatever happened, the next commands bring it to an end, and then everybody talks to everybody.
    fn conclude(&mut self) {
        self.mesh.note("- nothing more happens");
        (self.mesh.restless, self.mesh.flaky) = (false, None);
        for _ in 0..4 {
            self.pass(SignedDuration::from_secs(200));
            if self.is_open() || self.mesh.usurped {
                self.finish();
            } else if !self.mesh.is_whole() {
                let ended = block_on(restart(&mut self.mesh, Scope::Stale));
                self.end(ended);
            }
        }
        assert!(!self.is_open(), "a rotation does not come to an end");
        assert!(self.mesh.is_whole(), "the pair stays unequal");
        assert!(!self.mesh.usurped, "a CA is lost");
        if self.mesh.invented > 0 || self.mesh.broken {
            self.recover();
        }
        self.pass(SignedDuration::from_hours(13));
        assert_eq!(self.mesh.refusals(), 0, "somebody refuses somebody in the end");
    }

    fn finish(&mut self) {
        let (ask, inputs) = match (self.is_open(), self.chance.one_in(2)) {
            (true, _) => (Ask::Resume, "the open one"),
            (false, true) => (Ask::Restore, "the kept one"),
            (false, false) => (Ask::Renew, "the last one"),
        };
        let last = Request { digest: inputs.to_owned(), ..request(Inputs::Fresh, 90) };
        let request = self.open.clone().unwrap_or(last);
        self.mesh.note(format!("- {ask:?} to the end"));
        let ended = block_on(command(&mut self.mesh, ask, &request));
        self.end(ended);
        if self.is_open() {
            self.restart_everything();
            // Why: what a pod of the file era holds nobody can see, and a pod that came since keeps an append waiting.
            let of_files = self.mesh.pods(|role| matches!(role, Role::Sidecar { era: Era::File, .. }));
            for pod in of_files {
                self.mesh.die(&pod, SignedDuration::ZERO);
            }
        }
    }

    fn restart_everything(&mut self) {
        self.mesh.restart_control_plane();
        for pod in self.mesh.sidecars() {
            self.mesh.restart_pod(&pod);
            self.pass(SignedDuration::from_secs(1));
        }
    }
}
