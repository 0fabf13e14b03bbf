//! `mtls -k`: whether mutual TLS is on.

use super::{Place, Sight};
use crate::cli::Global;
use crate::error::Error;
use crate::report::{banner, overview};
use crate::rotation::Need;
use crate::ui::Ui;

/// Runs the command.
pub async fn run(global: &Global, ui: &Ui) -> Result<(), Error> {
    let mut place = Place::open(global, None, ui).await?;
    let sight = Sight::of(&mut place, &Need::default()).await?;
    ui.line(&overview::line(&sight.seen))?;
    banner::lines(&sight.seen, &sight.layers).iter().try_for_each(|line| ui.line(line))
}
