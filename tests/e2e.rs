//! The main job on a real Kubernetes with a real Dapr, two applications calling each other all the while.
//!
//! Works on the lab of `tests/lab/up`, which it starts; on another cluster only where `MTLS_E2E_CONTEXT` names the
//! context and the cluster carries the `ConfigMap` `mtls-lab` in `kube-system`.
//! Run with `cargo test --locked --release --test e2e -- --ignored --test-threads=1`: what a run may cost is asserted of
//! the binary that is released.

#[path = "e2e/aborts.rs"]
mod aborts;
#[path = "e2e/api.rs"]
mod api;
#[path = "e2e/audit.rs"]
mod audit;
#[path = "e2e/authority.rs"]
mod authority;
#[path = "e2e/bindings.rs"]
mod bindings;
#[path = "e2e/chain.rs"]
mod chain;
#[path = "e2e/cuts.rs"]
mod cuts;
#[path = "e2e/distribution.rs"]
mod distribution;
#[path = "e2e/emergencies.rs"]
mod emergencies;
#[path = "e2e/exports.rs"]
mod exports;
#[path = "e2e/faults.rs"]
mod faults;
#[path = "e2e/file_era.rs"]
mod file_era;
#[path = "e2e/filed.rs"]
mod filed;
#[path = "e2e/handshake.rs"]
mod handshake;
#[path = "e2e/helm.rs"]
mod helm;
#[path = "e2e/lab.rs"]
mod lab;
#[path = "e2e/limits.rs"]
mod limits;
#[path = "e2e/mesh.rs"]
mod mesh;
#[path = "e2e/proxy.rs"]
mod proxy;
#[path = "e2e/prunes.rs"]
mod prunes;
#[path = "e2e/restarts.rs"]
mod restarts;
#[path = "e2e/rights.rs"]
mod rights;
#[path = "e2e/rotations.rs"]
mod rotations;
#[path = "e2e/run.rs"]
mod run;
#[path = "e2e/secrets.rs"]
mod secrets;
#[path = "e2e/traffic.rs"]
mod traffic;
#[path = "e2e/upgrades.rs"]
mod upgrades;
#[path = "e2e/wait.rs"]
mod wait;
#[path = "e2e/watcher.rs"]
mod watcher;
