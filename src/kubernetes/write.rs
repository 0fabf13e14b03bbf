//! Publishes trust and issuer: `ConfigMap`, then Secret, each on condition that nobody wrote since the look.
//!
//! # Why merge patches
//! A JSON merge patch that names the object's `resourceVersion` is as conditional as a PUT, and it carries the keys of
//! the trust bundle alone: what belongs to others (`jwt.key`, labels, fields that this tool has never heard of) is not
//! even read here, so that it cannot be lost.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::api::{Api, Change};
use super::distribution::source_write;
use super::failure::Failure;
use super::fence::GIVE_BACK;
use super::find::Sentry;
use super::note::Note;
use super::observe::optional;
use super::published::{ConfigMap, Secret};
use super::resource::{At, CONFIG_MAPS, SECRETS};
use super::wire::Meta;
use super::{Kubernetes, names};
use crate::error::Error;
use crate::mesh::{Observed, Pair};
use crate::pki::{Issuer, TrustBundle};
use crate::rotation::Trio;

impl Kubernetes {
    /// Writes the trust bundle into both objects, with the issuer where that goes along.
    pub(super) async fn publish_trust(
        &mut self,
        bundle: &TrustBundle,
        issuer: Option<&Issuer>,
        seen: &Observed,
    ) -> Result<(), Error> {
        let pair = self.pair(Some(bundle), issuer, seen)?;
        let api = self.connection.api.clone();
        let source = source_write(&api, seen, bundle.anchors(), true);
        let dry = tokio::join!(pair.config_map(&api, true), pair.secret(&api, true), source);
        for checked in [dry.0, dry.1, dry.2] {
            checked.map_err(|failure| {
                Error::from(failure).hint("the API server refused this in a dry run, so nothing was changed")
            })?;
        }
        let fenced = self.fence().await?;
        if !fenced && !nothing_to_lose(seen) {
            Box::pin(self.rest(seen)).await?;
        }
        self.verify_lock().await?;
        self.guard(false);
        let written = self.write_pair(&pair).await;
        // Why: a repair that changed nothing leaves the pair as torn as it found it.
        let was_whole = seen.published.pair == Pair::Equal;
        self.guard(written.as_ref().err().is_none_or(|unwritten| was_whole && !unwritten.torn));
        written.map_err(|unwritten| unwritten.why)?;
        self.report(Some(bundle), issuer, seen).await;
        Ok(())
    }

    /// Writes the issuer: one request that leaves `ca.crt` as it is, right after a look at the other half.
    pub(super) async fn publish_issuer(&mut self, issuer: &Issuer, seen: &Observed) -> Result<(), Error> {
        if seen.published.pair != Pair::Equal {
            return Err(Error::failed(
                "the two halves of the trust bundle differ, so that the issuer is not switched now",
            )
            .hint("run the same command again: it repairs the pair first"));
        }
        let pair = self.pair(None, Some(issuer), seen)?;
        self.verify_lock().await?;
        let api = &self.connection.api;
        let map = pair.read_map(api).await?;
        if map.metadata.resource_version != pair.map_version {
            return Err(pair.changed("ConfigMap", &map.metadata));
        }
        let sent = pair.secret(api, false).await;
        pair.settle(sent, Half::Secret, api).await.map_err(|unwritten| unwritten.why)?;
        self.report(None, Some(issuer), seen).await;
        Ok(())
    }

