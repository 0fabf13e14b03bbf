//! The record of a rotation: that one is open, what it is after, and what was there before.
//!
//! # Why
//! Where a rotation stands is read from the cluster; the record only freezes what cannot be read there: the staged
//! issuer before it is published, the previous one to go back to, and the inputs that may continue it. Its keys are as
//! secret as the issuer's own, so it lives where that one lives. A root key is never part of it.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::next::is_switched;
use super::{Goal, Need, Restart, Scope, Strategy, Trio};
use crate::mesh::{Answer, Consumer, Observed};
use crate::pki::{Certificate, Fingerprint, Issuer, PrivateKey, TrustBundle, parse_chain};

/// How far a rotation got, as far as only its maker can know.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Status {
    /// Not finished: the same inputs continue it.
    Open,
    /// The goal was reached.
    Done,
    /// Another goal took its place before it was reached.
    Aborted,
}

/// What is kept of a rotation.
#[derive(Clone)]
pub struct Record {
    /// How far it got.
    pub status: Status,
    /// What it is after.
    pub goal: Goal,
}

/// Why a record cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum RecordError {
    /// It was written by a newer version of the tool.
    #[error("the record has version {found}, this mtls understands {VERSION}")]
    Newer {
        /// The version it has.
        found: u32,
    },
    /// A part is missing or damaged.
    #[error("the record's `{part}` is missing or damaged: {why}")]
    Damaged {
        /// Its key.
        part: &'static str,
        /// What is wrong.
        why: String,
    },
}

impl RecordError {
    /// What helps. `anew`: how to begin without this record, which only one that nobody can read should be.
    pub fn hint(&self, anew: String) -> String {
        match self {
            Self::Newer { .. } => {
                "use the mtls that wrote it, or a newer one: it may be of a rotation that is open".to_owned()
            }
            Self::Damaged { .. } => anew,
        }
    }
}

/// The data of the Secret (or the files of the directory) that a record is kept in, by key.
pub type RecordData = BTreeMap<String, Zeroizing<Vec<u8>>>;

/// The newest version that is understood.
const VERSION: u32 = 3;
const META: &str = "rotation.json";

/// The version that a strategy came with: an older mtls refuses its records, where it would take them for damaged. All
/// others stay as the first version had them.
fn version(strategy: Strategy) -> u32 {
    match strategy {
        Strategy::Restore => 3,
        Strategy::Prune => 2,
        _ => 1,
    }
}

#[derive(Serialize, Deserialize)]
struct Meta {
    version: u32,
    status: Status,
    strategy: String,
    began: Timestamp,
    valid_until: Timestamp,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    restart: Option<MetaRestart>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    invented: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    allowed: Vec<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    former_svids_end: Option<Timestamp>,
    inputs: String,
}

#[derive(Serialize, Deserialize)]
struct MetaRestart {
    stale_only: bool,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    applications: bool,
    since: Timestamp,
}

impl Record {
    /// A record of a rotation that begins.
    pub fn open(goal: Goal) -> Self {
        Self { status: Status::Open, goal }
    }

    /// Notes that the goal is reached, and until when SVIDs of a former issuer may live, if every Sentry replica was seen
    /// to have switched. A prune goes no way back: what it retired leaves the record too.
    pub fn close(&mut self, seen: &Observed) {
        self.status = Status::Done;
        if self.goal.strategy == Strategy::Prune {
            self.goal.previous = None;
        } else {
            self.goal.former_svids_end = self.goal.last_former_svid(seen);
        }
    }

    /// Whether it waits to be gone on with. It is over once its CA has ended, or is published and ends before `horizon`:
    /// a new rotation takes its place. So is an append once the CA has ended that was to work until the switch: nobody
    /// can be restarted into the new root any more.
    pub fn is_open(&self, seen: &Observed, horizon: Timestamp) -> bool {
        let goal = &self.goal;
        let lasts = |end| end >= horizon || !is_switched(goal, seen);
        let has_ended = |previous: &Trio| previous.until(seen).is_none() && !is_switched(goal, seen);
        let is_late = goal.strategy == Strategy::Append && goal.previous.as_ref().is_some_and(has_ended);
        self.status == Status::Open && goal.target.until(seen).is_some_and(lasts) && !is_late
    }

