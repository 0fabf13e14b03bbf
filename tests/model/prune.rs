//! What `prune` does, without its talk.

use mtls::error::Error;
use mtls::mesh::{Answer, Consumer, Observed, Role};
use mtls::rotation::safety::{Break, in_words};
use mtls::rotation::{Goal, Mesh, Need, NothingToRetire, Outcome, Record, Run, Strategy, need, obstacles, plan, run};

use super::command::take_back;
use super::{Chance, Model};

/// Runs the command, which may break so many; `None`: there is nothing to retire.
pub async fn prune(mesh: &mut Model, force: usize) -> Result<Option<Run>, Error> {
    let Some((mut goal, seen, found)) = prunable(mesh).await? else { return Ok(None) };
    mesh.allow(&mut goal, &found, force).map_err(|why| Error::failed(format!("nothing was retired: {why}")))?;
    plan(&goal, &seen.staying(), 1).map_err(|breaks| Error::failed(in_words(&breaks)))?;
    mesh.lock().await?;
    let ended = under_the_lock(mesh, goal, &seen).await;
    mesh.unlock().await?;
    ended.map(Some)
}

/// What the command finds before it begins: its goal, who is there, and who of those stands in the way.
pub async fn prunable(mesh: &mut Model) -> Result<Option<(Goal, Observed, Vec<Break>)>, Error> {
    let seen = mesh.observe(&Need { consumers: true, control_plane: true, ..Need::default() }).await?;
    let kept = mesh.load().await?;
    let goal = match kept.as_ref().filter(|record| record.is_open(&seen, seen.now)).map(|record| &record.goal) {
        Some(goal) if goal.strategy == Strategy::Prune => goal.clone(),
        Some(goal) => return Err(Error::failed(format!("nothing was retired: {} is open", goal.strategy.word()))),
        None => match Goal::prune(&seen, kept.as_ref()) {
            Ok(goal) => goal,
            Err(NothingToRetire::Nothing) => return Ok(None),
            Err(why) => return Err(Error::failed(format!("nothing was retired: {why}"))),
        },
    };
    let wanted = need(&goal, &seen);
    let mut seen = mesh.observe(&wanted).await?;
    let end = seen.now + mesh.limits.propagation;
    let is_mute = |sentry: &Consumer| sentry.role == Role::Sentry && matches!(sentry.served, Answer::Unknown(_));
    while seen.now < end && seen.consumers.iter().any(is_mute) {
        mesh.pause().await;
        seen = mesh.observe(&wanted).await?;
    }
    let found = obstacles(&goal, &seen.staying());
    Ok(Some((goal, seen, found)))
}

async fn under_the_lock(mesh: &mut Model, goal: Goal, before: &Observed) -> Result<Run, Error> {
    let kept = mesh.load().await?;
    let seen = mesh.observe(&need(&goal, before)).await?;
    if !seen.published.is_same_version(&before.published) {
        return Err(Error::failed("nothing was retired: somebody wrote the trust bundle since it was looked at"));
    }
    let published = seen.published.clone();
    let mut chance = Chance::new(mesh.chance.below(u64::MAX));
    let mut entropy = |bytes: &mut [u8]| chance.fill(bytes);
    let mut record = Record::open(goal);
    mesh.save(&record).await?;
    let limits = mesh.limits;
    mesh.strategy = Some(record.goal.strategy);
    let ended = run(mesh, &mut record, seen, limits, &mut entropy, &mut |_| {}).await?;
    mesh.strategy = Some(record.goal.strategy);
    if let Outcome::Done(left) = &ended.outcome {
        mesh.confirm(&record.goal, left);
    }
    if matches!(ended.outcome, Outcome::Blocked(_)) && ended.seen.published.is_same_version(&published) {
        take_back(mesh, record.goal, kept).await?;
    }
    Ok(ended)
}

/// Whether it stands for others that cannot be seen: it is another mesh's root, which an operator may vouch for.
pub fn is_outsider(found: &Break) -> bool {
    found.role.contains("trust anchor")
}
