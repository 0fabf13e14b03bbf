//! What is shown: one value per command, as a table for people and as a document with a version for programs.
//!
//! No type here can hold a private key. Text from outside is made safe where it enters.

pub mod banner;
pub mod certificates;
pub mod expiry;
pub mod overview;
pub mod renewal;
pub mod status;
mod table;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::mesh::Observed;
use crate::text::one_line;

/// Where a report was made.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Place {
    kind: &'static str,
    /// The kubeconfig context, or the directory.
    context: String,
    server: String,
    namespace: String,
    trust_domain: String,
}

impl From<&Observed> for Place {
    fn from(seen: &Observed) -> Self {
        let identity = &seen.identity;
        let safe = |text: &str| one_line(text).into_owned();
        Self {
            kind: if seen.is_directory() { "directory" } else { "kubernetes" },
            context: safe(&identity.context),
            server: safe(&identity.server),
            namespace: safe(&identity.namespace),
            trust_domain: safe(&identity.trust_domain),
        }
    }
}

/// As Go's `time.RFC1123` prints a time in UTC.
fn rfc1123(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%a, %d %b %Y %H:%M:%S UTC").to_string()
}

fn in_utc(time: Timestamp) -> String {
    time.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M:%S").to_string()
}
