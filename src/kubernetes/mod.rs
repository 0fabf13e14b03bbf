//! A mesh on a Kubernetes cluster: looks and moves over the API server alone.

mod api;
mod applications;
mod ca_bundles;
mod connect;
mod consumers;
mod control_plane;
mod distribution;
mod failure;
mod fence;
mod find;
mod lease;
mod names;
mod nodes;
mod note;
mod observe;
mod owners;
mod pages;
mod probe;
mod published;
mod record;
mod resource;
mod rest;
mod rollout;
mod transport;
mod tunnel;
mod wire;
mod write;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};

use self::consumers::Interned;
use self::distribution::Copies;
use self::find::Found;
use self::lease::Lock;
use self::probe::Evidence;
use self::published::{ConfigMap, Secret};
use crate::error::Error;
use crate::interrupt::Interrupts;
use crate::mesh::{Consumer, ControlPlane, Denied, Fence, Observed, Settings, Workload};
use crate::pki::{Certificate, Fingerprint};
use crate::rotation::{Mesh, Move, Need, Record};

pub use self::applications::Applications;
pub use self::connect::{Connection, Options};

/// How a command that writes behaves on the way.
#[derive(Clone, Debug)]
pub struct Writing {
    /// Whether Sentry's right to write may be taken away during the trust write.
    pub fence: bool,
    /// How long to wait for a quiet Sentry where it may not.
    pub patience: SignedDuration,
    /// The Secret that the file era's trust bundle is copied from, if it is there.
    pub trust_source: String,
}

/// A mesh on a cluster.
pub struct Kubernetes {
    connection: Connection,
    namespace: Option<String>,
    writing: Option<Writing>,
    which: Applications,
    interrupts: Interrupts,
    tell: Box<dyn FnMut(&str)>,
    known: Known,
    lock: Option<Lock>,
    /// The version of the record's Secret; `None`: there is none yet.
    record: Option<String>,
    /// The roots that the record names.
    roots: Vec<Fingerprint>,
    pause: Duration,
}

/// What earlier looks found and later ones need not ask again.
#[derive(Default)]
struct Known {
    found: Option<Found>,
    settings: Option<Settings>,
    /// Why the settings are Dapr's defaults, where they may not be read.
    unset: Option<Denied>,
    control_plane: ControlPlane,
    fence: Fence,
    caller: Option<String>,
    sidecars: Vec<Consumer>,
    sidecars_complete: bool,
    uninjected: Vec<Consumer>,
    applications: Vec<Workload>,
    interned: Interned,
    secret: Option<Secret>,
    config_map: Option<ConfigMap>,
    nudge_refused: bool,
    /// Pods that could not be nudged, with the mark that they should have got.
    unnudged: BTreeMap<String, String>,
    /// The nodes of the control plane's pods, and the TTL of each.
    nodes: BTreeMap<String, String>,
    ttls: BTreeMap<String, SignedDuration>,
    /// The fence that stands: this run's own, or one that a killed run left around a torn pair.
    standing: Option<fence::Fence>,
    role: Option<wire::Role>,
    evidence: Evidence,
    /// Whether there is a source for the file era; `None`: that was not looked for.
    has_source: Option<bool>,
    copies: Copies,
    /// The record as the first look found it, until it is asked for.
    record: Option<record::Loaded>,
    record_read: bool,
    /// Why there is no record to show, though there may be one.
    unrecorded: Option<Denied>,
    /// Since when the `ConfigMap` carries what is published, where the pair is equal.
    map_written: Option<Timestamp>,
    record_trouble: Option<String>,
}

/// A nudged Sentry serves the new chain after this: its mount is fresh within a second, and it batches file events for
/// two (`dapr/cmd/sentry/app/app.go`). A look that comes too early costs requests, and one that comes late a moment.
const SENTRY_RELOADS: Duration = Duration::from_millis(3200);
/// Pauses between looks grow from the one to the other, and start over with every move.
const SHORTEST_PAUSE: Duration = Duration::from_millis(250);
const LONGEST_PAUSE: Duration = Duration::from_secs(2);

/// Prepares a connection to the cluster that `options` name. Sends nothing yet.
pub async fn connect(options: &Options) -> Result<Kubernetes, Error> {
    let connection = Connection::open(options).await?;
    Ok(Kubernetes::new(connection, options.namespace.clone()))
}

impl Kubernetes {
    /// A mesh that is looked at over `connection`; `namespace`: where its control plane is.
    pub fn new(connection: Connection, namespace: Option<String>) -> Self {
        Self {
            connection,
            namespace,
            writing: None,
            which: Applications::default(),
            interrupts: Interrupts::default(),
            tell: Box::new(|_| ()),
            known: Known::default(),
            lock: None,
            record: None,
            roots: Vec::new(),
            pause: SHORTEST_PAUSE,
        }
    }

