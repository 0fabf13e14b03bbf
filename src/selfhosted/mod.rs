//! The mesh of a self-hosted Dapr: three files in a directory that Sentry watches.

mod files;
mod identity;
mod lock;

use std::path::{Path, PathBuf};
use std::time::Duration;

use jiff::Timestamp;

use crate::error::Error;
use crate::interrupt::Interrupts;
use crate::mesh::{Identity, Observed};
use crate::rotation::{Mesh, Move, Need, Record, Status};
use files::Files;
use lock::Lock;

/// Where the record and the lock are kept, beside the three files.
const OWN: &str = "mtls-rotation";

/// How a first CA is named, where a directory has none yet.
#[derive(Clone, Debug, Default)]
pub struct Naming {
    /// The trust domain; `cluster.local` if none is given, as Dapr's instructions for a self-hosted Sentry have it.
    pub trust_domain: Option<String>,
    /// The namespace; `default` if none is given, as Sentry without `NAMESPACE` has it.
    pub namespace: Option<String>,
}

/// A directory with `ca.crt`, `issuer.crt` and `issuer.key`. Who verifies with them is not known.
pub struct Directory {
    path: PathBuf,
    naming: Naming,
    mends: bool,
    lock: Option<Lock>,
    interrupts: Interrupts,
}

impl Directory {
    /// The directory at `path`, which need not be there yet.
    pub fn new(path: PathBuf, naming: Naming) -> Self {
        Self { path, naming, mends: false, lock: None, interrupts: Interrupts::default() }
    }

    /// The same, for a command that puts back from the record what is missing.
    #[must_use]
    pub fn mending(self) -> Self {
        Self { mends: true, ..self }
    }

    fn own(&self) -> PathBuf {
        self.path.join(OWN)
    }

    fn look(&self) -> Result<Observed, Error> {
        let files = Files::read(&self.path)?;
        if let Err(part) = files.check(&self.path) {
            match files::load(&self.own())? {
                Some(record) if self.mends || record.status == Status::Open => {}
                Some(_) => {
                    let restore = format!("mtls restore --certs-dir '{}'", self.path.display());
                    return Err(part.hint(format!("from the record of the last rotation: `{restore}`")));
                }
                None => return Err(part),
            }
        }
        let published = files.published(&self.path);
        let named = identity::of(&published, &self.naming)?;
        Ok(Observed {
            now: now(),
            identity: Identity {
                context: self.path.display().to_string(),
                namespace: named.namespace,
                trust_domain: named.trust_domain,
                ..Identity::default()
            },
            published,
            consumers_complete: false,
            nudge_refused: true,
            ..Observed::default()
        })
    }

    fn held_lock(&self) -> Result<(), Error> {
        if self.lock.is_some() { Ok(()) } else { Err(Error::failed("nothing is written without the lock")) }
    }
}

impl Mesh for Directory {
    async fn observe(&mut self, _: &Need) -> Result<Observed, Error> {
        // Why: nothing else waits here, and a signal that has come must be noted.
        tokio::task::yield_now().await;
        self.look()
    }

    async fn apply(&mut self, step: &Move, seen: &Observed) -> Result<(), Error> {
        self.held_lock()?;
        if Files::read(&self.path)?.version() != seen.published.secret {
            let error = Error::failed(format!("somebody else wrote into `{}`", self.path.display()));
            return Err(error.hint("run the same command again: it goes on from what is there now"));
        }
        let own = self.own();
        match step {
            Move::PublishTrust { bundle, issuer } => files::publish(&self.path, &own, Some(bundle), issuer.as_ref()),
            Move::PublishIssuer { issuer } => files::publish(&self.path, &own, None, Some(issuer)),
            Move::Nudge => Ok(()),
            Move::PublishSource { .. } | Move::Restart { .. } | Move::RestartApplications { .. } => {
                Err(Error::failed(format!("a directory runs nothing: {step}")))
            }
        }
    }

    async fn lock(&mut self) -> Result<(), Error> {
        // Why: before the lock nothing can be torn, so a signal may end the process as usual, also at a question.
        self.interrupts.listen().map_err(|why| Error::failed("signals cannot be noted").because(why))?;
        self.lock = Some(Lock::take(&self.own())?);
        files::remove_leftovers(&self.own())
    }

    async fn unlock(&mut self) -> Result<(), Error> {
        self.lock = None;
        Ok(())
    }

    async fn load(&mut self) -> Result<Option<Record>, Error> {
        files::load(&self.own())
    }

    async fn save(&mut self, record: &Record) -> Result<(), Error> {
        self.held_lock()?;
        files::save(&self.own(), record)
    }

    async fn pause(&mut self) {
        self.interrupts.or_after(Duration::from_millis(100)).await;
    }

    fn interrupted(&self) -> Option<u8> {
        self.interrupts.seen()
    }
}

/// The machine's clock, in whole seconds as certificates have them.
fn now() -> Timestamp {
    let now = Timestamp::now();
    Timestamp::from_second(now.as_second()).unwrap_or(now)
}

