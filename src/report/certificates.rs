//! The layers of certificates, as `status` and `expiry` show them.

use jiff::Timestamp;
use serde::Serialize;

use super::{in_utc, table};
use crate::duration::in_words;
use crate::mesh::{Dependent, Dependents, Layer};
use crate::pki::Fingerprint;
use crate::text::one_line;

/// One certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct CertificateReport {
    layer: &'static str,
    subject: String,
    /// SHA-256 of the DER encoding.
    fingerprint: Fingerprint,
    in_use: bool,
    not_before: Timestamp,
    not_after: Timestamp,
    /// Negative once it has expired.
    remaining_seconds: i64,
    expired: bool,
    /// `everyone`, `some`, `nobody` or `unknown`.
    needed_by: &'static str,
    /// Who, where that is `some`.
    consumers: Vec<ConsumerReport>,
    #[serde(skip)]
    short: String,
    #[serde(skip)]
    remaining: String,
}

/// A consumer that depends on a certificate.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ConsumerReport {
    role: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<String>,
}

impl From<&Dependent> for ConsumerReport {
    fn from(consumer: &Dependent) -> Self {
        Self { role: consumer.role, name: one_line(&consumer.name).into_owned(), restart: consumer.owner.clone() }
    }
}

impl CertificateReport {
    /// The report of `layer` at the time `now`.
    pub fn new(layer: &Layer, now: Timestamp) -> Self {
        let certificate = &layer.certificate;
        let left = certificate.not_after().duration_since(now);
        let (needed_by, consumers) = match &layer.dependents {
            Dependents::Everyone => ("everyone", &[][..]),
            Dependents::These(consumers) if consumers.is_empty() => ("nobody", &[][..]),
            Dependents::These(consumers) => ("some", &consumers[..]),
            Dependents::Unknown => ("unknown", &[][..]),
        };
        Self {
            layer: layer.kind.word(),
            subject: one_line(certificate.subject()).into_owned(),
            fingerprint: certificate.fingerprint(),
            in_use: layer.in_use,
            not_before: certificate.not_before(),
            not_after: certificate.not_after(),
            remaining_seconds: left.as_secs(),
            expired: certificate.is_expired(now),
            needed_by,
            consumers: consumers.iter().map(ConsumerReport::from).collect(),
            short: certificate.fingerprint().short(),
            remaining: if left.is_negative() { format!("expired {} ago", in_words(left)) } else { in_words(left) },
        }
    }

    fn row(&self) -> [String; 6] {
        let needed_by = match self.consumers.len() {
            0 => self.needed_by.to_owned(),
            1 => "1 consumer".to_owned(),
            count => format!("{count} consumers"),
        };
        [
            self.layer.to_owned(),
            self.short.clone(),
            in_utc(self.not_after),
            self.remaining.clone(),
            needed_by,
            self.subject.clone(),
        ]
    }
}

/// A line for each certificate.
pub fn table(certificates: &[CertificateReport], headers: bool) -> String {
    let rows: Vec<_> = certificates.iter().map(CertificateReport::row).collect();
    let head = ["CERTIFICATE", "FINGERPRINT", "EXPIRES (UTC)", "REMAINING", "NEEDED BY", "SUBJECT"];
    table::columns(headers.then_some(head), &rows)
}

/// A line for each consumer that depends on a certificate which is not in use.
pub fn dependents(certificates: &[CertificateReport]) -> Vec<String> {
    let mut lines = Vec::new();
    for certificate in certificates {
        for consumer in &certificate.consumers {
            let restart = consumer.restart.as_ref().map(|owner| format!(" (restart {owner})")).unwrap_or_default();
            lines.push(format!(
                "{} {} needs {} {} until it is restarted{restart}",
                consumer.role, consumer.name, certificate.layer, certificate.short
            ));
        }
    }
    lines
}
