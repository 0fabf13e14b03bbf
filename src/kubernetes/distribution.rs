//! The file era on a cluster: the Secret that is copied, and its copies in all namespaces, by one LIST and one WATCH.
//!
//! # Why
//! A distributor that is asked how far it is says that all is well (dapr-facts §12): only the copies tell. The WATCH
//! begins where the LIST ended, and what it brings is taken at each look, so that a wait during which copies come costs no
//! request.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::stream::LocalBoxStream;
use futures::{FutureExt as _, StreamExt as _};
use jiff::{SignedDuration, Timestamp};
use kube::api::WatchEvent;
use zeroize::Zeroizing;

use super::api::Api;
use super::consumers::Interned;
use super::failure::Failure;
use super::observe::optional;
use super::pages::{Select, pages};
use super::published::Secret;
use super::resource::{BUNDLES, CONFIG_MAPS, LEASES, SECRETS};
use super::wire::{Bundle, DistributedMap, Lease, List};
use super::write::{Fields, last_writer, send};
use super::{Kubernetes, names};
use crate::error::Error;
use crate::mesh::{Answer, DISTRIBUTED, Distribution, Distributor, Observed, TrustCopy, TrustSource, Version};
use crate::pki::{Certificate, Oddity, read_as_go};

type Events = LocalBoxStream<'static, kube::Result<WatchEvent<DistributedMap>>>;

/// The copies as a run has seen them so far.
#[derive(Default)]
pub struct Copies {
    distribution: Arc<Distribution>,
    /// Up to where they were seen.
    version: String,
    events: Option<Events>,
    /// When they were last listed.
    listed: Timestamp,
    /// When a distributor that stands still was last looked into.
    asked: Option<Timestamp>,
}

/// A distributor is looked into that has written nothing for so long, and again after as long.
const IDLE: SignedDuration = SignedDuration::from_secs(20);
/// The holder of trust-manager's Lease renews it more often than that.
const LEASE_LASTS: SignedDuration = SignedDuration::from_secs(15);

impl Copies {
    /// The copies as they are now. `follows`: there will be further looks, so that changes are watched for.
    pub async fn look(&mut self, api: &Api, follows: bool, interned: &mut Interned) -> Answer<Arc<Distribution>> {
        if !self.catch_up(api, interned) {
            if let Err(failure) = self.list(api, interned).await {
                return failure.answer();
            }
            if follows {
                // Why: whoever may list and not watch lists again at every look.
                self.events =
                    api.watch(CONFIG_MAPS.within(None), &format!("fieldSelector={FIELD}"), &self.version).await;
            }
        }
        Answer::Proven(Arc::clone(&self.distribution))
    }

    /// Whether a WATCH goes on that has brought no change for long: a proxy may keep one open that has died behind it.
    pub fn is_silent(&self, now: Timestamp) -> bool {
        self.events.is_some() && now.duration_since(self.listed.max(self.distribution.moved)) >= IDLE
    }

    /// Lists the copies again, and begins another WATCH.
    pub async fn look_afresh(&mut self, api: &Api, interned: &mut Interned) -> Answer<Arc<Distribution>> {
        self.events = None;
        self.look(api, true, interned).await
    }

    async fn list(&mut self, api: &Api, interned: &mut Interned) -> Result<(), Failure> {
        let listed = pages(api, CONFIG_MAPS.within(None), Select::Field(FIELD), |map: DistributedMap| {
            Some((map.metadata.namespace.clone(), copy(&map, Timestamp::MAX, interned)))
        });
        let listed = listed.await?;
        // Why: a list takes its time, and a copy may have become right at the end of it.
        let now = api.now();
        let before = std::mem::take(&mut self.distribution);
        let mut copies: BTreeMap<String, TrustCopy> = listed.items.into_iter().collect();
        let mut has_moved = self.version.is_empty();
        for (namespace, copy) in &mut copies {
            let known = before.copies.get(namespace);
            let same = known.filter(|known| known.anchors == copy.anchors);
            has_moved |= known.is_some() && same.is_none();
            copy.since = same.map_or(now, |known| known.since);
        }
        let moved = if has_moved { now } else { before.moved };
        self.listed = now;
        self.distribution = Arc::new(Distribution { copies, moved, trouble: before.trouble.clone() });
        self.version = listed.version;
        Ok(())
    }

