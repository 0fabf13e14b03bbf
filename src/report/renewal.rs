//! What `renew-certificate` shows: the plan of a dry run, or what was done and who is left behind.

use std::fmt;

use jiff::Timestamp;
use jiff::tz::TimeZone;
use serde::Serialize;

use crate::mesh::Role;
use crate::pki::{Certificate, Fingerprint};
use crate::rotation::{Concern, Goal, Left, Strategy};

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Result {
    /// A dry run.
    Planned,
    /// The new issuer is published and served.
    Done,
}

/// A consumer that is left behind.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct LeftBehind {
    role: &'static str,
    name: String,
    concern: &'static str,
    why: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    until: Option<Timestamp>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restart: Option<String>,
}

/// The report, version 1 (docs/schema/renew-certificate.json).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    version: u32,
    result: Result,
    strategy: &'static str,
    valid_until: Timestamp,
    trust_anchors: Vec<Fingerprint>,
    issuer: Fingerprint,
    chain_length: usize,
    moves: Vec<String>,
    left: Vec<LeftBehind>,
}

impl Renewal {
    /// The report of a plan or of a finished run.
    pub fn new(goal: &Goal, result: Result, moves: Vec<String>, left: &[Left]) -> Self {
        let target = &goal.target;
        Self {
            version: 1,
            result,
            strategy: goal.strategy.word(),
            valid_until: goal.valid_until,
            trust_anchors: target.trust.anchors().iter().map(Certificate::fingerprint).collect(),
            issuer: target.issuer.certificate().fingerprint(),
            chain_length: target.issuer.chain.len(),
            moves,
            left: left.iter().map(LeftBehind::from).collect(),
        }
    }
}

impl From<&Left> for LeftBehind {
    fn from(left: &Left) -> Self {
        Self {
            role: left.role,
            name: left.consumer.clone(),
            concern: match left.concern {
                Concern::Leaving => "leaving",
                Concern::OldTrust => OLD_TRUST,
                Concern::Unseen => "unseen",
                Concern::Behind => BEHIND,
                Concern::InventedSvid => "invented-svid",
                Concern::Refuses => REFUSES,
            },
            why: left.why.clone(),
            until: left.until,
            restart: left.restart.clone(),
        }
    }
}

impl fmt::Display for Renewal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.result == Result::Planned {
            writeln!(f, "Would use strategy {}:", self.strategy)?;
            return self.moves.iter().enumerate().try_for_each(|(n, step)| writeln!(f, "  {}. {step}", n + 1));
        }
        if self.left.iter().any(|left| [BEHIND, REFUSES].contains(&left.concern)) {
            writeln!(f, "What was to be published is published; not everybody goes along yet:")?;
        } else if self.strategy != Strategy::Restart.word() {
            let until = self.valid_until.to_zoned(TimeZone::UTC);
            let until = until.strftime("%a, %d %b %Y %H:%M:%S UTC");
            writeln!(f, "Certificate rotation is successful! Your new certificate is valid through {until}")?;
        }
        for group in self.groups() {
            writeln!(f, "  {group}")?;
        }
        if self.left.iter().any(|left| left.role == Role::Injector.word() && left.concern == OLD_TRUST) {
            let first = "the injector writes the older bundle into new pods: `mtls restart --stale` before applications are restarted";
            writeln!(f, "  {first}")?;
        }
        Ok(())
    }
}

const OLD_TRUST: &str = "old-trust";
const BEHIND: &str = "behind";
const REFUSES: &str = "refuses";

impl Renewal {
    /// Those left behind, the replicas of a workload together.
    fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group> = Vec::new();
        for left in &self.left {
            let same = |group: &&mut Group| {
                let first = group.first;
                (first.role, &first.why, first.until, &first.restart)
                    == (left.role, &left.why, left.until, &left.restart)
            };
            match groups.iter_mut().find(same) {
                Some(group) => group.more += 1,
                None => groups.push(Group { first: left, more: 0 }),
            }
        }
        groups
    }
}

/// Consumers of one workload that are left behind in the same way.
struct Group<'a> {
    first: &'a LeftBehind,
    more: usize,
}

impl fmt::Display for Group<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let left = self.first;
        write!(f, "{} {}", left.role, left.name)?;
        if self.more > 0 {
            write!(f, " and {} more", self.more)?;
        }
        write!(f, ": {}", left.why)?;
        if let Some(until) = left.until {
            write!(f, "; that is fine until {until}")?;
        }
        match &left.restart {
            Some(owner) => write!(f, " (restart {owner})"),
            None => Ok(()),
        }
    }
}
