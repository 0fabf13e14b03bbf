//! The one loop: look, decide the one next safe move, make it, look again.
//!
//! # Why
//! A nudge can hurt nobody and should follow what was published at once, so it is made before the next look.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

use super::distribution::{Pace, Progress};
use super::left::Left;
use super::next::{Limits, Step, need, need_after_move, next};
use super::paper::after;
use super::safety::Break;
use super::{Mesh, Move, Record};
use crate::error::Error;
use crate::mesh::{Observed, Workload};
use crate::pki::Entropy;

/// What the loop tells whoever shows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Event {
    /// A move begins.
    Moving(String),
    /// A control-plane service restarts, as kubectl names it: `deploy/dapr-sentry`.
    Restarting(String),
    /// A move has been made.
    Moved(String),
    /// Nothing to do but wait for this.
    Waiting(String),
    /// The trust bundle has come so far in the file era.
    Propagated(Progress),
    /// Something happened that was not asked for.
    Noticed(String),
}

/// How a run ended.
#[derive(Debug)]
pub enum Outcome {
    /// The goal is reached; these are left behind, named.
    Done(Vec<Left>),
    /// The next move would break these, so it was not made.
    Blocked(Vec<Break>),
    /// Something that should have come to an end has not.
    Stuck(String),
    /// This signal stopped it between two moves.
    Interrupted(u8),
}

/// How many moves were made, and how it ended.
pub struct Run {
    /// How it ended.
    pub outcome: Outcome,
    /// How many moves were made.
    pub moves: usize,
    /// The services of the control plane that were restarted.
    pub services: Vec<String>,
    /// The applications that were restarted.
    pub applications: Vec<String>,
    /// The last look.
    pub seen: Observed,
}

/// Works towards the record's goal, from a look at what [`need`] names under the lock, until it is reached or can't be.
/// The record is saved again when the goal is extended or reached. Errors are the mesh's, and say whether something was
/// changed before.
pub async fn run<M: Mesh>(
    mesh: &mut M,
    record: &mut Record,
    mut seen: Observed,
    limits: Limits,
    entropy: Entropy<'_>,
    tell: &mut dyn FnMut(Event),
) -> Result<Run, Error> {
    let mut made = Made::default();
    let ended = follow(mesh, record, &mut seen, limits, entropy, tell, &mut made).await;
    let Made { moves, services, applications, .. } = made;
    match ended {
        Ok(outcome) => Ok(Run { outcome, moves, services, applications, seen }),
        Err(why) if moves > 0 => Err(why.after_changes()),
        Err(why) => Err(why),
    }
}

/// What a run has done so far.
#[derive(Default)]
struct Made {
    moves: usize,
    services: Vec<String>,
    applications: Vec<String>,
    publications: BTreeMap<String, usize>,
}

/// How often the same publication may be made, or an application be restarted. Somebody may undo it once or twice; more
/// is a fight, or an object that does not come back as it was written.
const SAME: usize = 3;

impl Made {
    /// How often this publication has been made, with this one.
    fn again(&mut self, step: &Move) -> usize {
        let count = self.publications.entry(step.to_string()).or_default();
        *count += 1;
        *count
    }

    /// An application of this wave that has been restarted often enough.
    fn undone<'a>(&self, step: &'a Move) -> Option<&'a String> {
        let Move::RestartApplications { workloads } = step else { return None };
        let often = |workload: &&String| self.applications.iter().filter(|done| done == workload).count() >= SAME;
        workloads.iter().find(often)
    }
}

