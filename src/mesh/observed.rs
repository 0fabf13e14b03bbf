//! One look: everything that a decision may rest on.

use std::collections::BTreeSet;
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};

use super::{Answer, Consumer, Distribution, Phase, Published, Role, TrustSource};
use crate::pki::{Certificate, Profile, Refusal, Signing, below};

/// Where the mesh is and who looks; printed before anything is written.
#[derive(Clone, Debug, Default)]
pub struct Identity {
    /// The kubeconfig context, or the directory.
    pub context: String,
    /// The API server's address; empty for a directory.
    pub server: String,
    /// The control plane's namespace; for a directory the namespace in the issuer's name.
    pub namespace: String,
    /// Sentry's `--trust-domain`.
    pub trust_domain: String,
    /// Who asks, as the API server names it; empty for a directory.
    pub caller: String,
    /// The version of Dapr that Sentry runs.
    pub dapr: Option<(u32, u32, u32)>,
}

impl Identity {
    /// What decides which SVIDs its Sentry signs.
    pub fn signing(&self) -> Signing<'_> {
        Signing { trust_domain: &self.trust_domain, namespace: &self.namespace, dapr: self.dapr }
    }
}

/// The settings of `daprsystem` that decide how long certificates live.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    /// Whether sidecars use mTLS among themselves. The control plane always does.
    pub mtls_enabled: bool,
    /// How long an SVID lives.
    pub workload_cert_ttl: SignedDuration,
    /// By how much `NotBefore` is back-dated.
    pub allowed_clock_skew: SignedDuration,
    /// How many ways there are for clients outside the cluster to join; what those hold nobody can see.
    pub token_validators: usize,
}

impl Default for Settings {
    /// Dapr's own defaults (`dapr/pkg/config/configuration.go`).
    fn default() -> Self {
        Self {
            mtls_enabled: true,
            workload_cert_ttl: SignedDuration::from_hours(24),
            allowed_clock_skew: SignedDuration::from_mins(15),
            token_validators: 0,
        }
    }
}

/// A right that the caller lacks. It travels as data and is shown where its answer would have stood.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Denied {
    /// What could not be seen or done because of it.
    pub what: String,
    /// `get secrets/dapr-trust-bundle in namespace dapr-system`.
    pub grant: String,
}

impl Denied {
    /// Whether it hides the mTLS settings, so that Dapr's defaults stand in their place.
    pub fn hides_settings(&self) -> bool {
        self.grant.starts_with("get configurations")
    }

    /// Whether services of the control plane may be there that nobody saw.
    pub fn hides_services(&self) -> bool {
        ["list deployments", "list statefulsets"].iter().any(|verb| self.grant.starts_with(verb))
    }
}

/// What kind of object a workload is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WorkloadKind {
    /// Replaced pod by pod at the controller's will.
    Deployment,
    /// Replaced from the highest ordinal down, one at a time.
    StatefulSet,
    /// One on every node, replaced node by node.
    DaemonSet,
    /// Nothing that a restart could replace, such as a Job: its name begins with its kind.
    Other,
}

/// A control-plane service or an application as an object: what `status` lists and `restart` restarts.
#[derive(Clone, Debug)]
pub struct Workload {
    /// What runs in it; `None` for a service that verifies nobody (the dashboard), and for an application.
    pub role: Option<Role>,
    /// What kind of object it is.
    pub kind: WorkloadKind,
    /// `dapr-sentry`.
    pub name: String,
    /// Its namespace.
    pub namespace: String,
    /// When it was made.
    pub created: Option<Timestamp>,
    /// Desired replicas.
    pub replicas: i32,
    /// Replicas that are ready.
    pub ready: i32,
    /// The tag of its image.
    pub version: String,
    /// `kubectl.kubernetes.io/restartedAt` of the pod template.
    pub restarted: Option<Timestamp>,
    /// Whether its latest revision runs everywhere and is available (dapr-facts §8).
    pub complete: bool,
    /// Why a restart would not come to an end by itself, and what to do: paused, `OnDelete`, a partition, a Job.
    pub blocker: Option<String>,
}

impl Workload {
    /// Whether what a consumer holds changes with this service: it is one of its processes, as an etcd peer is one of
    /// the scheduler's, or a `caBundle` that it writes.
    pub fn keeps(&self, consumer: &Consumer) -> bool {
        let role = match &consumer.role {
            Role::EtcdPeer => &Role::Scheduler,
            Role::Webhook => &Role::Injector,
            Role::Conversion => &Role::Operator,
            role => role,
        };
        self.role.as_ref() == Some(role)
    }

