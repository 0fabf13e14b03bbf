//! Dapr's warning under 30 days, in Dapr's words (`dapr/cli/pkg/kubernetes/mtls.go`).

use jiff::SignedDuration;

use super::rfc1123;
use crate::mesh::{Dependents, Layer, LayerKind, Observed, WARNING_TIME};

const WAY_OUT: &str = "Please see docs.dapr.io for certificate renewal instructions to avoid service interruptions.";

/// The lines for the root in use, then for the issuer, then for bridges that somebody is known to need; none if all of
/// them last.
pub fn lines(seen: &Observed, layers: &[Layer]) -> Vec<String> {
    let ends_soon = |layer: &&Layer| layer.certificate.not_after().duration_since(seen.now) < WARNING_TIME;
    let roots = layers.iter().filter(|layer| layer.kind == LayerKind::TrustAnchor && is_the_root(layer, layers));
    let issuers = layers.iter().filter(|layer| layer.kind == LayerKind::Issuer);
    let bridges = layers.iter().filter(|layer| layer.kind == LayerKind::Bridge && layer.is_needed());
    let mut lines: Vec<String> =
        roots.chain(issuers).chain(bridges).filter(ends_soon).map(|layer| line(seen, layer)).collect();
    if !lines.is_empty() {
        lines.push(WAY_OUT.to_owned());
    }
    lines
}

/// The anchor in use; where none is, because it has expired, the first, as `dapr` reads it.
fn is_the_root(layer: &Layer, layers: &[Layer]) -> bool {
    if layers.iter().any(|other| other.in_use) {
        return layer.in_use;
    }
    layers.first().is_some_and(|first| first.certificate == layer.certificate)
}

fn line(seen: &Observed, layer: &Layer) -> String {
    let place = if seen.is_directory() {
        format!("in {}", seen.identity.context)
    } else {
        "of your Kubernetes cluster".to_owned()
    };
    let what = match layer.kind {
        LayerKind::TrustAnchor => format!("Dapr root certificate {place}"),
        LayerKind::Issuer => format!("Dapr issuer certificate {place}"),
        LayerKind::Bridge | LayerKind::FormerIssuer | LayerKind::Intermediate => {
            format!("Dapr bridge certificate {place}")
        }
    };
    let until = layer.certificate.not_after();
    let left = until.duration_since(seen.now);
    let when = match left.as_hours() / 24 {
        _ if left < SignedDuration::ZERO => "has expired.".to_owned(),
        0 => "expires today.".to_owned(),
        days => format!("expires in {days} days."),
    };
    let needed = match &layer.dependents {
        Dependents::These(consumers) => format!(" {} consumers need it.", consumers.len()),
        Dependents::Everyone | Dependents::Unknown => String::new(),
    };
    format!("{what} {when}{needed} Expiry date: {}.", rfc1123(until))
}
