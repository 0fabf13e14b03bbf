//! `mtls prune`: retires the trust anchors and bridges that nobody needs any more, where that is proven.
//!
//! # Why
//! Whoever stands in the way is named before anything is written, all at once. Pods that are being deleted stand in the
//! way of each move, and not of the whole: the run waits for them.

use super::{Place, Renewing, before, entropy, renew, tell};
use crate::cli::{Global, PruneArgs};
use crate::duration::in_words as span;
use crate::error::Error;
use crate::mesh::{Answer, Observed, Phase};
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::{Break, in_words};
use crate::rotation::{
    Goal, Limits, Mesh, Need, NothingToRetire, Outcome, Record, Run, Strategy, need, obstacles, plan, possible_from,
    run as rotate,
};
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &PruneArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    match Place::open(global, Some(Renewing::pruning(args)), ui).await? {
        Place::Kubernetes(mut mesh) => Box::pin(prune(&mut *mesh, args, global, ui)).await,
        Place::Directory(mut mesh) => prune(&mut *mesh, args, global, ui).await,
    }
}

async fn prune<M: Mesh>(mesh: &mut M, args: &PruneArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let everything = Need { consumers: true, control_plane: true, owners: true, ..Need::default() };
    let seen = mesh.observe(&everything).await?;
    let kept = mesh.load().await?;
    before::introduce(&seen, ui);
    before::supported(&seen, ui)?;
    before::owners(args.ignore_owners, &seen, ui)?;
    let Some(goal) = goal(args, &seen, kept.as_ref())? else {
        return nothing(args, &seen, ui);
    };
    let seen = mesh.observe(&need(&goal, &seen)).await?;
    unsigned(&seen)?;
    let mut staying = seen.clone();
    staying.consumers.retain(|consumer| consumer.phase != Phase::Terminating);
    let found = obstacles(&goal, &staying);
    if found.len() > goal.allowed {
        return Err(refused(&found, &staying));
    }
    let moves = plan(&goal, &staying).map_err(|breaks| refused(&breaks, &staying))?;
    if args.dry_run {
        let moves = moves.iter().map(ToString::to_string).collect();
        let renewal = Renewal::new(&goal, RenewalResult::Planned, moves, &[]);
        return ui.show(&args.show, &renewal, || renewal.to_string());
    }
    confirm(&goal, &seen, &found, global, ui)?;
    mesh.lock().await?;
    ui.begin(moves.len());
    let ended = under_the_lock(mesh, args, goal, &seen, ui).await;
    let ended = super::unlock(mesh, ended).await;
    ui.end();
    let (goal, ended) = ended?;
    match ended.outcome {
        Outcome::Done(left) => {
            let renewal = Renewal::new(&goal, RenewalResult::Done, Vec::new(), &left);
            ui.show(&args.show, &renewal, || renewal.to_string())?;
            renew::finished(&left, ended.moves)
        }
        outcome => Err(renew::stopped(outcome, ended.moves)),
    }
}

/// The open prune's goal, or a new one; `None`: there is nothing to retire.
fn goal(args: &PruneArgs, seen: &Observed, kept: Option<&Record>) -> Result<Option<Goal>, Error> {
    let open = kept.filter(|record| record.is_open(seen, seen.now)).map(|record| &record.goal);
    match open {
        Some(goal) if goal.strategy == Strategy::Prune => {
            return Ok(Some(Goal { allowed: args.force, ..goal.clone() }));
        }
        Some(goal) => {
            let what = format!("a rotation (strategy {}) is open since {}", goal.strategy.word(), goal.began);
            return Err(Error::failed(format!("{what}, and what it still needs cannot be retired"))
                .hint("go on with `mtls renew-certificate --resume`, or back with `mtls renew-certificate --abort`"));
        }
        None => {}
    }
    match Goal::prune(seen, kept, args.force) {
        Ok(goal) => Ok(Some(goal)),
        Err(NothingToRetire::Nothing) => Ok(None),
        Err(why) => Err(Error::failed("nothing was retired").because(why).hint("`mtls status` says what is wrong")),
    }
}

fn nothing(args: &PruneArgs, seen: &Observed, ui: &Ui) -> Result<(), Error> {
    match Renewal::nothing_due(seen, &[]) {
        Some(renewal) => ui.show(&args.show, &renewal, || {
            "Nothing to retire: every trust anchor is in use or another mesh's, and the chain carries no bridge.\n"
                .to_owned()
        }),
        None => Ok(()),
    }
}

/// Errors where workflow history is signed: it is verified against the anchors of the day, for ever.
fn unsigned(seen: &Observed) -> Result<(), Error> {
    match &seen.signed_histories {
        Answer::Proven(names) if !names.is_empty() => Err(Error::failed(format!(
            "nothing was retired: workflow history is signed (Configuration {}), and what an anchor that leaves has signed \
             verifies never again",
            names.join(", ")
        ))
        .hint("an anchor can go once no workflow of before is needed and `WorkflowHistorySigning` is off")),
        answer => match answer.why_not() {
            Some(why) => Err(Error::failed(format!(
                "nothing was retired: whether workflow history is signed could not be seen: {why}"
            ))),
            None => Ok(()),
        },
    }
}

fn refused(found: &[Break], seen: &Observed) -> Error {
    let mut error = Error::failed(format!("nothing was retired: {}", in_words(found)));
    if found.iter().any(|found| found.is_control_plane) {
        error = error.hint("`mtls restart` restarts the control plane in order");
    }
    if found.iter().any(|found| !found.is_control_plane && found.restart.is_some()) {
        error = error.hint("a restarted application holds what is published now, and shows a new SVID");
    }
    if let Some(from) = possible_from(seen) {
        let left = span(from.duration_since(seen.now));
        error = error.hint(format!(
            "from {from} (in {left}) on no SVID of a former issuer lives; sooner where each is seen to be new"
        ));
    }
    error.hint(format!("`--force={}` retires all the same, and those named may refuse calls then", found.len()))
}

fn confirm(goal: &Goal, seen: &Observed, found: &[Break], global: &Global, ui: &Ui) -> Result<(), Error> {
    let going = seen.published.anchors.iter().filter(|anchor| !goal.target.trust.contains(anchor.fingerprint()));
    let going: Vec<String> = going.map(|anchor| anchor.fingerprint().short()).collect();
    let broken = match found.len() {
        0 => String::new(),
        count => format!(" {count} consumers may refuse calls then: {}.", in_words(found)),
    };
    let what = if going.is_empty() { "the bridges".to_owned() } else { format!("trust anchor {}", going.join(" + ")) };
    ui.confirm(
        &format!("Retire {what} of trust domain {}? It does not come back.{broken}", seen.identity.trust_domain),
        global.yes,
    )
}

/// Looks again: what was published, and who held what, before the lock was taken may be so no more.
async fn under_the_lock<M: Mesh>(
    mesh: &mut M,
    args: &PruneArgs,
    goal: Goal,
    before: &Observed,
    ui: &Ui,
) -> Result<(Goal, Run), Error> {
    let seen = renew::look_under_the_lock(mesh, &goal, before).await?;
    let mut record = Record::open(goal);
    mesh.save(&record).await?;
    let limits = Limits { propagation: args.propagation_wait, rollout: args.timeout };
    let ended =
        rotate(mesh, &mut record, seen, limits, &mut entropy(), &mut |event| tell(&event, &args.show, ui)).await?;
    if ended.moves == 0 && matches!(ended.outcome, Outcome::Blocked(_)) {
        record.status = crate::rotation::Status::Aborted;
        mesh.save(&record).await?;
    }
    Ok((record.goal, ended))
}
