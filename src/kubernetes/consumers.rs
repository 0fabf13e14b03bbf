//! Pods as consumers: who they are, whether they can answer, and what their spec proves about the trust they hold.

use std::collections::HashMap;
use std::sync::Arc;

use jiff::Timestamp;

use super::api::Api;
use super::failure::Failure;
use super::find::version;
use super::names;
use super::pages::{Select, pages};
use super::resource::PODS;
use super::wire::{Container, ContainerStatus, List, Pod, Running, VolumeMount};
use crate::mesh::{Anchors, Answer, Consumer, DISTRIBUTED, Era, Phase, Role};
use crate::pki::{Certificate, read_as_go};

/// Anchors that many pods hold are parsed once and shared.
#[derive(Default)]
pub struct Interned(HashMap<Box<str>, Anchors>);

impl Interned {
    /// The anchors in `pem`, as Go reads them.
    pub fn anchors(&mut self, pem: &str) -> Anchors {
        if let Some(known) = self.0.get(pem) {
            return Arc::clone(known);
        }
        let anchors: Anchors = read_as_go(pem.as_bytes()).certificates.into();
        self.0.insert(pem.into(), Arc::clone(&anchors));
        anchors
    }
}

/// The pods of the control plane. One LIST.
pub async fn control_plane(api: &Api, namespace: &str) -> Result<Vec<Pod>, Failure> {
    let apps =
        [names::SENTRY, names::OPERATOR, names::PLACEMENT, names::OLD_PLACEMENT, names::SCHEDULER, names::INJECTOR];
    let query = format!("labelSelector={}%20in%20({})", names::APP, apps.join(","));
    let list: List<Pod> = api.get(PODS.within(Some(namespace)), &query).await?;
    Ok(list.items.into_iter().filter(is_running).collect())
}

/// The consumers that the control plane's pods are, by role and name. `written`: since when the `ConfigMap` that they
/// mount carries `anchors`, if that is known.
///
/// # Why
/// A pod that was made after that has never seen other anchors. The mount of a new pod is fresh, that of a restarted
/// container need not be: the pod's age counts. The injector is asked what it injects, which is more.
pub fn of_control_plane(pods: &[Pod], written: Option<Timestamp>, anchors: &[Certificate]) -> Vec<Consumer> {
    let scheduler = |pod: &&Pod| pod.metadata.labels.app.as_deref() == Some(names::SCHEDULER);
    let peers = pods.iter().filter(scheduler).count() > 1;
    let anchors: Anchors = anchors.into();
    let mut consumers: Vec<Consumer> = Vec::new();
    for pod in pods {
        let Some(role) = pod.metadata.labels.app.as_deref().and_then(role) else {
            continue;
        };
        let made = pod.metadata.creation_timestamp;
        let born_with = matches!((made, written), (Some(made), Some(written)) if made > written);
        let held = match role {
            Role::Operator | Role::Placement | Role::Scheduler if born_with => Answer::Proven(Arc::clone(&anchors)),
            _ => Answer::NotAsked,
        };
        let container = pod.spec.containers.first();
        let consumer = Consumer {
            mounts: pod.spec.volumes.iter().any(|volume| {
                volume.secret.as_ref().is_some_and(|secret| secret.secret_name == names::TRUST_BUNDLE)
                    || volume.config_map.as_ref().is_some_and(|map| map.name == names::TRUST_BUNDLE)
            }),
            nudged: pod.metadata.annotations.nudged.clone(),
            held,
            ..consumer(role, pod, container)
        };
        if peers && consumer.role == Role::Scheduler {
            let held = match &consumer.held {
                Answer::NotAsked => {
                    Answer::Unknown("it may have read its trust anchors before they were published".to_owned())
                }
                held => held.clone(),
            };
            consumers.push(Consumer { role: Role::EtcdPeer, mounts: false, started: made, held, ..consumer.clone() });
        }
        consumers.push(consumer);
    }
    consumers.sort_by(|a, b| (&a.role, &a.name).cmp(&(&b.role, &b.name)));
    consumers
}

/// A pod with a sidecar, of whichever control plane, or one that asks for a sidecar and has none.
pub struct Sidecar {
    /// Where its control plane is; `None`: its spec does not say.
    home: Option<Box<str>>,
    is_missing: bool,
    /// Its node, of one that mounts its trust anchors.
    node: Option<String>,
    consumer: Consumer,
}

