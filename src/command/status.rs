//! `mtls status`: the control plane, the certificates, and what needs attention.

use jiff::{SignedDuration, Timestamp};

use super::{Place, Sight};
use crate::cli::{Format, Global, StatusArgs};
use crate::duration::in_words;
use crate::error::{Error, Kind};
use crate::mesh::{Finding, Observed, findings};
use crate::report::banner;
use crate::report::status::Status;
use crate::rotation::{Need, affected, is_due, signing_path_end};
use crate::ui::Ui;

/// Runs the command.
pub async fn run(args: &StatusArgs, global: &Global, ui: &Ui) -> Result<(), Error> {
    let mut place = Place::open(global, None, ui).await?;
    let need = Need { consumers: true, control_plane: true, owners: true, distribution: true, ..Need::default() };
    let sight = Sight::of(&mut place, &need).await?;
    let recorded = sight.recorded();
    let findings = findings(&sight.seen, &sight.layers, recorded.as_ref());
    let status = Status::new(&sight.seen, &sight.layers, &findings, recorded.as_ref());
    ui.show(&args.show, &status, || status.table(!args.show.no_headers))?;
    if args.show.output == Format::Table {
        show_findings(&findings, ui)?;
        let lines = banner::lines(&sight.seen, &sight.layers);
        if !lines.is_empty() {
            ui.line("")?;
        }
        lines.iter().try_for_each(|line| ui.line(line))?;
    }
    within(&sight.seen, args.expires_within)
}

fn show_findings(findings: &[Finding], ui: &Ui) -> Result<(), Error> {
    ui.line("")?;
    if findings.is_empty() {
        return ui.line("Nothing needs attention.");
    }
    findings.iter().try_for_each(|finding| ui.finding(finding))
}

/// Errors, so that the exit code says so, if something that is needed ends within `window`.
pub fn within(seen: &Observed, window: Option<SignedDuration>) -> Result<(), Error> {
    let Some(window) = window else { return Ok(()) };
    let horizon: Timestamp = seen.now + window;
    let needed = |what: String| Err(Error::new(Kind::ActionNeeded, what));
    if is_due(seen, horizon) {
        return needed(match signing_path_end(seen) {
            Some(end) => {
                let left = in_words(end.duration_since(seen.now));
                format!("the issuer in use or its root expires in {left}, on {end}")
            }
            None => "no issuer that works is published".to_owned(),
        });
    }
    match affected(seen, horizon).iter().min_by_key(|affected| affected.until) {
        None => Ok(()),
        Some(first) => {
            let name = format!("{} {}", first.consumer.role.word(), first.consumer.name);
            needed(match first.until {
                Some(until) => format!("{name} depends on a certificate that expires on {until}"),
                None => format!("{name} refuses what it is shown"),
            })
        }
    }
}
