//! `mtls prune`: retires the trust anchors and bridges that nobody needs any more, where that is proven.
//!
//! # Why
//! Whoever stands in the way is named before anything is written, all at once. Pods that are being deleted stand in the
//! way of each move, and not of the whole: the run waits for them.

use super::work::Work;
use super::{Place, Renewing, before, nothing_to_do, renew};
use crate::cli::{Global, PruneArgs};
use crate::duration::in_words;
use crate::error::Error;
use crate::mesh::{Answer, Consumer, Observed, Pair, Role};
use crate::pki::Certificate;
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::Break;
use crate::rotation::{Goal, Mesh, Need, NothingToRetire, Outcome, Record, Strategy, need, plan};
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &PruneArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    match Place::open(global, Some(Renewing::from(&args.conduct)), ui).await? {
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
    before::owners(args.conduct.ignore_owners, &seen, ui)?;
    let Some(mut goal) = goal(&seen, kept.as_ref())? else {
        return nothing_to_do(NOTHING, &seen, &args.show, ui);
    };
    let seen = look(mesh, args, &need(&goal, &seen)).await?;
    let staying = seen.staying();
    before::force(&mut goal, args.force, &seen, ui).map_err(|found| refused(&goal, &found, &seen))?;
    let moves = plan(&goal, &staying, 1).map_err(|breaks| refused(&goal, &breaks, &seen))?;
    if args.dry_run {
        let moves = moves.iter().map(ToString::to_string).collect();
        let renewal = Renewal::new(&goal, RenewalResult::Planned, moves, &[]);
        return ui.show(&args.show, &renewal, || renewal.to_string());
    }
    before::left_alone(&seen, ui);
    confirm(&goal, &seen, global, ui)?;
    let work = Work { record: Record::open(goal), kept, moves: moves.len() };
    let (Record { goal, .. }, ended) = work.run(mesh, &seen, &args.conduct, &args.show, ui).await?;
    match ended.outcome {
        Outcome::Done(left) => {
            let renewal = Renewal::new(&goal, RenewalResult::Done, Vec::new(), &left);
            ui.show(&args.show, &renewal, || renewal.to_string())?;
            renew::finished(&left, ended.moves)
        }
        outcome => Err(renew::stopped(&goal, outcome, ended.moves)),
    }
}

/// Looks until every Sentry replica gives an answer: one that reloads takes no connections for a moment. Beside a torn
/// pair none is waited for, since behind a fence it starts only once that is repaired.
async fn look<M: Mesh>(mesh: &mut M, args: &PruneArgs, need: &Need) -> Result<Observed, Error> {
    let mut seen = mesh.observe(need).await?;
    let end = seen.now + args.conduct.propagation_wait;
    let is_mute = |sentry: &Consumer| sentry.role == Role::Sentry && matches!(sentry.served, Answer::Unknown(_));
    let is_torn = |seen: &Observed| matches!(seen.published.pair, Pair::Unequal(_));
    while seen.now < end && !is_torn(&seen) && seen.consumers.iter().any(is_mute) {
        mesh.pause().await;
        seen = mesh.observe(need).await?;
    }
    Ok(seen)
}

/// The open prune's goal, or a new one; `None`: there is nothing to retire.
fn goal(seen: &Observed, kept: Option<&Record>) -> Result<Option<Goal>, Error> {
    let open = kept.filter(|record| record.is_open(seen, seen.now)).map(|record| &record.goal);
    match open {
        Some(goal) if goal.strategy == Strategy::Prune => return Ok(Some(goal.clone())),
        Some(goal) => {
            let what = format!("a rotation (strategy {}) is open since {}", goal.strategy.word(), goal.began);
            let [restore, resume, abort] =
                ["restore", "renew-certificate --resume", "renew-certificate --abort"].map(|way| seen.command(way));
            let hint = match goal.strategy {
                Strategy::Restore => format!("go on with {restore}"),
                _ => format!("go on with {resume}, or back with {abort}"),
            };
            return Err(Error::failed(format!("{what}, and what it still needs cannot be retired")).hint(hint));
        }
        None => {}
    }
    match Goal::prune(seen, kept) {
        Ok(goal) => Ok(Some(goal)),
        Err(NothingToRetire::Nothing) if matches!(seen.published.pair, Pair::Unequal(_)) => {
            let repair = seen.command("restart --stale");
            Err(Error::failed("the two halves of the trust bundle differ, and there is nothing to retire")
                .hint(format!("{repair} repairs the pair, before Sentry reloads")))
        }
        Err(NothingToRetire::Nothing) => Ok(None),
        Err(why) => Err(Error::failed("nothing was retired").because(why).hint("`mtls status` says what is wrong")),
    }
}

const NOTHING: &str =
    "Nothing to retire: every trust anchor is in use or another mesh's, and the chain carries no bridge.";

/// Says what would help, of each kind of obstacle that was found.
fn refused(goal: &Goal, found: &[Break], seen: &Observed) -> Error {
    let what = match found.len() {
        1 => "one thing stands in the way, named above".to_owned(),
        count => format!("{count} things stand in the way, named above"),
    };
    let mut error = Error::failed(format!("nothing was retired by this run: {what}"));
    if found.iter().any(|found| found.is_control_plane && found.restart.is_some()) {
        error = error.hint("`mtls restart` restarts the control plane in order");
    }
    if found.iter().any(|found| !found.is_control_plane && found.restart.is_some()) {
        error = error.hint("a restarted application holds what is published now, and shows a new SVID");
    }
    if let Some(end) = goal.former_svids_end.filter(|end| *end > seen.now) {
        let left = in_words(end.duration_since(seen.now));
        error = error.hint(format!("the last SVID of a former issuer ends {end} (in {left})"));
    }
    if found.iter().all(|found| found.may_be_allowed) {
        let count = found.len();
        error = error.hint(format!(
            "`--force={count}` retires all the same; whoever is named above may then refuse calls, or be refused"
        ));
    }
    error
}

fn confirm(goal: &Goal, seen: &Observed, global: &Global, ui: &Ui) -> Result<(), Error> {
    let staying = goal.target.trust.fingerprints();
    let going = seen.published.anchors.iter().map(Certificate::fingerprint).filter(|anchor| !staying.contains(anchor));
    let going: Vec<String> = going.map(|anchor| anchor.short()).collect();
    let what = if going.is_empty() { "the bridges".to_owned() } else { format!("trust anchor {}", going.join(" + ")) };
    let broken = match goal.allowed.len() {
        0 => String::new(),
        count => format!(" The {count} named above may then refuse calls, or be refused."),
    };
    ui.confirm(
        &format!("Retire {what} of trust domain {}? It does not come back.{broken}", seen.identity.trust_domain),
        global.yes,
    )
}
