//! Publishes trust and issuer: `ConfigMap`, then Secret, each on condition that nobody wrote since the look.
//!
//! # Why merge patches
//! A JSON merge patch that names the object's `resourceVersion` is as conditional as a PUT, and it carries the keys of
//! the trust bundle alone: what belongs to others (`jwt.key`, labels, fields that this tool has never heard of) is not
//! even read here, so that it cannot be lost.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use super::api::{Api, At, CONFIG_MAPS, Change, SECRETS};
use super::failure::Failure;
use super::find::Sentry;
use super::note::Note;
use super::published::{ConfigMap, Secret};
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
        let dry = tokio::join!(pair.config_map(&api, true), pair.secret(&api, true));
        for checked in [dry.0, dry.1] {
            checked.map_err(|failure| {
                Error::from(failure).hint("the API server refused this in a dry run, so nothing was changed")
            })?;
        }
        let fence = self.fence().await?;
        if fence.is_none() && !nothing_to_lose(seen) {
            Box::pin(self.rest(seen)).await?;
        }
        let written = self.write_pair(&pair).await;
        match fence {
            Some(fence) => {
                let given_back = self.give_back(fence).await;
                match (written, given_back) {
                    (Ok(()), given_back) => given_back.map_err(Error::after_changes),
                    (Err(why), Ok(())) => Err(why),
                    (Err(why), Err(fenced)) => Err(why.after_changes().hint(fenced.to_string())),
                }
            }
            None => written,
        }
    }

    /// Writes the issuer: one request that leaves `ca.crt` as it is.
    pub(super) async fn publish_issuer(&mut self, issuer: &Issuer, seen: &Observed) -> Result<(), Error> {
        if seen.published.pair != Pair::Equal {
            return Err(Error::failed(
                "the two halves of the trust bundle differ, so that the issuer is not switched now",
            )
            .hint("`mtls renew-certificate --resume` repairs the pair first"));
        }
        let pair = self.pair(None, Some(issuer), seen)?;
        self.verify_lock().await?;
        settle(pair.secret(&self.connection.api, false).await, &self.connection.api, &pair).await?;
        self.report_switch(issuer, seen).await;
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
        let note = issuer.map(|issuer| Note::new(issuer, seen).to_string());
        Ok(PairWrite {
            namespace: found.namespace.clone(),
            files: found.sentry.clone(),
            bundle: bundle.map(TrustBundle::to_pem),
            issuer,
            note,
            secret_version: &seen.published.secret.0,
            map_version: &seen.published.config_map.0,
        })
    }

    /// No signal is looked at between the two writes, and whatever goes wrong after the first is put right here. The
    /// answers carry what is stored now; the loop's next look reads both objects again.
    async fn write_pair(&self, pair: &PairWrite<'_>) -> Result<(), Error> {
        self.verify_lock().await?;
        let api = &self.connection.api;
        let map = settle(pair.config_map(api, false).await, api, pair).await?;
        let sent = match pair.secret(api, false).await {
            Err(Failure::Conflict { .. }) => self.secret_again(api, pair).await,
            sent => sent,
        };
        if let Err(why) = settle(sent, api, pair).await {
            let levelled = level(api, pair, &map).await;
            let error = why.after_changes();
            return Err(match levelled {
                Ok(()) => {
                    error.hint("the ConfigMap carries the Secret's trust bundle again, so that the pair is whole")
                }
                Err(_) => error.hint(
                    "the pair is not equal now: run `mtls renew-certificate --resume` at once, before Sentry reloads",
                ),
            });
        }
        Ok(())
    }
}

