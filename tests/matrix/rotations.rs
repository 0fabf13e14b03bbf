//! Rotations of every kind, their continuation and their abort, each cut off anywhere.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::pki::PrivateKey;
use mtls::rotation::safety::in_words;
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{Ask, Outcome, Run, Scope, Strategy};

use super::model::{Chance, Cut, block_on, ca_with, ca_without_bridges, command, request, restart};
use super::script::Script;

impl Script {
    /// A rotation with inputs of its own, whatever is open.
    pub fn rotate(&mut self) {
        self.begun += 1;
        let days = *self.chance.from(&[30, 90, 365]);
        let live = self.mesh.secret.root().cloned();
        let key = live.and_then(|root| self.mesh.root_keys.iter().find(|key| key.matches(&root)).cloned());
        let (inputs, strategy) = match (self.chance.below(8), key) {
            (0 | 1, _) => (Inputs::Fresh, Some(Strategy::Append)),
            (2, _) => {
                let mut given = Chance::new(self.chance.below(u64::MAX));
                let key = PrivateKey::generate(&mut |bytes: &mut [u8]| given.fill(bytes));
                let make = if given.one_in(2) { ca_without_bridges } else { ca_with };
                let own = make(&key, &mut given, self.mesh.now, days);
                self.mesh.root_keys.push(key);
                (Inputs::Given(own), None)
            }
            (3 | 4, Some(key)) => (Inputs::Key(key), Some(Strategy::Issuer)),
            (5 | 6, Some(key)) => (Inputs::Key(key), None),
            _ => (Inputs::Fresh, None),
        };
        let restart = match (strategy, self.chance.below(8)) {
            (_, 0) => Some(Scope::All),
            (_, 1) => Some(Scope::AllStale),
            (Some(Strategy::Append), _) | (_, 2 | 3) => Some(Scope::ControlPlane),
            (_, 4) => Some(Scope::Stale),
            _ => None,
        };
        let digest = format!("rotation {}", self.begun);
        let request = Request { strategy, restart, digest, ..request(inputs, days) };
        self.command(Ask::Renew, &request);
    }

    /// Goes on with what is open, or brings back what Sentry has overwritten.
    pub fn resume(&mut self) {
        if let Some(request) = self.open.clone() {
            self.command(Ask::Resume, &request);
        } else if self.mesh.usurped {
            self.command(Ask::Restore, &request(Inputs::Fresh, 90));
        }
    }

    pub fn abort(&mut self) {
        let request = self.open.clone().unwrap_or_else(|| request(Inputs::Fresh, 90));
        self.command(Ask::Abort, &request);
    }

    /// Calls may fail from the first write until everything was restarted, and no longer.
    pub fn replace(&mut self) {
        if !self.mesh.is_whole() || self.mesh.usurped {
            return;
        }
        self.mesh.broken = true;
        let scopes = [None, None, Some(Scope::All), Some(Scope::AllStale), Some(Scope::Stale)];
        let request = Request {
            strategy: Some(Strategy::Replace),
            restart: *self.chance.from(&scopes),
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

    pub fn recover(&mut self) {
        self.mesh.copies.stuck = false;
        self.pass(SignedDuration::from_secs(60));
        self.restart_everything();
        self.pass(SignedDuration::from_hours(13));
        assert_eq!(self.mesh.refusals(), 0, "somebody refuses somebody after everything was restarted");
        self.mesh.broken = false;
        self.mesh.named.clear();
    }

    pub fn command(&mut self, ask: Ask, request: &Request) {
        self.cut();
        let how = request.strategy.map_or("any strategy", Strategy::word);
        self.mesh.note(format!("- {ask:?} {}, {how}, restart {:?}", request.digest, request.restart));
        let ended = block_on(command(&mut self.mesh, ask, request));
        self.mesh.cut = None;
        self.check_refusal(ask, request, &ended);
        let appends = (ask, request.strategy, self.mesh.strategy) == (Ask::Renew, None, Some(Strategy::Append));
        self.mesh.count("appends that nobody asked for by name", usize::from(appends && ended.is_ok()));
        self.end(ended);
        self.open = self.is_open().then(|| Request { strategy: None, ..request.clone() });
    }

    /// The next run is cut somewhere, or comes to its end.
    pub fn cut(&mut self) {
        if self.chance.one_in(2) {
            self.mesh.cut = Some((self.mesh.steps() + self.chance.below(9), *self.chance.from(&Cut::ALL)));
        }
    }

    /// A mesh that is whole is rotated on any day, but for reasons that are known.
    fn check_refusal(&self, ask: Ask, request: &Request, ended: &Result<Run, Error>) {
        let is_whole = self.mesh.is_whole() && !self.mesh.broken && self.mesh.invented == 0;
        if let Err(why) = ended
            && (ask, is_whole) == (Ask::Renew, true)
            && request.strategy != Some(Strategy::Append)
        {
            let why = why.to_string();
            let is_known = |reason: &&str| why.contains(reason);
            let reasons = ["bridges already", "not all of them can be seen here", "what these hold cannot be seen"];
            assert!(!why.contains("no strategy is safe") || reasons.iter().any(is_known), "refused: {why}");
        }
    }

    pub fn end(&mut self, ended: Result<Run, Error>) {
        let how = match ended.map(|run| run.outcome) {
            Ok(Outcome::Done(left)) => {
                *self.done.entry(self.mesh.strategy.map_or("", Strategy::word)).or_default() += 1;
                let named: Vec<String> = left.iter().map(|l| format!("{} {:?}", l.consumer, l.concern)).collect();
                format!("done, left: {}", named.join(", "))
            }
            Ok(Outcome::Blocked(breaks)) => format!("blocked: {}", in_words(&breaks)),
            Ok(Outcome::Stuck(why)) => {
                self.mesh.count("runs that stuck", 1);
                format!("stuck: {why}")
            }
            Ok(outcome) => format!("{outcome:?}"),
            Err(why) => format!("failed: {why}"),
        };
        self.mesh.note(format!("- {how}"));
    }

    pub fn restart_services(&mut self) {
        let scope = *self.chance.from(&[Scope::ControlPlane, Scope::Stale]);
        self.mesh.note(format!("- restart {scope:?}"));
        let ended = block_on(restart(&mut self.mesh, scope));
        self.end(ended.map(|(_, run)| run));
    }
}
