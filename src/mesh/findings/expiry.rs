//! What ends soon or has ended, and whom it takes along.

use jiff::Timestamp;

use super::{Found, Severity, WARNING_TIME, names, restart_hint};
use crate::duration::in_words;
use crate::mesh::{Dependents, Layer, LayerKind};

impl Found<'_> {
    /// Everything that has ended or ends soon: one finding for all that takes the same consumers along.
    pub(super) fn expiries(&mut self, layers: &[Layer]) {
        let now = self.seen.now;
        let mut by_end: Vec<&Layer> = layers.iter().collect();
        by_end.sort_by_key(|layer| layer.certificate.not_after());
        let (ended, lasting): (Vec<_>, Vec<_>) = by_end.into_iter().partition(|l| l.certificate.is_expired(now));
        let (early, valid): (Vec<_>, Vec<_>) = lasting.into_iter().partition(|l| l.certificate.not_before() > now);
        self.not_yet_valid(&early);
        self.ended(&ended, layers);
        let mut soon: Vec<_> = valid.into_iter().filter(|l| l.certificate.not_after() <= now + WARNING_TIME).collect();
        while let Some(first) = soon.first().copied() {
            let (together, rest): (Vec<_>, Vec<_>) = soon.into_iter().partition(|l| l.dependents == first.dependents);
            self.ends_soon(&together, first);
            soon = rest;
        }
    }

    fn not_yet_valid(&mut self, layers: &[&Layer]) {
        for layer in layers {
            let what = format!("{} is not valid before {}", name(layer), layer.certificate.not_before());
            let means = "Sentry refuses the whole bundle until then";
            self.add(Severity::Error, what, means, "compare this machine's clock with the cluster's");
        }
    }

    fn ended(&mut self, ended: &[&Layer], layers: &[Layer]) {
        let nothing_signs = !layers.iter().any(|layer| layer.in_use);
        let signed = |layer: &&&Layer| {
            layer.kind == LayerKind::Issuer
                || (nothing_signs && matches!(layer.kind, LayerKind::TrustAnchor | LayerKind::Intermediate))
        };
        let (signing, others): (Vec<_>, Vec<_>) = ended.iter().partition(signed);
        if !signing.is_empty() {
            let hint = format!("a new CA and an ordered restart: {}", self.seen.command("renew-certificate"));
            let means = "no new connection between any two parts of the mesh succeeds";
            self.add(Severity::Error, ends(&signing, self.seen.now), means, hint);
        }
        if !others.is_empty() {
            let what = ends(&others, self.seen.now);
            let means = "whoever accepts what Sentry signs today does not need it";
            self.add(Severity::Note, what, means, "leave it: signed workflow history may be verified with it");
        }
    }

    /// `first` of `layers` ends first; all of them have its dependents.
    fn ends_soon(&mut self, layers: &[&Layer], first: &Layer) {
        let what = ends(layers, self.seen.now);
        let end = first.certificate.not_after();
        match &first.dependents {
            Dependents::Everyone => {
                let means = format!("from {end} on no new connection succeeds anywhere in the mesh");
                let hint = format!("renew it: {}", self.seen.command("renew-certificate"));
                self.add(Severity::Warning, what, means, hint);
            }
            Dependents::These(consumers) if !consumers.is_empty() => {
                let what = format!("{} depend on what ends soon: {what}", names(consumers));
                let means = format!("from {end} on they refuse every peer");
                self.add(Severity::Warning, what, means, restart_hint(consumers));
            }
            Dependents::These(_) => {}
            Dependents::Unknown => {
                let means = format!(
                    "from {end} on whoever holds only older trust anchors refuses every peer; who that is cannot be seen here"
                );
                let hint = if self.seen.is_directory() {
                    "restart the sidecars that started before the last rotation".to_owned()
                } else {
                    format!(
                        "what holds older trust in the control plane is restarted by {}",
                        self.seen.command("restart --stale")
                    )
                };
                self.add(Severity::Warning, what, means, hint);
            }
        }
    }
}

/// `issuer 0123 expires in 3 days, trust anchor 4567 in 9 days`.
fn ends(layers: &[&Layer], now: Timestamp) -> String {
    let parts: Vec<String> = layers
        .iter()
        .map(|layer| {
            let left = layer.certificate.not_after().duration_since(now);
            let span = in_words(left);
            if left.is_negative() {
                format!("{} expired {span} ago", name(layer))
            } else {
                format!("{} expires in {span}", name(layer))
            }
        })
        .collect();
    parts.join(", ")
}

fn name(layer: &Layer) -> String {
    format!("{} {}", layer.kind.word(), layer.certificate.fingerprint().short())
}