    /// The trio to carry along where Sentry has invented a CA since: the published root is in neither the target nor
    /// the previous bundle, and somebody (as far as that can be seen) holds only others. `None`: it has not, or what was kept has expired.
    pub fn kept(&self, seen: &Observed) -> Option<Trio> {
        let live = self.stranger(seen)?;
        let kept = self.last_published().filter(|kept| kept.until(seen).is_some())?;
        let are_gone = !kept.trust.anchors().iter().any(|anchor| seen.published.anchors.contains(anchor));
        let clings = |consumer: &Consumer| match consumer.held.proven() {
            Some(held) => !held.contains(live),
            None => are_gone && consumer.holds == Answer::Proven(true),
        };
        (!seen.consumers_complete || seen.consumers.iter().any(clings)).then(|| kept.clone())
    }

    /// What the control plane must be asked before [`Self::kept`] can tell: whether a process still holds one of the
    /// kept roots, and so accepts the whole kept chain. `None`: what is published is on record.
    pub fn doubts(&self, seen: &Observed) -> Option<Need> {
        self.stranger(seen)?;
        let holds = self.last_published().map(|kept| kept.issuer.clone());
        Some(Need { consumers: true, held: true, control_plane: true, holds, ..Need::default() })
    }

    /// Whether the CA that it keeps can be published again: over the one that Sentry has invented since, or in place of
    /// what is damaged.
    pub fn mends(&self, seen: &Observed) -> bool {
        let works = |trio: &Trio| trio.until(seen).is_some();
        let is_damaged = || !Trio::published(seen).as_ref().is_some_and(works);
        self.kept(seen).is_some() || is_damaged() && self.last_published().is_some_and(works)
    }

    /// The published root that is in neither the target nor the previous bundle.
    pub(super) fn stranger<'a>(&self, seen: &'a Observed) -> Option<&'a Certificate> {
        let previous = self.goal.previous.as_ref();
        let known = |root: &Certificate| {
            let knows = |trio: &Trio| trio.trust.contains(root.fingerprint());
            knows(&self.goal.target) || previous.is_some_and(knows)
        };
        seen.signing_root().filter(|root| !known(root))
    }

    /// The trio that Sentry last signed with, as far as the record tells: what was there before where the goal's own was
    /// never published, or only after everybody was seen to hold its root.
    pub fn last_published(&self) -> Option<&Trio> {
        match (self.status, self.goal.strategy) {
            (Status::Aborted, _) | (Status::Open, Strategy::Append) => self.goal.previous.as_ref(),
            (Status::Open | Status::Done, _) => Some(&self.goal.target),
        }
    }

    /// The roots of this mesh's own that it names: those before, those after, and the one that Sentry invented.
    pub fn roots(&self) -> impl Iterator<Item = &Certificate> {
        let Goal { target, previous, invented, .. } = &self.goal;
        let trios = [Some(target), previous.as_ref()].into_iter().flatten();
        trios.flat_map(|trio| [trio.root(), trio.last_root()]).chain([invented.as_ref()]).flatten()
    }

    /// The record as it is stored.
    ///
    /// # Panics
    /// Never: its description is a struct of strings and numbers.
    pub fn to_data(&self) -> RecordData {
        let goal = &self.goal;
        let meta = Meta {
            version: version(goal.strategy),
            status: self.status,
            strategy: goal.strategy.word().to_owned(),
            began: goal.began,
            valid_until: goal.valid_until,
            restart: goal.restart.map(|Restart { scope, since }| MetaRestart {
                stale_only: scope.is_stale_only(),
                applications: scope.has_applications(),
                since,
            }),
            invented: goal.invented.as_ref().map(|root| root.fingerprint().to_string()),
            allowed: goal.allowed.clone(),
            former_svids_end: goal.former_svids_end,
            inputs: goal.inputs.clone(),
        };
        let meta = serde_json::to_vec_pretty(&meta).expect("a struct of strings and numbers serialises");
        let mut data = RecordData::from([(META.to_owned(), Zeroizing::new(meta))]);
        write_trio(&mut data, TARGET, &goal.target);
        if let Some(previous) = &goal.previous {
            write_trio(&mut data, PREVIOUS, previous);
        }
        data
    }

    /// Reads a record back. Errors name the part that is wrong.
    pub fn from_data(data: &RecordData) -> Result<Self, RecordError> {
        let damaged = |why: String| RecordError::Damaged { part: META, why };
        let raw = data.get(META).ok_or_else(|| damaged("it is not there".to_owned()))?;
        let version: VersionOnly = serde_json::from_slice(raw).map_err(|why| damaged(why.to_string()))?;
        if version.version > VERSION {
            return Err(RecordError::Newer { found: version.version });
        }
        let meta: Meta = serde_json::from_slice(raw).map_err(|why| damaged(why.to_string()))?;
        let strategy = Strategy::from_word(&meta.strategy)
            .ok_or_else(|| damaged(format!("unknown strategy `{}`", meta.strategy)))?;
        let target = read_trio(data, TARGET)?;
        let previous = if data.contains_key(PREVIOUS[0]) { Some(read_trio(data, PREVIOUS)?) } else { None };
        let invented = meta.invented.and_then(|name| name.parse::<Fingerprint>().ok());
        let invented =
            invented.and_then(|name| target.trust.anchors().iter().find(|root| root.fingerprint() == name).cloned());
        let restart = meta.restart.map(|restart| Restart {
            scope: Scope::new(restart.stale_only, restart.applications),
            since: restart.since,
        });
        let goal = Goal {
            strategy,
            target,
            previous,
            valid_until: meta.valid_until,
            began: meta.began,
            restart,
            invented,
            allowed: meta.allowed,
            former_svids_end: meta.former_svids_end,
            inputs: meta.inputs,
        };
        Ok(Self { status: meta.status, goal })
    }
}

