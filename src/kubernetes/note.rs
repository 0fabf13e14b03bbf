//! Who switched the issuer, when and to what: an annotation on the Secret and an Event, for whoever looks later.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::{Change, EVENTS};
use super::{Kubernetes, names};
use crate::mesh::Observed;
use crate::pki::{Certificate, Fingerprint, Issuer, TrustBundle};

/// The annotation's content.
#[derive(Default, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Note {
    switched: String,
    longest_ttl: String,
    by: String,
    before: Option<String>,
    after: String,
    root_before: Option<String>,
    root_after: Option<String>,
    version: String,
}

impl Note {
    /// What is known when `issuer` takes the place of the published one, and `bundle`, if that goes along, of the
    /// published trust.
    pub fn new(issuer: &Issuer, bundle: Option<&TrustBundle>, seen: &Observed) -> Self {
        let anchors = bundle.map_or(seen.published.anchors.as_slice(), TrustBundle::anchors);
        let name = |root: &Certificate| root.fingerprint().to_string();
        let ttl = seen.settings.workload_cert_ttl + seen.settings.allowed_clock_skew;
        Self {
            switched: seen.now.to_string(),
            longest_ttl: format!("{}s", ttl.as_secs()),
            by: seen.identity.caller.clone(),
            before: seen.published.chain.first().map(|old| old.fingerprint().to_string()),
            after: issuer.certificate().fingerprint().to_string(),
            root_before: seen.signing_root().map(name),
            root_after: seen.root_of(&issuer.chain, anchors).map(name),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The roots that a note names, old and new. None if it is not a note.
    pub fn roots(text: &str) -> Vec<Fingerprint> {
        let note: Self = serde_json::from_str(text).unwrap_or_default();
        [note.root_before, note.root_after].into_iter().flatten().filter_map(|root| root.parse().ok()).collect()
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}

impl Kubernetes {
    /// Leaves an Event on the Secret. The switch has happened: that it cannot be told is said, and no more.
    pub(super) async fn report_switch(&mut self, issuer: &Issuer, seen: &Observed) {
        let (namespace, uid) = match (&self.known.found, &self.known.secret) {
            (Some(found), Some(secret)) => (found.namespace.clone(), secret.metadata.uid.clone()),
            _ => return,
        };
        let after = issuer.certificate().fingerprint();
        let before = seen.published.chain.first().map_or_else(|| "none".to_owned(), |old| old.fingerprint().short());
        let now = self.connection.api.now().to_string();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            // A name of its own makes a second try of the same request harmless.
            "metadata": { "name": format!("{}.{}", names::TRUST_BUNDLE, &after.to_string()[..16]), "namespace": namespace },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Secret", "name": names::TRUST_BUNDLE, "namespace": namespace, "uid": uid,
            },
            "type": "Normal",
            "reason": "IssuerSwitched",
            "action": "Switch",
            "message": format!("issuer {} took the place of {before}, by {}", after.short(), seen.identity.caller),
            "source": { "component": names::MANAGER },
            "reportingComponent": names::MANAGER,
            "reportingInstance": names::MANAGER,
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
        });
        let at = EVENTS.within(Some(&namespace));
        let sent = self
            .connection
            .api
            .change::<serde::de::IgnoredAny>(at, Change::Create, event.to_string().as_bytes(), false)
            .await;
        match sent {
            Ok(_) | Err(super::failure::Failure::Conflict { .. }) => {}
            Err(why) => (self.tell)(&format!("the switch could not be noted as an Event: {why}")),
        }
    }
}
