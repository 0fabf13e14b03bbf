//! `mtls renew-certificate`: looks, decides, asks, and lets the rotation run.

use jiff::Timestamp;

use super::{Place, Renewing, entropy, given, tell};
use crate::cli::{Global, RenewArgs};
use crate::error::{Error, Kind};
use crate::keep;
use crate::mesh::{Observed, Owner};
use crate::pki::{Fingerprint, Issuer};
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::{Break, in_words};
use crate::rotation::strategy::Request;
use crate::rotation::{
    Affected, Ask, Begin, Concern, Goal, Left, Limits, Mesh, Move, Need, Outcome, Record, Refused, Run, Status,
    Strategy, affected, begin, is_due, need, plan, run as rotate, signing_path_end,
};
use crate::ui::Ui;

/// Runs the command. What it does to a cluster and to a directory is the same code.
pub async fn run(args: &RenewArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let request = given::request(args)?;
    match Place::open(global, Some(Renewing::from(args)), ui).await? {
        Place::Kubernetes(mut mesh) => Box::pin(renew(&mut *mesh, args, global, &request, ui)).await,
        Place::Directory(mut mesh) => renew(&mut *mesh, args, global, &request, ui).await,
    }
}

async fn renew<M: Mesh>(
    mesh: &mut M,
    args: &RenewArgs,
    global: &Global,
    request: &Request,
    ui: &Ui,
) -> Result<(), Error> {
    let seen = look(mesh, args).await?;
    let record = mesh.load().await?;
    introduce(&seen, ui);
    expectations(args, &seen)?;
    supported(&seen, ui)?;
    given::judge_given(request, &seen)?;
    let ask = match (args.resume, args.abort) {
        (true, _) => Ask::Resume,
        (_, true) => Ask::Abort,
        _ => Ask::Renew,
    };
    let open = record.as_ref().filter(|record| record.status == Status::Open);
    if let (Some(window), None) = (args.if_expires_within, open.filter(|open| open.goal.inputs == request.digest)) {
        let horizon = seen.now + window;
        if !is_due(&seen, horizon) {
            return nothing_due(&seen, horizon, ui);
        }
    }
    owners(args, &seen, ui)?;
    let mut entropy = entropy();
    let (mut record, root_key) = match begin(ask, request, &seen, record.as_ref(), &mut entropy) {
        Ok(Begin::Continue(record)) => {
            ui.say(&format!(
                "continuing the rotation of {} (strategy {})",
                record.goal.began,
                record.goal.strategy.word()
            ));
            (*record, None)
        }
        Ok(Begin::New(proposal)) => {
            ui.say(&format!("strategy {}: {}", proposal.goal.strategy.word(), proposal.why));
            (Record::open(proposal.goal), proposal.root_key)
        }
        Err(why) => return Err(refused(&why)),
    };
    let moves = plan(&record.goal, &seen).map_err(|breaks| blocked(&breaks))?;
    if args.root_key_out.is_some() && root_key.is_none() {
        ui.warn("no root is minted here, so there is no key for `--root-key-out`");
    }
    if args.dry_run {
        return show_plan(args, &record.goal, &moves, ui);
    }
    if moves.iter().any(Move::publishes) {
        confirm(&record.goal, &seen, global, ui)?;
    }
    if moves.is_empty() && record.status == Status::Open && ask == Ask::Abort {
        ui.say("the previous issuer is the live one already");
    }
    ui.dapr_line(&args.show, "Starting certificate rotation")?;
    mesh.lock().await?;
    ui.begin(moves.len());
    let ended: Result<Run, Error> = async {
        let seen = look_under_the_lock(mesh, &record.goal, &seen).await?;
        if let (Some(file), Some(key)) = (&args.root_key_out, &root_key) {
            keep::new_secret_file(file, key.to_pem().as_bytes())?;
        }
        drop(root_key);
        if let (Some(dir), Some(previous)) = (&args.output_dir, &record.goal.previous) {
            keep::trio(dir, previous)?;
        }
        mesh.save(&record).await?;
        let limits = Limits { propagation: args.propagation_wait, rollout: args.timeout };
        let ended =
            rotate(mesh, &mut record, seen, limits, &mut entropy, &mut |event| tell(&event, &args.show, ui)).await?;
        if ended.moves == 0 && matches!(ended.outcome, Outcome::Blocked(_)) {
            record.status = Status::Aborted;
            mesh.save(&record).await?;
        }
        Ok(ended)
    }
    .await;
    mesh.unlock().await;
    ui.end();
    conclude(args, &record.goal, ended?, ui)
}

async fn look<M: Mesh>(mesh: &mut M, args: &RenewArgs) -> Result<Observed, Error> {
    let mut wanted = Need { consumers: true, control_plane: true, owners: true, ..Need::default() };
    if args.if_expires_within.is_some() {
        let objects = mesh.observe(&Need { control_plane: true, ..Need::default() }).await?;
        wanted.held = true;
        wanted.holds = objects
            .published
            .issuer()
            .map(|issuer| Issuer { chain: vec![issuer.certificate().clone()], key: issuer.key });
    }
    mesh.observe(&wanted).await
}

