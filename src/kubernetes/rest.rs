//! Where Sentry cannot be fenced: waits until it is at rest, so that it does not read one half of the trust bundle
//! while the other is written.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use super::Kubernetes;
use crate::error::{Error, Kind};
use crate::mesh::{Observed, Phase, Role};
use crate::rotation::Need;

/// A kubelet refreshes a mount within 90 s, and Sentry reloads 2 s after that (`dapr/cmd/sentry/app/app.go`).
const SETTLED: SignedDuration = SignedDuration::from_secs(92);
/// By then a Sentry that has started has read the pair.
const STARTED: SignedDuration = SignedDuration::from_secs(10);

impl Kubernetes {
    /// Returns once Sentry is at rest. Errors after the caller's patience, or when a signal asks to stop.
    pub(super) async fn rest(&mut self, seen: &Observed) -> Result<(), Error> {
        let patience = self.writing.map(|writing| writing.patience).unwrap_or_default();
        let deadline = tokio::time::Instant::now() + patience.unsigned_abs();
        let mut reason = unrest(seen, self.connection.api.now());
        while let Some((why, wait)) = reason {
            (self.tell)(&format!("waiting for Sentry to be at rest: {why}"));
            let left = deadline.saturating_duration_since(tokio::time::Instant::now());
            if left.is_zero() || left < wait.min(Duration::from_secs(2)) {
                return Err(Error::failed(format!("Sentry is not at rest: {why}")).hint(
                    "a longer `--timeout` waits longer; with the right to update Role dapr-sentry no wait is needed",
                ));
            }
            self.interrupts.or_after(wait.min(left)).await;
            if let Some(signal) = self.interrupts.seen() {
                return Err(Error::new(
                    Kind::Interrupted(signal),
                    "interrupted while Sentry came to rest; nothing was changed",
                ));
            }
            let mut now = Box::pin(self.look(&Need { control_plane: true, ..Need::default() })).await?;
            if now.published.secret != seen.published.secret || now.published.config_map != seen.published.config_map {
                return Err(Error::failed("the trust bundle was changed while Sentry came to rest")
                    .hint("run the same command again: it looks anew and decides on what is there now"));
            }
            now.now = self.connection.api.now();
            reason = unrest(&now, now.now);
        }
        Ok(())
    }
}

/// Why Sentry may be about to read the pair, and how long that lasts at least.
fn unrest(seen: &Observed, now: Timestamp) -> Option<(String, Duration)> {
    let soon = Duration::from_secs(2);
    if let Some(written) = seen.published.written {
        let left = SETTLED - now.duration_since(written);
        if left.is_positive() {
            let why = format!(
                "its Secret was written {} s ago, and {} s must pass",
                (SETTLED - left).as_secs(),
                SETTLED.as_secs()
            );
            return Some((why, left.unsigned_abs() + Duration::from_secs(1)));
        }
    }
    let service = seen.control_plane.iter().find(|service| service.role == Some(Role::Sentry));
    if service.is_some_and(|service| !service.complete) {
        return Some(("its rollout is not complete".to_owned(), soon));
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