#[derive(Deserialize)]
struct VersionOnly {
    version: u32,
}

const TARGET: [&str; 3] = ["target.ca.crt", "target.issuer.crt", "target.issuer.key"];
const PREVIOUS: [&str; 3] = ["previous.ca.crt", "previous.issuer.crt", "previous.issuer.key"];

fn write_trio(data: &mut RecordData, [trust, chain, key]: [&str; 3], trio: &Trio) {
    data.insert(trust.to_owned(), Zeroizing::new(trio.trust.to_pem().into_bytes()));
    data.insert(chain.to_owned(), Zeroizing::new(trio.issuer.chain_pem().into_bytes()));
    data.insert(key.to_owned(), Zeroizing::new(trio.issuer.key.to_pem().as_bytes().to_vec()));
}

fn read_trio(data: &RecordData, [trust, chain, key]: [&'static str; 3]) -> Result<Trio, RecordError> {
    let part = |part: &'static str| {
        data.get(part).ok_or_else(|| RecordError::Damaged { part, why: "it is not there".to_owned() })
    };
    let damaged = |part: &'static str, why: String| RecordError::Damaged { part, why };
    let bundle = TrustBundle::parse_kept(part(trust)?).map_err(|why| damaged(trust, why.to_string()))?;
    let chain_read = parse_chain(part(chain)?).map_err(|why| damaged(chain, why.to_string()))?;
    let key_read = PrivateKey::parse(part(key)?).map_err(|why| damaged(key, why.to_string()))?;
    Ok(Trio { trust: bundle, issuer: Issuer { chain: chain_read, key: key_read } })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A record as the first version of its format has it. It stays as it is when the format changes.
    const FIRST: &str = include_str!("testdata/record-1.json");
    /// The same of an open prune, and of a restore that is done.
    const SECOND: &str = include_str!("testdata/record-2.json");
    const THIRD: &str = include_str!("testdata/record-3.json");

    fn data(text: &str) -> RecordData {
        let texts: BTreeMap<String, String> = serde_json::from_str(text).unwrap();
        texts.into_iter().map(|(key, text)| (key, Zeroizing::new(text.into_bytes()))).collect()
    }

    #[test]
    fn a_record_of_the_first_version_is_understood_and_written_as_it_was() {
        let record = Record::from_data(&data(FIRST)).unwrap();
        let Goal { strategy, target, previous, began, restart, invented, .. } = &record.goal;
        let previous = previous.as_ref().unwrap();
        assert_eq!((record.status, *strategy, invented.is_none()), (Status::Open, Strategy::Bridge, true));
        assert_eq!(restart.unwrap().scope, Scope::Stale);
        assert_eq!(began.to_string(), "2026-11-24T21:03:59Z");
        assert_eq!((target.issuer.chain.len(), previous.issuer.chain.len()), (3, 1));
        assert_eq!(target.trust.anchors()[1], previous.trust.anchors()[0]);
        assert_ne!(target.issuer.key.public_fingerprint(), previous.issuer.key.public_fingerprint());
        assert!(record.to_data() == data(FIRST));
    }

    #[test]
    fn a_prune_of_the_second_version_is_understood_and_written_as_it_was() {
        let record = Record::from_data(&data(SECOND)).unwrap();
        let Goal { strategy, target, previous, allowed, former_svids_end, .. } = &record.goal;
        let previous = previous.as_ref().unwrap();
        assert_eq!((record.status, *strategy), (Status::Open, Strategy::Prune));
        assert_eq!(*allowed, ["apps/pod-0"]);
        assert_eq!(former_svids_end.unwrap().to_string(), "2026-03-02T12:15:04.85Z");
        assert_eq!(*target.trust.anchors(), previous.trust.anchors()[..1]);
        assert_eq!(*target.issuer.chain, previous.issuer.chain[..1]);
        assert!(record.to_data() == data(SECOND));
    }

    #[test]
    fn a_restore_of_the_third_version_is_understood_and_written_as_it_was() {
        let record = Record::from_data(&data(THIRD)).unwrap();
        let Goal { strategy, target, previous, invented, .. } = &record.goal;
        assert_eq!((record.status, *strategy), (Status::Done, Strategy::Restore));
        assert_eq!((target.issuer.chain.len(), previous.as_ref().unwrap().issuer.chain.len()), (5, 5));
        assert_eq!(invented.as_ref(), target.trust.anchors().last());
        assert!(record.to_data() == data(THIRD));
    }

    #[test]
    fn what_is_restarted_comes_back() {
        let mut record = Record::from_data(&data(FIRST)).unwrap();
        for scope in [Scope::ControlPlane, Scope::Stale, Scope::All, Scope::AllStale] {
            let restart = Some(Restart { scope, since: record.goal.began });
            record.goal.restart = restart;
            assert_eq!(Record::from_data(&record.to_data()).unwrap().goal.restart, restart);
        }
    }

    /// Every mtls since the first refuses a version that it does not understand.
    #[test]
    fn a_strategy_that_came_later_has_a_version_of_its_own() {
        let mut record = Record::from_data(&data(FIRST)).unwrap();
        for (strategy, version) in [(Strategy::Append, 1), (Strategy::Prune, 2), (Strategy::Restore, VERSION)] {
            record.goal.strategy = strategy;
            let meta: VersionOnly = serde_json::from_slice(&record.to_data()[META]).unwrap();
            assert_eq!(meta.version, version);
            assert_eq!(Record::from_data(&record.to_data()).unwrap().goal.strategy, strategy);
        }
    }

    #[test]
    fn a_record_of_a_newer_version_is_refused_and_not_to_be_removed() {
        let newer = FIRST.replace(r#"\"version\": 1"#, r#"\"version\": 4"#);
        let why = Record::from_data(&data(&newer)).err().unwrap();
        assert_eq!(why.to_string(), "the record has version 4, this mtls understands 3");
        assert!(!why.hint("remove it".to_owned()).contains("remove"));
        let damaged = FIRST.replace("previous.issuer.key", "previous.issuer.kex");
        let why = Record::from_data(&data(&damaged)).err().unwrap();
        assert_eq!(why.to_string(), "the record's `previous.issuer.key` is missing or damaged: it is not there");
        assert_eq!(why.hint("remove it".to_owned()), "remove it");
    }
}