async fn follow<M: Mesh>(
    mesh: &mut M,
    record: &mut Record,
    seen: &mut Observed,
    limits: Limits,
    entropy: Entropy<'_>,
    tell: &mut dyn FnMut(Event),
    made: &mut Made,
) -> Result<Outcome, Error> {
    let mut changed: Timestamp = seen.now;
    let mut has_changed = false;
    let mut full = false;
    let mut waiting = String::new();
    let mut pace = None;
    loop {
        if record.goal.invented(seen).is_some() {
            adopt(mesh, record, seen, entropy, tell).await?;
        }
        record.goal.follow(seen);
        let step = next(&record.goal, seen, full, seen.now.duration_since(changed), limits);
        if let (Step::Do(_) | Step::Wait(..), Some(signal)) = (&step, mesh.interrupted()) {
            return Ok(Outcome::Interrupted(signal));
        }
        full = matches!(step, Step::LookAgain);
        let wanted = match step {
            Step::Do(step) => {
                if step.publishes() && made.again(&step) > SAME {
                    return Ok(Outcome::Stuck(format!("what was published is not what is read back: {step}")));
                }
                if let Some(workload) = made.undone(&step) {
                    return Ok(Outcome::Stuck(format!("somebody undoes the restart of {workload} again and again")));
                }
                make(mesh, &step, seen, tell).await?;
                made.moves += 1;
                match &step {
                    Move::Restart { workload } => made.services.push(workload.clone()),
                    Move::RestartApplications { workloads } => made.applications.extend(workloads.iter().cloned()),
                    Move::PublishTrust { .. }
                    | Move::PublishSource { .. }
                    | Move::PublishIssuer { .. }
                    | Move::Nudge => {}
                }
                let paper = after(seen, &step);
                if let Step::Do(nudge @ Move::Nudge) = next(&record.goal, &paper, false, SignedDuration::ZERO, limits) {
                    make(mesh, &nudge, &paper, tell).await?;
                    made.moves += 1;
                    mesh.pause().await;
                }
                has_changed = true;
                waiting.clear();
                let (wanted, everything) = need_after_move(&record.goal, &paper);
                full = everything;
                wanted
            }
            Step::Wait(what, wanted) => {
                if what != waiting {
                    tell(Event::Waiting(what.clone()));
                    waiting = what;
                }
                mesh.pause().await;
                wanted
            }
            Step::LookAgain => need(&record.goal, seen),
            Step::Done(left) => {
                if record.goal.is_recorded() && !left.iter().any(Left::is_unfinished) {
                    record.close(seen);
                    mesh.save(record).await?;
                }
                return Ok(Outcome::Done(left));
            }
            Step::Blocked(found) => return Ok(Outcome::Blocked(found)),
            Step::Stuck(why) => return Ok(Outcome::Stuck(why)),
        };
        *seen = mesh.observe(&wanted).await?;
        if let Some(progress) = Pace::follow(&mut pace, seen) {
            tell(Event::Propagated(progress));
        }
        // A look that shows another state may have asked less than that state needs.
        full &= wanted.everyone || !need(&record.goal, seen).everyone;
        // Why: a move may take long itself, and a proof has its time from then on.
        if std::mem::take(&mut has_changed) {
            changed = seen.now;
        }
    }
}

async fn adopt<M: Mesh>(
    mesh: &mut M,
    record: &mut Record,
    seen: &Observed,
    entropy: Entropy<'_>,
    tell: &mut dyn FnMut(Event),
) -> Result<(), Error> {
    tell(Event::Noticed("Sentry has invented a CA of its own; the goal is bridged over it".to_owned()));
    record.goal.adopt(seen, entropy).map_err(|why| Error::failed("the invented CA cannot be bridged").because(why))?;
    mesh.save(record).await
}

async fn make<M: Mesh>(mesh: &mut M, step: &Move, seen: &Observed, tell: &mut dyn FnMut(Event)) -> Result<(), Error> {
    let mut what = step.to_string();
    if let Move::RestartApplications { workloads } = step {
        for workload in workloads {
            tell(Event::Moving(format!("restart {workload}")));
        }
        what = format!("restart {} applications", workloads.len());
    } else {
        tell(Event::Moving(what.clone()));
    }
    if let Move::Restart { workload } = step {
        tell(Event::Restarting(seen.service(workload).map_or_else(|| workload.clone(), Workload::reference)));
    }
    mesh.apply(step, seen).await?;
    tell(Event::Moved(what));
    Ok(())
}
