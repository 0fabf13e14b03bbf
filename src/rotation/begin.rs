//! Where a run begins: with the open record's goal, or with a new one.

use jiff::Timestamp;

use super::strategy::{NoStrategy, Proposal, Request, choose};
use super::{CannotStage, Record, Restart, Status, Strategy, Trio};
use crate::mesh::{Answer, Consumer, Observed, Pair, Phase, Role};
use crate::pki::{Certificate, Entropy, Profile};

/// What the caller wants of a rotation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ask {
    /// A renewal with these inputs; an open rotation with the same inputs goes on.
    Renew,
    /// The open rotation goes on, whatever its inputs were.
    Resume,
    /// The previous issuer goes back.
    Abort,
    /// The CA on record goes back, over one that Sentry invented or in place of what is damaged.
    Restore,
}

/// Where the run begins.
pub enum Begin {
    /// An open rotation goes on.
    Continue(Box<Record>),
    /// A new one begins.
    New(Box<Proposal>),
}

/// Why nothing begins.
#[derive(Debug, thiserror::Error)]
pub enum Refused {
    /// Another rotation is open.
    #[error("a rotation with other inputs is open since {began} (strategy {})", strategy.word())]
    OtherInputs {
        /// When it began.
        began: Timestamp,
        /// Its strategy.
        strategy: Strategy,
    },
    /// There is nothing to resume.
    #[error("no rotation is open, so there is nothing to resume")]
    NothingOpen,
    /// There is nothing to go back to.
    #[error("nothing to go back to: {0}")]
    NothingToAbort(&'static str),
    /// A rotation is open, and brings the CA on record back by itself.
    #[error("a rotation (strategy {}) is open since {began}, and mends what is published when it goes on", strategy.word())]
    IsOpen {
        /// When it began.
        began: Timestamp,
        /// Its strategy.
        strategy: Strategy,
    },
    /// There is no CA that could be restored.
    #[error("no CA is kept that could be restored: {0}")]
    NothingKept(&'static str),
    /// The CA on record is of no use any more.
    #[error("the CA on record cannot be restored: {0}")]
    KeptInVain(String),
    /// What is published needs no mending.
    #[error("nothing to restore: {0}")]
    NothingToRestore(&'static str),
    /// The CA that Sentry invented cannot be bridged.
    #[error("the CA that Sentry invented cannot be bridged: {0}")]
    Invented(#[from] CannotStage),
    /// No strategy is safe.
    #[error(transparent)]
    NoStrategy(#[from] NoStrategy),
}

/// Decides where to begin. A prune that is open stands in the way of no renewal: what it retired nobody needs.
pub fn begin(
    ask: Ask,
    request: &Request,
    seen: &Observed,
    record: Option<&Record>,
    entropy: Entropy,
) -> Result<Begin, Refused> {
    let open = record.filter(|record| record.is_open(seen, seen.now + request.window));
    match (ask, open.filter(|open| ask != Ask::Renew || open.goal.strategy != Strategy::Prune)) {
        (Ask::Restore, Some(record)) if record.goal.strategy == Strategy::Restore => {
            go_on(request, record, seen, entropy)
        }
        (Ask::Restore, Some(record)) => {
            Err(Refused::IsOpen { began: record.goal.began, strategy: record.goal.strategy })
        }
        (Ask::Restore, None) => restore(request, seen, record, entropy),
        (Ask::Resume, None) => Err(Refused::NothingOpen),
        (Ask::Resume, Some(record)) => go_on(request, record, seen, entropy),
        (Ask::Renew, Some(record)) if record.goal.inputs == request.digest => go_on(request, record, seen, entropy),
        (Ask::Renew, Some(record)) => {
            Err(Refused::OtherInputs { began: record.goal.began, strategy: record.goal.strategy })
        }
        (Ask::Renew, None) => Ok(Begin::New(Box::new(choose(request, seen, record, entropy)?))),
        (Ask::Abort, _) => abort(request, seen, record, entropy),
    }
}

/// The open rotation, bridged over a CA that Sentry has invented since. Restarts are a matter of conduct: those that
/// this run asks for count. Whom somebody allowed to break, was allowed in that run only.
fn go_on(request: &Request, record: &Record, seen: &Observed, entropy: Entropy) -> Result<Begin, Refused> {
    let mut record = record.clone();
    record.goal.allowed.clear();
    if let Some(scope) = request.restart
        && record.goal.restart.is_none_or(|restart| restart.scope != scope)
    {
        record.goal.restart = Some(Restart { scope, since: seen.now });
    }
    if record.goal.invented(seen).is_some() {
        record.goal.adopt(seen, entropy)?;
    }
    Ok(Begin::Continue(Box::new(record)))
}

fn abort(request: &Request, seen: &Observed, record: Option<&Record>, entropy: Entropy) -> Result<Begin, Refused> {
    let record = record.ok_or(Refused::NothingToAbort("there is no record of a rotation"))?;
    if record.goal.strategy == Strategy::Abort {
        return match record.status {
            Status::Open => go_on(request, record, seen, entropy),
            Status::Done | Status::Aborted => Err(Refused::NothingToAbort("the last rotation was aborted already")),
        };
    }
    if record.goal.strategy == Strategy::Restore {
        return Err(Refused::NothingToAbort("the last one was a restore, which is the way back itself"));
    }
    if record.goal.previous.is_none() {
        return Err(Refused::NothingToAbort("the last rotation replaced no issuer that could come back"));
    }
    // Why: a renewal must not go on with an abort that was interrupted.
    let digest = format!("abort of {}", record.goal.inputs);
    let request = Request { strategy: Some(Strategy::Abort), restart: None, digest, ..request.clone() };
    Ok(Begin::New(Box::new(choose(&request, seen, Some(record), entropy)?)))
}

const NOBODY: &str = "nobody is seen to need the CA on record";

/// The CA on record, over the one that Sentry invented or in place of what is damaged; an unequal pair is made equal.
fn restore(request: &Request, seen: &Observed, record: Option<&Record>, entropy: Entropy) -> Result<Begin, Refused> {
    let record = record.ok_or(Refused::NothingKept("there is no record of a rotation"))?;
    let works = Trio::published(seen).is_some_and(|published| published.until(seen).is_some());
    let is_whole = works && seen.published.pair == Pair::Equal;
    let is_known = record.stranger(seen).is_none();
    if is_whole && is_known {
        return Err(Refused::NothingToRestore("what is published is on record, and works"));
    }
    if !(works && is_known) {
        let none = Refused::NothingKept("the record of the last rotation has none that was published before");
        let Trio { trust, issuer } = record.last_published().ok_or(none)?;
        seen.until(&issuer.chain, trust.anchors(), Profile::Spiffe)
            .map_err(|why| Refused::KeptInVain(why.to_string()))?;
    }
    if works && !is_known && record.kept(seen).is_none() {
        let unseen = |consumer: &&Consumer| consumer.held.proven().is_none() && consumer.holds.why_not().is_some();
        return Err(match seen.consumers.iter().find(unseen) {
            Some(consumer) => Refused::KeptInVain(format!("{NOBODY}, and {} could not be asked", consumer.name)),
            None if !is_whole => Refused::KeptInVain(format!("{NOBODY}, and the two objects are not equal")),
            None => Refused::NothingToRestore(NOBODY),
        });
    }
    let digest = Strategy::Restore.word().to_owned();
    let request = Request { strategy: Some(Strategy::Restore), restart: None, digest, ..request.clone() };
    Ok(Begin::New(Box::new(choose(&request, seen, Some(record), entropy)?)))
}

/// A consumer whose calls end inside a window although the signing path does not.
pub struct Affected<'a> {
    /// Who.
    pub consumer: &'a Consumer,
    /// When the last path that it accepts ends; `None`: it has ended.
    pub until: Option<Timestamp>,
}

/// When the signing path ends: the issuer in use or its root, whichever is first. `None`: it does not verify now.
pub fn signing_path_end(seen: &Observed) -> Option<Timestamp> {
    let published = &seen.published;
    let root = seen.signing_root()?;
    seen.until(&published.chain, std::slice::from_ref(root), Profile::Spiffe).ok()
}

/// Whether a renewal is due: the signing path ends before `horizon`, or does not verify.
pub fn is_due(seen: &Observed, horizon: Timestamp) -> bool {
    signing_path_end(seen).is_none_or(|end| end < horizon)
}

/// Running consumers for whom the live chain ends before `horizon`, because they hold only anchors whose bridge or
/// root ends then. One whose anchors were asked for and could not be told holds the worst.
pub fn affected(seen: &Observed, horizon: Timestamp) -> Vec<Affected<'_>> {
    let anchors = seen.published.own_anchors();
    let root = seen.signing_root();
    // Where another anchor has the root's key, no handshake tells them apart, and nobody was asked.
    let tells = Trio::published(seen).is_none_or(|trio| trio.issuer_alone(seen).is_some());
    let is_asked = |role: &Role| matches!(role, Role::Operator | Role::Placement | Role::Scheduler);
    let others: Vec<_> = anchors.iter().filter(|anchor| Some(*anchor) != root).cloned().collect();
    let end = |consumer: &Consumer| -> Option<Option<Timestamp>> {
        let worst = |anchors: &[Certificate]| seen.worst(&seen.published.chain, anchors, consumer.role.profile());
        if let Some(held) = consumer.held.proven() {
            return Some(seen.until(&seen.published.chain, held, consumer.role.profile()).ok());
        }
        match (&consumer.holds, &consumer.held) {
            (Answer::Proven(true), _) => None,
            (Answer::NotAsked, Answer::NotAsked) if tells || !is_asked(&consumer.role) => None,
            (Answer::Proven(false), _) => Some(worst(&others)),
            _ => Some(worst(&anchors)),
        }
    };
    seen.consumers
        .iter()
        .filter(|consumer| consumer.role != Role::Sentry && consumer.phase != Phase::Terminating)
        .filter_map(|consumer| end(consumer).map(|until| Affected { consumer, until }))
        .filter(|affected| affected.until.is_none_or(|until| until < horizon))
        .collect()
}
