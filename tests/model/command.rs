//! What `renew-certificate` does, without its talk.

use jiff::SignedDuration;
use mtls::error::Error;
use mtls::mesh::{Observed, Role};
use mtls::rotation::safety::{Break, in_words};
use mtls::rotation::strategy::{Inputs, Request};
use mtls::rotation::{
    Ask, Begin, Concern, Goal, Left, Limits, Mesh, Need, Outcome, Record, Run, Scope, Status, Strategy, begin, need,
    obstacles, plan, run,
};

use super::{Chance, Model, Sentry, Watcher, is_outsider};

pub const LIMITS: Limits =
    Limits { propagation: SignedDuration::from_secs(60), rollout: SignedDuration::from_secs(300), parallel: 10 };

pub fn request(inputs: Inputs, days: i64) -> Request {
    Request {
        inputs,
        strategy: None,
        valid_for: SignedDuration::from_hours(24 * days),
        restart: None,
        timeout: LIMITS.rollout,
        window: SignedDuration::ZERO,
        digest: "the same".to_owned(),
    }
}

pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

/// Runs the command to a goal that is reached; anything else is an error.
pub async fn go(mesh: &mut Model, ask: Ask, request: &Request) -> Result<Vec<Left>, Error> {
    match command(mesh, ask, request).await?.outcome {
        Outcome::Done(left) => Ok(left),
        other => Err(Error::failed(format!("{other:?}"))),
    }
}

/// Runs the command.
pub async fn command(mesh: &mut Model, ask: Ask, request: &Request) -> Result<Run, Error> {
    let mut seen = mesh.observe(&Need { consumers: true, control_plane: true, ..Need::default() }).await?;
    let kept = mesh.load().await?;
    if let Some(doubts) = kept.as_ref().and_then(|record| record.doubts(&seen)) {
        seen = mesh.observe(&doubts).await?;
    }
    let mut chance = Chance::new(mesh.chance.below(u64::MAX));
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let begun = begin(ask, request, &seen, kept.as_ref(), &mut entropy);
    let (mut record, continues) = match begun.map_err(|why| Error::failed(why.to_string()))? {
        Begin::Continue(record) => (*record, true),
        Begin::New(proposal) => {
            mesh.root_keys.extend(proposal.root_key);
            (Record::open(proposal.goal), false)
        }
    };
    if mesh.force > 0 {
        seen = mesh.observe(&need(&record.goal, &seen)).await?;
        let found = obstacles(&record.goal, &seen.staying());
        mesh.allow(&mut record.goal, &found, mesh.force)?;
    }
    plan(&record.goal, &seen, mesh.limits.parallel).map_err(|breaks| Error::failed(in_words(&breaks)))?;
    mesh.lock().await?;
    let ended = under_the_lock(mesh, record, continues, kept, &seen, &mut entropy).await;
    mesh.unlock().await?;
    ended
}

async fn under_the_lock(
    mesh: &mut Model,
    mut record: Record,
    continues: bool,
    kept: Option<Record>,
    before: &Observed,
    entropy: mtls::pki::Entropy<'_>,
) -> Result<Run, Error> {
    let seen = mesh.observe(&need(&record.goal, before)).await?;
    let versions = |seen: &Observed| (seen.published.secret.clone(), seen.published.config_map.clone());
    if versions(&seen) != versions(before) {
        return Err(Error::failed("somebody wrote the trust bundle since it was looked at"));
    }
    if record.goal.strategy == Strategy::Append {
        vouch(mesh, &mut record.goal, &seen);
    }
    if kept.as_ref().is_none_or(|kept| kept.to_data() != record.to_data()) {
        mesh.save(&record).await?;
    }
    let limits = mesh.limits;
    let ended = run(mesh, &mut record, seen, limits, entropy, &mut |_| {}).await?;
    if let Outcome::Done(left) = &ended.outcome {
        mesh.confirm(&record.goal, left);
        if record.goal.strategy == Strategy::Replace {
            (mesh.broken, mesh.named) = (false, left.iter().map(|left| left.consumer.clone()).collect());
        }
    }
    mesh.strategy = Some(record.goal.strategy);
    let waits = record.goal.strategy == Strategy::Append;
    if !continues && !waits && ended.moves == 0 && matches!(ended.outcome, Outcome::Blocked(_)) {
        take_back(mesh, record.goal, kept).await?;
    }
    Ok(ended)
}

