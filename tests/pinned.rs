//! What the model takes for granted of Sentry, of daprd and of watchers, held against the real ones: the same script
//! is played on both, and both tell the same.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::fmt::Debug;

use model::{Model, Topology, Watcher};
use mtls::mesh::Era;
use names::Names;

#[allow(dead_code, reason = "it does more than is used here")]
mod apiserver;
#[path = "pinned/cluster.rs"]
mod cluster;
mod model;
#[path = "pinned/mount.rs"]
mod mount;
#[path = "pinned/names.rs"]
mod names;
#[path = "sentry/process.rs"]
mod process;
#[path = "pinned/sentry.rs"]
mod sentry;
#[path = "pinned/shown.rs"]
mod shown;
#[path = "pinned/sidecars.rs"]
mod sidecars;
#[path = "pinned/watchers.rs"]
mod watchers;

/// Each step, and what is seen after it.
fn trace<S: Debug>(script: &[S], mut take: impl FnMut(&S) -> Vec<String>) -> Vec<String> {
    let tell = |step: &S| format!("{step:?}: {}", take(step).join("; "));
    script.iter().map(tell).collect()
}

#[track_caller]
fn assert_agree(model: &[String], real: &[String]) {
    assert!(model == real, "the model\n{}\n\nthe real one\n{}", model.join("\n"), real.join("\n"));
}

/// A mesh in memory with one process of each kind, in which anything may happen. Its CA is A.
fn small_mesh(watcher: Watcher, sidecars: usize) -> (Model, Names) {
    let sidecars = vec![(Era::Env, Watcher::NoMount); sidecars];
    let topology = Topology { sentries: 1, injectors: 1, schedulers: 1, watchers: vec![watcher], sidecars };
    let mut mesh = Model::with(1, 365, topology);
    mesh.broken = true;
    let names = Names::beginning_with(mesh.now, mesh.secret.clone());
    (mesh, names)
}

#[test]
#[ignore = "needs the lab's watchers"]
fn a_watcher_of_either_kit_sees_what_the_models_does() {
    use watchers::Step::{Restart, Swap, Write};
    let script = [
        Write("AB"),
        Swap,
        Write("ABC"),
        Swap,
        Write("ABCD"),
        Swap,
        Write("ABCDE"),
        Restart,
        Swap,
        Write("BCDE"),
        Swap,
        Restart,
    ];
    for (watcher, binary) in [(Watcher::Once, "lab-watcher"), (Watcher::Alive, "lab-watcher-living")] {
        assert_agree(&watchers::on_the_model(watcher, &script), &watchers::on_the_real_one(binary, &script));
    }
}

#[test]
#[ignore = "needs the lab's Sentry"]
fn sentry_reads_its_objects_and_invents_a_ca_as_the_models_does() {
    use sentry::Step::{
        BeginRefresh, DropKey, EmptyBoth, GiveRight, RefreshMount, Start, TakeRight, Wait, WriteConfigMapOnly,
        WriteIssuer, WritePair, WriteSecretOnly,
    };
    let scripts = [
        vec![EmptyBoth, RefreshMount, Start, RefreshMount, WritePair("AB"), RefreshMount],
        vec![Start, WritePair("AB"), RefreshMount, RefreshMount, WriteIssuer('B'), RefreshMount],
        vec![Start, WriteSecretOnly("AB"), RefreshMount],
        vec![Start, WriteConfigMapOnly("AB"), Wait, WriteIssuer('B'), RefreshMount],
        vec![Start, TakeRight, WriteSecretOnly("AB"), RefreshMount, Start, WritePair("AB"), GiveRight, Start],
        vec![Start, WritePair("AB"), BeginRefresh, WriteConfigMapOnly("A"), Wait],
        vec![Start, DropKey, RefreshMount],
    ];
    // Why: each waits for most of its time.
    std::thread::scope(|scope| {
        for script in &scripts {
            scope.spawn(move || assert_agree(&sentry::on_the_model(script), &sentry::on_the_real_one(script)));
        }
    });
}

#[test]
#[ignore = "needs the lab's Sentry and daprd"]
fn sidecars_hold_what_they_were_started_with_as_the_models_do() {
    use sidecars::Step::{Look, RestartClient, RestartServer, WriteIssuer, WriteRoots};
    let script = [
        Look,
        WriteRoots("AB"),
        WriteIssuer('B'),
        RestartServer,
        RestartClient,
        WriteRoots("ABC"),
        RestartClient,
        WriteIssuer('C'),
        RestartServer,
    ];
    assert_agree(&sidecars::on_the_model(&script), &sidecars::on_the_real_ones(&script));
}