impl Sidecar {
    /// Its name, and the node whose kubelet refreshes its mount.
    pub fn place(&self) -> Option<(String, String)> {
        Some((self.consumer.name.clone(), self.node.clone()?))
    }
}

/// Those of the control plane in `namespace`, and the pods whose sidecar is missing.
pub fn of_mesh(sidecars: Vec<Sidecar>, namespace: &str) -> (Vec<Consumer>, Vec<Consumer>) {
    let ours = |sidecar: &Sidecar| sidecar.home.as_deref().is_none_or(|home| home == namespace);
    let (missing, there): (Vec<_>, Vec<_>) = sidecars.into_iter().filter(ours).partition(|sidecar| sidecar.is_missing);
    let consumers = |of: Vec<Sidecar>| of.into_iter().map(|sidecar| sidecar.consumer).collect();
    (consumers(there), consumers(missing))
}

/// All pods with a sidecar, page by page; of `everyone` also those that run one without injection (dapr-shared), which
/// no label tells.
pub async fn sidecars(api: &Api, everyone: bool, interned: &mut Interned) -> Result<Vec<Sidecar>, Failure> {
    let select = if everyone { Select::All } else { Select::Labels(names::INJECTED) };
    Ok(pages(api, PODS.within(None), select, |pod: Pod| sidecar(&pod, interned)).await?.items)
}

fn sidecar(pod: &Pod, interned: &mut Interned) -> Option<Sidecar> {
    let is_daprd = |c: &&Container| c.name == names::DAPRD || c.variable(names::ENV_NAMESPACE).is_some();
    let daprd = pod.spec.containers.iter().chain(&pod.spec.init_containers).find(is_daprd);
    if !is_running(pod) {
        return None;
    }
    let meta = &pod.metadata;
    let app_id = meta.labels.app_id.as_ref().or(meta.annotations.app_id.as_ref()).unwrap_or(&meta.name);
    let Some(daprd) = daprd else {
        let role = Role::Sidecar { era: Era::Env, app_id: app_id.clone() };
        let missing = || Sidecar { home: None, is_missing: true, node: None, consumer: consumer(role, pod, None) };
        return meta.annotations.enabled.as_deref().is_some_and(is_truthy).then(missing);
    };
    let (environment, file) = (daprd.variable(names::ENV_ANCHORS), daprd.variable(names::ENV_ANCHORS_FILE));
    let volume = pod.spec.volumes.iter().find(|volume| volume.has_config_map(DISTRIBUTED)).filter(|_| file.is_some());
    let (era, held) = match (environment, file, volume) {
        (_, Some(_), Some(_)) | (None, Some(_), None) => (Era::File, Answer::Unknown(ITS_FILE.to_owned())),
        (Some(pem), ..) => (Era::Env, Answer::Proven(interned.anchors(pem))),
        (None, ..) => (Era::Env, Answer::Unknown("its pod spec carries no trust anchors".to_owned())),
    };
    let role = Role::Sidecar { era, app_id: app_id.clone() };
    let home = daprd.variable(names::ENV_NAMESPACE).map(Into::into);
    let mut consumer = Consumer { held, ..consumer(role, pod, Some(daprd)) };
    if let Some(volume) = volume {
        let is_read = |mount: &&VolumeMount| {
            mount.name == volume.name && file.is_some_and(|file| file.starts_with(&mount.mount_path))
        };
        let read = daprd.volume_mounts.iter().find(is_read);
        consumer.reads_copy = read.is_some();
        // A file of its own in a directory of others is never refreshed (dapr-facts §8).
        consumer.mounts = read.is_some_and(|mount| mount.sub_path.is_empty());
        consumer.nudged.clone_from(&meta.annotations.nudged);
        if environment.is_some() {
            // Why: an older daprd ignores the file, so that only the process tells which of the two it uses.
            consumer.scheduled = Some(Timestamp::MIN);
        }
    }
    let node = pod.spec.node_name.clone().filter(|_| era == Era::File);
    Some(Sidecar { home, is_missing: false, node, consumer })
}

const ITS_FILE: &str = "its trust anchors come from a file that nobody but the pod can read";

/// As the injector reads an annotation (`dapr/kit/utils`).
fn is_truthy(value: &str) -> bool {
    ["y", "yes", "true", "on", "t", "1"].contains(&value.trim().to_lowercase().as_str())
}

