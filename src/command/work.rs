//! What `prune` and `restore` do alike: they work towards a goal that is on record, under the lock.

use super::{entropy, limits, renew, tell, unlock};
use crate::cli::{Conduct, ShowArgs};
use crate::error::Error;
use crate::mesh::Observed;
use crate::rotation::{Mesh, Outcome, Record, Run, Status, run as rotate};
use crate::ui::Ui;

/// A goal that is decided on.
pub struct Work {
    /// The goal, to be kept.
    pub record: Record,
    /// What was on record before.
    pub kept: Option<Record>,
    /// How many moves are planned.
    pub moves: usize,
}

impl Work {
    /// Works towards the goal. Looks again first: what was published, and who held what, before the lock was taken may be
    /// so no more.
    pub async fn run<M: Mesh>(
        self,
        mesh: &mut M,
        before: &Observed,
        conduct: &Conduct,
        show: &ShowArgs,
        ui: &Ui,
    ) -> Result<(Record, Run), Error> {
        mesh.lock().await?;
        ui.begin(self.moves);
        let ended = async {
            let Self { mut record, kept, .. } = self;
            let seen = renew::look_again(mesh, &record.goal, before).await?;
            let published = seen.published.clone();
            mesh.save(&record).await?;
            let tell = &mut |event| tell(&event, show, ui);
            let ended = rotate(mesh, &mut record, seen, limits(conduct, 1), &mut entropy(), tell).await?;
            if matches!(ended.outcome, Outcome::Blocked(_)) && ended.seen.published.is_same_version(&published) {
                take_back(mesh, &record, kept).await?;
            }
            Ok((record, ended))
        }
        .await;
        let ended = unlock(mesh, ended).await;
        ui.end();
        ended
    }
}

/// Nothing was published: what was on record before counts again, so that a CA that is kept there, or the way back to it,
/// stays within reach.
pub async fn take_back<M: Mesh>(mesh: &mut M, record: &Record, kept: Option<Record>) -> Result<(), Error> {
    let aborted = || Record { status: Status::Aborted, goal: record.goal.clone() };
    mesh.save(&kept.unwrap_or_else(aborted)).await
}
