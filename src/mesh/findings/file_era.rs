//! What is said of a mesh whose sidecars mount their trust anchors.

use super::{Found, Severity};
use crate::mesh::DISTRIBUTED;
use crate::pki::Certificate;

impl Found<'_> {
    /// A source that lacks an anchor, and copies that do not carry what is published.
    pub(super) fn file_era(&mut self) {
        let seen = self.seen;
        if let Some(source) = &seen.trust_source {
            let lacks = |anchor: &&Certificate| !anchor.is_expired(seen.now) && !source.anchors.contains(anchor);
            let lacking: Vec<String> =
                seen.published.anchors.iter().filter(lacks).map(|anchor| anchor.fingerprint().short()).collect();
            if !lacking.is_empty() {
                self.add(
                    Severity::Warning,
                    format!("Secret `{}` lacks the trust anchors {}", source.name, lacking.join(", ")),
                    "sidecars that mount their trust anchors do not get these",
                    format!("the next rotation adds them: {}", seen.command("renew-certificate")),
                );
            }
        }
        let behind = seen.behind();
        if let (Some(first), Some(far)) = (behind.first(), seen.propagation()) {
            let who = seen.distribution.proven().and_then(|seen| seen.distributor());
            let hint = who.map_or_else(
                || format!("see who writes them: `kubectl get configmap {DISTRIBUTED} -o yaml --show-managed-fields`"),
                |who| format!("{who} copies it; if the number does not grow, see whether it works"),
            );
            self.add(
                Severity::Warning,
                format!(
                    "ConfigMap `{DISTRIBUTED}` carries what is published in {} of {} namespaces (not in {first})",
                    far.done, far.total
                ),
                "sidecars that mount it there do not hold the newest trust anchors",
                hint,
            );
        }
        for (namespace, why) in seen.hindered() {
            let copies = seen.distribution.proven().map(|seen| &seen.copies);
            let is_leaving = copies.and_then(|copies| copies.get(namespace)).is_some_and(|copy| copy.leaving);
            let hint = if is_leaving {
                format!("if it stays, see what holds it: `kubectl get namespace {namespace} -o yaml`")
            } else {
                format!("let it be copied anew: `kubectl -n {namespace} delete configmap {DISTRIBUTED}`")
            };
            self.add(
                Severity::Warning,
                format!("ConfigMap `{namespace}/{DISTRIBUTED}` does not carry what is published, and {why}"),
                "sidecars that mount it do not get new trust anchors",
                hint,
            );
        }
    }
}
