//! Who else writes the trust bundle: Helm's release values, continuous reconcilers, Dapr itself.

use std::io::Read as _;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use flate2::read::GzDecoder;
use serde::Deserialize;
use serde_json::Value;
use zeroize::{Zeroize as _, Zeroizing};

use super::api::{Api, METADATA_OF_LIST};
use super::failure::Failure;
use super::find::Sentry;
use super::names;
use super::published::{ConfigMap, Secret};
use super::resource::SECRETS;
use super::wire::{List, Meta, MetadataOnly};
use crate::mesh::Owner;

/// What the two objects and Sentry's arguments say about other writers. No request.
pub fn of_objects(
    secret: Option<&Secret>,
    config_map: Option<&ConfigMap>,
    sentry: &Sentry,
    namespace: &str,
) -> Vec<Owner> {
    let mut owners = Vec::new();
    let mut metas = secret.map(|secret| &secret.metadata).into_iter().chain(config_map.map(|map| &map.metadata));
    if let Some(owner) = metas.find_map(|meta| reconciler(meta, sentry, namespace)) {
        owners.push(owner);
    }
    let staged = secret.and_then(|secret| secret.data.keys().find(|key| key.starts_with("issuer.next.")));
    if let Some(key) = staged {
        owners.push(Owner::AutomaticRenewal(format!("Secret {} has the key {key}", names::TRUST_BUNDLE)));
    } else if let Some(argument) = &sentry.renews {
        owners.push(Owner::AutomaticRenewal(argument.clone()));
    }
    owners
}

/// What Dapr's Helm release pins. At most two requests, none that lists the content of Secrets.
pub async fn helm(api: &Api, sentry: &Sentry) -> Option<Owner> {
    let (release, namespace) = sentry.release.as_ref()?;
    let name = format!("{namespace}/{release}");
    match pins(api, release, namespace).await {
        Ok(true) => Some(Owner::HelmValues { release: name }),
        Ok(false) => None,
        Err(why) => Some(Owner::HelmUnknown(format!("release {name}: {why}"))),
    }
}

async fn pins(api: &Api, release: &str, namespace: &str) -> Result<bool, Failure> {
    let query = format!("labelSelector=owner%3Dhelm,name%3D{release}");
    let list: List<MetadataOnly> = api.read(SECRETS.within(Some(namespace)), &query, METADATA_OF_LIST).await?;
    let number = |meta: &Meta| meta.labels.get("version").and_then(|version| version.parse::<u32>().ok());
    let deployed = |meta: &&Meta| meta.labels.get("status").is_some_and(|status| status == "deployed");
    let versions: Vec<Meta> = list.items.into_iter().map(|item| item.metadata).collect();
    let live = versions.iter().filter(deployed).max_by_key(|meta| number(meta));
    let Some(newest) = live.or(versions.iter().max_by_key(|meta| number(meta))) else {
        return Ok(false);
    };
    let secret: Secret = api.get(SECRETS.named(namespace, &newest.name), "").await?;
    let unreadable = || Failure::Unreadable {
        what: format!("get secrets/{} in namespace {namespace}", newest.name),
        why: "it is not a Helm release as Helm 3 writes it".to_owned(),
    };
    let stored = secret.value("release").ok_or_else(unreadable)?;
    pinned(&stored).ok_or_else(unreadable)
}

/// Whether a stored release (base64, gzip, JSON; `helm/pkg/storage/driver/util.go`) carries certificates in the values
/// that its user gave. `None`: it cannot be read.
fn pinned(stored: &[u8]) -> Option<bool> {
    #[derive(Deserialize)]
    struct Release {
        #[serde(default)]
        config: Option<Value>,
    }
    let packed = Zeroizing::new(STANDARD.decode(stored).ok()?);
    let text = if packed.starts_with(&[0x1f, 0x8b]) { unpacked(&packed)? } else { packed };
    let mut release: Release = serde_json::from_slice(&text).ok()?;
    let found = release.config.as_ref().is_some_and(pins_certificates);
    if let Some(config) = &mut release.config {
        wipe(config);
    }
    Some(found)
}

