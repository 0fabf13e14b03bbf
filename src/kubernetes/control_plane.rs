//! The control plane's services as objects: what `status` lists, and when a rollout is complete.

use jiff::{SignedDuration, Timestamp};

use super::find::tag;
use super::names;
use super::wire::{Configuration, Mtls, Role, Workload};
use crate::mesh::{self, Fence, Settings, WorkloadKind};

/// The services in the order in which they are restarted: Sentry first, the injector last, the dashboard never.
const ORDER: [(&str, Option<mesh::Role>); 7] = [
    (names::SENTRY, Some(mesh::Role::Sentry)),
    (names::OPERATOR, Some(mesh::Role::Operator)),
    (names::PLACEMENT, Some(mesh::Role::Placement)),
    (names::OLD_PLACEMENT, Some(mesh::Role::Placement)),
    (names::SCHEDULER, Some(mesh::Role::Scheduler)),
    (names::INJECTOR, Some(mesh::Role::Injector)),
    (names::DASHBOARD, None),
];

/// The services that are there, in restart order.
pub fn workloads(deployments: &[Workload], stateful_sets: &[Workload]) -> mesh::ControlPlane {
    let of = |kind, list: &[Workload]| list.iter().filter_map(|object| workload(kind, object)).collect::<Vec<_>>();
    let mut all = of(WorkloadKind::Deployment, deployments);
    all.extend(of(WorkloadKind::StatefulSet, stateful_sets));
    all.sort_by_key(|(rank, workload)| (*rank, workload.name.clone()));
    all.into_iter().map(|(_, workload)| workload).collect()
}

fn workload(kind: WorkloadKind, object: &Workload) -> Option<(usize, mesh::Workload)> {
    let app = object.metadata.labels.get(names::APP).unwrap_or(&object.metadata.name);
    let rank = ORDER.iter().position(|(name, _)| name == app)?;
    Some((rank, mesh::Workload { role: ORDER[rank].1.clone(), ..described(kind, object) }))
}

/// A workload as far as its object tells: what it does for the mesh is not known.
pub fn described(kind: WorkloadKind, object: &Workload) -> mesh::Workload {
    let template = &object.spec.template;
    let restarted = template.metadata.annotations.get(names::RESTARTED_AT);
    mesh::Workload {
        role: None,
        kind,
        name: object.metadata.name.clone(),
        namespace: object.metadata.namespace.clone(),
        created: object.metadata.creation_timestamp,
        replicas: desired(kind, object),
        ready: match kind {
            WorkloadKind::DaemonSet => object.status.number_ready,
            _ => object.status.ready_replicas,
        },
        version: template.spec.containers.first().map(|container| tag(&container.image).to_owned()).unwrap_or_default(),
        restarted: restarted.and_then(|at| at.parse::<Timestamp>().ok()),
        complete: is_complete(kind, object),
        blocker: blocker(kind, object),
    }
}

fn desired(kind: WorkloadKind, object: &Workload) -> i32 {
    match kind {
        WorkloadKind::DaemonSet => object.status.desired_number_scheduled,
        _ => object.spec.replicas.unwrap_or(1),
    }
}

/// As `kubectl rollout status` sees it (`kubectl/pkg/polymorphichelpers/rollout_status.go`).
fn is_complete(kind: WorkloadKind, object: &Workload) -> bool {
    let (status, desired) = (&object.status, desired(kind, object));
    if status.observed_generation < object.metadata.generation {
        return false;
    }
    match kind {
        WorkloadKind::Deployment => {
            status.updated_replicas == desired
                && status.replicas == status.updated_replicas
                && status.available_replicas == desired
        }
        WorkloadKind::StatefulSet => {
            status.ready_replicas == desired
                && (status.current_revision == status.update_revision || status.updated_replicas == desired)
        }
        WorkloadKind::DaemonSet => status.updated_number_scheduled == desired && status.number_available == desired,
        WorkloadKind::Other => true,
    }
}

fn blocker(kind: WorkloadKind, object: &Workload) -> Option<String> {
    let strategy = &object.spec.update_strategy;
    match kind {
        WorkloadKind::Deployment => {
            object.spec.paused.then(|| "the Deployment is paused, until `kubectl rollout resume`".to_owned())
        }
        WorkloadKind::StatefulSet | WorkloadKind::DaemonSet if strategy.kind == "OnDelete" => {
            Some("its update strategy is OnDelete, so pods change only when somebody deletes them".to_owned())
        }
        WorkloadKind::StatefulSet => (strategy.rolling_update.partition > 0).then(|| {
            let at = strategy.rolling_update.partition;
            format!("its update strategy has a partition at {at}, so the pods below it change only once that is 0")
        }),
        WorkloadKind::DaemonSet | WorkloadKind::Other => None,
    }
}

/// The settings of `daprsystem`; what is not set is Dapr's default.
pub fn settings(configuration: &Configuration) -> Settings {
    let Mtls { enabled, workload_cert_ttl, allowed_clock_skew, token_validators } = &configuration.spec.mtls;
    let default = Settings::default();
    let or = |text: &Option<String>, default| {
        text.as_deref().and_then(go_duration).filter(|span| *span <= LONGEST).unwrap_or(default)
    };
    Settings {
        mtls_enabled: enabled.unwrap_or(default.mtls_enabled),
        workload_cert_ttl: or(workload_cert_ttl, default.workload_cert_ttl),
        allowed_clock_skew: or(allowed_clock_skew, default.allowed_clock_skew),
        token_validators: token_validators.len(),
    }
}

