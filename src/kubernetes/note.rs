//! Who switched the issuer, when and to what: an annotation on the Secret and an Event, for whoever looks later.

use serde::{Deserialize, Serialize};
use serde_json::json;

use super::api::Change;
use super::resource::EVENTS;
use super::wire::Meta;
use super::{Kubernetes, names};
use crate::mesh::Observed;
use crate::pki::{Certificate, Fingerprint, Issuer, Profile, TrustBundle};

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
    /// Every root of this mesh's own that this tool published or found in use, until it retires it.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    roots: Vec<String>,
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
            roots: Vec::new(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
        }
    }

    /// The note on an object; an empty one where there is none.
    pub fn of(meta: &Meta) -> Self {
        let text = meta.annotations.get(names::ROTATION_NOTE);
        text.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
    }

    /// The roots that it names: old, new, and those before.
    pub fn roots(&self) -> Vec<Fingerprint> {
        let named = [&self.root_before, &self.root_after].into_iter().flatten().chain(&self.roots);
        let mut roots: Vec<Fingerprint> = named.filter_map(|root| root.parse().ok()).collect();
        roots.sort();
        roots.dedup();
        roots
    }

    /// The same note, naming also the roots that were noted before, until one is retired, and of those in the bundle
    /// those of the rotation on record and those that `issuer` is signed under.
    ///
    /// # Why
    /// What else is published may be another mesh's, also where it is published again after Sentry has overwritten it.
    #[must_use]
    pub fn remembering(
        mut self,
        bundle: Option<&TrustBundle>,
        issuer: Option<&Issuer>,
        seen: &Observed,
        recorded: &[Fingerprint],
    ) -> Self {
        let published = &seen.published;
        let anchors = bundle.map_or(published.anchors.as_slice(), TrustBundle::anchors);
        let has = |anchors: &[Certificate], root: &Fingerprint| anchors.iter().any(|it| it.fingerprint() == *root);
        let noted = [self.roots(), published.noted_roots.clone()].concat();
        let noted = noted.into_iter().filter(|root| has(anchors, root) || !has(&published.anchors, root));
        let signs = |anchor: &&Certificate| {
            let until = |issuer: &Issuer| seen.until(&issuer.chain, std::slice::from_ref(*anchor), Profile::Spiffe);
            issuer.is_some_and(|issuer| until(issuer).is_ok())
        };
        let own = anchors.iter().filter(|anchor| recorded.contains(&anchor.fingerprint()) || signs(anchor));
        self.roots = noted.chain(own.map(Certificate::fingerprint)).map(|root| root.to_string()).collect();
        self.roots.sort();
        self.roots.dedup();
        self
    }
}

impl std::fmt::Display for Note {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&serde_json::to_string(self).map_err(|_| std::fmt::Error)?)
    }
}

/// What an Event tells.
struct Occurrence {
    reason: &'static str,
    action: &'static str,
    message: String,
    /// Names what happened, so that the same is told once.
    mark: String,
}

impl Occurrence {
    fn of(bundle: Option<&TrustBundle>, issuer: Option<&Issuer>, seen: &Observed) -> Option<Self> {
        let published = &seen.published;
        if let Some(after) = issuer.map(Issuer::certificate).filter(|after| published.chain.first() != Some(after)) {
            let before = published.chain.first().map_or_else(|| "none".to_owned(), |old| old.fingerprint().short());
            return Some(Self {
                reason: "IssuerSwitched",
                action: "Switch",
                message: format!("issuer {} took the place of {before}", after.fingerprint().short()),
                mark: after.fingerprint().to_string()[..16].to_owned(),
            });
        }
        let gone = |bundle: &TrustBundle| -> Vec<Fingerprint> {
            let anchors = published.anchors.iter().map(Certificate::fingerprint);
            anchors.filter(|anchor| !bundle.contains(*anchor)).collect()
        };
        let gone = bundle.map(gone).filter(|gone| !gone.is_empty())?;
        let names: Vec<String> = gone.iter().map(Fingerprint::short).collect();
        Some(Self {
            reason: "AnchorRetired",
            action: "Retire",
            message: format!("trust anchor {} left the trust bundle", names.join(" + ")),
            mark: format!("{}.retired", &gone[0].to_string()[..16]),
        })
    }
}

impl Kubernetes {
    /// Leaves an Event on the Secret: which issuer took over, or which anchors were retired. It has happened: that it
    /// cannot be told is said, and no more.
    pub(super) async fn report(&mut self, bundle: Option<&TrustBundle>, issuer: Option<&Issuer>, seen: &Observed) {
        let Some(Occurrence { reason, action, message, mark }) = Occurrence::of(bundle, issuer, seen) else { return };
        let (namespace, uid) = match (&self.known.found, &self.known.secret) {
            (Some(found), Some(secret)) => (found.namespace.clone(), secret.metadata.uid.clone()),
            _ => return,
        };
        let now = self.connection.api.now().to_string();
        let event = json!({
            "apiVersion": "v1",
            "kind": "Event",
            // A name of its own makes a second try of the same request harmless.
            "metadata": { "name": format!("{}.{mark}", names::TRUST_BUNDLE), "namespace": namespace },
            "involvedObject": {
                "apiVersion": "v1", "kind": "Secret", "name": names::TRUST_BUNDLE, "namespace": namespace, "uid": uid,
            },
            "type": "Normal",
            "reason": reason,
            "action": action,
            "message": format!("{message}, by {}", seen.identity.caller),
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
            Err(why) => (self.tell)(&format!("this could not be noted as an Event: {why}")),
        }
    }
}