fn consumer(role: Role, pod: &Pod, container: Option<&Container>) -> Consumer {
    let meta = &pod.metadata;
    Consumer {
        phase: phase(pod, container),
        started: started(pod, container),
        scheduled: scheduled(pod),
        version: container.and_then(|container| version(&container.image)),
        owner: Some(owner(pod)),
        ..Consumer::new(role, format!("{}/{}", meta.namespace, meta.name))
    }
}

fn role(app: &str) -> Option<Role> {
    Some(match app {
        names::SENTRY => Role::Sentry,
        names::OPERATOR => Role::Operator,
        names::PLACEMENT | names::OLD_PLACEMENT => Role::Placement,
        names::SCHEDULER => Role::Scheduler,
        names::INJECTOR => Role::Injector,
        _ => return None,
    })
}

fn is_running(pod: &Pod) -> bool {
    !matches!(pod.status.phase.as_str(), "Succeeded" | "Failed")
}

fn statuses(pod: &Pod) -> impl Iterator<Item = &ContainerStatus> {
    pod.status.container_statuses.iter().chain(&pod.status.init_container_statuses)
}

/// # Why
/// A pod is Pending as long as one of its containers has never started, while others run already and show their SVIDs.
fn phase(pod: &Pod, container: Option<&Container>) -> Phase {
    let waits = |why: &str| {
        statuses(pod).any(|status| status.state.waiting.as_ref().is_some_and(|waiting| waiting.reason == why))
    };
    if pod.metadata.deletion_timestamp.is_some() {
        Phase::Terminating
    } else if waits("CrashLoopBackOff") {
        Phase::CrashLoop
    } else if pod.status.conditions.iter().any(|c| c.kind == "Ready" && c.status == "True") {
        Phase::Ready
    } else if pod.status.phase == "Pending" && running(pod, container).is_none() {
        Phase::Pending
    } else {
        Phase::NotReady
    }
}

fn started(pod: &Pod, container: Option<&Container>) -> Option<Timestamp> {
    running(pod, container).and_then(|running| running.started_at).or(pod.metadata.creation_timestamp)
}

fn running<'a>(pod: &'a Pod, container: Option<&Container>) -> Option<&'a Running> {
    statuses(pod)
        .find(|status| Some(&status.name) == container.map(|container| &container.name))?
        .state
        .running
        .as_ref()
}

fn scheduled(pod: &Pod) -> Option<Timestamp> {
    let condition = pod.status.conditions.iter().find(|c| c.kind == "PodScheduled" && c.status == "True");
    // A pod that somebody bound himself has a node and perhaps no such condition.
    let bound = || pod.spec.node_name.as_ref().map(|_| Timestamp::MIN);
    condition.and_then(|condition| condition.last_transition_time).or_else(bound)
}

