//! The end of a schedule: whatever happened, everything comes to an end, and then everybody talks to everybody.

use std::collections::BTreeSet;

use jiff::SignedDuration;
use mtls::mesh::{Era, Role};
use mtls::pki::Certificate;
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{Ask, Scope, Strategy};

use super::model::{block_on, command, request, restart};
use super::script::Script;

impl Script {
    /// Whatever happened, the next commands bring it to an end, and then everybody talks to everybody.
    pub fn conclude(&mut self) {
        self.mesh.note("- nothing more happens");
        (self.mesh.restless, self.mesh.flaky, self.mesh.copies.stuck) = (false, None, false);
        for _ in 0..4 {
            self.pass(SignedDuration::from_secs(200));
            self.mend_applications();
            if self.is_open() || self.mesh.usurped {
                self.finish();
            } else if !self.mesh.is_whole() {
                let ended = block_on(restart(&mut self.mesh, Scope::Stale));
                self.end(ended.map(|(_, run)| run));
            }
        }
        assert!(!self.is_open(), "a rotation does not come to an end");
        assert!(self.mesh.is_whole(), "the pair stays unequal");
        assert!(!self.mesh.usurped, "a CA is lost");
        if self.mesh.invented > 0 || self.mesh.broken || !self.mesh.named.is_empty() {
            self.recover();
        }
        self.pass(SignedDuration::from_hours(13));
        assert_eq!(self.mesh.refusals(), 0, "somebody refuses somebody in the end");
        if self.chance.one_in(2) {
            self.prune_in_the_end();
        }
    }

    /// Once everything was restarted and every former SVID has ended, whoever may see everybody may prune.
    fn prune_in_the_end(&mut self) {
        self.restart_everything();
        self.pass(SignedDuration::from_hours(25));
        let known = self.may_be_refused();
        self.prune_now();
        let left = self.mesh.secret.trust.anchors().iter().filter(|anchor| !self.mesh.is_strange(anchor)).count();
        assert!(known || (left, self.is_open()) == (1, false), "{left} of its own anchors stay");
        self.restart_everything();
        self.pass(SignedDuration::from_hours(13));
        assert_eq!(self.mesh.refusals(), 0, "somebody refuses somebody after the last prune");
    }

    /// Not everybody may be listed, or a pod of the file era has two roots with one key to choose from, which no handshake
    /// tells apart; or a CA that Sentry invented came over an append, whose root is then named nowhere and stays.
    fn may_be_refused(&self) -> bool {
        let files = self.mesh.pods(|role| matches!(role, Role::Sidecar { era: Era::File, .. }));
        let keys: BTreeSet<&[u8]> = self.mesh.config_map.iter().map(Certificate::spki_der).collect();
        self.mesh.hidden || self.mesh.invented > 0 || (!files.is_empty() && keys.len() < self.mesh.config_map.len())
    }

    /// What is open comes to its end.
    pub fn finish(&mut self) {
        let open = self.open_record().map(|record| record.goal.strategy);
        if open == Some(Strategy::Prune) {
            self.prune_now();
        } else {
            // Why: one of two may be refused for good: nobody needs the CA on record, or it signs no bridge.
            let asks: &[Ask] = match (open.is_some(), self.chance.one_in(2)) {
                (true, _) => &[Ask::Resume],
                (false, true) => &[Ask::Restore, Ask::Renew],
                (false, false) => &[Ask::Renew, Ask::Restore],
            };
            let last = Request { digest: "the last one".to_owned(), ..request(Inputs::Fresh, 90) };
            let request = self.open.clone().unwrap_or(last);
            for ask in asks {
                self.mesh.note(format!("- {ask:?} to the end"));
                let ended = block_on(command(&mut self.mesh, *ask, &request));
                let is_refused = ended.is_err();
                self.end(ended);
                if !is_refused {
                    break;
                }
            }
        }
        if self.is_open() {
            self.pass(SignedDuration::from_secs(60));
            self.restart_everything();
        }
    }
}
