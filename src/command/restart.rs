//! `mtls restart`: the control plane, service by service, in the order that keeps the mesh working.

use super::{Place, entropy, tell};
use crate::cli::{Global, RestartArgs};
use crate::error::Error;
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::in_words;
use crate::rotation::{Goal, Limits, Mesh, Need, Outcome, Record, Scope, plan, run as rotate};
use crate::ui::Ui;

/// Runs the command. A directory has no services to restart.
pub async fn run(args: &RestartArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    match Place::open(global, Some(super::Renewing::restarting(args)), ui).await? {
        Place::Kubernetes(mut mesh) => Box::pin(restart(&mut *mesh, args, ui)).await,
        Place::Directory(_) => Err(Error::usage("a directory has no control plane to restart")
            .hint("restart the processes that read it; a running Sentry reloads it by itself")),
    }
}

async fn restart<M: Mesh>(mesh: &mut M, args: &RestartArgs, ui: &Ui) -> Result<(), Error> {
    let scope = if args.stale { Scope::Stale } else { Scope::ControlPlane };
    let objects = mesh.observe(&Need { control_plane: true, ..Need::default() }).await?;
    let goal = Goal::restart(scope, &objects).ok_or_else(|| {
        Error::failed("no complete CA is published, so a restarted Sentry would invent one")
            .hint("`mtls status` says what is missing")
    })?;
    let seen = mesh.observe(&crate::rotation::need(&goal, &objects)).await?;
    let moves = plan(&goal, &seen).map_err(|breaks| Error::failed(in_words(&breaks)))?;
    if args.dry_run {
        let renewal = Renewal::new(&goal, RenewalResult::Planned, moves.iter().map(ToString::to_string).collect(), &[]);
        return ui.show(&args.show, &renewal, || renewal.to_string());
    }
    mesh.lock().await?;
    let limits = Limits { propagation: jiff::SignedDuration::from_secs(60), rollout: args.timeout };
    let mut record = Record::open(goal);
    let ended =
        rotate(mesh, &mut record, seen, limits, &mut entropy(), &mut |event| tell(&event, &args.show, ui)).await;
    mesh.unlock().await;
    let ended = ended?;
    match ended.outcome {
        Outcome::Done(left) => {
            ui.dapr_line(&args.show, "All control plane services have restarted successfully!")?;
            let renewal = Renewal::new(&record.goal, RenewalResult::Done, Vec::new(), &left);
            ui.show(&args.show, &renewal, || renewal.to_string())?;
            super::renew::finished(&left, ended.moves)
        }
        outcome => Err(super::renew::stopped(outcome, ended.moves)),
    }
}
