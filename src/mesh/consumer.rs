//! Who verifies with the trust bundle, and what is known of the trust that each holds.

use std::sync::Arc;

use jiff::Timestamp;

use crate::pki::{Certificate, Profile};

/// A set of trust anchors, shared between the many consumers that hold the same one.
pub type Anchors = Arc<[Certificate]>;

/// What a look learned of one question to one process.
///
/// # Why
/// A fact that was seen and one that was not are never mixed: a decision that needs a proof cannot take an absence for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Answer<T> {
    /// The question was not part of this look.
    #[default]
    NotAsked,
    /// Seen on the live process (or in its pod spec, which cannot change).
    Proven(T),
    /// Not seen, since the caller may not ask: by now the process must have it, after a wait (dapr-facts §8).
    Assumed(T),
    /// The caller may not ask; the text names the verb and the resource to grant.
    Forbidden(String),
    /// Asked, without a clear answer; the text says what happened.
    Unknown(String),
}

impl<T> Answer<T> {
    /// The answer, if it was seen.
    pub fn proven(&self) -> Option<&T> {
        match self {
            Self::Proven(answer) => Some(answer),
            _ => None,
        }
    }

    /// The answer, seen or assumed.
    pub fn known(&self) -> Option<&T> {
        match self {
            Self::Proven(answer) | Self::Assumed(answer) => Some(answer),
            _ => None,
        }
    }

    /// The same kind of answer to another question.
    pub fn map<U>(self, answer: impl FnOnce(T) -> U) -> Answer<U> {
        match self {
            Self::NotAsked => Answer::NotAsked,
            Self::Proven(it) => Answer::Proven(answer(it)),
            Self::Assumed(it) => Answer::Assumed(answer(it)),
            Self::Forbidden(grant) => Answer::Forbidden(grant),
            Self::Unknown(why) => Answer::Unknown(why),
        }
    }

    /// Why there is no answer, for people.
    pub fn why_not(&self) -> Option<String> {
        match self {
            Self::Forbidden(grant) => Some(format!("not allowed to {grant}")),
            Self::Unknown(why) => Some(why.clone()),
            Self::NotAsked | Self::Proven(_) | Self::Assumed(_) => None,
        }
    }
}

/// How a pod gets its anchors. A property of each pod, never of a Dapr version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Era {
    /// From `DAPR_TRUST_ANCHORS` in the pod spec: only a new pod sees a change.
    Env,
    /// From a mounted `ConfigMap`: sees changes as long as its watcher lives.
    File,
}

/// What a consumer is to the mesh.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Role {
    /// The certificate authority itself: issues, verifies nobody with the bundle.
    Sentry,
    /// Dapr's operator.
    Operator,
    /// The actor placement service.
    Placement,
    /// The scheduler, as a server to sidecars.
    Scheduler,
    /// The etcd inside a scheduler that has peers: reads its anchors once, at its start.
    EtcdPeer,
    /// Writes the bundle into new pods.
    Injector,
    /// The API server as a client of the injector's webhook (`caBundle`).
    Webhook,
    /// The API server as a client of the operator's conversion webhook (`caBundle`).
    Conversion,
    /// A `daprd` beside an application, by its app id.
    Sidecar {
        /// How it gets its anchors.
        era: Era,
        /// `dapr.io/app-id`.
        app_id: String,
    },
}

impl Role {
    /// The profile by which this consumer judges a peer's chain.
    pub fn profile(&self) -> Profile {
        match self {
            Self::Webhook | Self::Conversion => Profile::Webhook,
            Self::EtcdPeer => Profile::EtcdPeer,
            _ => Profile::Spiffe,
        }
    }

    /// The word for it in output.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Sentry => "sentry",
            Self::Operator => "operator",
            Self::Placement => "placement",
            Self::Scheduler => "scheduler",
            Self::EtcdPeer => "etcd peer",
            Self::Injector => "injector",
            Self::Webhook => "injector webhook",
            Self::Conversion => "conversion webhook",
            Self::Sidecar { .. } => "sidecar",
        }
    }

    /// Whether this is a part of the control plane (an application's sidecar is not).
    pub fn is_control_plane(&self) -> bool {
        !matches!(self, Self::Sidecar { .. })
    }

    /// Whether the chain that it serves is an SVID that Sentry has issued to it: Sentry makes its own, an etcd peer is
    /// not asked, and a `caBundle` is no process.
    pub fn shows_svid(&self) -> bool {
        !matches!(self, Self::Sentry | Self::EtcdPeer | Self::Webhook | Self::Conversion)
    }
}

/// How far a pod's process is from answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Ready.
    Ready,
    /// Running, not ready.
    NotReady,
    /// Waits for its containers to start.
    Pending,
    /// Being deleted; it still talks until it is gone.
    Terminating,
    /// Restarts again and again.
    CrashLoop,
}

/// Whoever verifies peers with the trust bundle.
#[derive(Clone, Debug)]
pub struct Consumer {
    /// What it is.
    pub role: Role,
    /// `namespace/pod`, or the name of the object that carries a `caBundle`.
    pub name: String,
    /// Whether it can answer.
    pub phase: Phase,
    /// When its process started; the pod's creation where the container has not.
    pub started: Option<Timestamp>,
    /// When its pod was given a node; `None`: not yet, or that was not seen.
    pub scheduled: Option<Timestamp>,
    /// The version of Dapr that runs in it, from its image tag.
    pub version: Option<(u32, u32, u32)>,
    /// Whether it mounts the Secret or the `ConfigMap`, so that its kubelet can be nudged. Of a sidecar whether that
    /// helps now: the copy that it mounts is right.
    pub mounts: bool,
    /// Whether its trust anchors come from the `ConfigMap` that is copied into its namespace, however it is mounted.
    pub reads_copy: bool,
    /// The mark (one of `Published::marks`) that it was last nudged with.
    pub nudged: Option<String>,
    /// The whole set of anchors it holds, where that can be read: environment, `caBundle`, the injector's `/mutate`.
    pub held: Answer<Anchors>,
    /// The chain it sends as a server (Sentry; for a `caBundle`, the server behind it).
    pub served: Answer<Vec<Certificate>>,
    /// Whether it accepts the chain of `Need::accepts`, shown to it in a canary handshake.
    pub accepts: Answer<bool>,
    /// Whether it holds the root of `Need::holds`, by a canary under that root alone.
    pub holds: Answer<bool>,
    /// Whether it accepts the chain of `Need::former`, which nobody should any more.
    pub accepts_former: Answer<bool>,
    /// The workload that a restart would name, such as `deploy/server`.
    pub owner: Option<String>,
}

impl Consumer {
    /// The namespace of its pod; the whole name for what is no pod.
    pub fn namespace(&self) -> &str {
        self.name.split('/').next().unwrap_or_default()
    }

    /// The workload that it belongs to, `shop/deploy/cart`; `None` for what is no pod.
    pub fn workload(&self) -> Option<String> {
        let (namespace, _) = self.name.split_once('/')?;
        Some(format!("{namespace}/{}", self.owner.as_ref()?))
    }

    /// A consumer of which nothing is known yet but that it is there.
    pub fn new(role: Role, name: impl Into<String>) -> Self {
        Self {
            role,
            name: name.into(),
            phase: Phase::Ready,
            started: None,
            scheduled: None,
            version: None,
            mounts: false,
            reads_copy: false,
            nudged: None,
            held: Answer::NotAsked,
            served: Answer::NotAsked,
            accepts: Answer::NotAsked,
            holds: Answer::NotAsked,
            accepts_former: Answer::NotAsked,
            owner: None,
        }
    }
}