    /// The service as kubectl names it, in the spelling of `dapr mtls renew-certificate --restart`.
    pub fn reference(&self) -> String {
        match self.kind {
            WorkloadKind::Deployment => format!("deploy/{}", self.name),
            WorkloadKind::StatefulSet => format!("statefulsets/{}", self.name),
            WorkloadKind::DaemonSet => format!("ds/{}", self.name),
            WorkloadKind::Other => self.name.clone(),
        }
    }

    /// The workload among those of all namespaces, `shop/deploy/cart`, as [`Consumer::workload`] has it.
    pub fn path(&self) -> String {
        let kind = match self.kind {
            WorkloadKind::Deployment => "deploy/",
            WorkloadKind::StatefulSet => "sts/",
            WorkloadKind::DaemonSet => "ds/",
            WorkloadKind::Other => "",
        };
        format!("{}/{kind}{}", self.namespace, self.name)
    }
}

/// The state of the fence: Sentry's right to overwrite the pair.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fence {
    /// Not looked at, or not visible to the caller.
    #[default]
    Unknown,
    /// Sentry may write, as Dapr's chart has it.
    Down,
    /// Sentry's right to write is taken away, by an `mtls` that did not get to give it back.
    Left,
}

/// Somebody else who has a say in what is published.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Owner {
    /// Helm release values pin certificates: the next `helm upgrade` writes them back.
    HelmValues {
        /// `dapr-system/dapr`.
        release: String,
    },
    /// The release's values could not be read; the text says why.
    HelmUnknown(String),
    /// A continuous reconciler (Argo CD, Flux) owns the data.
    Reconciler {
        /// Which one, and by what it is known.
        who: String,
        /// The patch that makes it leave the data alone.
        remedy: String,
    },
    /// Dapr renews by itself (`issuer.next.*`, `--ca-renewal-enabled`).
    AutomaticRenewal(String),
}

/// The control plane's workloads.
pub type ControlPlane = Vec<Workload>;

/// Which pods a nudge would mark, so that their kubelets refresh their mounts now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Nudge {
    /// The pods, `namespace/pod`.
    pub pods: BTreeSet<String>,
    /// What they are marked with.
    pub mark: String,
    /// Whether they were not nudged for what is published before.
    pub is_first: bool,
}

impl Nudge {
    /// Whether pods of that namespace are among them.
    pub fn reaches(&self, namespace: &str) -> bool {
        self.pods.iter().any(|pod| pod.split_once('/').is_some_and(|(home, _)| home == namespace))
    }
}

/// What one look found. Everything a decision rests on, and nothing else.
#[derive(Clone, Default)]
pub struct Observed {
    /// The API server's clock at the time of the look.
    pub now: Timestamp,
    /// Where this is.
    pub identity: Identity,
    /// How long certificates live.
    pub settings: Settings,
    /// What the objects say.
    pub published: Published,
    /// The Secret that the file era's trust bundle is copied from, where there is one.
    pub trust_source: Option<TrustSource>,
    /// How far it has been copied, where that was asked for.
    pub distribution: Answer<Arc<Distribution>>,
    /// Who verifies, and what each is known to hold.
    pub consumers: Vec<Consumer>,
    /// Whether `consumers` can be taken for all of them: false for a directory, or where listing is forbidden.
    pub consumers_complete: bool,
    /// The control plane's services, in restart order.
    pub control_plane: ControlPlane,
    /// The workloads behind the sidecars, in the order of their paths, where they were asked for.
    pub applications: Vec<Workload>,
    /// Pods that ask for a sidecar and have none, where applications were asked for.
    pub uninjected: Vec<Consumer>,
    /// Who else writes.
    pub owners: Vec<Owner>,
    /// Whether Sentry may write.
    pub fence: Fence,
    /// Whether a nudge was refused, so that mounts refresh in their own time only.
    pub nudge_refused: bool,
    /// How long a mount may lag behind what was published that could not be nudged, or whose process may not be asked;
    /// zero where neither is so.
    pub mount_lag: SignedDuration,
    /// Why the record of the last rotation is there and cannot be used: damaged, of a newer version, or not one of ours.
    pub record_trouble: Option<String>,
    /// The Configurations that have workflow history signed (`WorkflowHistorySigning`), which is verified against the
    /// anchors of the day.
    pub signed_histories: Answer<Vec<String>>,
    /// Rights that were missing for this look.
    pub denied: Vec<Denied>,
}