impl Kubernetes {
    /// Somebody wrote the Secret after the `ConfigMap` was written. If that left its trust alone (an annotation, the
    /// key of somebody else), the write is made up for at the new version.
    async fn secret_again(&self, api: &Api, pair: &PairWrite<'_>) -> Result<Stored, Failure> {
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

/// What both objects are to carry.
struct PairWrite<'a> {
    namespace: String,
    files: Sentry,
    bundle: Option<String>,
    issuer: Option<&'a Issuer>,
    note: Option<String>,
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

    async fn config_map(&self, api: &Api, dry_run: bool) -> Result<Stored, Failure> {
        let bundle = self.bundle.as_deref().unwrap_or_default();
        self.map_with(api, bundle, self.map_version, dry_run).await
    }

    async fn map_with(&self, api: &Api, bundle: &str, version: &str, dry_run: bool) -> Result<Stored, Failure> {
        let mut fields = Fields::default();
        fields.data.insert(self.files.ca.clone(), Zeroizing::new(bundle.to_owned()));
        let written: ConfigMap = send(api, self.map_at(), "ConfigMap", fields, version, dry_run).await?;
        Ok(Stored { version: written.metadata.resource_version })
    }

    async fn secret(&self, api: &Api, dry_run: bool) -> Result<Stored, Failure> {
        self.secret_at_version(api, self.secret_version, dry_run).await
    }

    async fn secret_at_version(&self, api: &Api, version: &str, dry_run: bool) -> Result<Stored, Failure> {
        let mut fields = Fields::default();
        for (key, value) in self.secret_values() {
            fields.data.insert(key.to_owned(), Zeroizing::new(STANDARD.encode(value.as_bytes())));
        }
        if let Some(note) = &self.note {
            fields.annotations.insert(names::ROTATION_NOTE.to_owned(), note.clone());
        }
        let written: Secret = send(api, self.secret_at(), "Secret", fields, version, dry_run).await?;
        Ok(Stored { version: written.metadata.resource_version })
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
}

/// A write that has come to its end.
struct Stored {
    version: String,
}

#[derive(Default)]
struct Fields {
    data: std::collections::BTreeMap<String, Zeroizing<String>>,
    annotations: std::collections::BTreeMap<String, String>,
}

/// Patches the object at `version`; makes it, as Dapr's chart labels it, where there is none.
async fn send<T: DeserializeOwned>(
    api: &Api,
    at: At<'_>,
    kind: &str,
    fields: Fields,
    version: &str,
    dry_run: bool,
) -> Result<T, Failure> {
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
    api.change(at, change, &body, dry_run).await
}

/// Turns a conflict or a lost answer into a fact: what is there now is ours, or somebody else's, who is named.
async fn settle(sent: Result<Stored, Failure>, api: &Api, pair: &PairWrite<'_>) -> Result<Stored, Error> {
    let failure = match sent {
        Ok(stored) => return Ok(stored),
        Err(failure @ (Failure::Conflict { .. } | Failure::Lost { .. })) => failure,
        Err(failure) => return Err(failure.into()),
    };
    let is_secret =
        matches!(&failure, Failure::Conflict { what, .. } | Failure::Lost { what, .. } if what.contains(" secrets/"));
    // A GET without a resourceVersion is answered from etcd, not from the API server's watch cache.
    let not_known = |why: Failure| {
        Error::from(why).after_changes().hint("whether the write took place is not known; the same command finds out")
    };
    let (ours, meta) = if is_secret {
        let secret = pair.read_secret(api).await.map_err(not_known)?;
        (pair.secret_is_ours(&secret), secret.metadata)
    } else {
        let map = pair.read_map(api).await.map_err(not_known)?;
        (pair.map_is_ours(&map), map.metadata)
    };
    if ours {
        return Ok(Stored { version: meta.resource_version });
    }
    let kind = if is_secret { "Secret" } else { "ConfigMap" };
    Err(match failure {
        Failure::Conflict { .. } => Error::failed(format!(
            "{kind} `{}/{}` was changed since it was looked at, by {}",
            pair.namespace,
            names::TRUST_BUNDLE,
            last_writer(&meta)
        ))
        .hint("run the same command again: it looks anew and decides on what is there now"),
        failure => Error::from(failure).hint("the write did not take place: run the same command again"),
    })
}

/// After the `ConfigMap` was written and the Secret was not: the `ConfigMap` follows the Secret, so that the pair is
/// whole again.
async fn level(api: &Api, pair: &PairWrite<'_>, map: &Stored) -> Result<(), Failure> {
    let secret = pair.read_secret(api).await?;
    let theirs = secret.value(&pair.files.ca).unwrap_or_default();
    let theirs = String::from_utf8_lossy(&theirs).into_owned();
    pair.map_with(api, &theirs, &map.version, false).await.map(drop)
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
