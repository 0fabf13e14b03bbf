//! Reads the two objects that carry the trust bundle, as Sentry and Go read them.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Deserialize;
use zeroize::Zeroizing;

use super::find::Sentry;
use super::names;
use super::note::Note;
use super::wire::Meta;
use crate::mesh::{Pair, Published, Version};
use crate::pki::{Certificate, PrivateKey, Reading, read_as_go, read_chain_as_go};

/// A Secret. Its values are wiped from memory when it goes.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Secret {
    /// Name, version, marks.
    pub metadata: Meta,
    /// Values in base64.
    pub data: BTreeMap<String, Zeroizing<String>>,
    /// Whether the API server refuses every change of the values.
    pub immutable: bool,
    /// What it is for.
    #[serde(rename = "type")]
    pub kind: String,
}

impl Secret {
    /// One value, decoded.
    pub fn value(&self, key: &str) -> Option<Zeroizing<Vec<u8>>> {
        self.data.get(key).and_then(|value| STANDARD.decode(value.as_bytes()).ok()).map(Zeroizing::new)
    }
}

/// A `ConfigMap`.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ConfigMap {
    /// Name, version, marks.
    pub metadata: Meta,
    /// Its values.
    pub data: BTreeMap<String, String>,
}

/// What the two objects say. `None`: the object is not there.
pub fn published(secret: Option<&Secret>, config_map: Option<&ConfigMap>, files: &Sentry) -> Published {
    let bundle = secret.and_then(|secret| secret.value(&files.ca));
    let chain = secret.and_then(|secret| secret.value(&files.issuer));
    let key = secret.and_then(|secret| secret.value(&files.key));
    let mirror = config_map.and_then(|map| map.data.get(&files.ca));
    let mut published = Published {
        pair: pair(
            [bundle.as_ref(), chain.as_ref(), key.as_ref()].map(|part| part.map(|part| part.as_slice())),
            mirror.map(String::as_bytes),
            files,
        ),
        ..Published::default()
    };
    let mut read = |Reading { certificates, oddities }: Reading, place: String| -> Vec<Certificate> {
        published.oddities.extend(oddities.into_iter().map(|oddity| (place.clone(), oddity)));
        certificates
    };
    let at = |kind: &str, file: &str| format!("{kind} {} key {file}", names::TRUST_BUNDLE);
    let anchors = bundle.map(|data| read(read_as_go(&data), at("Secret", &files.ca))).unwrap_or_default();
    let chain = chain.map(|data| read(read_chain_as_go(&data), at("Secret", &files.issuer))).unwrap_or_default();
    let mirror = mirror.map(|data| read(read_as_go(data.as_bytes()), at("ConfigMap", &files.ca))).unwrap_or_default();
    let (key, odd_key) = key.map(|pem| PrivateKey::read_as_go(&pem)).unwrap_or_default();
    published.oddities.extend(odd_key.map(|oddity| (at("Secret", &files.key), oddity)));
    published.key = key;
    published.anchors = anchors;
    published.mirror = mirror;
    published.chain = chain;
    if let Some(secret) = secret {
        published.secret = Version(secret.metadata.resource_version.clone());
        published.written = secret.metadata.written(None);
        published.noted_roots = Note::of(&secret.metadata).roots();
        let ours = [&files.ca, &files.issuer, &files.key];
        published.foreign_keys = secret.data.keys().filter(|key| !ours.contains(key)).cloned().collect();
    }
    if let Some(config_map) = config_map {
        published.config_map = Version(config_map.metadata.resource_version.clone());
    }
    published
}

