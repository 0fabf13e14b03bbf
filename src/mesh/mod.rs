//! What one look at a mesh found: what is published in objects, what is held by processes, and what follows for its health.
//!
//! Everything here is plain data and pure functions of it. The edges (`kubernetes`, `selfhosted`) fill it in,
//! `rotation` decides on it, `report` shows it.

mod consumer;
mod distribution;
mod findings;
mod layers;
mod observed;
mod published;

pub use consumer::{Anchors, Answer, Consumer, Era, Phase, Role};
pub use distribution::{DISTRIBUTED, Distribution, Distributor, Propagation, TrustCopy, TrustSource, is_of_file_era};
pub use findings::{Finding, Recorded, Severity, WARNING_TIME, findings, names};
pub use layers::{Dependent, Dependents, Group, Layer, LayerKind, layers, live_bridges, refusing};
pub use observed::{ControlPlane, Denied, Fence, Identity, Nudge, Observed, Owner, Settings, Workload, WorkloadKind};
pub use published::{Pair, Published, Version};
