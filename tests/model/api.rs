//! What the API server does with a run's writes, and where it fails: the tests' `Mesh`.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::mesh::{Era, Observed, Pair, Role};
use mtls::pki::{Certificate, Fingerprint, Issuer, TrustBundle};
use mtls::rotation::{Mesh, Move, Need, Record, Strategy, Trio};

use super::handshakes::until;
use super::{Cut, Model, Process, control_plane};

/// By then the Lease of a run that was killed has run out.
const LEASE: SignedDuration = SignedDuration::from_secs(61);
/// More pauses than any run makes between two moves.
const MOST_PAUSES: u32 = 2000;
/// What one request takes.
const REQUEST: SignedDuration = SignedDuration::from_millis(50);
/// How long a fence stands after the pair is whole, for a Sentry that is storing.
const SENTRY_STORES: SignedDuration = SignedDuration::from_secs(1);

impl Model {
    fn cut_here(&mut self) -> Option<Cut> {
        let here = self.steps;
        self.steps += 1;
        let cut = self.cut.filter(|(at, cut)| *at == here && *cut != Cut::Signal).map(|(_, cut)| cut);
        if let Some(cut) = cut {
            self.note(format!("the run is cut: {cut:?}"));
            self.count(&format!("{cut:?}"), 1);
            self.killed = cut.kills();
        }
        if cut == Some(Cut::Late) {
            let busy = self.chance.seconds(1, 30);
            self.pass(busy);
        }
        cut
    }

    fn publish_trust(&mut self, step: &Move, seen: &Observed, cut: Option<Cut>) -> Result<(), Error> {
        let Move::PublishTrust { bundle, issuer } = step else { return Ok(()) };
        if self.may_fence {
            self.fenced = Some(self.now);
        } else if seen.published.pair == Pair::Equal && Trio::published(seen).is_some_and(|t| t.until(seen).is_some()) {
            self.rest(seen)?;
        }
        if cut == Some(Cut::Before) {
            return Ok(());
        }
        self.check_versions(seen)?;
        self.config_map = bundle.anchors().to_vec();
        self.emptied = false;
        self.map_written = self.now;
        self.versions.1 += 1;
        self.remount();
        if cut == Some(Cut::BetweenThePair) {
            return Ok(());
        }
        self.pass(REQUEST);
        self.versions.0 += u64::from(cut == Some(Cut::Touched));
        if cut == Some(Cut::Refused) || self.versions.0.to_string() != seen.published.secret.0 {
            self.config_map = self.secret.trust.anchors().to_vec();
            self.versions.1 += 1;
            return Err(Error::failed("the Secret was not written; the ConfigMap follows it again"));
        }
        self.secret.trust = bundle.clone();
        if let Some(issuer) = issuer {
            self.secret.issuer = issuer.clone();
        }
        self.versions.0 += 1;
        self.written_now();
        self.remember(Some(bundle), issuer.as_ref(), seen);
        if self.known.as_ref().is_some_and(|record| record.goal.strategy == Strategy::Prune) {
            self.retire(bundle);
        }
        self.keep(bundle.anchors());
        Ok(())
    }

    /// A prune lets go of anchors, and of none that is somebody else's.
    fn retire(&mut self, bundle: &TrustBundle) {
        let (stay, go): (Vec<_>, _) =
            std::mem::take(&mut self.kept).into_iter().partition(|anchor| bundle.contains(anchor.fingerprint()));
        let strange = go.iter().find(|anchor| self.strange.contains(anchor) && !anchor.is_expired(self.now));
        assert!(self.broken || strange.is_none(), "a prune retires another mesh's anchor: {strange:?}");
        self.kept = stay;
        self.count("anchors retired", go.len());
    }