    /// Takes what the WATCH has brought since. `false`: there is none, or it has ended.
    fn catch_up(&mut self, api: &Api, interned: &mut Interned) -> bool {
        let Some(mut events) = self.events.take() else { return false };
        while let Some(event) = events.next().now_or_never() {
            match event {
                Some(Ok(WatchEvent::Added(map) | WatchEvent::Modified(map))) => self.note(&map, api.now(), interned),
                Some(Ok(WatchEvent::Deleted(map))) => {
                    Arc::make_mut(&mut self.distribution).copies.remove(&map.metadata.namespace);
                }
                Some(Ok(WatchEvent::Bookmark(_))) => {}
                None | Some(Err(_) | Ok(WatchEvent::Error(_))) => return false,
            }
        }
        self.events = Some(events);
        true
    }

    fn note(&mut self, map: &DistributedMap, now: Timestamp, interned: &mut Interned) {
        let mut copy = copy(map, now, interned);
        let distribution = Arc::make_mut(&mut self.distribution);
        match distribution.copies.get(&map.metadata.namespace) {
            Some(known) if known.anchors == copy.anchors => copy.since = known.since,
            Some(_) => (distribution.moved, distribution.trouble) = (now, None),
            None => {}
        }
        distribution.copies.insert(map.metadata.namespace.clone(), copy);
    }
}

/// All copies, and nothing else: a right that names them is enough (dapr-facts §12).
const FIELD: &str = "metadata.name=dapr-root-ca.crt";

fn copy(map: &DistributedMap, now: Timestamp, interned: &mut Interned) -> TrustCopy {
    let metadata = &map.metadata;
    let controller = metadata.owner_references.iter().find(|owner| owner.controller);
    let distributor = match (&metadata.labels.bundle, controller) {
        (Some(bundle), _) => Some(Distributor::TrustManager(bundle.clone())),
        (None, Some(owner)) => Some(Distributor::Other(format!("{} {}", owner.kind, owner.name))),
        (None, None) if metadata.labels.managed_by.as_deref() == Some(names::OPERATOR) => Some(Distributor::Operator),
        (None, None) => None,
    };
    TrustCopy {
        anchors: interned.anchors(map.data.bundle.as_deref().unwrap_or_default()),
        since: now,
        distributor,
        immutable: map.immutable,
        leaving: metadata.deletion_timestamp.is_some(),
    }
}

/// The source of the copies; what is odd about its PEM text too.
pub fn source(name: &str, secret: &Secret) -> (TrustSource, Vec<(String, Oddity)>) {
    let read = read_as_go(&secret.value(names::CA_FILE).unwrap_or_default());
    let place = format!("Secret {name} key {}", names::CA_FILE);
    let oddities = read.oddities.into_iter().map(|oddity| (place.clone(), oddity)).collect();
    let version = Version(secret.metadata.resource_version.clone());
    let written = secret.metadata.written(Some(names::CA_FILE));
    (TrustSource { name: name.to_owned(), anchors: read.certificates, version, written }, oddities)
}

/// The error for a source that somebody named and that is not there: no copy would ever get what is published.
pub fn no_source(namespace: &str, name: &str) -> Error {
    Error::failed(format!("Secret `{namespace}/{name}`, which `--trust-source` names, is not there")).hint(format!(
        "it names the Secret that is copied into ConfigMap `{DISTRIBUTED}` of every namespace; where none is, leave it out"
    ))
}

