//! Makes processes take what was published: nudges their kubelets, or restarts their services.

use jiff::SignedDuration;
use serde::de::IgnoredAny;
use serde_json::json;

use super::api::{Change, DAEMON_SETS, DEPLOYMENTS, PODS, STATEFUL_SETS};
use super::failure::Failure;
use super::nodes::REFRESHED;
use super::observe::is_muted;
use super::{Kubernetes, names};
use crate::error::Error;
use crate::mesh::{Consumer, Observed, WorkloadKind};

impl Kubernetes {
    /// Marks the control plane's pods with what is published. A changed pod makes its kubelet refresh the mounts at
    /// once. Where that is refused, mounts refresh in their own time, and later looks say so.
    pub(super) async fn nudge(&mut self, seen: &Observed) -> Result<(), Error> {
        self.verify_lock().await?;
        let mark = seen.published.mark();
        let body = json!({ "metadata": { "annotations": { names::NUDGED: mark } } }).to_string();
        let due: Vec<&str> =
            seen.consumers.iter().filter(|c| c.awaits_nudge(&mark)).map(|consumer| consumer.name.as_str()).collect();
        let api = &self.connection.api;
        let patches = due.iter().map(async |pod| {
            let (namespace, name) = pod.split_once('/').unwrap_or(("", pod));
            api.change::<IgnoredAny>(PODS.named(namespace, name), Change::Patch, body.as_bytes(), false).await
        });
        let sent = futures::future::join_all(patches).await;
        for (pod, sent) in due.into_iter().zip(sent) {
            match sent {
                Ok(_) | Err(Failure::Missing { .. }) => {}
                Err(Failure::Forbidden { grant, .. }) => {
                    if !self.known.nudge_refused {
                        (self.tell)(&format!("not allowed to {grant}: mounts refresh in their own time"));
                    }
                    self.known.nudge_refused = true;
                }
                Err(failure) => {
                    (self.tell)(&format!(
                        "a nudge failed, so the mounts of {pod} refresh in their own time: {failure}"
                    ));
                    self.known.unnudged.insert(pod.to_owned(), mark.clone());
                }
            }
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
        self.connection.may_write()?;
        self.verify_lock().await?;
        let service = seen.control_plane.iter().find(|service| service.name == workload).ok_or_else(|| {
            Error::failed(format!("there is no service `{workload}` in the control plane"))
                .hint("`mtls status` lists them")
        })?;
        let at = match service.kind {
            WorkloadKind::Deployment => DEPLOYMENTS.named(&service.namespace, workload),
            WorkloadKind::StatefulSet => STATEFUL_SETS.named(&service.namespace, workload),
            WorkloadKind::DaemonSet => DAEMON_SETS.named(&service.namespace, workload),
            WorkloadKind::Other => {
                return Err(Error::failed(format!("`{workload}` is nothing that a restart replaces")));
            }
        };
        let now = self.connection.api.now().max(seen.now);
        let annotations = json!({ names::RESTARTED_AT: now.to_string() });
        let body = json!({ "spec": { "template": { "metadata": { "annotations": annotations } } } }).to_string();
        let _: IgnoredAny = self.connection.api.change(at, Change::Patch, body.as_bytes(), false).await?;
        Ok(())
    }
}