/// An operator who knows that the other meshes have been given the new root lets an append go on that waits for nobody
/// else.
fn vouch(mesh: &mut Model, goal: &mut Goal, seen: &Observed) {
    let found = obstacles(goal, seen);
    if found.is_empty() || !found.iter().all(is_outsider) {
        return;
    }
    let strange = |found: &Break| {
        mesh.secret.trust.anchors().iter().any(|a| a.fingerprint().short() == found.consumer && mesh.is_strange(a))
    };
    assert!(mesh.invented > 0 || found.iter().all(strange), "a root of this mesh is taken for another's: {found:?}");
    mesh.count("appends that others were vouched for in", 1);
    goal.allowed = found.into_iter().map(|found| found.consumer).collect();
}

/// Nothing was published: what was on record before counts again.
pub async fn take_back(mesh: &mut Model, goal: Goal, kept: Option<Record>) -> Result<(), Error> {
    mesh.save(&kept.unwrap_or(Record { status: Status::Aborted, goal })).await
}

/// What `mtls restart` does, without its talk.
pub async fn restart(mesh: &mut Model, scope: Scope) -> Result<(Goal, Run), Error> {
    plan_restart(mesh, scope).await?;
    mesh.lock().await?;
    let ended = restart_under_the_lock(mesh, scope).await;
    mesh.unlock().await?;
    ended
}

async fn plan_restart(mesh: &mut Model, scope: Scope) -> Result<(Goal, Observed), Error> {
    let objects = mesh.observe(&Need { control_plane: true, ..Need::default() }).await?;
    let open = mesh.load().await?.filter(|record| record.is_open(&objects, objects.now)).map(|record| record.goal);
    let goal = Goal::restart(scope, &objects, open.as_ref()).ok_or_else(|| Error::failed("nothing is published"))?;
    let seen = mesh.observe(&need(&goal, &objects)).await?;
    plan(&goal, &seen, mesh.limits.parallel).map_err(|breaks| Error::failed(in_words(&breaks)))?;
    Ok((goal, seen))
}

async fn restart_under_the_lock(mesh: &mut Model, scope: Scope) -> Result<(Goal, Run), Error> {
    let (goal, seen) = plan_restart(mesh, scope).await?;
    let mut entropy = |_: &mut [u8]| panic!("nothing is minted");
    let mut record = Record::open(goal);
    mesh.strategy = Some(record.goal.strategy);
    let limits = mesh.limits;
    let ended = run(mesh, &mut record, seen, limits, &mut entropy, &mut |_| {}).await?;
    Ok((record.goal, ended))
}

impl Model {
    /// Lets a goal break those that stand in its way, if they are no more than that, and all of them may.
    pub(super) fn allow(&mut self, goal: &mut Goal, found: &[Break], force: usize) -> Result<(), Error> {
        if found.len() > force || found.iter().any(|found| !found.may_be_allowed) {
            return Err(Error::failed(in_words(found)));
        }
        goal.allowed = found.iter().map(|found| found.consumer.clone()).collect();
        self.named.extend(goal.allowed.iter().cloned());
        Ok(())
    }

    /// Whether the report is true: who is not named holds the new root, and signs with the new issuer. Who comes to that
    /// by itself has been waited for.
    pub(super) fn confirm(&self, goal: &Goal, left: &[Left]) {
        let is_named = |role: &Role, name: &str| left.iter().any(|l| l.consumer == name && l.role == role.word());
        let root = goal.target.root().expect("the goal has a root");
        let seen = self.processes.iter().filter(|process| !(self.hidden && process.is_sidecar()));
        for process in seen.filter(|process| !is_named(&process.role, &process.name)) {
            assert!(process.held.contains(root), "{} lacks the new root, and is not named", process.name);
        }
        for sentry in self.sentries.iter().filter(|sentry| !is_named(&Role::Sentry, &sentry.name)) {
            let signs = &sentry.loaded.issuer.chain;
            assert_eq!(signs, &goal.target.issuer.chain, "{} signs with another issuer, and is not named", sentry.name);
        }
        let watches = |name: &str| self.processes.iter().any(|p| p.name == name && p.watcher == Watcher::Alive);
        let is_late = |left: &Left| match left.concern {
            Concern::Behind => true,
            Concern::OldTrust => left.role == Role::Injector.word() && watches(&left.consumer),
            _ => false,
        };
        let answers = self.flaky.is_none() && self.sentries.iter().all(Sentry::is_up);
        let late = left.iter().find(|left| answers && is_late(left));
        assert!(late.is_none(), "it was not waited for: {late:?}");
    }
}