    fn pair<'a>(
        &self,
        bundle: Option<&TrustBundle>,
        issuer: Option<&'a Issuer>,
        seen: &'a Observed,
    ) -> Result<PairWrite<'a>, Error> {
        self.connection.may_write()?;
        let found =
            self.known.found.as_ref().ok_or_else(|| Error::failed("nothing was looked at before this write"))?;
        if self.known.secret.as_ref().is_some_and(|secret| secret.immutable) {
            return Err(Error::failed(format!("Secret `{}/{}` is immutable", found.namespace, names::TRUST_BUNDLE))
                .hint("Dapr could not renew it either; make it anew without `immutable: true`"));
        }
        let is_new = |issuer: &&Issuer| seen.published.chain.first() != Some(issuer.certificate());
        let note = match issuer.filter(is_new) {
            Some(issuer) => Note::new(issuer, bundle, seen),
            None => self.known.secret.as_ref().map(|secret| Note::of(&secret.metadata)).unwrap_or_default(),
        };
        Ok(PairWrite {
            namespace: found.namespace.clone(),
            files: found.sentry.clone(),
            bundle: bundle.map(TrustBundle::to_pem),
            issuer,
            note: note.remembering(bundle, issuer, seen, &self.roots).to_string(),
            map_before: self.known.config_map.as_ref().and_then(|map| map.data.get(&found.sentry.ca).cloned()),
            secret_version: &seen.published.secret.0,
            map_version: &seen.published.config_map.0,
        })
    }

    /// No signal is looked at between the two writes, and whatever goes wrong after the first is put right here. The
    /// answers carry what is stored now; the loop's next look reads both objects again.
    async fn write_pair(&self, pair: &PairWrite<'_>) -> Result<(), Unwritten> {
        let api = &self.connection.api;
        // Why: where a killed run has made this half, the repair is the missing one.
        let map = if pair.map_before == pair.bundle { Ok(()) } else { pair.config_map(api, false).await };
        let unwritten = match pair.settle(map, Half::ConfigMap, api).await {
            Ok(()) => {
                let secret = match pair.secret(api, false).await {
                    Err(Failure::Conflict { .. }) => self.secret_again(api, pair).await,
                    sent => sent,
                };
                match pair.settle(secret, Half::Secret, api).await {
                    Ok(()) => return Ok(()),
                    Err(unwritten) => unwritten,
                }
            }
            Err(unwritten) if unwritten.torn => unwritten,
            Err(unwritten) => return Err(unwritten),
        };
        let whole = pair.level(api).await;
        Err(Unwritten {
            why: unwritten.why.after_changes().hint(if whole {
                "the ConfigMap carries the Secret's trust bundle again, so that the pair is whole"
            } else {
                "the pair is not equal now: run the same command again at once, before Sentry reloads"
            }),
            torn: !whole,
        })
    }
}

impl Kubernetes {
    /// Somebody wrote the Secret after the `ConfigMap` was written. If that left its trust alone (an annotation, the
    /// key of somebody else), the write is made up for at the new version.
    async fn secret_again(&self, api: &Api, pair: &PairWrite<'_>) -> Result<(), Failure> {
        let there = pair.read_secret(api).await?;
        let (version, files) = (&there.metadata.resource_version, &pair.files);
        let ours = [&files.ca, &files.issuer, &files.key];
        let untouched = self
            .known
            .secret
            .as_ref()
            .is_some_and(|seen| ours.iter().all(|key| seen.data.get(*key) == there.data.get(*key)));
        // Where it was touched, the version that was looked at makes this the conflict that it is.
        let version = if untouched { version } else { pair.secret_version };
        pair.secret_at_version(api, version, false).await
    }
}

/// Making an unequal pair equal, and replacing a CA that has expired or that Sentry cannot start on, need no wait:
/// Sentry could not do worse by itself.
fn nothing_to_lose(seen: &Observed) -> bool {
    seen.published.pair != Pair::Equal || Trio::published(seen).is_none_or(|trio| trio.until(seen).is_none())
}

/// One of the two objects.
#[derive(Clone, Copy)]
enum Half {
    Secret,
    ConfigMap,
}

/// Why a half was not written, or is not known to be.
struct Unwritten {
    why: Error,
    /// Whether the other half may differ from it now.
    torn: bool,
}

/// What both objects are to carry.
struct PairWrite<'a> {
    namespace: String,
    files: Sentry,
    bundle: Option<String>,
    issuer: Option<&'a Issuer>,
    note: String,
    map_before: Option<String>,
    secret_version: &'a str,
    map_version: &'a str,
}

