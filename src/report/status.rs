//! What `status` shows.

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use super::certificates::{self, CertificateReport};
use super::{Place, table};
use crate::mesh::{DISTRIBUTED, Finding, Layer, Observed, Phase, Recorded, Workload};
use crate::text::one_line;

/// The report, version 1 (docs/schema/status.json).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Status {
    version: u32,
    place: Place,
    at: Timestamp,
    mtls_enabled: bool,
    services: Vec<Service>,
    certificates: Vec<CertificateReport>,
    consumers: Consumers,
    file_era: Option<FileEra>,
    rotation: Option<Rotation>,
    findings: Vec<FindingReport>,
    #[serde(skip)]
    is_directory: bool,
}

/// A service of the control plane, with what `dapr status -k` tells of it.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Service {
    name: String,
    namespace: String,
    healthy: bool,
    status: &'static str,
    replicas: i32,
    version: String,
    created: Option<Timestamp>,
    #[serde(skip)]
    age: String,
}

/// Who verifies with the trust bundle.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Consumers {
    complete: bool,
    seen: usize,
}

/// How many namespaces have a copy of the trust bundle that carries what is published, of those that should.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct FileEra {
    namespaces: usize,
    current: usize,
}

/// The last rotation.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Rotation {
    open: bool,
    strategy: &'static str,
    began: Timestamp,
}

#[derive(Clone, Debug, Serialize)]
struct FindingReport {
    severity: &'static str,
    what: String,
    means: String,
    hint: String,
}

impl Status {
    /// The report of a look.
    pub fn new(seen: &Observed, layers: &[Layer], findings: &[Finding], record: Option<&Recorded>) -> Self {
        let safe = |text: &str| one_line(text).into_owned();
        Self {
            version: 1,
            place: seen.into(),
            at: seen.now,
            mtls_enabled: seen.settings.mtls_enabled,
            services: seen.control_plane.iter().map(|workload| Service::new(workload, seen)).collect(),
            certificates: layers.iter().map(|layer| CertificateReport::new(layer, seen.now)).collect(),
            consumers: Consumers { complete: seen.consumers_complete, seen: seen.consumers.len() },
            file_era: seen.propagation().map(|far| FileEra { namespaces: far.total, current: far.done }),
            rotation: record.map(|record| Rotation {
                open: record.open,
                strategy: record.strategy,
                began: record.began,
            }),
            findings: findings
                .iter()
                .map(|finding| FindingReport {
                    severity: finding.severity.word(),
                    what: safe(&finding.what),
                    means: safe(&finding.means),
                    hint: safe(&finding.hint),
                })
                .collect(),
            is_directory: seen.is_directory(),
        }
    }

    /// Services and certificates for people; findings follow separately, in colour.
    pub fn table(&self, headers: bool) -> String {
        let mut parts = Vec::new();
        if self.is_directory {
            let Place { context, trust_domain, .. } = &self.place;
            parts.push(format!("Self-hosted directory {context}, trust domain {trust_domain}"));
        }
        if !self.services.is_empty() {
            let rows: Vec<_> = self.services.iter().map(Service::row).collect();
            let head = ["NAME", "NAMESPACE", "HEALTHY", "STATUS", "REPLICAS", "VERSION", "AGE", "CREATED"];
            parts.push(table::columns(headers.then_some(head), &rows));
        }
        if !self.certificates.is_empty() {
            parts.push(certificates::table(&self.certificates, headers));
        }
        if let Some(FileEra { namespaces, current }) = self.file_era {
            parts.push(format!(
                "File era: ConfigMap {DISTRIBUTED} is up to date in {current} of {namespaces} namespaces"
            ));
        }
        parts.join("\n\n")
    }
}

impl Service {
    fn new(workload: &Workload, seen: &Observed) -> Self {
        let mut pods = seen.consumers.iter().filter(|consumer| Some(&consumer.role) == workload.role.as_ref());
        let status = if pods.any(|pod| pod.phase == Phase::CrashLoop) {
            "Waiting (CrashLoopBackOff)"
        } else if workload.replicas == 0 {
            "Scaled to 0"
        } else if !workload.complete {
            "Rolling out"
        } else if workload.ready == 0 {
            "Waiting"
        } else {
            "Running"
        };
        Self {
            name: one_line(&workload.name).into_owned(),
            namespace: one_line(&workload.namespace).into_owned(),
            healthy: workload.replicas > 0 && workload.ready >= workload.replicas,
            status,
            replicas: workload.replicas,
            version: one_line(&workload.version).into_owned(),
            created: workload.created,
            age: workload.created.map(|created| age(created, seen.now)).unwrap_or_default(),
        }
    }

    fn row(&self) -> [String; 8] {
        // Why: the time's last separator is a dot in `dapr status` too.
        let created = self.created.map(|at| at.to_zoned(TimeZone::UTC).strftime("%Y-%m-%d %H:%M.%S").to_string());
        [
            self.name.clone(),
            self.namespace.clone(),
            if self.healthy { "True" } else { "False" }.to_owned(),
            self.status.to_owned(),
            self.replicas.to_string(),
            self.version.clone(),
            self.age.clone(),
            created.unwrap_or_default(),
        ]
    }
}

/// As `dapr/cli/pkg/age` says it: one number, one letter.
fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let units = [("d", 86_400), ("h", 3_600), ("m", 60)];
    match units.into_iter().find(|(_, length)| seconds >= *length) {
        Some((letter, length)) => format!("{}{letter}", seconds / length),
        None => format!("{seconds}s"),
    }
}
