//! What `mtls -k` shows.

use crate::mesh::Observed;

/// Whether mutual TLS is on, in Dapr's words (`dapr/cli/cmd/mtls.go`).
pub fn line(seen: &Observed) -> String {
    let word = if seen.settings.mtls_enabled { "enabled" } else { "disabled" };
    format!("Mutual TLS is {word} in your Kubernetes cluster")
}