/// What a gzip file holds. Text that is read as it unpacks is read byte by byte, which takes three times as long.
fn unpacked(packed: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    // The length of the text, modulo 2^32, ends the file (RFC 1952 §2.3.1): with room for it no copy stays behind.
    let length = u32::from_le_bytes(*packed.last_chunk()?) as usize;
    let mut text = Zeroizing::new(Vec::with_capacity(length.min(MOST_OF_RELEASE) + 1));
    GzDecoder::new(packed).take(MOST_OF_RELEASE as u64).read_to_end(&mut text).ok()?;
    Some(text)
}

/// A Secret holds 1 MiB; what that unpacks to is not more than this, unless somebody means harm.
const MOST_OF_RELEASE: usize = 16 << 20;

/// `dapr_sentry.tls.{root,issuer}.*PEM`, also below the name of a chart that has Dapr's as a part.
fn pins_certificates(values: &Value) -> bool {
    let Value::Object(values) = values else { return false };
    let tls = values.get("dapr_sentry").and_then(|sentry| sentry.get("tls"));
    let filled = |pointer: &str| {
        tls.and_then(|tls| tls.pointer(pointer)).and_then(Value::as_str).is_some_and(|pem| !pem.trim().is_empty())
    };
    ["/root/certPEM", "/issuer/certPEM", "/issuer/keyPEM"].into_iter().any(filled)
        || values.iter().any(|(name, below)| name != "dapr_sentry" && pins_certificates(below))
}

