//! Where Sentry cannot be fenced: waits until it is at rest, so that it does not read one half of the trust bundle
//! while the other is written.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Kubernetes;
use super::nodes::{LONGEST, REFRESHED};
use super::resource::{DEPLOYMENTS, PODS};
use crate::error::{Error, Kind};
use crate::mesh::{Observed, Phase, Role};
use crate::rotation::Need;

/// Sentry reloads 2.5 s after its mount was refreshed, and then every 2 s, once for each file name that the refresh
/// touched: its watcher tells of each name by itself, and each reload takes one from the queue
/// (`dapr/cmd/sentry/app/app.go`, `kit/fswatcher`). A refresh touches four names, one that fills an empty mount seven;
/// measured with 1.14.0.
const RELOADS: SignedDuration = SignedDuration::from_secs(15);
/// By then a Sentry that has started has read the pair.
const STARTED: SignedDuration = SignedDuration::from_secs(10);

impl Kubernetes {
    /// Returns once Sentry is at rest. Errors after the caller's patience, where that cannot be seen, or when a signal
    /// asks to stop.
    pub(super) async fn rest(&mut self, seen: &Observed) -> Result<(), Error> {
        let patience = self.writing.as_ref().map(|writing| writing.patience).unwrap_or_default();
        let deadline = tokio::time::Instant::now() + patience.unsigned_abs();
        let began = self.connection.api.now();
        loop {
            let look = Need { control_plane: true, ..Need::default() };
            let now = Box::pin(self.look(&look)).await?;
            if now.published.secret != seen.published.secret || now.published.config_map != seen.published.config_map {
                return Err(Error::failed("the trust bundle was changed while Sentry came to rest")
                    .hint("run the same command again: it looks anew and decides on what is there now"));
            }
            visible(&now)?;
            let replicas = now.consumers.iter().filter(|consumer| consumer.role == Role::Sentry);
            let pods: Vec<String> = replicas.map(|replica| replica.name.clone()).collect();
            let settled = REFRESHED + self.longest_ttl(&pods).await + RELOADS;
            let Some((why, wait)) = unrest(&now, settled, began, self.connection.api.now()) else {
                return Ok(());
            };
            let longest = settled == REFRESHED + LONGEST + RELOADS;
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left < wait {
                let error = Error::failed(format!("Sentry is not at rest: {why}"))
                    .hint("a longer `--timeout` waits longer")
                    .hint(NO_WAIT);
                return Err(if longest { error.hint(UNREAD_NODES) } else { error });
            }
            (self.tell)(&format!("waiting for Sentry to be at rest: {why}"));
            if longest {
                (self.tell)(UNREAD_NODES);
            }
            self.interrupts.or_after(wait).await;
            if let Some(signal) = self.interrupts.seen() {
                return Err(Error::new(
                    Kind::Interrupted(signal),
                    "interrupted while Sentry came to rest; nothing was changed",
                ));
            }
        }
    }
}

const UNREAD_NODES: &str = "a node that may not be read counts 300 s: with the right to get nodes the wait is shorter";
const NO_WAIT: &str = "with the right to update Role dapr-sentry no wait is needed";

/// Errors where the caller may not see whether Sentry is about to start: no wait can make up for that.
fn visible(seen: &Observed) -> Result<(), Error> {
    let namespace = Some(seen.identity.namespace.as_str());
    let needed = [DEPLOYMENTS.within(namespace).grant("list"), PODS.within(namespace).grant("list")];
    match seen.denied.iter().find(|denied| needed.contains(&denied.grant)) {
        None => Ok(()),
        Some(denied) => Err(Error::failed("it cannot be seen whether Sentry is at rest")
            .because(format!("not allowed to {}", denied.grant))
            .hint(format!("grant it in a Role or ClusterRole: {}", denied.grant))
            .hint(NO_WAIT)),
    }
}

/// Why Sentry may be about to read the pair, and how long that lasts at least. Where the Secret does not say when it
/// was written, it may have been when the wait `began`.
fn unrest(seen: &Observed, settled: SignedDuration, began: Timestamp, now: Timestamp) -> Option<(String, Duration)> {
    let soon = Duration::from_secs(2);
    let left = settled - now.duration_since(seen.published.written.unwrap_or(began));
    if left.is_positive() {
        let since = match seen.published.written {
            Some(_) => format!("its Secret was written {} s ago", (settled - left).as_secs()),
            None => "its Secret does not say when it was written".to_owned(),
        };
        let why = format!("{since}, and {} s must pass", settled.as_secs());
        return Some((why, left.unsigned_abs() + Duration::from_secs(1)));
    }
    let service = seen.control_plane.iter().find(|service| service.role == Some(Role::Sentry));
    if service.is_some_and(|service| !service.complete) {
        return Some(("its rollout is not complete".to_owned(), soon));
    }
    let listed = seen.consumers.iter().any(|consumer| consumer.role == Role::Sentry);
    if !listed && service.is_none_or(|service| service.replicas > 0) {
        return Some(("none of its pods is there yet".to_owned(), soon));
    }
    seen.consumers.iter().filter(|consumer| consumer.role == Role::Sentry).find_map(|sentry| {
        let state = match sentry.phase {
            Phase::Ready => {
                let age = sentry.started.map(|started| now.duration_since(started));
                return age.filter(|age| *age < STARTED).map(|age| {
                    (
                        format!("{} has just started", sentry.name),
                        (STARTED - age).unsigned_abs() + Duration::from_secs(1),
                    )
                });
            }
            Phase::NotReady => "is not ready",
            Phase::Pending => "is about to start",
            Phase::Terminating => return None,
            Phase::CrashLoop => "restarts again and again",
        };
        Some((format!("{} {state}", sentry.name), soon))
    })
}
