//! `mtls expiry`: when the certificates of every layer expire, and who depends on them.

use super::{Place, Sight, status};
use crate::cli::{ExpiryArgs, Global};
use crate::error::Error;
use crate::report::expiry::Expiry;
use crate::rotation::Need;
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &ExpiryArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let mut place = Place::open(global, None, ui).await?;
    let sight = Sight::of(&mut place, &Need { consumers: true, ..Need::default() }).await?;
    let Some(expiry) = Expiry::new(&sight.seen, &sight.layers) else {
        let error = Error::failed(format!("no certificates are published in `{}`", sight.seen.identity.context));
        return Err(error.hint("`mtls status` says what that means and what to do"));
    };
    ui.show(&args.show, &expiry, || expiry.table(!args.show.no_headers))?;
    status::within(&sight.seen, args.expires_within)
}