fn wipe(value: &mut Value) {
    match value {
        Value::String(text) => text.zeroize(),
        Value::Array(items) => items.iter_mut().for_each(wipe),
        Value::Object(fields) => fields.values_mut().for_each(wipe),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

const ARGO_MARKS: [&str; 2] = ["argocd.argoproj.io/tracking-id", "argocd.argoproj.io/instance"];
const FLUX_MARKS: [&str; 2] = ["kustomize.toolkit.fluxcd.io/name", "helm.toolkit.fluxcd.io/name"];
const FLUX_MANAGERS: [&str; 2] = ["kustomize-controller", "helm-controller"];
/// Managers whose writes are Dapr's own, ours, or one-time.
const HARMLESS: [&str; 4] = ["sentry", names::MANAGER, "helm", "dapr"];

/// A reconciler owns an object if it wrote the keys of the trust bundle: by its name, or by its mark together with
/// data from a manager that is none of the known ones. An object that it only created (as Dapr's chart does, without
/// data) is not its own.
fn reconciler(meta: &Meta, sentry: &Sentry, namespace: &str) -> Option<Owner> {
    let ours = [&sentry.ca, &sentry.issuer, &sentry.key];
    let wrote: Vec<&str> = meta
        .managed_fields
        .iter()
        .filter(|entry| ours.iter().any(|key| entry.wrote(Some(key))))
        .map(|entry| entry.manager.as_str())
        .collect();
    let marked = |marks: &[&'static str]| {
        marks.iter().find_map(|mark| meta.annotations.get(*mark).or(meta.labels.get(*mark)).map(|by| (*mark, by)))
    };
    let stranger = wrote.iter().any(|manager| !HARMLESS.contains(manager));
    let argo = wrote.iter().find(|manager| manager.starts_with("argocd"));
    let flux = wrote.iter().find(|manager| FLUX_MANAGERS.contains(manager));
    if argo.is_some() || (stranger && marked(&ARGO_MARKS).is_some()) {
        let by = marked(&ARGO_MARKS).map(|(_, by)| by.split(':').next().unwrap_or(by));
        let ours = |kind: &str| format!("{{kind: {kind}, name: {}, jsonPointers: [/data]}}", names::TRUST_BUNDLE);
        return Some(Owner::Reconciler {
            who: named("Argo CD", by, argo),
            // A patch would replace a list that is there already, or fail where there is none.
            remedy: format!(
                "add to the lists in its spec (kubectl -n argocd edit application {}): ignoreDifferences: [{}, {}] and \
                 syncPolicy: {{syncOptions: [RespectIgnoreDifferences=true]}}",
                by.unwrap_or("APPLICATION"),
                ours("Secret"),
                ours("ConfigMap"),
            ),
        });
    }
    if flux.is_some() || (stranger && marked(&FLUX_MARKS).is_some()) {
        return Some(Owner::Reconciler {
            who: named("Flux", marked(&FLUX_MARKS).map(|(_, by)| by.as_str()), flux),
            remedy: format!(
                "kubectl -n {namespace} annotate secret/{0} configmap/{0} kustomize.toolkit.fluxcd.io/ssa=IfNotPresent \
                 helm.toolkit.fluxcd.io/driftDetection=disabled",
                names::TRUST_BUNDLE
            ),
        });
    }
    None
}

fn named(tool: &str, by: Option<&str>, manager: Option<&&str>) -> String {
    match (by, manager) {
        (Some(by), _) => format!("{tool} ({by})"),
        (None, Some(manager)) => format!("{tool} (field manager {manager})"),
        (None, None) => tool.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write as _;

    use super::*;

    fn stored(config: &str) -> Vec<u8> {
        let release = format!(r#"{{"name":"dapr","chart":{{"templates":["x"]}},"config":{config},"version":1}}"#);
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::default());
        gzip.write_all(release.as_bytes()).unwrap();
        STANDARD.encode(gzip.finish().unwrap()).into_bytes()
    }

    #[test]
    fn pinned_certificates_are_found_in_the_values_that_were_given() {
        assert_eq!(pinned(&stored(r#"{"dapr_sentry":{"tls":{"issuer":{"certPEM":"x"}}}}"#)), Some(true));
        assert_eq!(pinned(&stored(r#"{"dapr":{"dapr_sentry":{"tls":{"root":{"certPEM":"x"}}}}}"#)), Some(true));
        assert_eq!(pinned(&stored(r#"{"dapr_sentry":{"tls":{"issuer":{"certPEM":"","keyPEM":" "}}}}"#)), Some(false));
        assert_eq!(pinned(&stored("null")), Some(false));
        assert_eq!(pinned(b"nonsense"), None);
    }

    fn meta(json: &str) -> Meta {
        serde_json::from_str(json).unwrap()
    }

    #[test]
    fn a_reconciler_owns_what_it_wrote_and_no_more() {
        let owner = |json: &str| reconciler(&meta(json), &Sentry::default(), "dapr-system");
        let argo = r#"{"annotations":{"argocd.argoproj.io/tracking-id":"mesh:/Secret:d/t"},"managedFields":[
            {"manager":"argocd-controller","fieldsV1":{"f:data":{"f:ca.crt":{}}}}]}"#;
        let Some(Owner::Reconciler { who, remedy }) = owner(argo) else { panic!("Argo CD was not seen") };
        assert_eq!(who, "Argo CD (mesh)");
        assert!(remedy.contains("edit application mesh)") && remedy.contains("jsonPointers: [/data]"), "{remedy}");
        assert!(!remedy.contains("patch"), "a merge patch replaces whole lists: {remedy}");
        let without_data = argo.replace("f:data", "f:metadata");
        assert_eq!(owner(&without_data), None, "it made the object and left the data alone");
        let flux = r#"{"managedFields":[{"manager":"kustomize-controller","fieldsV1":{"f:data":{"f:ca.crt":{}}}}]}"#;
        assert!(matches!(owner(flux), Some(Owner::Reconciler { who, .. }) if who.starts_with("Flux")));
        let sentry = r#"{"labels":{"helm.toolkit.fluxcd.io/name":"dapr"},"managedFields":[
            {"manager":"sentry","fieldsV1":{"f:data":{"f:ca.crt":{}}}},
            {"manager":"helm-controller","fieldsV1":{"f:data":{"f:other":{}}}}]}"#;
        assert_eq!(owner(sentry), None, "the keys of the bundle are Sentry's");
    }

    #[test]
    fn a_staged_issuer_means_that_dapr_renews_by_itself() {
        let secret: Secret = serde_json::from_str(r#"{"data":{"issuer.next.crt":""}}"#).unwrap();
        let owners = of_objects(Some(&secret), None, &Sentry::default(), "d");
        assert!(matches!(owners.as_slice(), [Owner::AutomaticRenewal(why)] if why.contains("issuer.next.crt")));
    }
}