/// What `kubectl rollout restart` would take: the Deployment behind a `ReplicaSet`, and so the Rollout of Argo, is its
/// name without the pods' hash.
fn owner(pod: &Pod) -> String {
    let Some(owner) = pod.metadata.owner_references.first() else {
        return format!("pod/{}", pod.metadata.name);
    };
    let name = &owner.name;
    match owner.kind.as_str() {
        "ReplicaSet" => {
            let labels = &pod.metadata.labels;
            let above = |hash: &Option<String>| name.strip_suffix(hash.as_ref()?.as_str())?.strip_suffix('-');
            match (above(&labels.template_hash), above(&labels.rollout_hash)) {
                (Some(deployment), _) => format!("deploy/{deployment}"),
                (_, Some(rollout)) => format!("rollout/{rollout}"),
                _ => format!("rs/{name}"),
            }
        }
        "StatefulSet" => format!("sts/{name}"),
        "DaemonSet" => format!("ds/{name}"),
        kind => format!("{}/{name}", kind.to_lowercase()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pod(json: &str) -> Pod {
        serde_json::from_str(json).unwrap()
    }

    const SERVER: &str = r#"{"metadata":{"name":"server-5d-x","namespace":"shop","creationTimestamp":"2026-01-01T00:00:00Z",
        "labels":{"dapr.io/app-id":"server","pod-template-hash":"5d","anything":"else"},
        "ownerReferences":[{"apiVersion":"apps/v1","kind":"ReplicaSet","name":"server-5d","uid":"u"}]},
        "spec":{"containers":[{"name":"app","image":"a"},{"name":"daprd","image":"daprd:1.14.0","env":[
        {"name":"DAPR_CONTROLPLANE_NAMESPACE","value":"dapr-system"},{"name":"DAPR_TRUST_ANCHORS","value":"none"},
        {"name":"POD","valueFrom":{"fieldRef":{"fieldPath":"metadata.name"}}}]}]},
        "status":{"phase":"Running","conditions":[{"type":"Ready","status":"True"}],"containerStatuses":[
        {"name":"daprd","state":{"running":{"startedAt":"2026-01-01T00:00:07Z"}}}]}}"#;

    #[test]
    fn a_sidecar_is_known_by_its_spec() {
        let mut interned = Interned::default();
        let seen = sidecar(&pod(SERVER), &mut interned).unwrap().consumer;
        assert_eq!(seen.name, "shop/server-5d-x");
        assert_eq!(seen.role, Role::Sidecar { era: Era::Env, app_id: "server".into() });
        assert_eq!(seen.owner.as_deref(), Some("deploy/server"));
        assert_eq!(seen.version, Some((1, 14, 0)));
        assert_eq!(seen.started.unwrap().to_string(), "2026-01-01T00:00:07Z");
        assert!(seen.held.proven().is_some());
        assert!(sidecar(&pod(&SERVER.replace("Running", "Succeeded")), &mut interned).is_none());
    }

    #[test]
    fn a_sidecar_whose_container_has_another_name_is_known_by_its_environment() {
        let renamed = SERVER.replace("\"daprd\"", "\"proxy\"");
        let seen = sidecar(&pod(&renamed), &mut Interned::default()).unwrap();
        assert_eq!((seen.home.as_deref(), seen.is_missing), (Some("dapr-system"), false));
        assert!(seen.consumer.held.proven().is_some());
        let started = seen.consumer.started.map(|at| at.to_string());
        assert_eq!(started.as_deref(), Some("2026-01-01T00:00:07Z"), "of that container");
    }

    #[test]
    fn a_sidecar_belongs_to_the_control_plane_that_it_names_or_to_any() {
        let unnamed = SERVER.replace(names::ENV_NAMESPACE, "OTHER");
        let in_mesh = |text: &str, namespace: &str| {
            of_mesh(sidecar(&pod(text), &mut Interned::default()).into_iter().collect(), namespace).0.len()
        };
        assert_eq!((in_mesh(SERVER, "dapr-system"), in_mesh(SERVER, "other")), (1, 0));
        assert_eq!((in_mesh(&unnamed, "dapr-system"), in_mesh(&unnamed, "other")), (1, 1));
    }

    #[test]
    fn a_pod_that_asks_for_a_sidecar_and_has_none_is_told_apart() {
        let of = |annotation: &str| {
            let bare = SERVER.replace("\"daprd\"", "\"other\"").replace(names::ENV_NAMESPACE, "OTHER");
            let bare = bare.replace("\"labels\"", &format!("\"annotations\":{{{annotation}}},\"labels\""));
            let (there, missing) =
                of_mesh(sidecar(&pod(&bare), &mut Interned::default()).into_iter().collect(), "dapr-system");
            (there.len(), missing.first().and_then(Consumer::workload))
        };
        assert_eq!(of(r#""dapr.io/enabled":"True""#), (0, Some("shop/deploy/server".to_owned())));
        assert_eq!(of(r#""dapr.io/enabled":"false""#), (0, None));
        assert_eq!(of(""), (0, None));
    }

    #[test]
    fn the_rollout_of_argo_is_no_deployment() {
        let of = |label: &str| owner(&pod(&SERVER.replace("pod-template-hash", label)));
        assert_eq!(of("rollouts-pod-template-hash"), "rollout/server");
        assert_eq!(of("other"), "rs/server-5d");
    }

    #[test]
    fn the_same_anchors_are_kept_once() {
        let mut interned = Interned::default();
        let (one, two) = (interned.anchors("none"), interned.anchors("none"));
        assert!(Arc::ptr_eq(&one, &two));
    }

    #[test]
    fn native_sidecars_and_files_count_too() {
        let native = SERVER.replace("\"containers\":[{\"name\":\"app\"", "\"initContainers\":[{\"name\":\"app\"");
        assert!(sidecar(&pod(&native), &mut Interned::default()).is_some());
        let file = SERVER.replace("DAPR_TRUST_ANCHORS", "DAPR_TRUST_ANCHORS_FILE");
        let seen = sidecar(&pod(&file), &mut Interned::default()).unwrap().consumer;
        assert!(matches!(seen.role, Role::Sidecar { era: Era::File, .. }));
        assert_eq!(seen.held.proven(), None);
    }

    #[test]
    fn phases_are_told_apart() {
        let phase = |pod: &Pod| phase(pod, pod.spec.containers.last());
        assert_eq!(phase(&pod(SERVER)), Phase::Ready);
        let not_ready = SERVER.replace("\"True\"", "\"False\"");
        assert_eq!(phase(&pod(&not_ready)), Phase::NotReady);
        let pending = not_ready.replace("Running", "Pending");
        assert_eq!(phase(&pod(&pending)), Phase::NotReady, "its sidecar runs already");
        assert_eq!(phase(&pod(&pending.replace(r#""running""#, r#""terminated""#))), Phase::Pending);
        let crashing = not_ready
            .replace(r#""running":{"startedAt":"2026-01-01T00:00:07Z"}"#, r#""waiting":{"reason":"CrashLoopBackOff"}"#);
        assert_eq!(phase(&pod(&crashing)), Phase::CrashLoop);
        let leaving = SERVER
            .replace("\"creationTimestamp\"", "\"deletionTimestamp\":\"2026-01-02T00:00:00Z\",\"creationTimestamp\"");
        assert_eq!(phase(&pod(&leaving)), Phase::Terminating);
    }

    fn holds(pods: &[Pod], written: &str, role: &Role) -> bool {
        let seen = of_control_plane(pods, written.parse().ok(), &[]);
        seen.iter().find(|consumer| consumer.role == *role).unwrap().held.proven().is_some()
    }

    #[test]
    fn a_pod_made_after_the_bundle_was_published_holds_it() {
        let of = |app: &str| {
            pod(&format!(
                r#"{{"metadata":{{"name":"{app}-0","namespace":"d","creationTimestamp":"2026-01-01T00:00:05Z","labels":{{"app":"{app}"}}}},
                "status":{{"phase":"Running","containerStatuses":[{{"name":"","state":{{"running":{{"startedAt":"2026-02-01T00:00:00Z"}}}}}}]}}}}"#
            ))
        };
        let pods = ["dapr-operator", "dapr-sidecar-injector", "dapr-scheduler-server"].map(of);
        assert!(holds(&pods, "2026-01-01T00:00:04Z", &Role::Operator));
        assert!(!holds(&pods, "2026-01-01T00:00:05Z", &Role::Operator), "which was first is not known");
        assert!(
            !holds(&pods, "2026-01-02T00:00:00Z", &Role::Operator),
            "its container is newer, its mount need not be"
        );
        assert!(!holds(&pods, "", &Role::Scheduler), "when it was written is not known");
        assert!(!holds(&pods, "2026-01-01T00:00:04Z", &Role::Injector), "that one is asked");
        let peers = ["dapr-scheduler-server", "dapr-scheduler-server"].map(of);
        assert!(holds(&peers, "2026-01-01T00:00:04Z", &Role::EtcdPeer));
        assert!(!holds(&peers, "2026-01-02T00:00:00Z", &Role::EtcdPeer));
    }

    #[test]
    fn schedulers_are_etcd_peers_only_among_several() {
        let scheduler = |name: &str| {
            pod(&format!(
                r#"{{"metadata":{{"name":"{name}","namespace":"d","creationTimestamp":"2026-01-01T00:00:00Z","labels":{{"app":"dapr-scheduler-server"}}}},
                "spec":{{"volumes":[{{"name":"t","configMap":{{"name":"dapr-trust-bundle"}}}}]}},"status":{{"phase":"Running"}}}}"#
            ))
        };
        let one = of_control_plane(&[scheduler("s-0")], None, &[]);
        assert_eq!(one.len(), 1);
        assert!(one[0].mounts);
        let three = of_control_plane(&[scheduler("s-0"), scheduler("s-1"), scheduler("s-2")], None, &[]);
        assert_eq!(three.iter().filter(|c| c.role == Role::EtcdPeer).count(), 3);
        assert!(three.iter().filter(|c| c.role == Role::EtcdPeer).all(|c| !c.mounts), "a nudge reaches no etcd");
    }
}