/// Where a self-hosted Dapr keeps its certificates: `~/.dapr/certs`.
pub fn default_directory() -> Option<PathBuf> {
    std::env::home_dir().filter(|home| home != Path::new("")).map(|home| home.join(".dapr").join("certs"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::Kind;
    use crate::mesh::Pair;
    use crate::pki::{Issuer, PrivateKey, TrustBundle, Validity, issuer, root};
    use crate::rotation::{Goal, Strategy, Trio as GoalTrio};

    fn directory(home: &tempfile::TempDir) -> Directory {
        Directory::new(home.path().join("certs"), Naming::default())
    }

    fn goal(seed: u8) -> Goal {
        let mut state = seed;
        let mut entropy = |bytes: &mut [u8]| {
            for byte in bytes {
                state = state.wrapping_mul(29).wrapping_add(113);
                *byte = state;
            }
        };
        let entropy = &mut entropy;
        let now = now();
        let validity = Validity { not_before: now, not_after: now + jiff::SignedDuration::from_hours(24) };
        let (root_key, key) = (PrivateKey::generate(entropy), PrivateKey::generate(entropy));
        let root = root("cluster.local", &root_key, &validity, entropy).expect("a root");
        let issued = issuer(&root, &root_key, "cluster.local", "default", &key, &validity, entropy).expect("an issuer");
        Goal {
            strategy: Strategy::Create,
            target: GoalTrio {
                trust: TrustBundle::from_anchors(vec![root]).expect("a bundle"),
                issuer: Issuer { chain: vec![issued], key },
            },
            previous: None,
            valid_until: validity.not_after,
            began: now,
            restart: None,
            invented: None,
            allowed: Vec::new(),
            former_svids_end: None,
            inputs: "none".to_owned(),
        }
    }

    fn publish(goal: &Goal) -> Move {
        Move::PublishTrust { bundle: goal.target.trust.clone(), issuer: Some(goal.target.issuer.clone()) }
    }

    #[tokio::test]
    async fn what_was_published_is_seen() {
        let home = tempfile::tempdir().expect("a directory");
        let mut mesh = directory(&home);
        let goal = goal(1);
        let before = mesh.observe(&Need::default()).await.expect("nothing is there");
        assert_eq!(before.published.pair, Pair::Absent);
        mesh.lock().await.expect("nobody has it");
        mesh.apply(&publish(&goal), &before).await.expect("there is room");
        let after = mesh.observe(&Need::default()).await.expect("it is there");
        assert_eq!(after.published.anchors, goal.target.trust.anchors());
        assert!(after.published.issuer().is_some(), "chain and key belong together");
        assert!(!after.consumers_complete, "nobody can be seen here");
        mesh.apply(&publish(&goal), &before).await.expect_err("it is not what was seen");
    }

    #[tokio::test]
    async fn a_move_that_rests_on_an_old_look_is_not_made() {
        let home = tempfile::tempdir().expect("a directory");
        let mut mesh = directory(&home);
        mesh.lock().await.expect("nobody has it");
        let seen = mesh.observe(&Need::default()).await.expect("nothing is there");
        mesh.apply(&publish(&goal(1)), &seen).await.expect("there is room");
        let seen = mesh.observe(&Need::default()).await.expect("it is there");
        let key = home.path().join("certs/issuer.key");
        let other = goal(2).target.issuer.key.to_pem();
        std::fs::write(&key, other.as_bytes()).expect("somebody else writes");
        let error = mesh.apply(&publish(&goal(3)), &seen).await.expect_err("it is not what was seen");
        assert_eq!(error.kind(), Kind::Failed, "the loop knows whether something was changed before");
        assert_eq!(std::fs::read(&key).expect("it is there"), other.as_bytes());
    }

    #[tokio::test]
    async fn a_part_of_a_first_ca_is_completed_from_the_record_and_refused_without_one() {
        let home = tempfile::tempdir().expect("a directory");
        let mut mesh = directory(&home);
        mesh.lock().await.expect("nobody has it");
        let goal = goal(1);
        std::fs::write(home.path().join("certs/ca.crt"), goal.target.trust.to_pem()).expect("there is room");
        let error = mesh.observe(&Need::default()).await.err().expect("only a part is there").to_string();
        assert!(error.contains("`issuer.crt` and `issuer.key` is missing"), "{error}");
        mesh.save(&Record::open(goal.clone())).await.expect("there is room");
        let seen = mesh.observe(&Need::default()).await.expect("a killed run is gone on with");
        assert!(matches!(seen.published.pair, Pair::Unequal(_)));
        mesh.apply(&publish(&goal), &seen).await.expect("there is room");
        let seen = mesh.observe(&Need::default()).await.expect("it is whole");
        assert_eq!(seen.published.pair, Pair::Equal);
    }

    #[tokio::test]
    async fn nothing_is_written_without_the_lock() {
        let home = tempfile::tempdir().expect("a directory");
        let mut mesh = directory(&home);
        let goal = goal(1);
        let seen = mesh.observe(&Need::default()).await.expect("nothing is there");
        mesh.apply(&publish(&goal), &seen).await.expect_err("no lock");
        mesh.save(&Record::open(goal)).await.expect_err("no lock");
        assert!(!home.path().join("certs").exists());
    }

    #[tokio::test]
    async fn the_record_comes_back_and_leftovers_go() {
        let home = tempfile::tempdir().expect("a directory");
        let mut mesh = directory(&home);
        mesh.lock().await.expect("nobody has it");
        let record = Record::open(goal(1));
        mesh.save(&record).await.expect("there is room");
        let leftover = home.path().join("certs/mtls-rotation/.mtls-killed");
        std::fs::write(&leftover, "half").expect("there is room");
        mesh.unlock().await.expect("it is held");
        mesh.lock().await.expect("it was given back");
        assert!(!leftover.exists());
        let loaded = mesh.load().await.expect("it is whole").expect("it is there");
        assert_eq!(loaded.to_data(), record.to_data());
    }
}