    /// What the annotation on the Secret says afterwards: the roots that were noted, until they are retired, and of those
    /// in the bundle those that the record names and that the issuer is signed under.
    fn remember(&mut self, bundle: Option<&TrustBundle>, issuer: Option<&Issuer>, seen: &Observed) {
        let published = &seen.published.anchors;
        let anchors = bundle.map_or(published.as_slice(), TrustBundle::anchors);
        let recorded: Vec<&Certificate> = self.known.iter().flat_map(Record::roots).collect();
        let signs = |anchor: &Certificate| {
            issuer.is_some_and(|issuer| until(&issuer.chain, std::slice::from_ref(anchor), self.now).is_ok())
        };
        let own = anchors.iter().filter(|anchor| recorded.contains(anchor) || signs(anchor));
        self.noted.extend(own.chain(issuer.and_then(|_| seen.signing_root())).map(Certificate::fingerprint));
        let gone = published.iter().filter(|anchor| !anchors.contains(anchor));
        let gone: Vec<Fingerprint> = gone.map(Certificate::fingerprint).collect();
        self.noted.retain(|root| !gone.contains(root));
        self.noted.sort();
        self.noted.dedup();
    }

    /// The record that is there.
    pub fn recorded(&self) -> Option<Record> {
        self.record.as_ref().map(|data| Record::from_data(data).unwrap())
    }

    /// From now on these must not leave the bundle. What a broken mesh had is let go.
    fn keep(&mut self, anchors: &[Certificate]) {
        if self.broken {
            self.kept.clear();
        }
        self.kept.extend(anchors.iter().filter(|anchor| !self.kept.contains(anchor)).cloned().collect::<Vec<_>>());
        self.usurped &= !self.kept.iter().all(|anchor| anchors.contains(anchor));
    }

    /// A record without the CA that Sentry overwrote takes the place of the one that has it. From now on that CA is
    /// gone, which is right where nobody is seen to hold it alone.
    fn forsake(&mut self, record: &Record) {
        let trust = &record.goal.target.trust;
        if !self.usurped || self.kept.iter().all(|anchor| trust.contains(anchor.fingerprint())) {
            return;
        }
        let is_asked = |process: &Process| match process.role {
            Role::Sidecar { era, .. } => era == Era::Env,
            Role::EtcdPeer => false,
            _ => !self.muted && self.flaky.is_none(),
        };
        let clings =
            |process: &&Process| is_asked(process) && !process.held.iter().any(|a| trust.contains(a.fingerprint()));
        let clings = self.processes.iter().find(clings);
        assert!(self.broken || clings.is_none(), "a CA is given up that {} holds alone", clings.unwrap().name);
        self.forsaken.append(&mut self.kept);
        self.usurped = false;
    }

    /// Without a fence: waits until Sentry is not about to read the pair.
    fn rest(&mut self, seen: &Observed) -> Result<(), Error> {
        for _ in 0..300 {
            if self.is_at_rest() {
                return Ok(());
            }
            self.pass(SignedDuration::from_secs(1));
            self.check_versions(seen)?;
        }
        Err(Error::failed("Sentry is not at rest"))
    }

    fn check_versions(&self, seen: &Observed) -> Result<(), Error> {
        let now = self.published();
        if (&seen.published.secret, &seen.published.config_map) == (&now.secret, &now.config_map) {
            return Ok(());
        }
        Err(Error::failed("the trust bundle was changed since it was looked at"))
    }

    fn mutate(&mut self, step: &Move, seen: &Observed, cut: Option<Cut>) -> Result<(), Error> {
        if matches!(step, Move::PublishTrust { .. }) {
            return self.publish_trust(step, seen, cut);
        }
        if matches!(cut, Some(Cut::Before | Cut::Refused)) {
            return Ok(());
        }
        match step {
            Move::PublishTrust { .. } => {}
            Move::PublishSource { anchors } => self.publish_source(anchors),
            Move::PublishIssuer { issuer } => {
                self.versions.0 += u64::from(cut == Some(Cut::Touched));
                self.check_versions(seen)?;
                assert!(self.is_whole(), "the issuer is switched beside an unequal pair");
                self.secret.issuer = issuer.clone();
                self.versions.0 += 1;
                self.written_now();
                self.remember(None, Some(issuer), seen);
            }
            Move::Nudge => self.nudge(seen),
            Move::RestartApplications { workloads } => self.restart_applications(workloads),
            Move::Restart { workload } => {
                self.restarted.push((workload.clone(), self.now));
                if let Some((_, role)) = control_plane().into_iter().find(|(name, _)| name == workload) {
                    self.roll(&role);
                }
            }
        }
        Ok(())
    }

