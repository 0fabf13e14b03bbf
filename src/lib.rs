//! `mtls`: the certificates under a Dapr service mesh, shown, renewed and rotated without one failed call.
//!
//! # How a rotation works
//!
//! There is no script of steps. A rotation is a loop over facts: look at the mesh, let a pure function name the one
//! next move that is safe, make it, look again. A run that was cut off anywhere is continued by the same loop, because
//! where a rotation stands is read from the mesh itself.
//!
//! ```text
//! arguments            cli → command
//!   look               Mesh::observe         → mesh::Observed: what is published, who holds what, since when
//!   decide             rotation::begin       → Record: the goal, what must be published in the end
//!   plan               rotation::plan        → moves, on paper: what `--dry-run` prints and a terminal confirms
//!   lock, record, run  rotation::run         → look, rotation::next, Mesh::apply, and again, until the goal is seen
//! show                 report → ui
//! ```
//!
//! One invariant stands guard over every move ([`rotation::safety`]): no consumer of the trust bundle may come to
//! refuse what it will be shown, as far as it accepts it today. The strategies (issuer, same-key, bridge, append, replace) are
//! no branches of the loop. Each is a goal, minted first and then tried against the invariant.
//!
//! What is *published* in objects and what is *held* by processes are kept apart, and so are a fact that was seen and
//! one that was not ([`mesh::Answer`]).
//!
//! # Where to find what
//!
//! | module | what it knows |
//! |---|---|
//! | [`pki`] | certificates, keys, chains; a path verified as Go's `crypto/x509` does it; what Sentry will say of a CA |
//! | [`mesh`] | what one look found, in layers of certificates; what it means for the health of the mesh |
//! | [`rotation`] | strategies, goals, the invariant, the next move, the record, the loop, and the trait it works on |
//! | [`selfhosted`] | that trait on a directory |
//! | [`report`], [`ui`], [`text`] | what is shown, as tables and as documents; the only place that prints |
//! | [`command`], [`cli`] | one file a command; every flag and help text |
//! | [`keep`], [`interrupt`], [`duration`], [`error`] | private files, signals, spans of time, exit codes |
//!
//! Arrows go down only. `pki`, `mesh` and `rotation` know no cluster, no terminal, no clock and no randomness, so that
//! whole rotations are tested on a mesh in memory. `tests/architecture.rs` holds them to it.

pub mod cli;
pub mod command;
pub mod duration;
pub mod error;
pub mod interrupt;
pub mod keep;
pub mod kubernetes;
pub mod mesh;
pub mod pki;
pub mod report;
pub mod rotation;
pub mod selfhosted;
pub mod text;
pub mod ui;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use rustix::process::{Resource, Rlimit, setrlimit};

use cli::{Cli, Color};
use error::{Error, Kind};
use ui::Ui;

/// Runs the tool with these arguments, the program's name first, and says how it went as [`Kind::exit_code`] does.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let parsed = Cli::try_parse_from(arguments).and_then(|cli| cli.check().map(|()| cli));
    // Why: keys are in memory while a command works. Where it is not allowed, nothing worse happens than before.
    let _ = setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) });
    let cli = match parsed {
        Ok(cli) => cli,
        Err(message) => {
            Ui::with_color(Color::Auto).clap(&message);
            return if message.use_stderr() { Kind::Usage.exit_code().into() } else { ExitCode::SUCCESS };
        }
    };
    let ui = Ui::new(&cli.global);
    if cli.command.is_none() && !cli.global.kubernetes {
        ui.help(&mut Cli::command());
        return Kind::Usage.exit_code().into();
    }
    match start(&cli, &ui) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            ui.error(&error);
            error.kind().exit_code().into()
        }
    }
}

fn start(cli: &Cli, ui: &Ui) -> Result<(), Error> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.map_err(|why| Error::failed("the asynchronous runtime could not be started").because(why))?;
    let done = runtime.block_on(command::run(cli, ui));
    ui.end();
    done
}
