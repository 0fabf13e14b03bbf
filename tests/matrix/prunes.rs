//! Prunes at any moment: refused without a trace, or carried out without a call lost; cut off anywhere.

use mtls::pki::Certificate;
use mtls::rotation::strategy::Inputs;
use mtls::rotation::{Outcome, RecordData, Scope, Strategy, Trio};

use super::model::{self, block_on, is_outsider, prunable, request};
use super::script::Script;

impl Script {
    /// A prune, behind a preparation that may or may not be enough.
    pub fn prune(&mut self) {
        match self.chance.below(5) {
            0 => self.restart_in_waves(Scope::AllStale),
            1 => self.restart_in_waves(Scope::All),
            2 | 3 => self.restart_everything(),
            _ => {}
        }
        if self.chance.one_in(3) {
            self.pass_hours(12, 26);
        }
        self.cut();
        self.prune_now();
        if self.chance.one_in(2) {
            self.go_on_pruning();
        }
    }

    /// A prune that was cut off goes on, as the command or as an open rotation.
    pub fn go_on_pruning(&mut self) {
        let is_prune = self.open_record().is_some_and(|record| record.goal.strategy == Strategy::Prune);
        match (is_prune, self.chance.below(3)) {
            (true, 0) => self.resume(),
            (true, _) => self.prune_now(),
            (false, _) => {}
        }
    }

    /// One run. Whom an operator vouches for are other meshes, and nobody else.
    pub fn prune_now(&mut self) {
        self.mesh.note("- prune");
        let outsiders = match block_on(prunable(&mut self.mesh)) {
            Ok(Some((_, _, found))) if found.iter().all(is_outsider) => found.len(),
            _ => 0,
        };
        let (before, steps) = (self.state(), self.mesh.steps());
        let ended = block_on(model::prune(&mut self.mesh, outsiders));
        self.mesh.cut = None;
        let same_ca = self.mesh.secret.issuer.certificate() == &before.issuer;
        match ended {
            Ok(None) => {
                self.mesh.count("prunes with nothing to retire", 1);
                assert_eq!(self.mesh.steps(), steps, "a prune without an object writes");
            }
            Ok(Some(run)) => {
                let is_prune = self.mesh.strategy == Some(Strategy::Prune);
                if let (true, Outcome::Done(_)) = (is_prune, &run.outcome) {
                    self.mesh.count("prunes that went through", 1);
                    self.mesh.count("prunes that others were vouched for in", usize::from(outsiders > 0));
                    assert!(same_ca, "another issuer");
                }
                if let (Outcome::Blocked(_), true) = (&run.outcome, self.state().published == before.published) {
                    self.mesh.count("prunes refused under the lock", 1);
                    assert!(before.record.is_none() || self.state().record == before.record, "it leaves a record");
                }
                self.end(Ok(run));
            }
            Err(why) => {
                if why.to_string().starts_with("nothing was retired") {
                    self.mesh.count("prunes refused", 1);
                    assert_eq!(self.mesh.steps(), steps, "a refused prune writes");
                    let after = self.state();
                    assert!(after.record == before.record, "a refused prune changes the record");
                    let untouched = after.published == before.published;
                    assert!(untouched || after.invented > before.invented, "a refused prune changes the CA");
                }
                self.end(Err(why));
            }
        }
        self.open = self.is_open().then(|| self.open.clone().unwrap_or_else(|| request(Inputs::Fresh, 90)));
    }

    fn state(&self) -> State {
        let Trio { trust, issuer } = &self.mesh.secret;
        State {
            record: self.mesh.record.clone(),
            published: [trust.anchors(), &self.mesh.config_map, &issuer.chain].map(<[_]>::to_vec),
            issuer: issuer.certificate().clone(),
            invented: self.mesh.invented,
        }
    }
}

/// What a prune that is refused leaves as it was.
struct State {
    record: Option<RecordData>,
    published: [Vec<Certificate>; 3],
    issuer: Certificate,
    invented: u32,
}