impl PairWrite<'_> {
    fn secret_at(&self) -> At<'_> {
        SECRETS.named(&self.namespace, names::TRUST_BUNDLE)
    }

    fn map_at(&self) -> At<'_> {
        CONFIG_MAPS.named(&self.namespace, names::TRUST_BUNDLE)
    }

    async fn read_secret(&self, api: &Api) -> Result<Secret, Failure> {
        api.get(self.secret_at(), "").await
    }

    async fn read_map(&self, api: &Api) -> Result<ConfigMap, Failure> {
        api.get(self.map_at(), "").await
    }

    async fn config_map(&self, api: &Api, dry_run: bool) -> Result<(), Failure> {
        let bundle = self.bundle.as_deref().unwrap_or_default();
        self.map_with(api, bundle, self.map_version, dry_run).await
    }

    async fn map_with(&self, api: &Api, bundle: &str, version: &str, dry_run: bool) -> Result<(), Failure> {
        let mut fields = Fields::default();
        fields.data.insert(self.files.ca.clone(), Zeroizing::new(bundle.to_owned()));
        send(api, self.map_at(), "ConfigMap", fields, version, dry_run).await
    }

    async fn secret(&self, api: &Api, dry_run: bool) -> Result<(), Failure> {
        self.secret_at_version(api, self.secret_version, dry_run).await
    }

    async fn secret_at_version(&self, api: &Api, version: &str, dry_run: bool) -> Result<(), Failure> {
        let mut fields = Fields::default();
        for (key, value) in self.secret_values() {
            fields.data.insert(key.to_owned(), Zeroizing::new(STANDARD.encode(value.as_bytes())));
        }
        fields.annotations.insert(names::ROTATION_NOTE.to_owned(), self.note.clone());
        send(api, self.secret_at(), "Secret", fields, version, dry_run).await
    }

    fn secret_values(&self) -> Vec<(&str, Zeroizing<String>)> {
        let mut values = Vec::new();
        if let Some(bundle) = &self.bundle {
            values.push((self.files.ca.as_str(), Zeroizing::new(bundle.clone())));
        }
        if let Some(issuer) = self.issuer {
            values.push((self.files.issuer.as_str(), Zeroizing::new(issuer.chain_pem())));
            values.push((self.files.key.as_str(), issuer.key.to_pem()));
        }
        values
    }

    fn secret_is_ours(&self, secret: &Secret) -> bool {
        self.secret_values()
            .iter()
            .all(|(key, value)| secret.value(key).is_some_and(|there| there.as_slice() == value.as_bytes()))
    }

    fn map_is_ours(&self, map: &ConfigMap) -> bool {
        self.bundle.as_ref().is_none_or(|bundle| map.data.get(&self.files.ca) == Some(bundle))
    }

    /// Turns a conflict or a lost answer into a fact: what is there now is ours, or somebody else's, who is named.
    async fn settle(&self, sent: Result<(), Failure>, half: Half, api: &Api) -> Result<(), Unwritten> {
        let failure = match sent {
            Ok(()) => return Ok(()),
            Err(failure @ (Failure::Conflict { .. } | Failure::Lost { .. })) => failure,
            Err(failure) => return Err(Unwritten { why: failure.into(), torn: false }),
        };
        // A GET without a resourceVersion is answered from etcd, not from the API server's watch cache.
        let read = match half {
            Half::Secret => self.read_secret(api).await.map(|it| (self.secret_is_ours(&it), it.metadata)),
            Half::ConfigMap => self.read_map(api).await.map(|it| (self.map_is_ours(&it), it.metadata)),
        };
        match (read, failure) {
            (Ok((true, _)), _) => Ok(()),
            (Ok((false, meta)), Failure::Conflict { .. }) => {
                Err(Unwritten { why: self.changed(half.kind(), &meta), torn: false })
            }
            (Ok(_), failure) | (Err(failure), _) => {
                let why = Error::from(failure).after_changes();
                let hint = "whether the write took place is not known; the same command finds out";
                Err(Unwritten { why: why.hint(hint), torn: true })
            }
        }
    }

    fn changed(&self, kind: &str, meta: &Meta) -> Error {
        let object = format!("{kind} `{}/{}`", self.namespace, names::TRUST_BUNDLE);
        Error::failed(format!("{object} was changed since it was looked at, by {}", last_writer(meta)))
            .hint("run the same command again: it looks anew and decides on what is there now")
    }

    /// After one half was written and the other was not: tries as long as a fence may stand to make the `ConfigMap`
    /// follow the Secret. Says whether the pair is whole again.
    async fn level(&self, api: &Api) -> bool {
        let started = Instant::now();
        loop {
            match self.follow_the_secret(api).await {
                Ok(whole) => return whole,
                Err(_) if started.elapsed() < GIVE_BACK => tokio::time::sleep(Duration::from_millis(500)).await,
                Err(_) => return false,
            }
        }
    }

    /// A Secret without a trust bundle is not followed: what the `ConfigMap` had is put back.
    async fn follow_the_secret(&self, api: &Api) -> Result<bool, Failure> {
        let secret = optional(self.read_secret(api)).await?;
        let theirs = secret.and_then(|secret| String::from_utf8(secret.value(&self.files.ca)?.to_vec()).ok());
        let theirs = theirs.filter(|bundle| !bundle.trim().is_empty());
        let whole = theirs.is_some();
        let Some(bundle) = theirs.or_else(|| self.map_before.clone()) else {
            return Ok(false);
        };
        let map = self.read_map(api).await?;
        if map.data.get(&self.files.ca) != Some(&bundle) {
            self.map_with(api, &bundle, &map.metadata.resource_version, false).await?;
        }
        Ok(whole)
    }
}

