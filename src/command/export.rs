//! `mtls export`: ca.crt, issuer.crt and issuer.key into a directory.

use super::{Place, Sight};
use crate::cli::{ExportArgs, Global};
use crate::error::Error;
use crate::keep;
use crate::report::banner;
use crate::rotation::{Need, Trio};
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &ExportArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let mut place = Place::open(global, None, ui).await?;
    let sight = Sight::of(&mut place, &Need::default()).await?;
    let Some(trio) = Trio::published(&sight.seen) else {
        let grants = sight.seen.denied.iter().map(|denied| format!("grant `{}`", denied.grant));
        let error = Error::failed("no trust bundle with an issuer and its key could be read; nothing was written");
        let error = error.hint("`mtls status` says what is published and what is wrong with it");
        return Err(grants.fold(error, Error::hint));
    };
    keep::trio(&args.out, &trio)?;
    let directory = std::path::absolute(&args.out).unwrap_or_else(|_| args.out.clone());
    ui.line(&format!("Trust certs successfully exported to {}", directory.display()))?;
    banner::lines(&sight.seen, &sight.layers).iter().try_for_each(|line| ui.line(line))
}
