//! How a mesh gets from the trust it has to the trust it should have: a loop over facts.
//!
//! [`strategy`] proposes a [`Goal`], [`next`] names the one safe [`Move`] towards it, [`safety`] is the invariant that
//! every move must keep, [`run`] is the loop. All of it is pure but for the [`Mesh`] that the loop works on.

mod applications;
mod begin;
mod distribution;
mod goal;
mod left;
mod next;
mod paper;
mod record;
mod retire;
mod run;
pub mod safety;
pub mod strategy;

pub use applications::{Blocked, blocked, due};
pub use begin::{Affected, Ask, Begin, Refused, affected, begin, is_due, signing_path_end};
pub use distribution::{COPIES, Progress};
pub use goal::{CannotStage, Goal, Restart, Scope, Strategy, Trio};
pub use left::{Concern, Left, left};
pub use next::{Limits, Step, deadline, need, next, plan, serves};
pub use record::{Record, RecordData, RecordError, Status};
pub use retire::NothingToRetire;
pub use run::{Event, Outcome, Run, run};
pub use safety::obstacles;

use std::collections::BTreeSet;

use crate::error::Error;
use crate::mesh::Observed;
use crate::pki::{Certificate, Issuer, TrustBundle};

/// What the next decision needs to see beyond the objects. A look asks for this and no more.
#[derive(Clone, Default)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own, asked or not")]
pub struct Need {
    /// All consumers, by LIST of the pods with a sidecar.
    pub consumers: bool,
    /// Those without injection too, by a LIST of all pods.
    pub everyone: bool,
    /// The workloads behind the sidecars.
    pub applications: bool,
    /// How far the file era's trust bundle has been copied.
    pub distribution: bool,
    /// The chain that each Sentry replica serves.
    pub served: bool,
    /// What each injector replica would write into a new pod, and the `caBundle`s.
    pub held: bool,
    /// The SVID that each process shows which takes calls.
    pub svids: bool,
    /// Which Configurations have workflow history signed.
    pub signed_histories: bool,
    /// Who else writes: Helm values, reconcilers.
    pub owners: bool,
    /// The control plane's services, the settings and the fence; else they stand as an earlier look found them.
    pub control_plane: bool,
    /// The issuer whose full chain the control plane is shown in a canary handshake: does it accept what will be sent?
    pub accepts: Option<Issuer>,
    /// The issuer that is shown without anything behind it: does the process hold its root?
    pub holds: Option<Issuer>,
    /// The former issuer, which may have leaked: does the process still accept what it signed?
    pub former: Option<Issuer>,
}

/// One step that changes something. Its `Display` says what it will touch.
#[derive(Clone)]
pub enum Move {
    /// Writes the trust bundle into both objects; the issuer too, in the same write of the Secret, where the live one
    /// cannot stand beside the new bundle.
    PublishTrust {
        /// What both objects carry afterwards.
        bundle: TrustBundle,
        /// The issuer that goes with it; `None` leaves the live one.
        issuer: Option<Issuer>,
    },
    /// Writes the trust bundle into the Secret that the file era's is copied from.
    PublishSource {
        /// What it carries afterwards, in this order.
        anchors: Vec<Certificate>,
    },
    /// Writes the issuer, one PUT of one Secret whose `ca.crt` stays as it is.
    PublishIssuer {
        /// What Sentry signs with afterwards.
        issuer: Issuer,
    },
    /// Makes the kubelets of the control plane's pods refresh their mounts now.
    Nudge,
    /// Restarts one control-plane service.
    Restart {
        /// The service's name, such as `dapr-operator`.
        workload: String,
    },
    /// Restarts applications, all at once.
    RestartApplications {
        /// The workloads, such as `shop/deploy/cart`.
        workloads: BTreeSet<String>,
    },
}

impl Move {
    /// Whether it writes what everybody trusts or what Sentry signs with.
    pub fn publishes(&self) -> bool {
        matches!(self, Self::PublishTrust { .. } | Self::PublishSource { .. } | Self::PublishIssuer { .. })
    }
}

impl std::fmt::Display for Move {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::PublishTrust { bundle, issuer } => {
                write!(f, "publish the trust bundle: {}", anchors_in_words(bundle.anchors()))?;
                match issuer {
                    Some(issuer) => write!(f, ", and issuer {}", issuer.certificate().fingerprint().short()),
                    None => Ok(()),
                }
            }
            Self::PublishSource { anchors } => {
                write!(f, "publish it for the file era: {}", anchors_in_words(anchors))
            }
            Self::PublishIssuer { issuer } => write!(
                f,
                "publish the issuer {} ({} in the chain)",
                issuer.certificate().fingerprint().short(),
                issuer.chain.len()
            ),
            Self::Nudge => f.write_str("nudge the pods that mount it, so that their mounts are fresh now"),
            Self::Restart { workload } => write!(f, "restart {workload}"),
            Self::RestartApplications { workloads } => {
                let names: Vec<&str> = workloads.iter().map(String::as_str).collect();
                write!(f, "restart {}", names.join(", "))
            }
        }
    }
}

fn anchors_in_words(anchors: &[Certificate]) -> String {
    let names: Vec<String> = anchors.iter().map(|anchor| anchor.fingerprint().short()).collect();
    names.join(" + ")
}

/// The mesh that a rotation works on: a cluster, a directory, or the tests' model of one.
///
/// # Why
/// The loop knows no API: it is tested on a model that can fail in every way at every step.
#[expect(async_fn_in_trait, reason = "one thread, static dispatch; no caller needs the futures to be Send")]
pub trait Mesh {
    /// Looks. Reads and probes only.
    async fn observe(&mut self, need: &Need) -> Result<Observed, Error>;
    /// Makes one move, on condition that nothing changed since `seen`. An answer that was lost is resolved before it returns.
    async fn apply(&mut self, step: &Move, seen: &Observed) -> Result<(), Error>;
    /// Takes the lock, and first of all removes what a killed run left behind. Errors name who holds it.
    async fn lock(&mut self) -> Result<(), Error>;
    /// Puts back what was set aside for the work, and gives the lock back, which runs out by itself if that fails.
    async fn unlock(&mut self) -> Result<(), Error>;
    /// The record of the last rotation, if there is one that the caller may read.
    async fn load(&mut self) -> Result<Option<Record>, Error>;
    /// Keeps the record, on condition that nobody else wrote it meanwhile.
    async fn save(&mut self, record: &Record) -> Result<(), Error>;
    /// Returns when it is worth looking again, or when a signal asked to stop.
    async fn pause(&mut self);
    /// The signal that asked to stop, if one did; asked between moves, so that no pair of writes is torn.
    fn interrupted(&self) -> Option<u8>;
}
