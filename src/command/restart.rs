//! `mtls restart`: the control plane, service by service, in the order that keeps the mesh working, then applications.

use super::{Place, before, entropy, tell};
use crate::cli::{Global, RestartArgs};
use crate::error::Error;
use crate::mesh::Observed;
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::in_words;
use crate::rotation::{
    Goal, Left, Limits, Mesh, Move, Need, Outcome, Record, Run, Scope, blocked, need, plan, run as rotate,
};
use crate::ui::Ui;

/// Runs the command. A directory has no services to restart.
pub async fn run(args: &RestartArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    match Place::open(global, Some(super::Renewing::restarting(args)), ui).await? {
        Place::Kubernetes(mut mesh) => Box::pin(restart(&mut *mesh, args, global, ui)).await,
        Place::Directory(_) => Err(Error::usage("a directory has no control plane to restart")
            .hint("restart the processes that read it; a running Sentry reloads it by itself")),
    }
}

async fn restart<M: Mesh>(mesh: &mut M, args: &RestartArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let (goal, seen) = begin(mesh, args).await?;
    before::introduce(&seen, ui);
    before::supported(&seen, ui)?;
    if args.dry_run {
        let moves = moves(args, &goal, &seen)?;
        before::unplanned(&goal, &seen, &moves, ui);
        let moves = moves.iter().map(ToString::to_string).collect();
        let renewal = Renewal::new(&goal, RenewalResult::Planned, moves, &[]).blocked(blocked(&goal, &seen));
        return ui.show(&args.show, &renewal, || renewal.to_string());
    }
    before::applications(&goal, &seen, args.max_parallel, global, ui)?;
    mesh.lock().await?;
    let ended = under_the_lock(mesh, args, ui).await;
    let (goal, ended) = super::unlock(mesh, ended).await?;
    match ended.outcome {
        Outcome::Done(left) => {
            if !ended.services.is_empty() {
                ui.dapr_line(&args.show, "All control plane services have restarted successfully!")?;
            }
            let renewal = Renewal::new(&goal, RenewalResult::Done, Vec::new(), &left)
                .restarted(ended.services, ended.applications)
                .blocked(blocked(&goal, &ended.seen));
            ui.show(&args.show, &renewal, || renewal.to_string())?;
            // Why: what an application refuses is named, and no restart of the control plane changes it.
            let own: Vec<Left> = left.into_iter().filter(|left| args.apps || left.is_control_plane).collect();
            super::renew::finished(&own, ended.moves)
        }
        outcome => {
            let error = super::renew::stopped(&goal, outcome, ended.moves);
            let begins_anew = !args.stale && ended.moves > 0;
            let rest =
                "with `--stale` it goes on with what holds older trust, without it everything is restarted again";
            Err(if begins_anew { error.hint(rest) } else { error })
        }
    }
}

/// Looks anew: what was published before the lock was taken may be published no more.
async fn under_the_lock<M: Mesh>(mesh: &mut M, args: &RestartArgs, ui: &Ui) -> Result<(Goal, Run), Error> {
    let (goal, seen) = begin(mesh, args).await?;
    moves(args, &goal, &seen)?;
    let (propagation, parallel) = (jiff::SignedDuration::from_secs(60), args.max_parallel.into());
    let limits = Limits { propagation, rollout: args.timeout, parallel };
    let mut record = Record::open(goal);
    let ended =
        rotate(mesh, &mut record, seen, limits, &mut entropy(), &mut |event| tell(&event, &args.show, ui)).await?;
    Ok((record.goal, ended))
}

async fn begin<M: Mesh>(mesh: &mut M, args: &RestartArgs) -> Result<(Goal, Observed), Error> {
    let objects = mesh.observe(&Need { control_plane: true, ..Need::default() }).await?;
    if let Some(denied) = objects.denied.iter().find(|denied| denied.hides_services()) {
        return Err(Error::failed("not every service of the control plane can be seen; nothing was restarted")
            .hint(format!("grant it in a Role: {}", denied.grant)));
    }
    let open = mesh.load().await?.filter(|record| record.is_open(&objects, objects.now)).map(|record| record.goal);
    let goal = Goal::restart(Scope::new(args.stale, args.apps), &objects, open.as_ref()).ok_or_else(|| {
        Error::failed("no complete CA is published, so a restarted Sentry would invent one")
            .hint("`mtls status` says what is missing")
    })?;
    let seen = mesh.observe(&need(&goal, &objects)).await?;
    Ok((goal, seen))
}

fn moves(args: &RestartArgs, goal: &Goal, seen: &Observed) -> Result<Vec<Move>, Error> {
    plan(goal, seen, args.max_parallel.into()).map_err(|breaks| Error::failed(in_words(&breaks)))
}
