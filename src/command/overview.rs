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
    let sight = Sight::of(&mut place, &Need { control_plane: true, ..Need::default() }).await?;
    if let Some(denied) = sight.seen.denied.iter().find(|denied| denied.hides_settings()) {
        return Err(Error::failed("whether mutual TLS is on cannot be seen")
            .hint(format!("grant it in a Role: {}", denied.grant)));
    }
    ui.line(&overview::line(&sight.seen))?;
    banner::lines(&sight.seen, &sight.layers).iter().try_for_each(|line| ui.line(line))
}