impl Kubernetes {
    /// Writes the source, on condition that nobody wrote it since the look.
    pub(super) async fn publish_source(&mut self, anchors: &[Certificate], seen: &Observed) -> Result<(), Error> {
        self.connection.may_write()?;
        self.verify_lock().await?;
        let Some(source) = &seen.trust_source else { return Ok(()) };
        let (api, namespace) = (&self.connection.api, &seen.identity.namespace);
        let at = SECRETS.named(namespace, &source.name);
        let failure = match source_write(api, seen, anchors, false).await {
            Ok(()) => return Ok(()),
            Err(failure @ (Failure::Conflict { .. } | Failure::Lost { .. })) => failure,
            Err(failure) => return Err(failure.into()),
        };
        let there: Option<Secret> = optional(api.get(at, "")).await?;
        match there {
            Some(there) if self::source(&source.name, &there).0.anchors == anchors => Ok(()),
            Some(there) if matches!(failure, Failure::Conflict { .. }) => {
                let (object, who) = (format!("Secret `{namespace}/{}`", source.name), last_writer(&there.metadata));
                Err(Error::failed(format!("{object} was changed since it was looked at, by {who}"))
                    .hint("run the same command again: it looks anew and decides on what is there now"))
            }
            _ => Err(failure.into()),
        }
    }

    /// Says what is the matter with a distributor that stands still while copies are behind. A few requests, now and then.
    pub(super) async fn look_into_the_distributor(&mut self, seen: &mut Observed) {
        let (api, copies) = (&self.connection.api, &mut self.known.copies);
        let now = seen.now;
        let is_recent = |at: Timestamp| now.duration_since(at) < IDLE;
        if seen.behind().is_empty() || is_recent(copies.distribution.moved) || copies.asked.is_some_and(is_recent) {
            return;
        }
        copies.asked = Some(now);
        let trouble = match copies.distribution.distributor() {
            Some(Distributor::TrustManager(bundle)) => trust_manager(api, bundle).await,
            Some(Distributor::Operator) => {
                "it copies what its own mount had when it last saw a change, so restart it: `mtls restart --stale -k`"
                    .to_owned()
            }
            Some(Distributor::Other(_)) | None => {
                format!("see who writes them: `kubectl get configmap {DISTRIBUTED} -o yaml --show-managed-fields`")
            }
        };
        Arc::make_mut(&mut copies.distribution).trouble = Some(trouble);
        seen.distribution = Answer::Proven(Arc::clone(&copies.distribution));
    }
}

/// Writes these anchors into the source, if there is one.
pub async fn source_write(api: &Api, seen: &Observed, anchors: &[Certificate], dry_run: bool) -> Result<(), Failure> {
    let Some(source) = &seen.trust_source else { return Ok(()) };
    let pem: String = anchors.iter().map(Certificate::to_pem).collect();
    let mut fields = Fields::default();
    fields.data.insert(names::CA_FILE.to_owned(), Zeroizing::new(STANDARD.encode(pem)));
    let at = SECRETS.named(&seen.identity.namespace, &source.name);
    send(api, at, "Secret", fields, &source.version.0, dry_run).await
}

/// What trust-manager's own objects say (dapr-facts §12).
async fn trust_manager(api: &Api, bundle: &str) -> String {
    let lease = format!("fieldSelector=metadata.name={}", names::TRUST_MANAGER_LEASE);
    let (read, leases) = tokio::join!(
        api.get::<Bundle>(BUNDLES.cluster(bundle), ""),
        api.get::<List<Lease>>(LEASES.within(None), &lease),
    );
    let unsynced = read.ok().and_then(|bundle| {
        let condition = bundle.status.conditions.into_iter().find(|condition| condition.kind == "Synced")?;
        (condition.status == "False").then(|| format!("it says {}: {}", condition.reason, condition.message))
    });
    let is_old = |renewed: &Timestamp| api.now().duration_since(*renewed) > LEASE_LASTS;
    let renewed =
        leases.ok().and_then(|leases| leases.items.into_iter().filter_map(|lease| lease.spec.renew_time).max());
    let stopped = renewed
        .filter(is_old)
        .map(|at| format!("its Lease was last renewed {at}, so that it does not run, if it elects a leader"));
    let look = format!("look at `kubectl get bundle {bundle} -o yaml` and at the log of trust-manager");
    unsynced.or(stopped).map_or_else(|| look.clone(), |why| format!("{why}; {look}"))
}