    /// The same, for a command that writes: the caller's name is asked for, and what it may not see is an error.
    #[must_use]
    pub fn writing(mut self, writing: Writing) -> Self {
        self.writing = Some(writing);
        self
    }

    /// The same, of whose applications only these count where they are restarted.
    #[must_use]
    pub fn of_applications(mut self, which: Applications) -> Self {
        self.which = which;
        self
    }

    /// The same, stopping between moves when a signal has come.
    #[must_use]
    pub fn interrupted_by(mut self, interrupts: Interrupts) -> Self {
        self.interrupts = interrupts;
        self
    }

    /// The same, telling `detail` of each look (1) and of each request (2).
    #[must_use]
    pub fn detailing(mut self, detail: impl Fn(u8, &str) + Send + Sync + 'static) -> Self {
        self.connection.api.telling(Arc::new(detail));
        self
    }

    /// The same, telling `tell` in a sentence what happens within a move.
    #[must_use]
    pub fn telling(mut self, tell: impl FnMut(&str) + 'static) -> Self {
        self.tell = Box::new(tell);
        self
    }
}

impl Kubernetes {
    async fn namespace(&mut self) -> Result<String, Error> {
        if self.known.found.is_none() {
            self.known.found = Some(find::find(&self.connection.api, self.namespace.as_deref()).await?);
        }
        Ok(self.known.found.as_ref().map(|found| found.namespace.clone()).unwrap_or_default())
    }

    async fn verify_lock(&self) -> Result<(), Error> {
        match &self.lock {
            Some(lock) => lock.verify().await,
            None => Err(Error::failed("nothing is written without the lock")),
        }
    }
}

impl Mesh for Kubernetes {
    async fn observe(&mut self, need: &Need) -> Result<Observed, Error> {
        Box::pin(self.look(need)).await
    }

    async fn apply(&mut self, step: &Move, seen: &Observed) -> Result<(), Error> {
        self.pause = SHORTEST_PAUSE;
        match step {
            Move::PublishTrust { bundle, issuer } => Box::pin(self.publish_trust(bundle, issuer.as_ref(), seen)).await,
            Move::PublishSource { anchors } => Box::pin(self.publish_source(anchors, seen)).await,
            Move::PublishIssuer { issuer } => Box::pin(self.publish_issuer(issuer, seen)).await,
            Move::Nudge => {
                if seen.nudge().is_none_or(|nudge| nudge.reaches(&seen.identity.namespace)) {
                    self.pause = SENTRY_RELOADS;
                }
                self.nudge(seen).await
            }
            Move::Restart { workload } => self.restart(workload, seen).await,
            Move::RestartApplications { workloads } => self.restart_applications(workloads, seen).await,
        }
    }

    async fn lock(&mut self) -> Result<(), Error> {
        self.connection.may_write()?;
        self.interrupts.listen().map_err(|why| Error::failed("signals cannot be noted").because(why))?;
        let namespace = self.namespace().await?;
        let caller = self.known.caller.clone().unwrap_or_default();
        self.lock = Some(Lock::take(&self.connection.api, &namespace, &caller, &self.interrupts).await?);
        if let Err(why) = Box::pin(self.unfence()).await {
            // What stands in the way of the work stands in the way of this too, and has been said.
            let _ = self.unlock().await;
            return Err(why);
        }
        Ok(())
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        let lifted = Box::pin(self.lift()).await;
        if let Some(lock) = self.lock.take() {
            lock.release().await;
        }
        lifted
    }

    async fn load(&mut self) -> Result<Option<Record>, Error> {
        let loaded = if let Some(loaded) = self.known.record.take() {
            loaded
        } else {
            let namespace = self.namespace().await?;
            record::load(&self.connection.api, &namespace).await
        };
        if self.writing.is_none() && loaded.is_err() {
            return Ok(None);
        }
        Ok(loaded?.map(|(record, version)| {
            self.record = Some(version);
            self.roots = record.roots().map(Certificate::fingerprint).collect();
            record
        }))
    }

    async fn save(&mut self, record: &Record) -> Result<(), Error> {
        self.connection.may_write()?;
        self.verify_lock().await?;
        let namespace = self.namespace().await?;
        self.record = Some(record::save(&self.connection.api, &namespace, record, self.record.as_deref()).await?);
        self.roots = record.roots().map(Certificate::fingerprint).collect();
        Ok(())
    }

    async fn pause(&mut self) {
        self.interrupts.or_after(self.pause).await;
        if self.may_lift() {
            // What fails here is tried again and said when the lock is given back.
            let _ = Box::pin(self.lift()).await;
        }
        self.pause = if self.pause > LONGEST_PAUSE { SHORTEST_PAUSE } else { (self.pause * 3 / 2).min(LONGEST_PAUSE) };
    }

    fn interrupted(&self) -> Option<u8> {
        self.interrupts.seen()
    }
}