/// Sentry keeps its CA only if all three keys are there and the two bundles are byte for byte the same
/// (`dapr/pkg/sentry/server/ca/kube.go`).
fn pair([bundle, chain, key]: [Option<&[u8]>; 3], mirror: Option<&[u8]>, files: &Sentry) -> Pair {
    if bundle.or(chain).or(key).or(mirror).is_none() {
        return Pair::Absent;
    }
    let missing: Vec<&str> = [(bundle, &files.ca), (chain, &files.issuer), (key, &files.key)]
        .into_iter()
        .filter(|(value, _)| value.is_none())
        .map(|(_, name)| name.as_str())
        .collect();
    if !missing.is_empty() {
        return Pair::Unequal(format!("Secret {} has no {}", names::TRUST_BUNDLE, missing.join(", ")));
    }
    match mirror {
        None => Pair::Unequal(format!("ConfigMap {} has no {}", names::TRUST_BUNDLE, files.ca)),
        mirror if mirror == bundle => Pair::Equal,
        Some(_) => Pair::Unequal(format!("{} of Secret and ConfigMap {} differ", files.ca, names::TRUST_BUNDLE)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn objects(secret: &[(&str, &str)], map: &[(&str, &str)]) -> (Secret, ConfigMap) {
        let data = secret.iter().map(|(k, v)| ((*k).to_owned(), Zeroizing::new(STANDARD.encode(v)))).collect();
        let secret = Secret { data, ..Secret::default() };
        let data = map.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        (secret, ConfigMap { data, ..ConfigMap::default() })
    }

    #[test]
    fn the_pair_is_what_sentry_asks_for() {
        let files = Sentry::default();
        let pair = |secret: &[(&str, &str)], map: &[(&str, &str)]| {
            let (secret, map) = objects(secret, map);
            published(Some(&secret), Some(&map), &files).pair
        };
        let full = [("ca.crt", "A"), ("issuer.crt", "I"), ("issuer.key", "K"), ("jwt.key", "J")];
        assert_eq!(pair(&full, &[("ca.crt", "A")]), Pair::Equal);
        assert_eq!(pair(&[], &[]), Pair::Absent);
        assert_eq!(pair(&[("jwt.key", "J")], &[]), Pair::Absent, "a foreign key is no trust bundle");
        assert!(matches!(pair(&full, &[("ca.crt", "A\n")]), Pair::Unequal(why) if why.contains("differ")));
        assert!(matches!(pair(&full, &[]), Pair::Unequal(why) if why.contains("ConfigMap")));
        assert!(matches!(pair(&full[..2], &[("ca.crt", "A")]), Pair::Unequal(why) if why.contains("issuer.key")));
    }

    #[test]
    fn a_key_that_sentry_does_not_get_at_is_odd_and_usable() {
        let key = include_str!("../pki/testdata/p256-sec1-parameters.pem");
        let (secret, _) = objects(&[("issuer.key", key)], &[]);
        let seen = published(Some(&secret), None, &Sentry::default());
        assert!(seen.key.is_some());
        let [(place, oddity)] = &seen.oddities[..] else { panic!("{:?}", seen.oddities) };
        assert_eq!(place, "Secret dapr-trust-bundle key issuer.key");
        assert!(oddity.to_string().contains("EC PARAMETERS"), "{oddity}");
    }

    #[test]
    fn keys_of_others_are_named_and_the_last_write_of_data_counts() {
        let secret: Secret = serde_json::from_str(
            r#"{"metadata":{"resourceVersion":"7","managedFields":[
                {"manager":"sentry","time":"2026-01-02T03:04:05Z","fieldsV1":{"f:data":{"f:ca.crt":{}}}},
                {"manager":"kubectl-annotate","time":"2026-02-02T03:04:05Z","fieldsV1":{"f:metadata":{}}}]},
                "data":{"ca.crt":"","jwt.key":"","root.pem":""}}"#,
        )
        .unwrap();
        let files = Sentry { ca: "root.pem".to_owned(), ..Sentry::default() };
        let seen = published(Some(&secret), None, &files);
        assert_eq!(seen.foreign_keys, ["ca.crt", "jwt.key"]);
        assert_eq!(seen.written.map(|t| t.to_string()).as_deref(), Some("2026-01-02T03:04:05Z"));
        assert_eq!(seen.secret, Version("7".to_owned()));
    }
}
