//! Every strategy, cut off at every write in every way: the same command comes to the end that it would have come to.

use super::file_era::of_files;
use super::prune::{bridged, restart_everything};
use super::restore::invented;
use super::*;

/// What is done how, after what has happened before.
#[derive(Clone)]
pub struct Case {
    pub strategy: Strategy,
    /// `None`: a prune.
    pub ask: Option<Ask>,
    pub request: Request,
    pub mesh: Model,
}

impl Case {
    /// A strategy on a mesh that it fits. What lasts restarts applications too.
    pub fn of(strategy: Strategy, watcher: Watcher) -> Self {
        let plain = || Model::new(30, 365, watcher);
        let rotated = |first: &Request| {
            let mut mesh = plain();
            rotate(&mut mesh, first).unwrap();
            mesh
        };
        let fresh = || request(Inputs::Fresh, 90);
        let restarts = |scope| Request { strategy: Some(strategy), restart: Some(scope), ..fresh() };
        let (ask, request, mut mesh) = match strategy {
            Strategy::SameKey | Strategy::Issuer => {
                let key = PrivateKey::generate(&mut |bytes: &mut [u8]| Chance::new(97).fill(bytes));
                let first = request(Inputs::Key(key), 90);
                let again = Request { strategy: Some(strategy), digest: "another".to_owned(), ..first.clone() };
                (Some(Ask::Renew), again, rotated(&first))
            }
            Strategy::Abort => (Some(Ask::Abort), fresh(), rotated(&fresh())),
            Strategy::Append => {
                let scope = if watcher == Watcher::Dead { Scope::All } else { Scope::AllStale };
                (Some(Ask::Renew), restarts(scope), plain())
            }
            Strategy::Replace => {
                let mut mesh = plain();
                mesh.broken = true;
                (Some(Ask::Renew), restarts(Scope::All), mesh)
            }
            Strategy::Restore => (Some(Ask::Restore), request(Inputs::Fresh, 0), invented(50, watcher).0),
            Strategy::Prune => {
                let mut mesh = bridged(6, watcher, 2);
                restart_everything(&mut mesh);
                (None, fresh(), mesh)
            }
            Strategy::Bridge | Strategy::Create | Strategy::Restart => (Some(Ask::Renew), fresh(), plain()),
        };
        mesh.limits.parallel = 2;
        Self { strategy, ask, request, mesh }
    }

    /// An append on a mesh whose sidecars mount their anchors, which nobody restarts.
    pub fn of_files() -> Self {
        let request = Request { restart: None, ..append() };
        Self { strategy: Strategy::Append, ask: Some(Ask::Renew), request, mesh: of_files(71, Watcher::Alive, true) }
    }

    /// One of each.
    pub fn all(watcher: Watcher) -> impl Iterator<Item = Self> {
        let strategies = [
            Strategy::Issuer,
            Strategy::SameKey,
            Strategy::Bridge,
            Strategy::Append,
            Strategy::Replace,
            Strategy::Abort,
            Strategy::Restore,
            Strategy::Prune,
        ];
        strategies.into_iter().map(move |strategy| Self::of(strategy, watcher))
    }

    pub fn run(&mut self) -> Result<(), Error> {
        match self.ask {
            Some(ask) => block_on(go(&mut self.mesh, ask, &self.request)).map(drop),
            None => prune::prune(&mut self.mesh, 0),
        }
    }

    pub fn is_done(&self) -> bool {
        self.is(Status::Done)
    }

    pub fn is_open(&self) -> bool {
        self.is(Status::Open)
    }

    fn is(&self, status: Status) -> bool {
        self.mesh.recorded().is_some_and(|record| (record.status, record.goal.strategy) == (status, self.strategy))
    }

    /// Each way and place to be cut off, and how that ended.
    pub fn each_cut(&self, cuts: &[Cut], mut then: impl FnMut(Self, Result<(), Error>, &str)) {
        for cut in cuts {
            for at in 0.. {
                let mut case = self.clone();
                let context = format!("{:?} {cut:?} at {at}", self.strategy);
                case.mesh.cut = Some((case.mesh.steps() + at, *cut));
                let ended = case.run();
                if !case.mesh.has_cut() {
                    ended.unwrap_or_else(|why| panic!("{context}: {why}"));
                    assert!(at > 2, "{context}: the record, something that is published, the record");
                    break;
                }
                case.mesh.cut = None;
                then(case, ended, &context);
            }
        }
    }
}

/// What a command comes to.
fn end(mesh: &Model) -> (usize, usize, Option<usize>, Vec<u32>, u32) {
    let source = mesh.copies.source.as_ref().map(Vec::len);
    (mesh.secret.trust.anchors().len(), mesh.secret.issuer.chain.len(), source, mesh.restarts(), mesh.invented)
}

#[test]
fn every_strategy_survives_being_cut_off_at_every_write_and_the_next_run_completes_it() {
    let killed = [Cut::Before, Cut::BetweenThePair, Cut::After, Cut::Signal];
    for (watcher, cuts) in [(Watcher::Alive, &Cut::ALL[..]), (Watcher::Dead, &killed)] {
        let of_files = (watcher == Watcher::Alive).then(Case::of_files);
        for start in Case::all(watcher).chain(of_files) {
            let mut whole = start.clone();
            whole.run().unwrap();
            start.each_cut(cuts, |mut case, first, context| {
                if !case.is_done() {
                    let second = case.run();
                    second.unwrap_or_else(|why| panic!("{watcher:?} {context}: first {first:?}, then {why}"));
                }
                let record = case.mesh.recorded().unwrap();
                assert!(case.is_done(), "{context}: {:?} {:?}", record.goal.strategy, record.status);
                assert_eq!(case.mesh.secret.issuer.chain, record.goal.target.issuer.chain, "{context}");
                assert_eq!(end(&case.mesh), end(&whole.mesh), "{context}: one rotation, each application once");
            });
        }
    }
}

#[test]
fn an_append_that_somebody_else_restarts_for_survives_it_too() {
    let start = Case { request: append(), ..Case::of(Strategy::Append, Watcher::Dead) };
    for cut in Cut::ALL {
        for at in 0..16 {
            let mut case = start.clone();
            case.mesh.cut = Some((at, cut));
            let mut runs = 0;
            while case.run().is_err() && !case.is_done() {
                runs += 1;
                assert!(runs < 5, "{cut:?} at {at}: it does not come to an end");
                case.mesh.cut = case.mesh.cut.filter(|_| !case.mesh.has_cut());
                (0..4).for_each(|n| case.mesh.restart(&format!("apps/pod-{n}")));
            }
            assert_eq!(case.mesh.secret.trust.anchors().len(), 2, "{cut:?} at {at}: one rotation");
            assert_eq!(case.mesh.invented, 0, "{cut:?} at {at}");
        }
    }
}