impl Half {
    fn kind(self) -> &'static str {
        match self {
            Self::Secret => "Secret",
            Self::ConfigMap => "ConfigMap",
        }
    }
}

/// What a patch touches.
#[derive(Default)]
pub(super) struct Fields {
    pub(super) data: std::collections::BTreeMap<String, Zeroizing<String>>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// Patches the object at `version`; makes it, as Dapr's chart labels it, where there is none.
pub(super) async fn send(
    api: &Api,
    at: At<'_>,
    kind: &str,
    fields: Fields,
    version: &str,
    dry_run: bool,
) -> Result<(), Failure> {
    #[derive(Serialize)]
    struct Object<'a> {
        #[serde(flatten)]
        head: Value,
        metadata: Value,
        data: &'a std::collections::BTreeMap<String, Zeroizing<String>>,
    }
    let (change, head, mut metadata) = if version.is_empty() {
        let labels = json!({ names::APP: names::SENTRY });
        let head = json!({ "apiVersion": "v1", "kind": kind });
        (Change::Create, head, json!({ "name": names::TRUST_BUNDLE, "labels": labels }))
    } else {
        (Change::Patch, json!({}), json!({ "resourceVersion": version }))
    };
    if !fields.annotations.is_empty() {
        metadata["annotations"] = json!(fields.annotations);
    }
    let body = to_json(&Object { head, metadata, data: &fields.data });
    let _: IgnoredAny =
        if dry_run { api.change(at, change, &body, true).await? } else { api.insist(at, change, &body).await? };
    Ok(())
}

/// Who wrote an object last, by its `managedFields`.
pub(super) fn last_writer(meta: &Meta) -> String {
    match meta.managed_fields.iter().max_by_key(|entry| entry.time) {
        Some(entry) => match entry.time {
            Some(time) => format!("`{}` at {time}", entry.manager),
            None => format!("`{}`", entry.manager),
        },
        None => "somebody".to_owned(),
    }
}

/// JSON in a buffer that is wiped; large enough from the start, so that growing leaves no copies behind.
pub(super) fn to_json(object: &impl Serialize) -> Zeroizing<Vec<u8>> {
    let mut body = Zeroizing::new(Vec::with_capacity(256 * 1024));
    serde_json::to_writer(&mut *body, object).expect("maps of strings serialise");
    body
}
