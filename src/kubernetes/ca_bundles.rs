//! The API server as a client of Dapr's webhooks: what each `caBundle` holds.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

use super::consumers::Interned;
use super::failure::Failure;
use super::find::Found;
use super::names;
use super::observe::allowed;
use super::wire::{ClientConfig, Definition, WebhookConfiguration};
use crate::error::Error;
use crate::mesh::{Answer, Consumer, Denied, Role};

/// The `caBundles`, each with the API server as its consumer.
pub fn ca_bundles(
    webhook: Option<Result<Option<WebhookConfiguration>, Failure>>,
    definition: Option<Result<Option<Definition>, Failure>>,
    found: &Found,
    interned: &mut Interned,
    denied: &mut Vec<Denied>,
) -> Result<Vec<Consumer>, Error> {
    let mut consumers = Vec::new();
    if let Some(read) = webhook {
        consumers.extend(hidden(Role::Webhook, names::INJECTOR, &read));
        let read = allowed(read, "the injector webhook's caBundle", denied)?.flatten();
        let config =
            read.as_ref().and_then(|object| Some((&object.metadata.name, &object.webhooks.first()?.client_config)));
        consumers.extend(ca_bundle(Role::Webhook, config, found, interned));
    }
    if let Some(read) = definition {
        consumers.extend(hidden(Role::Conversion, names::CONVERTED, &read));
        let read = allowed(read, "the conversion webhook's caBundle", denied)?.flatten();
        let webhook = read.as_ref().and_then(|object| {
            let conversion = object.spec.conversion.as_ref()?;
            Some((&object.metadata.name, &conversion.webhook.as_ref()?.client_config))
        });
        consumers.extend(ca_bundle(Role::Conversion, webhook, found, interned));
    }
    Ok(consumers)
}

/// A `caBundle` that the caller may not read is there all the same, and nobody knows what it holds.
fn hidden<T>(role: Role, name: &str, read: &Result<T, Failure>) -> Option<Consumer> {
    match read {
        Err(Failure::Forbidden { grant, .. }) => {
            Some(Consumer { held: Answer::Forbidden(grant.clone()), ..Consumer::new(role, name) })
        }
        _ => None,
    }
}

/// The API server as a client of a webhook of this control plane. One that belongs to another is none of ours.
fn ca_bundle(
    role: Role,
    config: Option<(&String, &ClientConfig)>,
    found: &Found,
    interned: &mut Interned,
) -> Option<Consumer> {
    let (name, config) = config?;
    if config.service.as_ref()?.namespace != found.namespace {
        return None;
    }
    let pem = config.ca_bundle.as_ref().and_then(|bundle| STANDARD.decode(bundle).ok());
    let anchors = interned.anchors(&String::from_utf8_lossy(&pem.unwrap_or_default()));
    Some(Consumer { held: Answer::Proven(anchors), ..Consumer::new(role, name.clone()) })
}
