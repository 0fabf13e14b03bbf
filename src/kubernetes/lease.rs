//! The lock: a Lease that its holder renews, and that anybody may take once its holder has gone silent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, SystemTime};

use jiff::Timestamp;
use serde::Deserialize;
use serde_json::json;
use tokio::sync::Mutex;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use super::api::{Api, Change};
use super::failure::Failure;
use super::names;
use super::resource::LEASES;
use crate::error::{Error, Kind};
use crate::interrupt::Interrupts;

/// How long a silent holder keeps the lock.
const DURATION: Duration = Duration::from_secs(15);
/// How often the lock is renewed. A write relies on a renewal that is no older than twice this.
const RENEWAL: Duration = Duration::from_secs(4);

/// A lock that is held. Dropping it stops the renewals; [`Lock::release`] gives it back at once.
pub struct Lock {
    held: Arc<Held>,
    renewals: JoinHandle<()>,
}

struct Held {
    api: Api,
    namespace: String,
    holder: String,
    state: Mutex<State>,
}

struct State {
    version: String,
    /// Before the last renewal was sent, so that the lock never lasts longer than is believed here. By both clocks: one
    /// stands still while the machine sleeps, the other can be set.
    renewed: (Instant, SystemTime),
    /// Who took it over.
    lost: Option<String>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Act {
    Take,
    Renew,
    GiveBack,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Lease {
    metadata: Metadata,
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Metadata {
    resource_version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Spec {
    holder_identity: Option<String>,
    renew_time: Option<Timestamp>,
    lease_duration_seconds: Option<i64>,
}

impl Lock {
    /// Takes the lock. Waits for a holder that is silent to run out, and errors as soon as one shows that it lives (it
    /// renews the lock, or gives it back), or when a signal comes.
    pub async fn take(api: &Api, namespace: &str, caller: &str, interrupts: &Interrupts) -> Result<Self, Error> {
        let held = Held {
            api: api.clone(),
            namespace: namespace.to_owned(),
            holder: holder(caller),
            state: Mutex::new(State { version: String::new(), renewed: now(), lost: None }),
        };
        let mut other: Option<Lease> = None;
        loop {
            let lease = match held.read().await {
                Ok(lease) => lease,
                Err(Failure::Missing { .. }) => Lease::default(),
                Err(failure) => return Err(failure.into()),
            };
            if let Some(other) =
                other.filter(|other| other.metadata.resource_version != lease.metadata.resource_version)
            {
                return Err(refused(namespace, if lease.is_given_back() { &other } else { &lease }));
            }
            if lease.is_free(api.now()) {
                let mut state = held.state.lock().await;
                state.version.clone_from(&lease.metadata.resource_version);
                held.write(&mut state, Act::Take).await?;
                if state.lost.take().is_none() {
                    break;
                }
            }
            other = Some(lease);
            interrupts.or_after(Duration::from_millis(500)).await;
            if let Some(signal) = interrupts.seen() {
                return Err(Error::new(
                    Kind::Interrupted(signal),
                    "interrupted while the lock was held by another mtls",
                ));
            }
        }
        let held = Arc::new(held);
        let renewals = tokio::spawn(keep(Arc::clone(&held)));
        Ok(Self { held, renewals })
    }

    /// Who holds it, by a name that no other run has.
    pub fn holder(&self) -> &str {
        &self.held.holder
    }

    /// Makes sure that the lock is still held: a holder that was asleep learns here that somebody else went on.
    pub async fn verify(&self) -> Result<(), Error> {
        self.held.renew(2 * RENEWAL).await
    }

    /// Gives the lock back. What fails here mends itself: the lock runs out.
    pub async fn release(self) {
        let mut state = self.held.state.lock().await;
        // Not before: a renewal on its way would leave a version that is not known here.
        self.renewals.abort();
        if state.lost.is_none() {
            let _ = self.held.write(&mut state, Act::GiveBack).await;
        }
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        self.renewals.abort();
    }
}

impl Held {
    /// Renews unless that was done within `age`.
    async fn renew(&self, age: Duration) -> Result<(), Error> {
        let mut state = self.state.lock().await;
        let (instant, wall) = state.renewed;
        let asleep = wall.elapsed().unwrap_or(Duration::MAX);
        if state.lost.is_none() && instant.elapsed().max(asleep) >= age {
            self.write(&mut state, Act::Renew).await?;
        }
        match &state.lost {
            None => Ok(()),
            Some(who) => Err(Error::failed(format!(
                "the lock (Lease `{}/{}`) was taken over by {who} while this run was silent; it writes no more",
                self.namespace,
                names::ROTATION
            ))
            .hint("`mtls status` shows where the rotation stands")),
        }
    }

    async fn read(&self) -> Result<Lease, Failure> {
        self.api.get(LEASES.named(&self.namespace, names::ROTATION), "").await
    }

    /// Writes the Lease unless somebody else did since it was last known; `lost` says who.
    ///
    /// # Why
    /// A conflict may be the echo of a write whose answer was lost. If it was this one, it is done; if it was an earlier
    /// one, this one is made anew on top of it.
    async fn write(&self, state: &mut State, act: Act) -> Result<(), Failure> {
        loop {
            let (renewed, at) = (now(), self.api.now());
            match self.send(&state.version, act, at).await {
                Ok(lease) => state.version = lease.metadata.resource_version,
                Err(Failure::Conflict { .. }) => {
                    let lease = self.read().await?;
                    if lease.spec.holder_identity.as_ref() != Some(&self.holder) {
                        state.lost = Some(lease.who().to_owned());
                        return Ok(());
                    }
                    state.version = lease.metadata.resource_version;
                    if act == Act::GiveBack || lease.spec.renew_time != Some(at) {
                        continue;
                    }
                }
                Err(failure) => return Err(failure),
            }
            state.renewed = renewed;
            return Ok(());
        }
    }

    async fn send(&self, version: &str, act: Act, at: Timestamp) -> Result<Lease, Failure> {
        let (holder, duration) = match act {
            Act::GiveBack => ("", 1),
            Act::Take | Act::Renew => (self.holder.as_str(), DURATION.as_secs()),
        };
        let time = format!("{at:.6}");
        let mut spec = json!({ "holderIdentity": holder, "leaseDurationSeconds": duration, "renewTime": time });
        if act == Act::Take {
            spec["acquireTime"] = json!(time);
        }
        let mut body = json!({ "spec": spec });
        let change = if version.is_empty() {
            body["apiVersion"] = json!("coordination.k8s.io/v1");
            body["kind"] = json!("Lease");
            body["metadata"] = json!({ "name": names::ROTATION, "namespace": self.namespace });
            Change::Create
        } else {
            body["metadata"] = json!({ "resourceVersion": version });
            Change::Patch
        };
        let at = LEASES.named(&self.namespace, names::ROTATION);
        self.api.change(at, change, body.to_string().as_bytes(), false).await
    }
}

impl Lease {
    fn is_given_back(&self) -> bool {
        self.spec.holder_identity.as_deref().is_none_or(str::is_empty)
    }

    fn who(&self) -> &str {
        self.spec.holder_identity.as_deref().filter(|who| !who.is_empty()).unwrap_or("somebody")
    }

    fn is_free(&self, now: Timestamp) -> bool {
        if self.is_given_back() {
            return true;
        }
        let seconds = self.spec.lease_duration_seconds.unwrap_or_default();
        let end =
            self.spec.renew_time.map(|at| at.saturating_add(jiff::SignedDuration::from_secs(seconds)).unwrap_or(at));
        end.is_none_or(|end| end < now)
    }
}

async fn keep(held: Arc<Held>) {
    loop {
        tokio::time::sleep(RENEWAL).await;
        // A failure shows at the next write, which verifies; until then the next round tries again.
        let _ = held.renew(RENEWAL / 2).await;
    }
}

fn refused(namespace: &str, lease: &Lease) -> Error {
    let who = lease.who();
    let since = lease.spec.renew_time.map(|at| format!(", last heard of at {at}")).unwrap_or_default();
    Error::failed(format!(
        "another mtls is at work on this mesh, or was until just now: {who} holds the lock (Lease `{namespace}/{}`){since}",
        names::ROTATION
    ))
    .hint("wait for it to end; `mtls status` shows where the rotation stands")
}

fn now() -> (Instant, SystemTime) {
    (Instant::now(), SystemTime::now())
}

/// Who holds the lock, for the one who is refused: user, host and process, and a number that tells two runs apart.
fn holder(caller: &str) -> String {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let host = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .ok()
        .or_else(|| std::env::var("HOSTNAME").ok())
        .or_else(|| std::env::var("COMPUTERNAME").ok())
        .unwrap_or_default();
    let user = std::env::var("USER").or_else(|_| std::env::var("USERNAME")).unwrap_or_default();
    let user = if user.is_empty() { caller } else { user.as_str() };
    let begun = Timestamp::now().as_nanosecond() % 0xffff_ffff;
    let count = COUNT.fetch_add(1, Ordering::Relaxed);
    format!("{user}@{}/{}/{begun:08x}{count}", host.trim(), std::process::id())
}
