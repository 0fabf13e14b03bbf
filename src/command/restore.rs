//! `mtls restore`: the CA on record back, after Sentry invented one of its own or what was published was damaged.

use jiff::SignedDuration;

use super::work::Work;
use super::{Place, Renewing, before, entropy, nothing_to_do, renew};
use crate::cli::{Global, RestoreArgs};
use crate::error::Error;
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::strategy::{Inputs, Request};
use crate::rotation::{Ask, Begin, Mesh, Need, Outcome, Record, Refused, begin, plan};
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &RestoreArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    match Place::open(global, Some(Renewing::from(&args.conduct)), ui).await? {
        Place::Kubernetes(mut mesh) => Box::pin(restore(&mut *mesh, args, ui)).await,
        Place::Directory(mesh) => restore(&mut mesh.mending(), args, ui).await,
    }
}

async fn restore<M: Mesh>(mesh: &mut M, args: &RestoreArgs, ui: &Ui) -> Result<(), Error> {
    let everything = Need { consumers: true, control_plane: true, owners: true, ..Need::default() };
    let mut seen = mesh.observe(&everything).await?;
    let kept = mesh.load().await?;
    before::introduce(&seen, ui);
    before::supported(&seen, ui)?;
    before::owners(args.conduct.ignore_owners, &seen, ui)?;
    if let Some(doubts) = kept.as_ref().and_then(|record| record.doubts(&seen)) {
        seen = mesh.observe(&doubts).await?;
    }
    let record = match begin(Ask::Restore, &request(args), &seen, kept.as_ref(), &mut entropy()) {
        Ok(Begin::New(proposal)) => {
            ui.say(&format!("strategy {}: {}", proposal.goal.strategy.word(), proposal.why));
            Record::open(proposal.goal)
        }
        Ok(Begin::Continue(record)) => {
            ui.say(&format!("continuing the restore of {}", record.goal.began));
            *record
        }
        Err(Refused::NothingToRestore(why)) => {
            return nothing_to_do(&format!("Nothing to restore: {why}."), &seen, &args.show, ui);
        }
        Err(why) => return Err(renew::refused(&why, &seen)),
    };
    let goal = &record.goal;
    let moves = plan(goal, &seen, 1).map_err(|breaks| renew::blocked(&breaks))?;
    if let Some(root) = &goal.invented
        && let Some(until) = goal.target.until_under(root, &seen)
    {
        let root = root.fingerprint().short();
        ui.say(&format!("whoever holds only {root}, which Sentry invented, accepts the chain until {until}"));
    }
    before::lost(goal, &seen, ui);
    if args.dry_run {
        let moves = moves.iter().map(ToString::to_string).collect();
        let renewal = Renewal::new(goal, RenewalResult::Planned, moves, &[]);
        return ui.show(&args.show, &renewal, || renewal.to_string());
    }
    let work = Work { record, kept, moves: moves.len() };
    let (Record { goal, .. }, ended) = work.run(mesh, &seen, &args.conduct, &args.show, ui).await?;
    match ended.outcome {
        Outcome::Done(left) => {
            let renewal = Renewal::new(&goal, RenewalResult::Done, Vec::new(), &left);
            ui.show(&args.show, &renewal, || renewal.to_string())?;
            renew::say_when_to_prune(&goal, &ended.seen, ui);
            renew::finished(&left, ended.moves)
        }
        outcome => Err(renew::stopped(&goal, outcome, ended.moves)),
    }
}

/// Nothing is brought and nothing is minted that has a validity of its own.
fn request(args: &RestoreArgs) -> Request {
    Request {
        inputs: Inputs::Fresh,
        strategy: None,
        valid_for: SignedDuration::ZERO,
        restart: None,
        timeout: args.conduct.timeout,
        window: SignedDuration::ZERO,
        digest: String::new(),
    }
}