    /// Sentry invents a CA, and a pod is born under it.
    fn invent(&mut self) {
        (self.broken, self.fenced) = (true, None);
        self.tear();
        self.reload_all();
        let (held, shows) = (self.config_map.clone(), self.secret.issuer.chain.clone());
        let born = self.processes.iter_mut().find(|process| process.name == "apps/pod-0").unwrap();
        (born.held, born.shows, born.made, born.started) = (held, shows, self.now, self.now);
    }

    /// Gives Sentry back its right to write, unless it would invent a CA.
    fn lift(&mut self) {
        if let Some(since) = self.fenced.filter(|_| self.is_whole()) {
            if since.max(self.written) + SENTRY_STORES > self.now {
                self.pass(SENTRY_STORES);
            }
            self.fenced = None;
        }
    }
}

impl Mesh for Model {
    async fn observe(&mut self, need: &Need) -> Result<Observed, Error> {
        self.pass(SignedDuration::from_millis(100));
        self.look(need)
    }

    async fn apply(&mut self, step: &Move, seen: &Observed) -> Result<(), Error> {
        let here = self.steps;
        self.note(format!("move {here}: {step}"));
        self.pauses = 0;
        let cut = self.cut_here();
        self.mutate(step, seen, cut)?;
        self.writes += u64::from(cut != Some(Cut::Before));
        if self.invents_after == Some(here) {
            self.invent();
        }
        if let (Move::PublishIssuer { .. }, Some(before)) = (step, self.put_back.clone()) {
            assert!(self.steps < 100, "the run fights for ever");
            self.config_map = before.trust.anchors().to_vec();
            self.secret = before;
            self.versions = (self.versions.0 + 1, self.versions.1 + 1);
        }
        if self.forgets_after == Some(here) {
            self.note("somebody deletes the record");
            self.record = None;
        }
        self.shake_hands();
        let cut = cut.filter(|cut| cut.fails());
        cut.map_or(Ok(()), |cut| Err(Error::failed(format!("cut at a move: {cut:?}"))))
    }

    async fn lock(&mut self) -> Result<(), Error> {
        if std::mem::take(&mut self.locked) {
            self.pass(LEASE);
        }
        (self.locked, self.killed, self.began) = (true, false, self.now);
        self.lift();
        Ok(())
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        if !std::mem::take(&mut self.killed) {
            self.lift();
            self.locked = false;
        }
        Ok(())
    }

    async fn load(&mut self) -> Result<Option<Record>, Error> {
        self.known = self.recorded();
        Ok(self.known.clone())
    }

    async fn save(&mut self, record: &Record) -> Result<(), Error> {
        let cut = self.cut_here();
        if matches!(cut, Some(Cut::Before | Cut::Refused | Cut::Touched)) {
            return Err(Error::failed("cut before a record"));
        }
        if self.known.is_some() && self.record.is_none() {
            return Err(Error::failed("cannot update the record: there is no such object"));
        }
        self.forsake(record);
        (self.record, self.known) = (Some(record.to_data()), Some(record.clone()));
        self.writes += 1;
        self.note(format!("record: {} {:?}", record.goal.strategy.word(), record.status));
        cut.filter(|cut| cut.fails()).map_or(Ok(()), |_| Err(Error::failed("cut after a record")))
    }

    async fn pause(&mut self) {
        self.pauses += 1;
        assert!(self.pauses < MOST_PAUSES, "the run waits for ever");
        self.pass(SignedDuration::from_secs(1));
        if self.fenced.is_some_and(|since| since.max(self.written) + SENTRY_STORES <= self.now) {
            self.lift();
        }
    }

    fn interrupted(&self) -> Option<u8> {
        self.cut.filter(|(at, cut)| *cut == Cut::Signal && self.steps > *at).map(|_| 15)
    }
}
