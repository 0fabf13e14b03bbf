//! The record of a rotation, kept in a Secret beside the trust bundle.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::Serialize;
use zeroize::Zeroizing;

use super::api::{Api, Change};
use super::failure::Failure;
use super::names;
use super::observe::optional;
use super::published::Secret;
use super::resource::SECRETS;
use crate::error::Error;
use crate::rotation::{Record, RecordData};

/// The record, and the version of the Secret that it is in; `None`: there is none.
pub type Loaded = Result<Option<(Record, String)>, Unread>;

/// Why a record that is there was not read. To a reader that is data, to a writer an error.
pub enum Unread {
    /// The caller may not, or there was no answer.
    Failed(Failure),
    /// It is damaged, of a newer version, or not one of ours.
    Unusable(Error),
}

impl From<Unread> for Error {
    fn from(unread: Unread) -> Self {
        match unread {
            Unread::Failed(failure) => failure.into(),
            Unread::Unusable(error) => error,
        }
    }
}

/// Reads the record.
pub async fn load(api: &Api, namespace: &str) -> Loaded {
    let secret: Option<Secret> =
        optional(api.get(SECRETS.named(namespace, names::ROTATION), "")).await.map_err(Unread::Failed)?;
    secret.map(|secret| read(&secret, namespace)).transpose().map_err(Unread::Unusable)
}

fn read(secret: &Secret, namespace: &str) -> Result<(Record, String), Error> {
    if secret.kind != names::RECORD_TYPE {
        return Err(Error::failed(format!(
            "Secret `{namespace}/{}` is of type `{}`, not `{}`: somebody else's",
            names::ROTATION,
            secret.kind,
            names::RECORD_TYPE
        ))
        .hint("mtls keeps its record under that name; rename or remove the other"));
    }
    let data: RecordData = secret.data.keys().filter_map(|key| Some((key.clone(), secret.value(key)?))).collect();
    let record = Record::from_data(&data).map_err(|why| {
        let anew = format!("to begin anew without it: kubectl -n {namespace} delete secret {}", names::ROTATION);
        let hint = why.hint(anew);
        Error::failed(format!("the record in Secret `{namespace}/{}` cannot be read", names::ROTATION))
            .because(why)
            .hint(hint)
    })?;
    Ok((record, secret.metadata.resource_version.clone()))
}

/// Keeps the record: makes the Secret, or replaces the version that was read. Returns the new version.
pub async fn save(api: &Api, namespace: &str, record: &Record, version: Option<&str>) -> Result<String, Error> {
    let body = body(namespace, record, version);
    let at = SECRETS.named(namespace, names::ROTATION);
    let change = if version.is_some() { Change::Replace } else { Change::Create };
    match api.change::<Secret>(at, change, &body, false).await {
        Ok(secret) => Ok(secret.metadata.resource_version),
        // The answer to an earlier try may have been lost: what is there decides.
        Err(failure @ (Failure::Conflict { .. } | Failure::Lost { .. })) => {
            let there: Secret = api.get(at, "").await?;
            let wanted = record.to_data();
            if wanted.len() == there.data.len()
                && wanted.iter().all(|(key, value)| there.value(key).as_ref() == Some(value))
            {
                return Ok(there.metadata.resource_version);
            }
            let who = super::write::last_writer(&there.metadata);
            let error = Error::from(failure);
            Err(error.hint(format!("{who} wrote the record meanwhile: `mtls status` shows where the rotation stands")))
        }
        Err(failure @ Failure::Missing { .. }) => {
            let gone = format!(
                "the record of this rotation (Secret `{namespace}/{}`) was deleted while it ran",
                names::ROTATION
            );
            Err(Error::failed(gone)
                .because(failure)
                .hint("`mtls status` shows what is published; the same command begins anew from there"))
        }
        Err(failure) => Err(failure.into()),
    }
}

fn body(namespace: &str, record: &Record, version: Option<&str>) -> Zeroizing<Vec<u8>> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Object<'a> {
        api_version: &'a str,
        kind: &'a str,
        metadata: Metadata<'a>,
        #[serde(rename = "type")]
        of: &'a str,
        data: BTreeMap<String, Zeroizing<String>>,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Metadata<'a> {
        name: &'a str,
        namespace: &'a str,
        #[serde(skip_serializing_if = "Option::is_none")]
        resource_version: Option<&'a str>,
        labels: BTreeMap<&'a str, &'a str>,
    }
    let data = record.to_data();
    let object = Object {
        api_version: "v1",
        kind: "Secret",
        metadata: Metadata {
            name: names::ROTATION,
            namespace,
            resource_version: version,
            labels: BTreeMap::from([("app.kubernetes.io/managed-by", names::MANAGER)]),
        },
        of: names::RECORD_TYPE,
        data: data.iter().map(|(key, value)| (key.clone(), Zeroizing::new(STANDARD.encode(value)))).collect(),
    };
    super::write::to_json(&object)
}
