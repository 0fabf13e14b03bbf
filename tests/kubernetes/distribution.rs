//! The file era on the in-memory API server: a distributor that copies, lags, stands still and leaves copies alone.

use std::time::Duration;

use super::apiserver::within;
use super::append::APPEND;
use super::commands::{RENEW, mtls};
use mtls::error::{Error, Kind};
use mtls::mesh::{findings, layers};
use mtls::rotation::{Event, Run, Status, Strategy};

use super::*;

const SOURCE: &str = "/api/v1/namespaces/dapr-system/secrets/dapr-root-ca.crt";
const BUNDLE: &str = "/apis/trust.cert-manager.io/v1alpha1/bundles/trust";

/// A mesh of the file era: a source, and a copy in each of these namespaces. Nobody has a sidecar.
fn file_era(namespaces: &[&str]) -> ApiServer {
    let (server, ca) = cluster();
    server.remove("/api/v1/namespaces/shop/pods/server-1");
    server.put(
        SOURCE,
        json!({ "metadata": {}, "data": { "ca.crt": STANDARD.encode(ca.trust.to_pem()), "more": "eA==" } }),
    );
    for namespace in namespaces {
        put_copy(&server, namespace, &ca.trust.to_pem());
    }
    server
}

fn copy_at(namespace: &str) -> String {
    format!("/api/v1/namespaces/{namespace}/configmaps/dapr-root-ca.crt")
}

fn put_copy(server: &ApiServer, namespace: &str, pem: &str) {
    let labels = json!({ "trust.cert-manager.io/bundle": "trust" });
    server.put(&copy_at(namespace), json!({ "metadata": { "labels": labels }, "data": { "ca.crt": pem } }));
}

fn change_copy(server: &ApiServer, namespace: &str, change: impl FnOnce(&mut Value)) {
    let mut copy = server.get(&copy_at(namespace));
    change(&mut copy);
    server.put(&copy_at(namespace), copy);
}

/// The metadata of an object that a controller of another kind owns.
fn owned_by_a_team() -> Value {
    json!({ "ownerReferences": [{ "kind": "Team", "name": "x", "controller": true }] })
}

/// What the source carries, in another order and with comments, as a distributor may write it.
fn as_distributed(server: &ApiServer) -> String {
    as_distributed_from(server, SOURCE)
}

fn as_distributed_from(server: &ApiServer, source: &str) -> String {
    let source = STANDARD.decode(server.get(source)["data"]["ca.crt"].as_str().unwrap()).unwrap();
    let source = String::from_utf8(source).unwrap();
    let mut blocks: Vec<&str> = source.split_inclusive("-----END CERTIFICATE-----\n").collect();
    blocks.reverse();
    format!("# copied\n{}", blocks.concat())
}

/// A sidecar that mounts its trust anchors, given its node at that time, if it has one.
fn mounting(server: &ApiServer, namespace: &str, scheduled: Option<Timestamp>) {
    let condition = scheduled.map(|at| json!({ "type": "PodScheduled", "status": "True", "lastTransitionTime": at }));
    server.put(
        &format!("/api/v1/namespaces/{namespace}/pods/filed"),
        json!({ "metadata": { "labels": { "dapr.io/app-id": "filed" }, "creationTimestamp": START },
            "spec": { "nodeName": scheduled.map(|_| "n1"),
                "volumes": [{ "name": "trust", "configMap": { "name": "dapr-root-ca.crt" } }],
                "containers": [{ "name": "daprd", "image": "daprd:1.19.0", "env": [
                    { "name": "DAPR_CONTROLPLANE_NAMESPACE", "value": NAMESPACE },
                    { "name": "DAPR_TRUST_ANCHORS_FILE", "value": "/trust/ca.crt" }],
                    "volumeMounts": [{ "name": "trust", "mountPath": "/trust" }] }] },
            "status": { "phase": "Pending", "conditions": condition.into_iter().collect::<Vec<_>>() } }),
    );
}

