//! How far a pod's mounts may lag behind what was published: what the control plane asks of its node's kubelet.

use jiff::SignedDuration;

use super::api::METADATA_ONLY;
use super::resource::NODES;
use super::wire::MetadataOnly;
use super::{Kubernetes, names};

/// A kubelet refreshes a mount within this time and its node's TTL: a sync every 60 s with a jitter up to 90 s
/// (`kubernetes/pkg/kubelet`).
pub const REFRESHED: SignedDuration = SignedDuration::from_secs(90);
/// The longest TTL that the node controller sets (`kubernetes/pkg/controller/ttl`), and what counts where it cannot be
/// read.
pub const LONGEST: SignedDuration = SignedDuration::from_secs(300);

impl Kubernetes {
    /// The longest time for which a kubelet with one of these pods may go on with an object as it was. One GET a node
    /// and run.
    pub(super) async fn longest_ttl(&mut self, pods: &[String]) -> SignedDuration {
        let mut longest = SignedDuration::ZERO;
        for pod in pods {
            let ttl = match self.known.nodes.get(pod).cloned() {
                Some(node) => self.ttl(&node).await,
                None => LONGEST,
            };
            longest = longest.max(ttl);
        }
        longest
    }

    async fn ttl(&mut self, node: &str) -> SignedDuration {
        if let Some(known) = self.known.ttls.get(node) {
            return *known;
        }
        let read = self.connection.api.read::<MetadataOnly>(NODES.cluster(node), "", METADATA_ONLY).await;
        let seconds = read.ok().and_then(|node| node.metadata.annotations.get(names::NODE_TTL)?.parse().ok());
        let ttl = seconds.map_or(LONGEST, SignedDuration::from_secs);
        self.known.ttls.insert(node.to_owned(), ttl);
        ttl
    }
}
