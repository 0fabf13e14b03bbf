//! What `expiry` shows.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::Place;
use super::certificates::{CertificateReport, dependents, table};
use crate::mesh::{Layer, Observed};

/// The report, version 1 (docs/schema/expiry.json).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Expiry {
    version: u32,
    place: Place,
    at: Timestamp,
    /// Whether everyone who verifies with the trust bundle could be listed.
    consumers_complete: bool,
    certificates: Vec<CertificateReport>,
    #[serde(skip)]
    first: String,
    #[serde(skip)]
    is_directory: bool,
}

impl Expiry {
    /// The report of a look; `None` if nothing is published.
    pub fn new(seen: &Observed, layers: &[Layer]) -> Option<Self> {
        let root = layers.iter().find(|layer| layer.in_use).or(layers.first())?;
        Some(Self {
            version: 1,
            place: seen.into(),
            at: seen.now,
            consumers_complete: seen.consumers_complete,
            certificates: layers.iter().map(|layer| CertificateReport::new(layer, seen.now)).collect(),
            first: first_line(root.certificate.not_after(), seen.now),
            is_directory: seen.is_directory(),
        })
    }

    /// The report for people: the first line is the one that `dapr mtls expiry` prints.
    pub fn table(&self, headers: bool) -> String {
        let mut lines = vec![self.first.clone(), String::new(), table(&self.certificates, headers)];
        let dependents = dependents(&self.certificates);
        if !dependents.is_empty() {
            lines.push(String::new());
            lines.extend(dependents);
        }
        if self.is_directory {
            lines.push(String::new());
            lines.push("Which sidecars hold which trust anchor cannot be seen in a directory.".to_owned());
        }
        lines.join("\n")
    }
}

/// As `dapr/cli/cmd/mtls.go` prints it: whole hours, and the date as Go's `time.Time` prints itself.
fn first_line(until: Timestamp, now: Timestamp) -> String {
    let hours = until.duration_since(now).as_hours();
    let date = until.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S +0000 UTC");
    format!("Root certificate expires in {hours} hours. Expiry date: {date}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_is_daprs() {
        let now: Timestamp = "2026-11-23T10:00:00Z".parse().expect("a time");
        let until: Timestamp = "2027-11-23T09:59:59Z".parse().expect("a time");
        assert_eq!(
            first_line(until, now),
            "Root certificate expires in 8759 hours. Expiry date: 2027-11-23 09:59:59 +0000 UTC"
        );
    }
}