/// An append on this server, and what it told.
async fn append(server: &ApiServer) -> (Run, Vec<String>) {
    let mut mesh = server.mesh(true);
    let seen = mesh.observe(&ALL).await.unwrap();
    let request = Request { strategy: Some(Strategy::Append), ..renewal("append") };
    let goal = choose(&request, &seen, None, &mut entropy()).unwrap().goal;
    let mut record = Record::open(goal);
    mesh.lock().await.unwrap();
    mesh.save(&record).await.unwrap();
    server.forget();
    let mut told = Vec::new();
    let ended = go_on(&mut mesh, &mut record, &mut |event| told.push(format!("{event:?}"))).await.unwrap();
    mesh.unlock().await.unwrap();
    (ended, told)
}

async fn go_on(mesh: &mut Kubernetes, record: &mut Record, tell: &mut dyn FnMut(Event)) -> Result<Run, Error> {
    let limits =
        Limits { propagation: SignedDuration::from_secs(60), rollout: SignedDuration::from_secs(60), parallel: 10 };
    let seen = mesh.observe(&ALL).await?;
    Box::pin(run(mesh, record, seen, limits, &mut entropy(), tell)).await
}

/// An append while somebody distributes.
async fn append_beside(server: &ApiServer, distributor: impl Future<Output = ()>) -> (Run, Vec<String>) {
    let both = Box::pin(async { tokio::join!(append(server), distributor).0 });
    within(Duration::from_secs(600), both).await
}

/// Who holds a run back, in words.
#[track_caller]
fn held_back(ended: &Run) -> String {
    let Outcome::Blocked(breaks) = &ended.outcome else { panic!("{:?}", ended.outcome) };
    mtls::rotation::safety::in_words(breaks)
}

