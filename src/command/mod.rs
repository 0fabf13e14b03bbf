//! One file a command: arguments, look, decide, do, show. What is right or wrong is decided elsewhere.

mod before;
mod completion;
mod expiry;
mod export;
mod given;
mod man;
mod overview;
mod place;
mod prune;
mod renew;
mod restart;
mod restore;
mod status;
mod work;

use ring::rand::{SecureRandom, SystemRandom};

use crate::cli::{Cli, Command, Conduct, ShowArgs};
use crate::error::Error;
use crate::mesh::{Layer, Observed, Recorded, layers};
use crate::report::renewal::Renewal;
use crate::rotation::{Event, Limits, Mesh, Need, Record, Status};
use crate::ui::Ui;
pub use place::{Place, Renewing};

/// Runs the command that was asked for.
pub async fn run(cli: &Cli, ui: &Ui) -> Result<(), Error> {
    let global = &cli.global;
    match &cli.command {
        None => overview::run(global, ui).await,
        Some(Command::Status(args)) => status::run(args, global, ui).await,
        Some(Command::Expiry(args)) => expiry::run(args, global, ui).await,
        Some(Command::Export(args)) => export::run(args, global, ui).await,
        Some(Command::RenewCertificate(args)) => renew::run(args, global, ui).await,
        Some(Command::Prune(args)) => prune::run(args, global, ui).await,
        Some(Command::Restore(args)) => restore::run(args, global, ui).await,
        Some(Command::Restart(args)) => restart::run(args, global, ui).await,
        Some(Command::Completion(args)) => completion::run(args, ui),
        Some(Command::Man(args)) => man::run(args, ui),
    }
}

/// A look, and what follows from it for every command that shows something.
struct Sight {
    seen: Observed,
    layers: Vec<Layer>,
    record: Option<Record>,
}

impl Sight {
    async fn of(place: &mut Place, need: &Need) -> Result<Self, Error> {
        let (seen, record) = place.look(need).await?;
        let layers = layers(&seen);
        Ok(Self { seen, layers, record })
    }

    fn recorded(&self) -> Option<Recorded> {
        self.record.as_ref().map(|record| {
            let goal = &record.goal;
            let trios = [Some(&goal.target), goal.previous.as_ref()];
            Recorded {
                open: record.is_open(&self.seen, self.seen.now),
                began: goal.began,
                strategy: goal.strategy.word(),
                roots: trios.into_iter().flatten().flat_map(|trio| trio.trust.fingerprints()).collect(),
                mends: record.mends(&self.seen),
                left: match record.status {
                    Status::Done => goal.target.trust.anchors().to_vec(),
                    Status::Open | Status::Aborted => Vec::new(),
                },
            }
        })
    }
}

/// Shows what a rotation does; beside a table also the lines that scripts for `dapr` look for.
fn tell(event: &Event, show: &ShowArgs, ui: &Ui) {
    if let Event::Restarting(service) = event {
        // Why: stdout that cannot be written is noticed when the result is; the restart must not stop for it.
        let _ = ui.dapr_line(show, &format!("Restarting {service}.."));
    }
    ui.event(event);
}

/// How long a command waits that publishes, and how many applications it restarts at once.
fn limits(conduct: &Conduct, parallel: u16) -> Limits {
    Limits { propagation: conduct.propagation_wait, rollout: conduct.timeout, parallel: parallel.into() }
}

/// Shows that there is nothing to do, in this sentence. Errors where nothing that works is published.
fn nothing_to_do(text: &str, seen: &Observed, show: &ShowArgs, ui: &Ui) -> Result<(), Error> {
    let renewal = Renewal::nothing_due(seen, &[]).ok_or_else(|| {
        Error::failed("the live chain does not verify; nothing was changed").hint("`mtls status` says what is wrong")
    })?;
    ui.show(show, &renewal, || format!("{text}\n"))
}

/// Gives the lock back, however the work ended. What could not be put back is an error by itself, and else a hint on
/// the one that was first.
async fn unlock<M: Mesh, T>(mesh: &mut M, ended: Result<T, Error>) -> Result<T, Error> {
    match (ended, mesh.unlock().await) {
        (ended, Ok(())) => ended,
        (Ok(_), Err(left)) => Err(left),
        (Err(why), Err(left)) => {
            let why = why.after_changes().hint(left.to_string());
            Err(left.hints().iter().fold(why, |why, hint| why.hint(hint.clone())))
        }
    }
}

/// Randomness of the operating system.
fn entropy() -> impl FnMut(&mut [u8]) {
    let random = SystemRandom::new();
    move |bytes| {
        random.fill(bytes).expect("an operating system that runs programs has randomness");
    }
}
