//! Two instances on one cluster, at moments of chance and among faults: one rotates, the other is refused or comes after.

use mtls::error::Error;
use mtls::kubernetes::Kubernetes;
use mtls::mesh::Observed;
use mtls::rotation::{Ask, Begin, begin};
use tokio::time::sleep;

use super::chance::Chance;
use super::*;

/// What `renew-certificate` does, without its talk.
async fn rotate(server: &ApiServer, digest: &str, mut chance: Chance) -> Result<(), Error> {
    let mut mesh = server.mesh(true);
    sleep(chance.seconds(0, 4).unsigned_abs()).await;
    let before = mesh.observe(&ALL).await?;
    let kept = mesh.load().await?;
    let request = renewal(digest);
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let begun = begin(Ask::Renew, &request, &before, kept.as_ref(), &mut entropy);
    let record = match begun.map_err(|why| Error::failed(why.to_string()))? {
        Begin::Continue(record) => *record,
        Begin::New(proposal) => Record::open(proposal.goal),
    };
    sleep(chance.seconds(0, 3).unsigned_abs()).await;
    mesh.lock().await?;
    let ended = under_the_lock(&mut mesh, record, &before).await;
    mesh.unlock().await?;
    ended
}

async fn under_the_lock(mesh: &mut Kubernetes, mut record: Record, before: &Observed) -> Result<(), Error> {
    let seen = mesh.observe(&ALL).await?;
    if !seen.published.is_same_version(&before.published) {
        return Err(Error::failed("somebody wrote the trust bundle"));
    }
    mesh.save(&record).await?;
    let limits = Limits { propagation: SignedDuration::ZERO, rollout: SignedDuration::ZERO, parallel: 10 };
    match run(mesh, &mut record, seen, limits, &mut entropy(), &mut |_| ()).await?.outcome {
        Outcome::Done(_) => Ok(()),
        other => Err(Error::failed(format!("{other:?}"))),
    }
}

/// Exactly what went through is there: one anchor and one bridge for each rotation, in both objects.
#[tokio::test(start_paused = true)]
async fn of_two_at_once_one_rotates_and_the_other_is_refused_or_comes_after() {
    let (mut locked_out, mut late, mut after) = (0, 0, 0);
    for seed in 0..200 {
        let mut chance = Chance::new(seed);
        let (server, _) = cluster();
        let faults = [Fault::LostAnswer, Fault::LostRequest, Fault::ServerError, Fault::Late(3), Fault::Busy(2)];
        let what = ["PATCH leases", "PATCH secrets/dapr", "PATCH configmaps", "PUT secrets/mtls", "PATCH roles"];
        if chance.one_in(2) {
            let what = *chance.from(&what);
            server.fail_nth(what, *chance.from(&faults), 1 + chance.place(3));
        }
        let [one, other] = [(); 2].map(|()| Chance::new(chance.below(u64::MAX)));
        let (one, other) = tokio::join!(rotate(&server, "one", one), rotate(&server, "other", other));
        let done = usize::from(one.is_ok()) + usize::from(other.is_ok());
        assert!(done > 0, "seed {seed}: {one:?}, {other:?}");
        let refusal = [&one, &other].map(|ended| ended.as_ref().err().map(ToString::to_string).unwrap_or_default());
        locked_out += usize::from(refusal.concat().contains("holds the lock"));
        late += usize::from(refusal.concat().contains("somebody wrote"));
        after += usize::from(done == 2);
        let published = server.reader().observe(&Need::default()).await.unwrap().published;
        let there = (published.anchors.len(), published.chain.len());
        assert_eq!(there, (1 + done, 1 + 2 * done), "seed {seed}: {one:?}, {other:?}");
        assert!(is_equal_pair(&server) && !is_fenced(&server), "seed {seed}");
        assert_eq!(server.get(LEASE)["spec"]["holderIdentity"], "", "seed {seed}: the lock is given back");
        let record = server.mesh(true).load().await.unwrap().unwrap();
        assert_eq!(published.chain, record.goal.target.issuer.chain, "seed {seed}: the record is the last one's");
    }
    let all = (locked_out, late, after);
    assert!(locked_out > 20 && late > 20 && after > 20, "locked out, too late, after the other one: {all:?}");
}