async fn until(ready: impl Fn() -> bool) {
    while !ready() {
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

fn source_is_written(server: &ApiServer) -> bool {
    server.writes().iter().any(|write| write == "PATCH secrets/dapr-root-ca.crt")
}

/// How often the pair's Secret was written: with trust, then with the issuer.
fn secret_writes(server: &ApiServer) -> usize {
    server.writes().iter().filter(|write| *write == "PATCH secrets/dapr-trust-bundle").count()
}

#[tokio::test(start_paused = true)]
async fn the_issuer_is_switched_once_every_namespace_has_the_new_root() {
    let namespaces = ["a", "b", "c", "d"];
    let server = file_era(&namespaces);
    mounting(&server, "d", None);
    let distributor = async {
        until(|| source_is_written(&server)).await;
        for namespace in namespaces {
            tokio::time::sleep(Duration::from_secs(15)).await;
            assert_eq!(secret_writes(&server), 1, "{namespace} has the old root alone");
            put_copy(&server, namespace, &as_distributed(&server));
        }
    };
    let (ended, told) = append_beside(&server, distributor).await;
    assert!(matches!(&ended.outcome, Outcome::Done(left) if left.is_empty()), "{:?}", ended.outcome);
    assert_eq!(secret_writes(&server), 2);
    assert_eq!(server.get(SOURCE)["data"]["more"], "eA==", "another's key");
    let progress: Vec<&String> = told.iter().filter(|line| line.contains("Propagated")).collect();
    assert!(progress.iter().any(|line| line.contains("done: 3, total: 4") && line.contains("Some((")), "{progress:?}");
    let log = server.log();
    let lists = log.iter().filter(|seen| seen.path == "/api/v1/configmaps" && !seen.query.contains("watch")).count();
    let watches = log.iter().filter(|seen| seen.query.contains("watch")).count();
    assert_eq!((lists, watches), (1, 1), "a wait during which copies come costs no further list");
    assert!(
        log.iter().filter(|seen| seen.path == "/api/v1/configmaps").all(|seen| seen.query.contains("fieldSelector"))
    );
    assert!(
        !log.iter().any(|seen| seen.is_write() && seen.path.ends_with("configmaps/dapr-root-ca.crt")),
        "a copy is written"
    );
}

#[tokio::test(start_paused = true)]
async fn whoever_may_not_watch_lists_again() {
    let server = file_era(&["a"]);
    server.fail("GET configmaps?watch", Fault::Forbidden, 100);
    let distributor = async {
        until(|| source_is_written(&server)).await;
        tokio::time::sleep(Duration::from_secs(30)).await;
        put_copy(&server, "a", &as_distributed(&server));
    };
    let (ended, _) = append_beside(&server, distributor).await;
    assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_watch_that_brings_nothing_is_not_believed_for_long() {
    let server = file_era(&["a", "b"]);
    let distributor = async {
        until(|| source_is_written(&server)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        server.deafen();
        for namespace in ["a", "b"] {
            put_copy(&server, namespace, &as_distributed(&server));
        }
    };
    let (ended, _) = append_beside(&server, distributor).await;
    assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_distributor_that_stands_still_stops_it_where_calls_go_on() {
    let server = file_era(&["a", "b"]);
    let message = "error syncing bundle target ConfigMap b/dapr-root-ca.crt";
    server.put(
        BUNDLE,
        json!({ "metadata": {}, "status": { "conditions": [
            { "type": "Synced", "status": "False", "reason": "SyncConfigMapTargetFailed", "message": message }] } }),
    );
    let began = tokio::time::Instant::now();
    let distributor = async {
        until(|| source_is_written(&server)).await;
        tokio::time::sleep(Duration::from_secs(50)).await;
        put_copy(&server, "a", &as_distributed(&server));
    };
    let (ended, _) = append_beside(&server, distributor).await;
    let why = held_back(&ended);
    assert!(why.contains("in 1 of 2 namespaces (b): trust-manager (Bundle trust) has written nothing for"), "{why}");
    assert!(why.contains("SyncConfigMapTargetFailed") && why.contains(message), "{why}");
    assert!(why.contains("kubectl get bundle trust -o yaml"), "{why}");
    assert_eq!(secret_writes(&server), 1, "the issuer is the one before");
    let took = began.elapsed().as_secs();
    assert!((110..130).contains(&took), "a minute after the last write of the distributor: {took} s");
}

#[tokio::test(start_paused = true)]
async fn a_distributor_that_writes_something_else_than_the_new_root_is_at_work() {
    for may_watch in [true, false] {
        let server = file_era(&["a"]);
        server.fail("GET configmaps?watch", Fault::Forbidden, if may_watch { 0 } else { usize::MAX });
        let old = server.get(&copy_at("a"))["data"]["ca.crt"].as_str().unwrap().to_owned();
        let distributor = async {
            until(|| source_is_written(&server)).await;
            let between = old.clone() + &ca().trust.to_pem();
            for content in [between, old, as_distributed(&server)] {
                tokio::time::sleep(Duration::from_secs(50)).await;
                put_copy(&server, "a", &content);
            }
        };
        let (ended, _) = append_beside(&server, distributor).await;
        assert!(matches!(ended.outcome, Outcome::Done(_)), "{may_watch}: {:?}", ended.outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_trust_manager_that_does_not_run_is_known_by_its_lease() {
    for (renewed, is_old) in [("2026-05-31T23:00:00Z", true), ("2026-06-01T01:00:00Z", false)] {
        let server = file_era(&["a"]);
        let lease = LEASE.replace(NAMESPACE, "cert-manager").replace("mtls-rotation", "trust-manager-leader-election");
        server.put(&lease, json!({ "spec": { "renewTime": renewed } }));
        let why = held_back(&append_beside(&server, async {}).await.0);
        let told =
            format!("; its Lease was last renewed {renewed}, so that it does not run, if it elects a leader; look");
        assert_eq!(why.contains(&told), is_old, "{why}");
        assert!(why.contains("`kubectl get bundle trust -o yaml` and at the log of trust-manager"), "{why}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_distributor_that_nobody_knows_is_to_be_found_by_what_it_wrote() {
    let look = "see who writes them: `kubectl get configmap dapr-root-ca.crt -o yaml --show-managed-fields`";
    let theirs = "Team x copies it; if the number does not grow, see whether it works";
    for (metadata, who, hint) in [(json!({}), "whoever copies it", look), (owned_by_a_team(), "Team x", theirs)] {
        let server = file_era(&["a"]);
        change_copy(&server, "a", |copy| copy["metadata"] = metadata);
        let (ended, _) = append_beside(&server, async {}).await;
        let why = held_back(&ended);
        assert!(why.contains(&format!("{who} has written nothing for ")) && why.contains(look), "{why}");
        let found = findings(&ended.seen, &layers(&ended.seen), None);
        assert!(found.iter().any(|finding| finding.hint == hint), "{found:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_that_is_left_alone_stops_it_only_where_a_sidecar_mounts_it() {
    for (mounted, reason) in [
        (false, "is immutable"),
        (true, "is immutable"),
        (true, "belongs to Team x"),
        (false, "is being deleted"),
        (true, "is being deleted"),
        (true, "has no mark"),
    ] {
        let server = file_era(&["a", "b", "odd"]);
        change_copy(&server, "odd", |copy| match reason {
            "is immutable" => copy["immutable"] = json!(true),
            "is being deleted" => copy["metadata"]["deletionTimestamp"] = json!(START),
            "has no mark" => copy["metadata"] = json!({}),
            _ => copy["metadata"] = owned_by_a_team(),
        });
        if mounted {
            mounting(&server, "odd", Some(START.parse().unwrap()));
        }
        let distributor = async {
            until(|| source_is_written(&server)).await;
            for namespace in ["a", "b"] {
                put_copy(&server, namespace, &as_distributed(&server));
            }
        };
        let (ended, _) = append_beside(&server, distributor).await;
        assert_eq!(ended.seen.hindered().len(), 1, "it is named");
        match &ended.outcome {
            Outcome::Done(_) => assert!(!mounted, "{reason}"),
            Outcome::Blocked(_) => {
                let why = held_back(&ended);
                assert!(mounted && why.contains("sidecar odd/filed") && why.contains(reason), "{why}");
                assert_eq!(secret_writes(&server), 1);
            }
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_sidecar_whose_namespace_has_no_copy_is_named_and_not_cut_off() {
    let server = file_era(&["a"]);
    mounting(&server, "bare", Some(START.parse().unwrap()));
    let distributor = async {
        until(|| source_is_written(&server)).await;
        put_copy(&server, "a", &as_distributed(&server));
    };
    let why = held_back(&append_beside(&server, distributor).await.0);
    let told = "sidecar bare/filed is not seen to hold the new root: its namespace has no ConfigMap `dapr-root-ca.crt`";
    assert!(why.contains(told), "{why}");
    assert_eq!(secret_writes(&server), 1);
}

#[tokio::test]
async fn the_first_ten_copies_that_are_left_alone_are_named_at_the_end_of_a_renewal() {
    let odd: Vec<String> = (10..22).map(|n| format!("odd-{n}")).collect();
    let server = file_era(&odd.iter().map(String::as_str).chain(["a"]).collect::<Vec<_>>());
    for namespace in &odd {
        change_copy(&server, namespace, |copy| copy["immutable"] = json!(true));
    }
    let ended = mtls(&server, &RENEW).await;
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    let why = "dapr-root-ca.crt does not carry what is published, and is immutable";
    let named = |namespace: &&String| ended.stderr.contains(&format!("ConfigMap {namespace}/{why}"));
    assert_eq!(odd.iter().filter(named).collect::<Vec<_>>(), odd[..10].iter().collect::<Vec<_>>(), "{}", ended.stderr);
    assert!(ended.stderr.contains("and 2 more; `mtls status -k` names them all"), "{}", ended.stderr);
    assert!(!ended.stderr.contains("ConfigMap a/"), "it will be written: {}", ended.stderr);
}

#[tokio::test]
async fn a_copy_in_a_namespace_that_stays_while_it_is_deleted_is_told_by_status() {
    let server = file_era(&["a", "goes"]);
    put_copy(&server, "goes", &ca().trust.to_pem());
    change_copy(&server, "goes", |copy| copy["metadata"]["deletionTimestamp"] = json!(START));
    let status = mtls(&server, &["status", "-k"]).await;
    assert_eq!(status.code, 0, "{}", status.stderr);
    assert!(status.stdout.contains("does not carry what is published, and is being deleted"), "{}", status.stdout);
    let hint = "if it stays, see what holds it: `kubectl get namespace goes -o yaml`";
    assert!(status.stdout.contains(hint), "{}", status.stdout);
}

#[tokio::test(start_paused = true)]
async fn a_namespace_may_come_and_go_meanwhile() {
    let server = file_era(&["a", "goes"]);
    let distributor = async {
        until(|| source_is_written(&server)).await;
        tokio::time::sleep(Duration::from_secs(5)).await;
        put_copy(&server, "a", &as_distributed(&server));
        server.remove(&copy_at("goes"));
        put_copy(&server, "new", &as_distributed(&server));
    };
    let (ended, _) = append_beside(&server, distributor).await;
    assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_pod_that_came_to_its_node_after_the_copy_was_right_is_proven_and_no_other() {
    let server = file_era(&["a"]);
    let start: Timestamp = START.parse().unwrap();
    let mut mesh = server.mesh(true);
    let need = || Need { distribution: true, everyone: true, ..ALL };
    mesh.observe(&need()).await.unwrap();
    let holds = async |mesh: &mut Kubernetes, scheduled| {
        mounting(&server, "a", scheduled);
        let seen = mesh.observe(&need()).await.unwrap();
        let sidecar = seen.consumers.iter().find(|consumer| consumer.name == "a/filed").unwrap();
        (sidecar.held.proven().is_some(), sidecar.mounts)
    };
    assert_eq!(holds(&mut mesh, Some(start)).await, (false, true), "it may have mounted another");
    assert_eq!(holds(&mut mesh, Some(start + SignedDuration::from_secs(5))).await, (true, true));
    assert_eq!(holds(&mut mesh, None).await, (true, true), "it mounts what is there when it gets a node");
    tokio::time::advance(Duration::from_secs(100)).await;
    put_copy(&server, "a", &(as_distributed(&server) + &ca().trust.to_pem()));
    let before = Some(start + SignedDuration::from_secs(50));
    assert_eq!(holds(&mut mesh, before).await, (false, true), "it may have mounted the one before");
    assert_eq!(holds(&mut mesh, Some(start + SignedDuration::from_secs(105))).await, (true, true));
    let seen = mesh.observe(&need()).await.unwrap();
    assert_eq!(seen.nudge(), None, "what was born with it needs no nudge");
    put_copy(&server, "a", "");
    assert_eq!(holds(&mut mesh, None).await, (false, false), "the copy is empty: a nudge would do harm");
    server.remove(&copy_at("a"));
    assert_eq!(holds(&mut mesh, None).await, (false, false), "there is no copy");
}

#[tokio::test(start_paused = true)]
async fn whatever_becomes_of_the_write_of_the_source_it_is_made_once() {
    let faults = [
        ("PATCH secrets/dapr-root-ca.crt", Fault::LostAnswer),
        ("PATCH secrets/dapr-root-ca.crt", Fault::LostRequest),
        ("PATCH secrets/dapr-root-ca.crt", Fault::ServerError),
    ];
    for (what, fault) in faults {
        let server = file_era(&["a"]);
        server.fail(what, fault, 1);
        let distributor = async {
            until(|| as_distributed(&server).matches("BEGIN").count() == 2).await;
            put_copy(&server, "a", &as_distributed(&server));
        };
        let (ended, _) = append_beside(&server, distributor).await;
        assert!(matches!(ended.outcome, Outcome::Done(_)), "{fault:?}: {:?}", ended.outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_source_that_somebody_else_writes_is_looked_at_again() {
    let server = file_era(&["a"]);
    let mut mesh = server.mesh(true);
    mesh.lock().await.unwrap();
    let seen = mesh.observe(&ALL).await.unwrap();
    let anchors = [ca().trust.anchors(), &seen.published.anchors].concat();
    server.fail("PATCH secrets/dapr-root-ca.crt", Fault::WrittenBefore("data/more"), 1);
    let why = mesh.apply(&Move::PublishSource { anchors }, &seen).await.unwrap_err();
    assert!(why.to_string().contains("`dapr-system/dapr-root-ca.crt` was changed"), "{why}");
    assert_eq!(server.get(SOURCE)["data"]["more"], "c29tZWJvZHk=", "what is there stays");
}

#[tokio::test(start_paused = true)]
async fn who_may_not_see_the_copies_does_not_switch() {
    let server = file_era(&["a"]);
    server.fail("configmaps?watch", Fault::Forbidden, 100);
    server.fail("GET api/v1/configmaps", Fault::Forbidden, 100);
    let (ended, _) = append_beside(&server, async {}).await;
    let why = held_back(&ended);
    assert!(why.contains("of the namespaces is not seen: not allowed to list configmaps in all namespaces"), "{why}");
    assert_eq!(secret_writes(&server), 1);
}

#[tokio::test(start_paused = true)]
async fn who_has_no_right_to_a_source_that_is_not_there_misses_nothing() {
    let (server, _) = cluster();
    server.fail("GET secrets/dapr-root-ca.crt", Fault::Forbidden, 100);
    assert_eq!(server.mesh(true).observe(&ALL).await.unwrap().denied, []);
    mounting(&server, "a", None);
    let mut everyone = server.mesh(true);
    let seen = everyone.observe(&Need { everyone: true, ..ALL }).await.unwrap();
    assert_eq!(seen.denied.len(), 1, "somebody mounts what is copied: {:?}", seen.denied);
}

#[tokio::test(start_paused = true)]
async fn a_source_that_refuses_the_write_is_found_out_before_anything_is_changed() {
    let server = file_era(&["a"]);
    server.fail("PATCH secrets/dapr-root-ca.crt dry", Fault::Forbidden, 100);
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    let why = mesh.apply(&step, &seen).await.unwrap_err();
    assert!(why.to_string().contains("not allowed to patch secrets/dapr-root-ca.crt"), "{why}");
    assert!(server.writes().iter().all(|write| write.ends_with(" dry")), "{:?}", server.writes());
}

#[tokio::test(start_paused = true)]
async fn copies_count_also_where_nobody_mounts_one_now() {
    let (server, ca) = cluster();
    server.remove("/api/v1/namespaces/shop/pods/server-1");
    let labels = json!({ "app.kubernetes.io/managed-by": "dapr-operator" });
    server.put(&copy_at("a"), json!({ "metadata": { "labels": labels }, "data": { "ca.crt": ca.trust.to_pem() } }));
    let (ended, _) = append_beside(&server, async {}).await;
    let why = held_back(&ended);
    assert!(why.contains("in 1 of 1 namespaces (a): Dapr's operator has written nothing for"), "{why}");
    assert!(why.contains("`mtls restart --stale -k`"), "the operator's watch may be dead: {why}");
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_file_era_nobody_needs_a_right_to_its_copies() {
    let (server, _) = cluster();
    server.remove("/api/v1/namespaces/shop/pods/server-1");
    server.fail("configmaps?watch", Fault::Forbidden, 100);
    server.fail("GET api/v1/configmaps", Fault::Forbidden, 100);
    let (ended, _) = append_beside(&server, async {}).await;
    assert!(matches!(ended.outcome, Outcome::Done(_)), "{:?}", ended.outcome);
}

#[tokio::test(start_paused = true)]
async fn a_token_that_ends_and_a_connection_that_is_gone_leave_a_phase_from_which_the_same_command_goes_on() {
    let reasons = [
        (Fault::Unauthorized, "renew them, or choose others"),
        (Fault::Refused, "is the cluster up"),
        (Fault::Silent, ""),
    ];
    for (fault, hint) in reasons {
        let server = file_era(&["a"]);
        let mut mesh = server.mesh(true);
        let seen = mesh.observe(&ALL).await.unwrap();
        let request = Request { strategy: Some(Strategy::Append), ..renewal("append") };
        let mut record = Record::open(choose(&request, &seen, None, &mut entropy()).unwrap().goal);
        mesh.lock().await.unwrap();
        mesh.save(&record).await.unwrap();
        server.forget();
        let trouble = async {
            until(|| source_is_written(&server)).await;
            tokio::time::sleep(Duration::from_secs(10)).await;
            server.fail("", fault, usize::MAX);
        };
        let mut silence = |_| ();
        let work = Box::pin(async { tokio::join!(go_on(&mut mesh, &mut record, &mut silence), trouble).0 });
        let why = within(Duration::from_secs(600), work).await.err().expect("it cannot go on");
        assert_eq!(why.kind(), Kind::Unfinished, "{why}");
        assert!(hint.is_empty() || why.hints().iter().any(|said| said.contains(hint)), "{why} {:?}", why.hints());
        assert_eq!(secret_writes(&server), 1, "{fault:?}: the issuer is the one before");

        // The lock of whoever is gone runs out by itself.
        server.heal();
        drop(mesh);
        tokio::time::advance(Duration::from_secs(60)).await;
        put_copy(&server, "a", &as_distributed(&server));
        let mut mesh = server.mesh(true);
        mesh.observe(&ALL).await.unwrap();
        mesh.lock().await.unwrap();
        let mut record = mesh.load().await.unwrap().expect("it is open");
        assert_eq!(record.status, Status::Open);
        let ended = go_on(&mut mesh, &mut record, &mut |_| ()).await.unwrap();
        assert!(matches!(ended.outcome, Outcome::Done(_)), "{fault:?}: {:?}", ended.outcome);
    }
}

#[tokio::test(start_paused = true)]
async fn a_copy_says_nothing_of_a_sidecar_that_reads_its_anchors_elsewhere() {
    let server = file_era(&["a"]);
    let path = "/api/v1/namespaces/a/pods/filed";
    let mut mesh = server.mesh(true);
    for (elsewhere, has_copy) in [(false, true), (true, true), (true, false)] {
        mounting(&server, "a", None);
        let mut pod = server.get(path);
        if elsewhere {
            pod["spec"]["containers"][0]["env"][1]["value"] = json!("/own/ca.crt");
        } else {
            pod["spec"]["volumes"] = json!([{ "name": "trust", "secret": { "secretName": "own" } }]);
        }
        server.put(path, pod);
        if !has_copy {
            server.remove(&copy_at("a"));
        }
        let seen = mesh.observe(&Need { distribution: true, everyone: true, ..ALL }).await.unwrap();
        let sidecar = seen.consumers.iter().find(|consumer| consumer.name == "a/filed").unwrap();
        assert!(sidecar.held.proven().is_none() && !sidecar.mounts, "{:?}", sidecar.held);
        assert!(seen.unserved().is_empty(), "it can be asked all the same");
    }
}

#[tokio::test(start_paused = true)]
async fn namespaces_that_come_and_go_keep_no_append_waiting_for_a_copy_that_never_comes() {
    let server = file_era(&["never"]);
    let preview = async {
        until(|| source_is_written(&server)).await;
        for n in 0..8 {
            tokio::time::sleep(Duration::from_secs(20)).await;
            put_copy(&server, &format!("preview-{n}"), &as_distributed(&server));
            server.remove(&copy_at(&format!("preview-{}", n - 1)));
        }
    };
    let began = tokio::time::Instant::now();
    let append = async {
        let ended = append(&server).await.0;
        (ended, began.elapsed())
    };
    let (ended, took) = within(Duration::from_secs(600), Box::pin(async { tokio::join!(append, preview).0 })).await;
    assert!(held_back(&ended).contains("(never)"));
    assert!(took < Duration::from_secs(120), "{took:?}");
}

#[tokio::test]
async fn a_source_of_another_name_is_published_to_and_the_usual_one_is_left_alone() {
    let server = file_era(&["a"]);
    let own = SOURCE.replace("dapr-root-ca.crt", "own");
    server.put(&own, server.get(SOURCE));
    let usual = server.get(SOURCE);
    let distributor = async {
        until(|| server.get(&own)["data"] != usual["data"]).await;
        put_copy(&server, "a", &as_distributed_from(&server, &own));
    };
    let arguments = [&APPEND[..], &["--trust-source", "own"]].concat();
    let (ended, ()) = tokio::join!(mtls(&server, &arguments), distributor);
    assert_eq!(ended.code, 0, "{}", ended.stderr);
    assert_eq!(server.get(&own)["data"]["ca.crt"], server.get(SECRET)["data"]["ca.crt"]);
    assert_eq!(server.get(SOURCE), usual);
}

#[tokio::test]
async fn a_source_that_is_named_and_not_there_is_found_out_before_anything_is_changed() {
    let server = file_era(&["a"]);
    let arguments = [&RENEW[..], &["--trust-source", "own"]].concat();
    let missing = mtls(&server, &arguments).await;
    let why = "error: Secret `dapr-system/own`, which `--trust-source` names, is not there\n\
               hint: it names the Secret that is copied into ConfigMap `dapr-root-ca.crt` of every namespace";
    assert!(missing.stderr.contains(why), "{}", missing.stderr);
    server.fail("GET secrets/own", Fault::Forbidden, 100);
    let hidden = mtls(&server, &arguments).await;
    let why = "not allowed to get secrets/own in namespace dapr-system";
    assert!(hidden.stderr.contains(&format!("error: {why}")), "{}", hidden.stderr);
    assert_eq!((missing.code, hidden.code, server.writes()), (1, 1, Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn a_distributor_whose_source_was_not_found_is_not_blamed() {
    let server = file_era(&["a"]);
    server.remove(SOURCE);
    let (ended, _) = append_beside(&server, async {}).await;
    let why = held_back(&ended);
    assert!(why.contains("no Secret was found that trust-manager (Bundle trust) copies from"), "{why}");
    assert!(why.contains("`--trust-source`"), "{why}");
}