/// Longer than anybody means, and short enough to be added to any date.
const LONGEST: SignedDuration = SignedDuration::from_hours(24 * 36_500);

/// A duration as Go's `time.ParseDuration` takes it: `24h`, `1h30m`, `1.5h`, `90s`.
fn go_duration(text: &str) -> Option<SignedDuration> {
    if text == "0" {
        return Some(SignedDuration::ZERO);
    }
    let mut rest = text;
    let mut seconds = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, tail) = rest.split_at(digits);
        let end = tail.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(tail.len());
        let (unit, tail) = tail.split_at(end);
        let scale = match unit {
            "h" => 3600.0,
            "m" => 60.0,
            "s" => 1.0,
            "ms" => 1e-3,
            "us" | "µs" | "μs" => 1e-6,
            "ns" => 1e-9,
            _ => return None,
        };
        seconds += number.parse::<f64>().ok()? * scale;
        rest = tail;
    }
    (!text.is_empty()).then(|| SignedDuration::try_from_secs_f64(seconds).ok())?
}

/// Whether Sentry's Role stands as Dapr's chart has it.
pub fn fence(role: &Role) -> Fence {
    if role.metadata.annotations.contains_key(names::FENCED) { Fence::Left } else { Fence::Down }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(json: &str) -> Workload {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_rollout_is_complete_when_its_latest_revision_runs_everywhere() {
        let at = |generation: i64, observed: i64, replicas: i32, updated: i32, available: i32| {
            object(&format!(
                r#"{{"metadata":{{"generation":{generation}}},"spec":{{"replicas":2}},"status":{{"observedGeneration":{observed},
                "replicas":{replicas},"updatedReplicas":{updated},"readyReplicas":{available},"availableReplicas":{available}}}}}"#
            ))
        };
        let complete = |object: &Workload| is_complete(WorkloadKind::Deployment, object);
        assert!(complete(&at(3, 3, 2, 2, 2)));
        assert!(!complete(&at(3, 2, 2, 2, 2)), "the controller has not seen the change yet");
        assert!(!complete(&at(3, 3, 3, 2, 2)), "an old pod is still there");
        assert!(!complete(&at(3, 3, 2, 2, 1)), "one is not available");
    }

    #[test]
    fn a_daemon_set_is_complete_when_every_node_runs_its_latest_revision() {
        let at = |updated: i32, available: i32| {
            let status = format!(
                r#""desiredNumberScheduled":2,"updatedNumberScheduled":{updated},"numberAvailable":{available}"#
            );
            let object = object(&format!(r#"{{"metadata":{{"name":"a","namespace":"shop"}},"status":{{{status}}}}}"#));
            described(WorkloadKind::DaemonSet, &object)
        };
        assert_eq!((at(2, 2).complete, at(2, 2).replicas, at(2, 2).path().as_str()), (true, 2, "shop/ds/a"));
        assert!(!at(1, 2).complete, "an old pod is still there");
        assert!(!at(2, 1).complete, "one is not available");
    }

    #[test]
    fn the_dashboard_verifies_nobody_and_the_injector_is_last() {
        let named = |name: &str| {
            object(&format!(r#"{{"metadata":{{"name":"{name}","namespace":"d","labels":{{"app":"{name}"}}}}}}"#))
        };
        let services = workloads(
            &[named("dapr-sidecar-injector"), named("dapr-dashboard"), named("dapr-operator"), named("dapr-sentry")],
            &[named("dapr-scheduler-server"), named("dapr-placement-server"), named("unrelated")],
        );
        let order: Vec<&str> = services.iter().map(|service| service.name.as_str()).collect();
        assert_eq!(
            order,
            [
                "dapr-sentry",
                "dapr-operator",
                "dapr-placement-server",
                "dapr-scheduler-server",
                "dapr-sidecar-injector",
                "dapr-dashboard"
            ]
        );
        assert_eq!(services.last().unwrap().role, None);
    }

    #[test]
    fn blockers_are_named() {
        let partition =
            object(r#"{"spec":{"updateStrategy":{"type":"RollingUpdate","rollingUpdate":{"partition":2}}}}"#);
        assert!(blocker(WorkloadKind::StatefulSet, &partition).unwrap().contains('2'));
        assert!(blocker(WorkloadKind::Deployment, &object(r#"{"spec":{"paused":true}}"#)).is_some());
        assert!(
            blocker(WorkloadKind::StatefulSet, &object(r#"{"spec":{"updateStrategy":{"type":"OnDelete"}}}"#)).is_some()
        );
    }

    #[test]
    fn durations_are_read_as_go_reads_them() {
        for (text, seconds) in
            [("24h", 86_400), ("1h30m", 5_400), ("1.5h", 5_400), ("90s", 90), ("15m0s", 900), ("0", 0)]
        {
            assert_eq!(go_duration(text), Some(SignedDuration::from_secs(seconds)), "{text}");
        }
        for text in ["", "24", "h", "1d", "x"] {
            assert_eq!(go_duration(text), None, "{text}");
        }
    }
}
