//! The Lease, and the record that only its holder writes.

use std::time::Duration;

use mtls::error::Kind;
use mtls::interrupt::Interrupts;
use mtls::rotation::{Mesh, Record};
use serde_json::{Value, json};

use super::apiserver::{ApiServer, Fault, START, Seen, within};
use super::{LEASE, RECORD, about_to_write, cluster, goal};

fn lease(renewed: &str) -> Value {
    json!({ "metadata": {}, "spec": { "holderIdentity": "ann@host/1/0", "leaseDurationSeconds": 15, "renewTime": renewed } })
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_refused_by_a_holder_that_lives_and_taken_over_from_one_that_is_silent() {
    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    server.keep_alive(LEASE, |lease, now| lease["spec"]["renewTime"] = json!(format!("{now:.6}")));
    let error = within(Duration::from_secs(10), async { server.mesh(true).lock().await.unwrap_err() }).await;
    assert!(error.to_string().contains("ann@host/1/0"), "{error}");
    assert_eq!(server.writes(), [""; 0]);

    let (server, _) = cluster();
    let mut first = server.mesh(true);
    first.lock().await.unwrap();
    let mut second = server.mesh(true);
    let (refused, ()) = tokio::join!(second.lock(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        first.unlock().await.unwrap();
    });
    let text = refused.unwrap_err().to_string();
    assert!(text.contains("or was until just now"), "it worked while the second one waited: {text}");

    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    let before = tokio::time::Instant::now();
    let mut mesh = server.mesh(true);
    mesh.lock().await.unwrap();
    assert!((15..17).contains(&before.elapsed().as_secs()), "15 s after it was last heard of: {:?}", before.elapsed());
    mesh.unlock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_signal_ends_the_wait_for_the_lock() {
    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    let interrupts = Interrupts::default();
    let mut mesh = server.mesh(true).interrupted_by(interrupts.clone());
    let (refused, ()) = tokio::join!(mesh.lock(), async {
        tokio::time::sleep(Duration::from_secs(1)).await;
        interrupts.note(15);
    });
    assert_eq!(refused.unwrap_err().kind(), Kind::Interrupted(15));
    assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "ann@host/1/0");
}

#[tokio::test(start_paused = true)]
async fn the_lock_is_believed_no_longer_than_the_server_keeps_it() {
    let leases = |server: &ApiServer| -> Vec<String> {
        server.log().iter().filter(|seen| seen.path.contains("leases")).map(Seen::line).collect()
    };
    let (server, _) = cluster();
    let mut mesh = server.mesh(true);
    let record = Record::open(goal(&mut mesh).await.0);
    server.fail("POST leases", Fault::Late(10), 1);
    mesh.lock().await.unwrap();
    server.forget();
    mesh.save(&record).await.unwrap();
    assert_eq!(leases(&server), ["PATCH leases/mtls-rotation"], "it runs from before the request was sent");

    server.forget();
    server.fail("PATCH leases", Fault::LostAnswer, 1);
    tokio::time::sleep(Duration::from_secs(5)).await;
    let [patch, get] = ["PATCH leases/mtls-rotation", "GET leases/mtls-rotation"];
    assert_eq!(leases(&server), [patch, patch, get], "the lost one was carried out, and says when it was sent");
    mesh.unlock().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_lock_whose_answers_are_lost_is_taken_kept_and_given_back() {
    let (server, _) = cluster();
    server.put(LEASE, lease(START));
    let mut mesh = server.mesh(true);
    server.fail("PATCH leases", Fault::LostAnswer, 1);
    mesh.lock().await.expect("the silent one's time is up, and what was written then was written by this run");
    let holder = || server.get(LEASE)["spec"]["holderIdentity"].as_str().unwrap_or_default().to_owned();
    let ours = holder();
    assert_ne!(ours, "ann@host/1/0");

    // Every try of a renewal is carried out or not, and none is answered: what version it left is not known.
    server.fail_nth("PATCH leases", Fault::LostAnswer, 1);
    server.fail("PATCH leases", Fault::Refused, 3);
    tokio::time::sleep(Duration::from_secs(7)).await;
    assert_eq!(holder(), ours);
    server.forget();
    mesh.unlock().await.unwrap();
    assert_eq!(holder(), "", "{:?}", server.log());
}

#[tokio::test(start_paused = true)]
async fn a_holder_that_lost_the_lock_writes_no_more() {
    let (server, _) = cluster();
    let (mut mesh, step, seen) = about_to_write(&server, true).await;
    server.put(LEASE, lease(START));
    // Its renewals fail from now on, as they would for a process that slept.
    tokio::time::sleep(Duration::from_secs(20)).await;
    let error = mesh.apply(&step, &seen).await.unwrap_err();
    assert!(error.to_string().contains("taken over by ann@host/1/0"), "{error}");
    assert_eq!(server.writes().iter().filter(|line| !line.ends_with(" dry")).count(), 0);
    let record = Record::open(goal(&mut mesh).await.0);
    assert!(mesh.save(&record).await.is_err());
    assert_eq!(server.get(RECORD), Value::Null);
    mesh.unlock().await.unwrap();
    assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "ann@host/1/0", "the other's lock is left alone");
}

#[tokio::test(start_paused = true)]
async fn a_record_is_never_written_over_somebody_elses() {
    let (server, _) = cluster();
    let mut mesh = server.mesh(true);
    let (goal, _) = goal(&mut mesh).await;
    let record = Record::open(goal);
    mesh.lock().await.unwrap();
    server.fail("POST secrets", Fault::LostAnswer, 1);
    mesh.save(&record).await.unwrap();
    let kept = server.get(RECORD);
    assert_eq!(kept["type"], "mtls.dapr.io/rotation");
    assert_eq!(kept["metadata"]["labels"]["app.kubernetes.io/managed-by"], "mtls");
    server.fail("PUT secrets/mtls-rotation", Fault::WrittenBefore("data/rotation.json"), 1);
    assert!(mesh.save(&record).await.is_err());
    assert_eq!(server.get(RECORD)["data"]["rotation.json"], "c29tZWJvZHk=");
    server.remove(RECORD);
    let gone = mesh.save(&record).await.unwrap_err();
    assert!(gone.to_string().contains("`dapr-system/mtls-rotation`) was deleted while it ran"), "{gone}");
    assert_eq!(server.get(RECORD), Value::Null, "whoever deleted it had a reason");
}