fn introduce(seen: &Observed, ui: &Ui) {
    let identity = &seen.identity;
    let mut parts = vec![format!("context {}", identity.context)];
    if !identity.server.is_empty() {
        parts.push(format!("server {}", identity.server));
    }
    parts.push(format!("namespace {}", identity.namespace));
    parts.push(format!("trust domain {}", identity.trust_domain));
    if !identity.caller.is_empty() {
        parts.push(format!("as {}", identity.caller));
    }
    parts.push(if seen.consumers_complete {
        format!("{} consumers", seen.consumers.len())
    } else {
        "consumers unknown".to_owned()
    });
    ui.say(&parts.join(", "));
}

fn expectations(args: &RenewArgs, seen: &Observed) -> Result<(), Error> {
    if let Some(expected) = &args.expect_trust_domain
        && *expected != seen.identity.trust_domain
    {
        let found = &seen.identity.trust_domain;
        return Err(Error::failed(format!("the trust domain is `{found}`, not `{expected}`; nothing was changed")));
    }
    let Some(expected) = &args.expect_root else {
        return Ok(());
    };
    let expected: Fingerprint =
        expected.parse().map_err(|why| Error::usage(format!("`--expect-root {expected}`")).because(why))?;
    let found = seen.signing_root().or(seen.published.anchors.first()).map(crate::pki::Certificate::fingerprint);
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "missing".to_owned(), |found| found.to_string());
    Err(Error::failed(format!("the root in use is {found}, not {expected}; nothing was changed")))
}

/// Dapr before 1.12 has another control plane; what was never tried is said.
fn supported(seen: &Observed, ui: &Ui) -> Result<(), Error> {
    let Some((major, minor, patch)) = seen.identity.dapr else {
        return Ok(());
    };
    if (major, minor) < (1, 12) {
        return Err(Error::failed(format!(
            "Dapr {major}.{minor}.{patch} is older than 1.12, the first that is supported"
        ))
        .hint("upgrade Dapr first"));
    }
    if (major, minor) != (1, 14) {
        ui.warn(&format!("Dapr {major}.{minor}.{patch} was not tried with this version of mtls; 1.14.0 was"));
    }
    Ok(())
}

fn nothing_due(seen: &Observed, horizon: Timestamp, ui: &Ui) -> Result<(), Error> {
    let end = signing_path_end(seen).map(|end| end.to_string()).unwrap_or_default();
    let affected = affected(seen, horizon);
    if affected.is_empty() {
        ui.line(&format!("nothing is due: the issuer in use and its root are valid until {end}"))?;
        return Ok(());
    }
    let describe = |affected: &Affected| {
        let Affected { consumer, until } = affected;
        let until = until.map_or_else(|| "refuses it already".to_owned(), |until| format!("until {until}"));
        format!("{} {} ({until})", consumer.role.word(), consumer.name)
    };
    let names: Vec<String> = affected.iter().map(describe).collect();
    Err(Error::new(
        Kind::ActionNeeded,
        format!(
            "nothing is due before {end}, but these still need an older root or a bridge that ends sooner: {}",
            names.join(", ")
        ),
    )
    .hint("restart them: a new pod gets the trust bundle that is published now"))
}

/// The chart writes the Secret's data from these values, and empties it where they were set once and are not any more.
const PINNED_VALUES: &str = "afterwards run `mtls export -k -o certs` and give the next upgrade the new ones: \
    `--set-file dapr_sentry.tls.root.certPEM=certs/ca.crt,dapr_sentry.tls.issuer.certPEM=certs/issuer.crt,\
    dapr_sentry.tls.issuer.keyPEM=certs/issuer.key`";

fn owners(args: &RenewArgs, seen: &Observed, ui: &Ui) -> Result<(), Error> {
    for owner in &seen.owners {
        match owner {
            Owner::HelmValues { release } => {
                ui.warn(&format!(
                    "the values of Helm release {release} pin certificates: the next `helm upgrade` would write them back"
                ));
                ui.hint(PINNED_VALUES);
            }
            Owner::HelmUnknown(why) => ui.say(&format!("Helm values could not be looked at: {why}")),
            Owner::Reconciler { who, remedy } if !args.ignore_owners => {
                return Err(Error::failed(format!(
                    "{who} owns the trust bundle and would undo the rotation; nothing was changed"
                ))
                .hint(remedy.clone())
                .hint("`--ignore-owners` writes all the same"));
            }
            Owner::Reconciler { who, .. } => ui.warn(&format!("{who} owns the trust bundle; writing all the same")),
            Owner::AutomaticRenewal(why) => {
                return Err(Error::failed(format!(
                    "Dapr renews its CA by itself here ({why}); two would undo each other; nothing was changed"
                )));
            }
        }
    }
    Ok(())
}

