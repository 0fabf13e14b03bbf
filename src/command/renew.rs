//! `mtls renew-certificate`: looks, decides, asks, and lets the rotation run.

use std::path::Path;

use jiff::Timestamp;

use super::work::take_back;
use super::{Place, Renewing, before, entropy, given, limits, tell};
use crate::cli::{Global, RenewArgs};
use crate::error::{Error, Kind};
use crate::keep;
use crate::mesh::{Dependent, Observed, Pair, layers, names};
use crate::pki::PrivateKey;
use crate::report::banner;
use crate::report::renewal::{Renewal, Result as RenewalResult};
use crate::rotation::safety::{Break, in_words};
use crate::rotation::strategy::{NoStrategy, Request};
use crate::rotation::{
    Ask, Begin, COPIES, Concern, Goal, Left, Mesh, Move, Need, Outcome, Record, Refused, Run, Strategy, Trio, affected,
    begin, blocked as blocked_applications, deadline, is_due, need, plan, run as rotate,
};
use crate::ui::Ui;

/// Runs the command. What it does to a cluster and to a directory is the same code.
pub async fn run(args: &RenewArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let request = given::request(args)?;
    let renewing = Renewing { trust_domain: args.trust_domain.clone(), ..Renewing::from(&args.conduct) };
    match Place::open(global, Some(renewing), ui).await? {
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
    let kept = mesh.load().await?;
    before::introduce(&seen, ui);
    before::expectations(args, &seen)?;
    before::supported(&seen, ui)?;
    given::judge_given(request, &seen, ui)?;
    let ask = match (args.resume, args.abort) {
        (true, _) => Ask::Resume,
        (_, true) => Ask::Abort,
        _ => Ask::Renew,
    };
    if let Some(window) = args.if_expires_within {
        let horizon = seen.now + window;
        let is_rotation = |record: &&Record| record.goal.strategy != Strategy::Prune;
        let is_open = kept.as_ref().filter(is_rotation).is_some_and(|record| record.is_open(&seen, horizon));
        let is_torn = matches!(seen.published.pair, Pair::Unequal(_));
        if !(is_open || is_torn || is_due(&seen, horizon)) {
            return nothing_due(args, &seen, horizon, ui);
        }
    }
    before::owners(args.conduct.ignore_owners, &seen, ui)?;
    let seen = match kept.as_ref().and_then(|record| record.doubts(&seen)) {
        Some(doubts) => mesh.observe(&doubts).await?,
        None => seen,
    };
    let mut entropy = entropy();
    let begun = begin(ask, request, &seen, kept.as_ref(), &mut entropy).map_err(|why| refused(&why, &seen))?;
    let mut begun = Begun::say(begun, kept, ui);
    let goal = &begun.record.goal;
    let seen = match goal.restart {
        Some(restart) if restart.scope.has_applications() => look_again(mesh, goal, &seen).await?,
        _ => seen,
    };
    let seen = match args.force {
        0 => seen,
        _ => force(mesh, &mut begun.record.goal, args.force, &seen, ui).await?,
    };
    let goal = &begun.record.goal;
    let moves = plan(goal, &seen, args.max_parallel.into()).map_err(|breaks| blocked(&breaks))?;
    if let Some(deadline) = deadline(goal, &seen) {
        ui.say(&format!("whoever holds only older trust anchors accepts the new chain until {deadline}"));
    }
    before::lost(goal, &seen, ui);
    if args.root_key_out.is_some() && begun.root_key.is_none() {
        ui.warn("no root is minted here, so there is no key for `--root-key-out`");
    }
    if args.dry_run {
        return show_plan(args, goal, &seen, &moves, ui);
    }
    before::applications(goal, &seen, args.max_parallel, global, ui)?;
    if moves.iter().any(Move::publishes) || !goal.allowed.is_empty() {
        confirm(goal, &seen, global, ui)?;
    } else if ask == Ask::Abort {
        ui.say("the previous issuer is the live one already");
    }
    let is_rotation = !matches!(goal.strategy, Strategy::Abort | Strategy::Prune | Strategy::Restore);
    if is_rotation {
        ui.dapr_line(&args.show, "Starting certificate rotation")?;
    }
    let ended = Box::pin(locked(mesh, args, &mut begun, &seen, moves.len(), ui)).await;
    if is_rotation && has_failed(&ended, &begun.record.goal) {
        // Why: the error itself follows on stderr, whether or not this line can be written.
        let _ = ui.dapr_line(&args.show, "certificate rotation failed");
    }
    conclude(args, &begun.record.goal, ended?, ui)
}

/// Whether a run came to nothing. One that was interrupted, or waits in a safe phase, has not failed.
fn has_failed(ended: &Result<Run, Error>, goal: &Goal) -> bool {
    match ended {
        Ok(run) => match run.outcome {
            Outcome::Done(_) | Outcome::Interrupted(_) => false,
            Outcome::Blocked(_) => goal.strategy != Strategy::Append,
            Outcome::Stuck(_) => true,
        },
        Err(why) => !matches!(why.kind(), Kind::Interrupted(_)),
    }
}

async fn locked<M: Mesh>(
    mesh: &mut M,
    args: &RenewArgs,
    begun: &mut Begun,
    seen: &Observed,
    moves: usize,
    ui: &Ui,
) -> Result<Run, Error> {
    mesh.lock().await?;
    ui.begin(moves);
    let ended = under_the_lock(mesh, args, begun, seen, ui).await;
    let ended = super::unlock(mesh, ended).await;
    ui.end();
    ended
}

/// What a run begins with.
struct Begun {
    record: Record,
    root_key: Option<PrivateKey>,
    continues: bool,
    /// What was on record before.
    kept: Option<Record>,
}

impl Begun {
    fn say(begin: Begin, kept: Option<Record>, ui: &Ui) -> Self {
        match begin {
            Begin::Continue(record) => {
                let (since, strategy) = (record.goal.began, record.goal.strategy.word());
                ui.say(&format!("continuing the rotation of {since} (strategy {strategy})"));
                Self { record: *record, root_key: None, continues: true, kept }
            }
            Begin::New(proposal) => {
                ui.say(&format!("strategy {}: {}", proposal.goal.strategy.word(), proposal.why));
                let record = Record::open(proposal.goal);
                Self { record, root_key: proposal.root_key, continues: false, kept }
            }
        }
    }
}

async fn under_the_lock<M: Mesh>(
    mesh: &mut M,
    args: &RenewArgs,
    begun: &mut Begun,
    before: &Observed,
    ui: &Ui,
) -> Result<Run, Error> {
    let Begun { record, root_key, continues, kept } = begun;
    let seen = look_again(mesh, &record.goal, before).await?;
    let root_key = root_key.take();
    if let (Some(file), Some(key)) = (&args.root_key_out, &root_key) {
        keep::new_secret_file(file, key.to_pem().as_bytes())?;
    }
    drop(root_key);
    match (&args.output_dir, &record.goal.previous) {
        (None, _) => {}
        (Some(dir), Some(previous)) if *continues && record.goal.strategy != Strategy::Abort => {
            keep::trio(dir, previous)?;
        }
        (Some(dir), _) => keep_what_is_published(dir, &seen, ui)?,
    }
    if kept.as_ref().is_none_or(|kept| kept.to_data() != record.to_data()) {
        mesh.save(record).await?;
    }
    let limits = limits(&args.conduct, args.max_parallel);
    let ended = rotate(mesh, record, seen, limits, &mut entropy(), &mut |event| tell(&event, &args.show, ui)).await?;
    let waits = record.goal.strategy == Strategy::Append;
    if !*continues && !waits && ended.moves == 0 && matches!(ended.outcome, Outcome::Blocked(_)) {
        take_back(mesh, record, kept.take()).await?;
    }
    Ok(ended)
}

/// Lets an append switch although so many would refuse the new chain: they are named, and somebody agrees.
async fn force<M: Mesh>(
    mesh: &mut M,
    goal: &mut Goal,
    count: usize,
    seen: &Observed,
    ui: &Ui,
) -> Result<Observed, Error> {
    let seen = look_again(mesh, goal, seen).await?;
    before::force(goal, count, &seen, ui).map_err(|found| {
        let one = "one of them stands for more than itself, and no `--force` passes over it";
        let why = if found.len() > count { format!("`--force={count}` allows {count}") } else { one.to_owned() };
        Error::failed(format!("{} may refuse the new chain, named above; {why}", found.len()))
            .hint("restart those that are named, or let the command do it: `--restart=all`")
    })?;
    if goal.allowed.is_empty() {
        ui.warn("nobody stands in the way of what comes next, so `--force` has no effect now");
    }
    Ok(seen)
}

/// Keeps the trio that is live before the first change. Errors where there is one and it is not whole.
fn keep_what_is_published(dir: &Path, seen: &Observed, ui: &Ui) -> Result<(), Error> {
    match Trio::published(seen) {
        Some(trio) => keep::trio(dir, &trio),
        None if seen.published.pair == Pair::Absent => {
            ui.warn("nothing is published yet, so there is nothing to keep in `--output-dir`");
            Ok(())
        }
        None => Err(Error::failed("what is published is no whole CA, so that `--output-dir` cannot keep it")
            .hint("`mtls status` says what is wrong with it; without `--output-dir` nothing is kept")),
    }
}

async fn look<M: Mesh>(mesh: &mut M, args: &RenewArgs) -> Result<Observed, Error> {
    let mut wanted = Need { consumers: true, control_plane: true, owners: true, ..Need::default() };
    if args.if_expires_within.is_some() {
        let objects = mesh.observe(&Need { control_plane: true, ..Need::default() }).await?;
        wanted.held = true;
        wanted.holds = Trio::published(&objects).and_then(|trio| trio.issuer_alone(&objects));
    }
    mesh.observe(&wanted).await
}

fn nothing_due(args: &RenewArgs, seen: &Observed, horizon: Timestamp, ui: &Ui) -> Result<(), Error> {
    let affected = affected(seen, horizon);
    if let Some(renewal) = Renewal::nothing_due(seen, &affected) {
        ui.show(&args.show, &renewal, || renewal.to_string())?;
    }
    if affected.is_empty() {
        return Ok(());
    }
    let consumers: Vec<Dependent> = affected.iter().map(|affected| Dependent::from(affected.consumer)).collect();
    Err(Error::new(
        Kind::ActionNeeded,
        format!("{} still need an older root or a bridge that ends before {horizon}", names(&consumers)),
    )
    .hint("restart them: a new pod gets the trust bundle that is published now"))
}

const RETIRE: &str = "Go on retiring the older trust anchors? They do not come back.";
const APPEND: &str = "on a cluster `--strategy append` publishes the new root first, and switches once everybody was \
    restarted into it";
const REPLACE: &str = "`--strategy replace` replaces everything at once; calls fail until all has been restarted";

/// The error for a command that does not begin, with the ways out.
pub fn refused(why: &Refused, seen: &Observed) -> Error {
    let [status, resume, abort] = ["status", "renew-certificate --resume", "renew-certificate --abort"];
    let command = |command| seen.command(command);
    let stands = || format!("{} shows where the mesh stands", command(status));
    let hints = match why {
        Refused::OtherInputs { strategy: Strategy::Restore, .. } => {
            vec![format!("{} goes on with it", command("restore"))]
        }
        Refused::OtherInputs { .. } => vec![
            format!("{} continues the open rotation", command(resume)),
            format!("{} puts the previous issuer back", command(abort)),
        ],
        Refused::IsOpen { .. } => vec![format!("{} goes on with it", command(resume))],
        Refused::NothingKept(_) => {
            let given = "renew-certificate --ca-root-certificate ca.crt --issuer-public-certificate issuer.crt \
                         --issuer-private-key issuer.key";
            vec![format!("if you have it as files: {}", command(given)), stands()]
        }
        Refused::KeptInVain(_) => vec![format!("{} makes a new one", command("renew-certificate"))],
        Refused::NothingOpen
        | Refused::NothingToAbort(_)
        | Refused::NothingToRestore(_)
        | Refused::Invented(_)
        | Refused::NoStrategy(NoStrategy { by_name: Some(Strategy::Restore), .. }) => vec![stands()],
        Refused::NoStrategy(NoStrategy { by_name: None, .. }) => vec![stands(), REPLACE.to_owned()],
        Refused::NoStrategy(NoStrategy { by_name: Some(Strategy::Append), .. }) => vec![REPLACE.to_owned()],
        Refused::NoStrategy(NoStrategy { by_name: Some(Strategy::Replace), .. }) => {
            let mints = command("renew-certificate --strategy replace");
            vec![format!("bring a CA under another root, or let {mints} mint one"), stands()]
        }
        Refused::NoStrategy(_) => vec![APPEND.to_owned(), REPLACE.to_owned()],
    };
    hints.into_iter().fold(Error::failed(why.to_string()), Error::hint)
}

/// The error for a plan whose next move would break these.
pub fn blocked(breaks: &[Break]) -> Error {
    Error::failed(format!("the next move is not safe: {}", in_words(breaks)))
}

fn confirm(goal: &Goal, seen: &Observed, global: &Global, ui: &Ui) -> Result<(), Error> {
    let question = match goal.strategy {
        Strategy::Replace => {
            ui.warn("calls between a restarted and a not yet restarted pod fail until everything has been restarted");
            format!("Replace the CA of trust domain {} at once?", seen.identity.trust_domain)
        }
        Strategy::Prune => RETIRE.to_owned(),
        _ if !goal.allowed.is_empty() => {
            let broken = goal.allowed.len();
            format!("Switch the issuer? The {broken} named above then refuse calls until they are restarted.")
        }
        Strategy::Abort => format!("Put the issuer {} back?", goal.target.issuer.certificate().fingerprint().short()),
        _ => return Ok(()),
    };
    ui.confirm(&question, global.yes)
}

/// Looks again, for what the goal needs. It was made for what was published before; if that has changed, it is void.
pub async fn look_again<M: Mesh>(mesh: &mut M, goal: &Goal, before: &Observed) -> Result<Observed, Error> {
    let seen = mesh.observe(&need(goal, before)).await?;
    if seen.published.is_same_version(&before.published) {
        return Ok(seen);
    }
    Err(Error::failed("somebody wrote the trust bundle since it was looked at; nothing was changed")
        .hint("`mtls status` shows what is there now; then run this again"))
}

fn show_plan(args: &RenewArgs, goal: &Goal, seen: &Observed, moves: &[Move], ui: &Ui) -> Result<(), Error> {
    let switch = Move::PublishIssuer { issuer: goal.target.issuer.clone() };
    let is_planned = moves.iter().any(|step| matches!(step, Move::PublishIssuer { .. }));
    let held_back = (goal.strategy == Strategy::Append && !is_planned).then_some(switch);
    before::unplanned(goal, seen, moves, ui);
    let mut moves: Vec<String> = moves.iter().map(ToString::to_string).collect();
    if let Some(waits) = held_back {
        moves.push(format!("{waits}, once everybody is seen to hold the new root"));
    }
    let renewal = Renewal::new(goal, RenewalResult::Planned, moves, &[]);
    let renewal = renewal.blocked(blocked_applications(goal, seen));
    ui.show(&args.show, &renewal, || renewal.to_string())?;
    ui.say("certificates minted for a dry run are thrown away; the fingerprints of a real run differ");
    Ok(())
}

fn conclude(args: &RenewArgs, goal: &Goal, ended: Run, ui: &Ui) -> Result<(), Error> {
    let left = match ended.outcome {
        Outcome::Done(left) => left,
        Outcome::Blocked(ref breaks) if goal.strategy == Strategy::Append => {
            return waiting(args, goal, &ended, breaks, ui);
        }
        outcome => return Err(stopped(goal, outcome, ended.moves)),
    };
    if !ended.services.is_empty() {
        ui.dapr_line(&args.show, "All control plane services have restarted successfully!")?;
    }
    let renewal = Renewal::new(goal, RenewalResult::Done, Vec::new(), &left)
        .restarted(ended.services, ended.applications)
        .blocked(blocked_applications(goal, &ended.seen));
    ui.show(&args.show, &renewal, || renewal.to_string())?;
    before::left_alone(&ended.seen, ui);
    banner::lines(&ended.seen, &layers(&ended.seen)).iter().try_for_each(|line| ui.dapr_line(&args.show, line))?;
    say_when_to_prune(goal, &ended.seen, ui);
    finished(&left, ended.moves)
}

/// Says from when on a prune can retire what is not in use any more, if something is.
pub fn say_when_to_prune(goal: &Goal, seen: &Observed, ui: &Ui) {
    if !seen.is_directory() && Goal::prune(seen, None).is_ok() {
        let from = goal.last_former_svid(seen).map_or_else(String::new, |from| format!(" from {from} on, or"));
        ui.say(&format!(
            "`mtls prune` can retire what is older{from} as soon as everything has been restarted since the switch"
        ));
    }
}

/// The safe phase of an append: names whoever does not hold the new root yet.
fn waiting(args: &RenewArgs, goal: &Goal, ended: &Run, breaks: &[Break], ui: &Ui) -> Result<(), Error> {
    // Why: a pod that is being deleted is named only where nobody else is waited for.
    let stays = |held_back: &Break| held_back.is_control_plane || !held_back.may_pass;
    let any_stays = breaks.iter().any(stays);
    let awaited = breaks.iter().filter(|held_back| !any_stays || stays(held_back));
    let left: Vec<Left> = awaited.map(Left::not_yet).collect();
    let renewal = Renewal::new(goal, RenewalResult::Waiting, Vec::new(), &left)
        .restarted(ended.services.clone(), ended.applications.clone())
        .blocked(blocked_applications(goal, &ended.seen));
    ui.show(&args.show, &renewal, || renewal.to_string())?;
    before::left_alone(&ended.seen, ui);
    let mut error = Error::new(
        Kind::Unfinished,
        "not everybody holds the new root yet, so the issuer was not switched; calls go on",
    );
    if breaks.iter().any(|held_back| held_back.role == COPIES) {
        error = error.hint("see to whoever copies the ConfigMap; the same command goes on");
    }
    if left.iter().any(|left| left.restart.is_some()) {
        error = error
            .hint("restart those that are named; the same command goes on")
            .hint("with `--restart=all` it restarts the control plane and the applications itself");
    }
    if breaks.iter().any(|held_back| !held_back.may_be_allowed) {
        return Err(error);
    }
    Err(error.hint(format!(
        "`--force={}` switches now: those that are named then refuse calls, unless they were given the new root by then",
        left.len()
    )))
}

/// Errors if somebody who is left behind keeps the run from being finished.
pub fn finished(left: &[Left], moves: usize) -> Result<(), Error> {
    let reasons = [
        (Concern::Behind, "Sentry replicas still sign with another issuer"),
        (Concern::Refuses, "consumers refuse what they are shown until they are restarted"),
        (Concern::FormerSvid, "consumers show SVIDs of the former CA, which are refused until they are restarted"),
        (Concern::AcceptsFormer, "consumers still accept what the former CA has signed, until they are restarted"),
    ];
    let count = |concern| left.iter().filter(|left| left.concern == concern).count();
    let counted = reasons.map(|(concern, what)| (count(concern), what));
    let why: Vec<String> = counted.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    if why.is_empty() {
        return Ok(());
    }
    let error = Error::failed(why.join(", ")).hint("they are named above; afterwards the same command looks again");
    Err(if moves > 0 { error.after_changes() } else { error })
}

/// The error for a run that did not reach this goal after so many moves.
pub fn stopped(goal: &Goal, outcome: Outcome, moves: usize) -> Error {
    let error = match outcome {
        Outcome::Interrupted(signal) => {
            let calls = if goal.may_break() || !goal.allowed.is_empty() {
                "calls may fail until the same command has come to its end"
            } else {
                "every call goes on"
            };
            let state = format!("stopped between two moves: what is published is consistent and {calls}");
            return Error::new(Kind::Interrupted(signal), state).hint("the same command continues");
        }
        Outcome::Blocked(breaks) => blocked(&breaks),
        Outcome::Stuck(why) => {
            Error::failed(why).hint("`mtls status` shows where it stands; the same command continues")
        }
        Outcome::Done(_) => Error::failed("the run ended"),
    };
    if moves > 0 { error.after_changes() } else { error }
}
