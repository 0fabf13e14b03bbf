//! What `renew-certificate` shows: the plan of a dry run, or what was done and who is left behind.

use std::fmt;

use jiff::Timestamp;
use serde::Serialize;

use super::rfc1123;
use crate::mesh::{Observed, Role};
use crate::pki::{Certificate, Fingerprint};
use crate::rotation::{Affected, Blocked, Concern, Goal, Left, Strategy, signing_path_end};

/// How far it got.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Result {
    /// A dry run.
    Planned,
    /// The new issuer is published and served.
    Done,
    /// The new issuer is published, and somebody does not go along yet.
    Unfinished,
    /// The new root is published; the switch waits until everybody holds it.
    Waiting,
    /// Nothing is due.
    NothingDue,
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

/// What was restarted.
#[derive(Clone, Debug, Serialize)]
struct Restarted {
    services: Vec<String>,
    applications: Vec<String>,
}

/// An application that is left alone.
#[derive(Clone, Debug, Serialize)]
struct LeftAlone {
    workload: String,
    why: String,
}

/// The report, version 1 (docs/schema/renew-certificate.json).
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Renewal {
    version: u32,
    result: Result,
    #[serde(skip_serializing_if = "Option::is_none")]
    strategy: Option<&'static str>,
    valid_until: Timestamp,
    trust_anchors: Vec<Fingerprint>,
    issuer: Fingerprint,
    chain_length: usize,
    moves: Vec<String>,
    left: Vec<LeftBehind>,
    #[serde(skip_serializing_if = "Option::is_none")]
    restarted: Option<Restarted>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    blocked: Vec<LeftAlone>,
}

impl Renewal {
    /// The report of a plan or of a finished run.
    pub fn new(goal: &Goal, result: Result, moves: Vec<String>, left: &[Left]) -> Self {
        let target = &goal.target;
        let is_unfinished = result == Result::Done && left.iter().any(Left::is_unfinished);
        Self {
            version: 1,
            result: if is_unfinished { Result::Unfinished } else { result },
            strategy: Some(goal.strategy.word()),
            valid_until: target.end(),
            trust_anchors: target.trust.anchors().iter().map(Certificate::fingerprint).collect(),
            issuer: target.issuer.certificate().fingerprint(),
            chain_length: target.issuer.chain.len(),
            moves,
            left: left.iter().map(LeftBehind::from).collect(),
            restarted: None,
            blocked: Vec::new(),
        }
    }

    /// The same, with what was restarted.
    #[must_use]
    pub fn restarted(mut self, services: Vec<String>, applications: Vec<String>) -> Self {
        let is_any = !(services.is_empty() && applications.is_empty());
        self.restarted = is_any.then_some(Restarted { services, applications });
        self
    }

    /// The same, with the applications that no restart would help.
    #[must_use]
    pub fn blocked(mut self, blocked: Vec<Blocked>) -> Self {
        self.blocked = blocked.into_iter().map(|Blocked { workload, why }| LeftAlone { workload, why }).collect();
        self
    }
}

impl Renewal {
    /// The report of a run that found nothing due before the signing path's end, and whoever depends on what ends sooner.
    /// `None` where nothing is published.
    pub fn nothing_due(seen: &Observed, affected: &[Affected]) -> Option<Self> {
        let published = &seen.published;
        Some(Self {
            version: 1,
            result: Result::NothingDue,
            strategy: None,
            valid_until: signing_path_end(seen)?,
            trust_anchors: published.anchors.iter().map(Certificate::fingerprint).collect(),
            issuer: published.chain.first()?.fingerprint(),
            chain_length: published.chain.len(),
            moves: Vec::new(),
            left: affected.iter().map(LeftBehind::from).collect(),
            restarted: None,
            blocked: Vec::new(),
        })
    }
}

impl From<&Affected<'_>> for LeftBehind {
    fn from(affected: &Affected<'_>) -> Self {
        let Affected { consumer, until } = affected;
        Self {
            role: consumer.role.word(),
            name: consumer.name.clone(),
            concern: if until.is_some() { OLD_TRUST } else { REFUSES },
            why: until
                .map_or("refuses what it is shown", |_| "needs an older root or a bridge that ends sooner")
                .to_owned(),
            until: *until,
            restart: consumer.owner.clone(),
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
                Concern::NotYet => "not-yet",
                Concern::Assumed => "assumed",
                Concern::OldTrust => OLD_TRUST,
                Concern::Unseen => "unseen",
                Concern::Behind => "behind",
                Concern::RefusedBefore => "refused-before",
                Concern::InventedSvid => "invented-svid",
                Concern::Allowed => "allowed",
                Concern::FormerSvid => "former-svid",
                Concern::AcceptsFormer => "accepts-former",
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
            writeln!(f, "Would use strategy {}:", self.strategy.unwrap_or_default())?;
            if self.moves.is_empty() {
                writeln!(f, "  nothing is left to do")?;
            }
            self.moves.iter().enumerate().try_for_each(|(n, step)| writeln!(f, "  {}. {step}", n + 1))?;
            return self.left_alone(f);
        }
        for application in self.restarted.iter().flat_map(|restarted| &restarted.applications) {
            writeln!(f, "Restarted {application}")?;
        }
        if self.result == Result::Waiting {
            writeln!(f, "The new root is published beside the old one. Before the switch these must hold it:")?;
        } else if self.result == Result::NothingDue {
            writeln!(f, "nothing is due: the issuer in use and its root are valid until {}", self.valid_until)?;
        } else if self.result == Result::Unfinished {
            writeln!(f, "What was to be published is published; not everybody goes along yet:")?;
        } else if self.strategy == Some(Strategy::Abort.word()) {
            writeln!(f, "The previous issuer signs again; it is valid through {}", rfc1123(self.valid_until))?;
        } else if self.strategy == Some(Strategy::Restore.word()) {
            writeln!(f, "The CA on record signs again; it is valid through {}", rfc1123(self.valid_until))?;
        } else if self.strategy == Some(Strategy::Prune.word()) {
            let names: Vec<String> = self.trust_anchors.iter().map(Fingerprint::short).collect();
            writeln!(f, "Retired what nobody needs any more. Trusted from now on: {}", names.join(" + "))?;
        } else if self.strategy != Some(Strategy::Restart.word()) {
            let until = rfc1123(self.valid_until);
            writeln!(f, "Certificate rotation is successful! Your new certificate is valid through {until}")?;
        }
        let is_all = self.left.is_empty() && self.blocked.is_empty();
        if self.strategy == Some(Strategy::Restart.word()) && is_all {
            writeln!(f, "Everything holds what is published.")?;
        }
        for group in self.groups() {
            writeln!(f, "  {group}")?;
        }
        if self.left.iter().any(|left| left.role == Role::Injector.word() && left.concern == OLD_TRUST) {
            let first = "the injector writes the older bundle into new pods: `mtls restart --stale` before applications are restarted";
            writeln!(f, "  {first}")?;
        }
        self.left_alone(f)
    }
}

const OLD_TRUST: &str = "old-trust";
const REFUSES: &str = "refuses";

impl Renewal {
    fn left_alone(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.blocked
            .iter()
            .try_for_each(|LeftAlone { workload, why }| writeln!(f, "  not restarted: {workload}: {why}"))
    }

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