fn refused(why: &Refused) -> Error {
    let hints: &[&str] = match why {
        Refused::OtherInputs { .. } => &[
            "`mtls renew-certificate --resume` continues the open rotation",
            "`mtls renew-certificate --abort` puts the previous issuer back",
        ],
        Refused::NothingOpen | Refused::NothingToAbort(_) | Refused::Invented(_) => {
            &["`mtls status` shows where the mesh stands"]
        }
        Refused::NoStrategy(_) => {
            &["`--strategy replace` replaces everything at once; calls fail until all has been restarted"]
        }
    };
    hints.iter().fold(Error::failed(why.to_string()), |error, hint| error.hint(*hint))
}

fn blocked(breaks: &[Break]) -> Error {
    Error::failed(format!("the next move is not safe: {}", in_words(breaks)))
}

fn confirm(goal: &Goal, seen: &Observed, global: &Global, ui: &Ui) -> Result<(), Error> {
    let question = match goal.strategy {
        Strategy::Replace => format!(
            "Replace the CA of trust domain {} at once? Calls between a restarted and a not yet restarted pod fail until everything has been restarted.",
            seen.identity.trust_domain
        ),
        Strategy::Abort => format!("Put the issuer {} back?", goal.target.issuer.certificate().fingerprint().short()),
        _ => return Ok(()),
    };
    ui.confirm(&question, global.yes)
}

/// Looks again under the lock. The goal was made for what was published before; if that has changed, it is void.
async fn look_under_the_lock<M: Mesh>(mesh: &mut M, goal: &Goal, before: &Observed) -> Result<Observed, Error> {
    let seen = mesh.observe(&need(goal, before)).await?;
    let versions = |seen: &Observed| (seen.published.secret.clone(), seen.published.config_map.clone());
    if versions(&seen) == versions(before) {
        return Ok(seen);
    }
    Err(Error::failed("somebody wrote the trust bundle since it was looked at; nothing was changed")
        .hint("`mtls status` shows what is there now; then run this again"))
}

fn show_plan(args: &RenewArgs, goal: &Goal, moves: &[Move], ui: &Ui) -> Result<(), Error> {
    let renewal = Renewal::new(goal, RenewalResult::Planned, moves.iter().map(ToString::to_string).collect(), &[]);
    ui.show(&args.show, &renewal, || renewal.to_string())?;
    ui.say("certificates minted for a dry run are thrown away; the fingerprints of a real run differ");
    Ok(())
}

fn conclude(args: &RenewArgs, goal: &Goal, ended: Run, ui: &Ui) -> Result<(), Error> {
    let Run { outcome, moves } = ended;
    if let Outcome::Done(left) = outcome {
        return done(args, goal, moves, &left, ui);
    }
    if matches!(outcome, Outcome::Stuck(_) | Outcome::Blocked(_)) {
        ui.dapr_line(&args.show, "certificate rotation failed")?;
    }
    Err(stopped(outcome, moves))
}

/// Errors if somebody who is left behind keeps the run from being finished.
pub fn finished(left: &[Left], moves: usize) -> Result<(), Error> {
    let behind = left.iter().filter(|left| left.concern == Concern::Behind).count();
    let refusing = left.iter().filter(|left| left.concern == Concern::Refuses).count();
    if behind + refusing == 0 {
        return Ok(());
    }
    let halves = [
        (behind, "Sentry replicas still sign with another issuer"),
        (refusing, "consumers refuse what they are shown until they are restarted"),
    ];
    let why: Vec<String> = halves.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let error = Error::failed(why.join(", ")).hint("they are named above; afterwards the same command looks again");
    Err(if moves > 0 { error.after_changes() } else { error })
}

/// The error for a run that did not reach its goal after so many moves.
pub fn stopped(outcome: Outcome, moves: usize) -> Error {
    let error = match outcome {
        Outcome::Interrupted(signal) => {
            let safe = "stopped between two moves: what is published is consistent and every call goes on";
            return Error::new(Kind::Interrupted(signal), safe).hint("the same command continues");
        }
        Outcome::Blocked(breaks) => blocked(&breaks),
        Outcome::Stuck(why) => {
            Error::failed(why).hint("`mtls status` shows where it stands; the same command continues")
        }
        Outcome::Done(_) => Error::failed("the run ended"),
    };
    if moves > 0 { error.after_changes() } else { error }
}

fn done(args: &RenewArgs, goal: &Goal, moves: usize, left: &[Left], ui: &Ui) -> Result<(), Error> {
    let renewal = Renewal::new(goal, RenewalResult::Done, Vec::new(), left);
    if goal.restart.is_some() {
        ui.dapr_line(&args.show, "All control plane services have restarted successfully!")?;
    }
    ui.show(&args.show, &renewal, || renewal.to_string())?;
    finished(left, moves)
}