impl Observed {
    /// How long a holder of `anchors` accepts every SVID that is shown with `chain`, or why it refuses one even now.
    pub fn until(
        &self,
        chain: &[Certificate],
        anchors: &[Certificate],
        profile: Profile,
    ) -> Result<Timestamp, Refusal> {
        self.until_from(self.now, chain, anchors, profile)
    }

    /// The same at another moment.
    pub fn until_from(
        &self,
        at: Timestamp,
        chain: &[Certificate],
        anchors: &[Certificate],
        profile: Profile,
    ) -> Result<Timestamp, Refusal> {
        self.identity.signing().until(chain, anchors, profile, at)
    }

    /// How long `chain` is accepted by whoever holds one of `anchors` alone, the worst of those that verify it now;
    /// `None`: none does.
    pub fn worst<'a>(
        &self,
        chain: &[Certificate],
        anchors: impl IntoIterator<Item = &'a Certificate>,
        profile: Profile,
    ) -> Option<Timestamp> {
        let alone = |anchor| self.until(chain, std::slice::from_ref(anchor), profile).ok();
        anchors.into_iter().filter_map(alone).min()
    }

    /// The next nudge: of the pods that were not nudged for what is published yet, or of those that were, once more.
    ///
    /// # Why
    /// A nudge that outruns the kubelet's own watch refreshes nothing, and puts the next refresh off (dapr-facts §12).
    pub fn nudge(&self) -> Option<Nudge> {
        let [first, again] = self.published.marks();
        // Why: a pod that was born with what is published needs none, and new ones come all the time.
        let is_fresh = |c: &Consumer| c.reads_copy && c.held.proven().is_some();
        let mounting = || self.consumers.iter().filter(|c| c.mounts && c.phase != Phase::Terminating && !is_fresh(c));
        let unmarked = |c: &&Consumer| c.nudged.as_ref().is_none_or(|mark| *mark != first && *mark != again);
        let marked_once = |c: &&Consumer| c.nudged.as_ref() == Some(&first) && c.holds != Answer::Proven(true);
        let named = |consumer: &Consumer| consumer.name.clone();
        let fresh: BTreeSet<String> = mounting().filter(unmarked).map(named).collect();
        let nudge = if fresh.is_empty() {
            let pods = mounting().filter(marked_once).map(named).collect();
            Nudge { pods, mark: again, is_first: false }
        } else {
            Nudge { pods: fresh, mark: first, is_first: true }
        };
        (!nudge.pods.is_empty()).then_some(nudge)
    }

    /// The same without the pods that are being deleted: whoever waits for them stands before this.
    #[must_use]
    pub fn staying(&self) -> Self {
        let mut seen = self.clone();
        seen.consumers.retain(|consumer| consumer.phase != Phase::Terminating);
        seen
    }

    /// A command line for the place that was looked at, to be pasted.
    pub fn command(&self, command: &str) -> String {
        if self.is_directory() {
            format!("`mtls {command} --certs-dir '{}'`", self.identity.context)
        } else {
            format!("`mtls {command} -k`")
        }
    }

    /// Whether the look was at a directory, where nobody's trust can be seen.
    pub fn is_directory(&self) -> bool {
        self.identity.server.is_empty()
    }

    /// The control-plane service of that name.
    pub fn service(&self, name: &str) -> Option<&Workload> {
        self.control_plane.iter().find(|service| service.name == name)
    }

    /// The published anchor that the live chain ended in as long as nothing between them had expired.
    pub fn former_root(&self) -> Option<&Certificate> {
        let chain = &self.published.chain;
        self.published.anchors.iter().find(|anchor| {
            let own = below(chain, anchor);
            let end = own.iter().chain([*anchor]).map(Certificate::not_after).min();
            end.is_some_and(|end| {
                end < self.now && self.until_from(end, own, std::slice::from_ref(anchor), Profile::Spiffe).is_ok()
            })
        })
    }

    /// The published anchor that the live chain ends in: of several the one that lasts longest, the first of equals.
    pub fn signing_root(&self) -> Option<&Certificate> {
        self.root_of(&self.published.chain, &self.published.anchors)
    }

    /// The one of `anchors` that `chain` ends in, by the same rule.
    pub fn root_of<'a>(&self, chain: &[Certificate], anchors: &'a [Certificate]) -> Option<&'a Certificate> {
        let until = |anchor: &Certificate| self.until(chain, std::slice::from_ref(anchor), Profile::Spiffe).ok();
        anchors
            .iter()
            .rev()
            .filter_map(|anchor| Some((until(anchor)?, anchor)))
            .max_by_key(|(until, _)| *until)
            .map(|(_, anchor)| anchor)
    }
}
