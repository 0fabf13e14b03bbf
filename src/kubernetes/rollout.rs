//! Makes processes take what was published: nudges their kubelets, or restarts their services.

use std::collections::BTreeSet;

use futures::future::join_all;
use futures::{StreamExt as _, stream};
use jiff::SignedDuration;
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::Change;
use super::failure::Failure;
use super::nodes::REFRESHED;
use super::observe::is_muted;
use super::resource::{DAEMON_SETS, DEPLOYMENTS, PODS, STATEFUL_SETS};
use super::{Kubernetes, names};
use crate::error::Error;
use crate::mesh::{Consumer, Nudge, Observed, Workload, WorkloadKind};

/// How many pods are nudged at once.
const AT_ONCE: usize = 32;

impl Kubernetes {
    /// Marks the pods that mount it with what is published. A changed pod makes its kubelet refresh the mounts at
    /// once. Where that is refused, mounts refresh in their own time, and later looks say so.
    pub(super) async fn nudge(&mut self, seen: &Observed) -> Result<(), Error> {
        self.verify_lock().await?;
        let Some(Nudge { pods, mark, .. }) = seen.nudge() else { return Ok(()) };
        let body = json!({ "metadata": { "annotations": { names::NUDGED: mark } } }).to_string();
        let api = &self.connection.api;
        let patches = pods.iter().map(async |pod| {
            let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
            let at = PODS.named(namespace, name);
            (namespace, pod, api.change::<IgnoredAny>(at, Change::Patch, body.as_bytes(), false).await)
        });
        let sent: Vec<_> = stream::iter(patches).buffer_unordered(AT_ONCE).collect().await;
        let mut is_said = self.known.nudge_refused || !self.known.unnudged.is_empty();
        let mut reached: BTreeSet<&String> = BTreeSet::new();
        for (namespace, pod, sent) in sent {
            match sent {
                Ok(_) | Err(Failure::Missing { .. }) => {
                    self.known.unnudged.remove(pod);
                    reached.insert(pod);
                }
                Err(Failure::Forbidden { grant, .. }) => {
                    if !std::mem::replace(&mut is_said, true) {
                        (self.tell)(&format!("not allowed to {grant}: mounts refresh in their own time"));
                    }
                    // Why: a right on the pods of one namespace says nothing of another's.
                    if namespace == seen.identity.namespace {
                        self.known.nudge_refused = true;
                    } else {
                        self.known.unnudged.insert(pod.clone(), mark.clone());
                    }
                }
                Err(failure) => {
                    (self.tell)(&format!(
                        "a nudge failed, so the mounts of {pod} refresh in their own time: {failure}"
                    ));
                    self.known.unnudged.insert(pod.clone(), mark.clone());
                }
            }
        }
        for sidecar in self.known.sidecars.iter_mut().filter(|sidecar| reached.contains(&sidecar.name)) {
            sidecar.nudged = Some(mark.clone());
        }
        Ok(())
    }

    /// How long the mounts may take that could not be nudged, or whose processes may not be asked, as
    /// [`Observed::mount_lag`] has it.
    pub(super) async fn mount_lag(&mut self, seen: &Observed) -> SignedDuration {
        let (refused, unnudged) = (self.known.nudge_refused, &self.known.unnudged);
        let lags = |consumer: &&Consumer| {
            is_muted(consumer) || (consumer.mounts && (refused || unnudged.contains_key(&consumer.name)))
        };
        let pods: Vec<String> = seen.consumers.iter().filter(lags).map(|consumer| consumer.name.clone()).collect();
        if pods.is_empty() { SignedDuration::ZERO } else { REFRESHED + self.longest_ttl(&pods).await }
    }

    /// Restarts one service of the control plane, as `kubectl rollout restart` does.
    pub(super) async fn restart(&mut self, workload: &str, seen: &Observed) -> Result<(), Error> {
        let service = seen.control_plane.iter().find(|service| service.name == workload).ok_or_else(|| {
            Error::failed(format!("there is no service `{workload}` in the control plane"))
                .hint("`mtls status` lists them")
        })?;
        self.restart_at_once(&[service], seen).await
    }

    /// Restarts applications by their paths, all at once.
    pub(super) async fn restart_applications(
        &mut self,
        paths: &BTreeSet<String>,
        seen: &Observed,
    ) -> Result<(), Error> {
        let wave: Vec<&Workload> = seen.applications.iter().filter(|it| paths.contains(&it.path())).collect();
        self.restart_at_once(&wave, seen).await
    }

    async fn restart_at_once(&mut self, workloads: &[&Workload], seen: &Observed) -> Result<(), Error> {
        self.connection.may_write()?;
        self.verify_lock().await?;
        let api = &self.connection.api;
        let annotations = json!({ names::RESTARTED_AT: api.now().max(seen.now).to_string() });
        let body = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }).to_string();
        let body = body.as_bytes();
        let patches = workloads.iter().filter_map(|workload| {
            let resource = match workload.kind {
                WorkloadKind::Deployment => DEPLOYMENTS,
                WorkloadKind::StatefulSet => STATEFUL_SETS,
                WorkloadKind::DaemonSet => DAEMON_SETS,
                WorkloadKind::Other => return None,
            };
            let at = resource.named(&workload.namespace, &workload.name);
            Some(async move { (*workload, api.change::<IgnoredAny>(at, Change::Patch, body, false).await) })
        });
        let (mut failures, mut changed) = (Vec::new(), false);
        for (workload, sent) in join_all(patches).await {
            match sent {
                Ok(_) => changed = true,
                // An application that has gone meanwhile needs nothing.
                Err(Failure::Missing { .. }) if workload.role.is_none() => {}
                Err(failure) => failures.push(failure),
            }
        }
        let more = failures.len().saturating_sub(1);
        let Some(failure) = failures.into_iter().next() else { return Ok(()) };
        let mut error = Error::from(failure);
        if more > 0 {
            error = error.hint(format!("{more} more of the workloads that go with it could not be restarted either"));
        }
        Err(if changed { error.after_changes() } else { error })
    }
}
