//! What a look means for the health of the mesh: what is wrong, what it does to calls, and the way out.

mod expiry;
mod file_era;

use std::fmt::Write as _;

use jiff::{SignedDuration, Timestamp};

use super::layers::{Dependent, Layer, LayerKind, live_bridges, refusing};
use super::{Consumer, Fence, Observed, Owner, Pair, Phase, Role};
use crate::duration::in_words;
use crate::pki::{Certificate, Fingerprint, OddityKind, Profile};

/// How urgent a finding is, the most urgent first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Calls fail, or will at any moment.
    Error,
    /// Calls will fail unless somebody acts.
    Warning,
    /// Worth knowing.
    Note,
}

impl Severity {
    /// The word for it.
    pub fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warning => "warning",
            Self::Note => "note",
        }
    }
}

/// Something about the mesh that somebody should know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How urgent it is.
    pub severity: Severity,
    /// What was found.
    pub what: String,
    /// What it does to the mesh.
    pub means: String,
    /// The way out, often a command to paste; empty if there is nothing to do.
    pub hint: String,
}

/// What the findings take from the record of the last rotation.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// Whether that rotation is still open.
    pub open: bool,
    /// When it began.
    pub began: Timestamp,
    /// Its strategy, in a word.
    pub strategy: &'static str,
    /// Every root that it has published or found published.
    pub roots: Vec<Fingerprint>,
    /// Whether it keeps a CA that can be published again, over the one that is live or in place of what is damaged.
    pub mends: bool,
    /// The anchors that it left published, if it is done.
    pub left: Vec<Certificate>,
}

const RESTORE: &str = "restore";

impl Recorded {
    /// The command that goes on with what is open, or puts back what the record keeps.
    fn way_on(&self) -> &'static str {
        match (self.open, self.strategy) {
            (false, _) | (true, RESTORE) => RESTORE,
            (true, "prune") => "prune",
            (true, _) => "renew-certificate --resume",
        }
    }
}

/// Dapr warns this long before a certificate expires (`dapr/cli/pkg/kubernetes/mtls.go`).
pub const WARNING_TIME: SignedDuration = SignedDuration::from_hours(30 * 24);

/// How many live bridges are a reason to speak of them.
const MANY_BRIDGES: usize = 3;

/// Everything there is to say about a mesh, most urgent first. `layers` are those of the same look.
pub fn findings(seen: &Observed, layers: &[Layer], record: Option<&Recorded>) -> Vec<Finding> {
    let mut found = Found { seen, list: Vec::new() };
    found.presence(record);
    found.pair(record);
    found.signing(layers, record);
    found.refusals(layers, record);
    found.sentry();
    found.expiries(layers);
    found.rotation(record);
    found.undone(record);
    found.file_era();
    found.owners();
    found.oddities();
    found.bridges(layers);
    found.settings();
    found.denied();
    found.list.sort_by_key(|finding| finding.severity);
    found.list
}

struct Found<'a> {
    seen: &'a Observed,
    list: Vec<Finding>,
}

impl Found<'_> {
    fn add(&mut self, severity: Severity, what: impl Into<String>, means: impl Into<String>, hint: impl Into<String>) {
        self.list.push(Finding { severity, what: what.into(), means: means.into(), hint: hint.into() });
    }

    /// The command line that brings back what is damaged or was overwritten: from the record, if that has it.
    fn mend(&self, record: Option<&Recorded>) -> String {
        let kept = record.filter(|record| record.mends);
        self.seen.command(kept.map_or("renew-certificate", Recorded::way_on))
    }

    fn presence(&mut self, record: Option<&Recorded>) {
        let namespace = self.seen.identity.namespace.clone();
        if !self.seen.is_directory() && self.seen.control_plane.is_empty() {
            let what = format!("no control plane of Dapr runs in namespace `{namespace}`");
            self.add(
                Severity::Error,
                what,
                "nobody issues certificates to sidecars",
                "look elsewhere with `-n NAMESPACE`",
            );
        }
        if self.seen.published.pair != Pair::Absent || self.seen.denied.iter().any(|d| d.grant.contains("trust-bundle"))
        {
            return;
        }
        if self.seen.is_directory() {
            let hint = self.mend(record);
            self.add(
                Severity::Note,
                "there is no CA in this directory yet",
                "a Sentry that uses it would invent one",
                format!("make one with {hint}"),
            );
            return;
        }
        let mend = self.mend(record);
        let hint = match record {
            Some(record) if record.mends => format!("put the kept CA back with {mend}"),
            _ if self.seen.consumers.iter().any(|consumer| consumer.role != Role::Sentry) => {
                format!(
                    "make a CA that you know of, and restart everything: {}",
                    self.seen.command("renew-certificate --strategy replace")
                )
            }
            _ => format!("make a CA that you know of with {mend}"),
        };
        self.add(
            Severity::Error,
            format!("Secret `dapr-trust-bundle` in `{namespace}` carries no certificates"),
            "Sentry invents a CA when it starts or reloads, and pods that hold another refuse its SVIDs (`helm upgrade \
             --reset-values` empties it)",
            hint,
        );
    }

    fn pair(&mut self, record: Option<&Recorded>) {
        if let Pair::Unequal(difference) = &self.seen.published.pair {
            let way_on = record.filter(|record| record.open).map_or("renew-certificate", Recorded::way_on);
            let hint = format!("repair it before Sentry acts: {}", self.seen.command(way_on));
            self.add(
                Severity::Error,
                format!("the two objects of the trust bundle are not equal: {difference}"),
                "Sentry invents a new CA at its next reload, and pods that hold the old one refuse its SVIDs",
                hint,
            );
        }
    }

    fn signing(&mut self, layers: &[Layer], record: Option<&Recorded>) {
        let published = &self.seen.published;
        let Some(issuer) = published.chain.first() else { return };
        let trouble = match &published.key {
            Some(key) if key.matches(issuer) => None,
            Some(_) => Some("`issuer.key` does not belong to `issuer.crt`"),
            // Why: Sentry may well use a key that this tool can't, and that is told as an oddity.
            None if published.oddities.iter().any(|(_, odd)| matches!(odd.what, OddityKind::ForeignKey(_))) => None,
            None if published.pair == Pair::Equal => Some("`issuer.key` cannot be used"),
            None => None,
        };
        if let Some(what) = trouble {
            let hint = self.mend(record);
            self.add(Severity::Error, what, "Sentry exits when it starts", hint);
        }
        if layers.iter().any(|layer| layer.in_use) || issuer.is_expired(self.seen.now) {
            return;
        }
        if published.anchors.iter().all(|anchor| anchor.is_expired(self.seen.now)) {
            return;
        }
        let verdict = self.seen.until(&published.chain, &published.anchors, Profile::Spiffe);
        if let Err(refusal) = verdict {
            if refusal.is_doubt() {
                let means = "this tool cannot tell who accepts what Sentry signs";
                return self.add(Severity::Warning, refusal.to_string(), means, refusal.hint());
            }
            let hint = self.mend(record);
            self.add(
                Severity::Error,
                format!("no published trust anchor verifies the issuer: {refusal}"),
                "every handshake with a certificate that Sentry issues now fails",
                hint,
            );
        }
    }

    fn refusals(&mut self, layers: &[Layer], record: Option<&Recorded>) {
        let Some(root) = layers.iter().find(|layer| layer.in_use && layer.kind == LayerKind::TrustAnchor) else {
            return;
        };
        let refusing: Vec<&Consumer> = refusing(self.seen).into_iter().flat_map(|group| group.consumers).collect();
        let root = &root.certificate;
        let born = root.not_before() + self.seen.settings.allowed_clock_skew;
        let is_older = |consumer: &&Consumer| {
            matches!(consumer.role, Role::Sidecar { .. }) && consumer.started.is_some_and(|started| started < born)
        };
        let noted = self.seen.published.noted_roots.contains(&root.fingerprint());
        let on_record = record.is_some_and(|record| record.roots.contains(&root.fingerprint()));
        let is_known = noted || on_record;
        let mends = record.filter(|record| record.mends).map(|record| {
            let renew = if record.open { "" } else { "; a renewal does that too, on its way to a new CA" };
            format!("the kept CA can be bridged to the new one: {}{renew}", self.mend(Some(record)))
        });
        if refusing.is_empty() {
            if let Some(hint) = mends.filter(|_| !is_known) {
                let root = root.fingerprint().short();
                let what = format!(
                    "the root in use ({root}) is not on record: Sentry has invented a CA, or somebody replaced it"
                );
                let means =
                    "whoever holds only the CA on record refuses what is signed now, and not everybody can be seen";
                self.add(Severity::Warning, what, means, hint);
            }
            return;
        }
        // Why: a CA that was retired and put back is a known one, and older than whoever was born meanwhile.
        let invented = mends.is_some() && !on_record || !is_known && refusing.iter().any(is_older);
        let lost: Vec<Dependent> = refusing.into_iter().map(Dependent::from).collect();
        let root = root.fingerprint().short();
        if !invented {
            let what = format!("{} refuse what Sentry signs today", names(&lost));
            self.add(Severity::Error, what, "calls to and from them fail", restart_hint(&lost));
            return;
        }
        let hint = mends.unwrap_or_else(|| {
            format!("the former CA is not on record, so they must be restarted: {}", restart_hint(&lost))
        });
        self.add(
            Severity::Error,
            format!(
                "the root in use ({root}) is not one that {} know: Sentry has invented a CA, or somebody replaced it",
                names(&lost)
            ),
            "calls between pods from before and after that fail",
            hint,
        );
    }

    fn sentry(&mut self) {
        let crashing = |consumer: &&Consumer| consumer.role == Role::Sentry && consumer.phase == Phase::CrashLoop;
        let names: Vec<&str> = self.seen.consumers.iter().filter(crashing).map(|c| c.name.as_str()).collect();
        if !names.is_empty() {
            let hint = format!("its log says why: `kubectl logs {}`", pod_argument(names[0]));
            let ttl = in_words(self.seen.settings.workload_cert_ttl);
            let means = format!("no SVID is issued or renewed; sidecars go on for half of their {ttl} at least");
            self.add(Severity::Error, format!("Sentry crashes again and again: {}", names.join(", ")), means, hint);
        }
    }

    fn rotation(&mut self, record: Option<&Recorded>) {
        let open = record.filter(|record| record.open);
        if let Some(record) = open {
            let mut hint = format!("go on with {}", self.seen.command(record.way_on()));
            if record.strategy != RESTORE {
                let _ = write!(hint, ", or go back with {}", self.seen.command("renew-certificate --abort"));
            }
            let what = format!("a rotation (strategy {}) is open since {}", record.strategy, record.began);
            self.add(Severity::Warning, what, "it stopped where calls go on; nothing more happens by itself", hint);
        }
        if let Some(trouble) = &self.seen.record_trouble {
            self.add(
                Severity::Warning,
                format!("the record of the last rotation cannot be used: {trouble}"),
                "whether a rotation is open, and which CA is kept, is not known",
                "a newer mtls may understand it; a damaged record is begun anew without it",
            );
        }
        if self.seen.fence == Fence::Left {
            let command = if open.is_some() { "renew-certificate --resume" } else { "restart --stale" };
            let hint = format!("the next command that writes gives it back: {}", self.seen.command(command));
            self.add(
                Severity::Warning,
                "Sentry's right to write the trust bundle was taken away by a run that was killed",
                "Sentry goes on issuing SVIDs, but cannot store a CA of its own",
                hint,
            );
        }
    }

    /// Names what the last rotation published and somebody has taken away since. Where a CA that is not on record stands
    /// there and cuts somebody off, that is told already.
    fn undone(&mut self, record: Option<&Recorded>) {
        let published = &self.seen.published;
        let (Some(record), Some(root)) = (record, self.seen.signing_root()) else { return };
        let is_told = || record.mends || !refusing(self.seen).is_empty();
        if published.pair != Pair::Equal || !record.roots.contains(&root.fingerprint()) && is_told() {
            return;
        }
        let is_gone = |anchor: &&Certificate| !anchor.is_expired(self.seen.now) && !published.anchors.contains(anchor);
        let gone: Vec<String> = record.left.iter().filter(is_gone).map(|anchor| anchor.fingerprint().short()).collect();
        if gone.is_empty() {
            return;
        }
        let hint = format!("bridge to a new root: {}", self.seen.command("renew-certificate"));
        self.add(
            Severity::Warning,
            format!("trust anchor {}, which the last rotation left, is not published any more", gone.join(" + ")),
            "somebody put back what was there before it, as `helm upgrade --reuse-values` does with values that pin \
             certificates; whoever holds only what is gone refuses what is signed now",
            hint,
        );
    }

    fn owners(&mut self) {
        for owner in &self.seen.owners {
            match owner {
                Owner::HelmValues { release } => self.add(
                    Severity::Warning,
                    format!("the values of Helm release `{release}` pin certificates"),
                    "the next `helm upgrade --reuse-values` brings that CA back at once, and calls fail",
                    "at the next upgrade set dapr_sentry.tls.root.certPEM, dapr_sentry.tls.issuer.certPEM and \
                     dapr_sentry.tls.issuer.keyPEM to what is live then",
                ),
                Owner::HelmUnknown(why) => self.add(
                    Severity::Note,
                    format!("whether Helm values pin certificates is not known: {why}"),
                    "pinned ones come back with the next `helm upgrade --reuse-values`",
                    "let somebody who may read the release run `helm get values`, and look for certPEM",
                ),
                Owner::Reconciler { who, remedy } => self.add(
                    Severity::Warning,
                    format!("{who} owns the trust bundle"),
                    "it writes its own certificates back whenever others are published",
                    format!("make it leave the data alone: {remedy}"),
                ),
                Owner::AutomaticRenewal(what) => self.add(
                    Severity::Warning,
                    format!("Dapr renews its CA by itself here: {what}"),
                    "two who renew get in each other's way, so `renew-certificate` refuses",
                    "let Dapr finish, or switch its renewal off before another one",
                ),
            }
        }
    }

    fn oddities(&mut self) {
        for (place, oddity) in &self.seen.published.oddities {
            let what = format!("{place}: {oddity}");
            let hint = format!("the next rotation writes it anew: {}", self.seen.command("renew-certificate"));
            self.add(Severity::Warning, what, oddity.means(), hint);
        }
    }

    fn bridges(&mut self, layers: &[Layer]) {
        let count = live_bridges(layers, self.seen.now);
        if count < MANY_BRIDGES {
            return;
        }
        let needed = |layer: &&Layer| layer.kind == LayerKind::Bridge && layer.is_needed();
        let prune = self.seen.command("prune");
        let hint = match layers.iter().filter(needed).count() {
            0 => format!("nobody is known to need one; retire them with {prune}"),
            _ => format!("restart what depends on them, then retire them with {prune}"),
        };
        self.add(
            Severity::Note,
            format!("the issuer's chain carries {count} bridges"),
            "each adds about 900 bytes to every handshake; from eight on a rotation is refused",
            hint,
        );
    }

    fn settings(&mut self) {
        if !self.seen.settings.mtls_enabled {
            self.add(
                Severity::Note,
                "mutual TLS between sidecars is off (Configuration `daprsystem`)",
                "the control plane uses these certificates all the same, and breaks when they expire",
                "renew them like any other",
            );
        }
    }

    fn denied(&mut self) {
        for denied in &self.seen.denied {
            let what = format!("not seen: {}", denied.what);
            let hint = format!("grant the verb and the resource: {}", denied.grant);
            self.add(Severity::Note, what, "this caller may not look", hint);
        }
    }
}

/// `3 consumers (sidecar a/b, operator c)`, at most five by name.
pub fn names(consumers: &[Dependent]) -> String {
    const MOST: usize = 5;
    let mut text = match consumers.len() {
        1 => "1 consumer (".to_owned(),
        count => format!("{count} consumers ("),
    };
    let shown: Vec<String> = consumers.iter().take(MOST).map(|c| format!("{} {}", c.role, c.name)).collect();
    text.push_str(&shown.join(", "));
    if consumers.len() > MOST {
        let _ = write!(text, " and {} more", consumers.len() - MOST);
    }
    text.push(')');
    text
}

fn restart_hint(consumers: &[Dependent]) -> String {
    let mut owners: Vec<String> = consumers
        .iter()
        .filter_map(|consumer| {
            let (namespace, _) = consumer.name.split_once('/')?;
            Some(format!("`kubectl rollout restart {} -n {namespace}`", consumer.owner.as_ref()?))
        })
        .collect();
    owners.sort();
    owners.dedup();
    match owners.len() {
        0 => "restart them".to_owned(),
        1..=5 => format!("restart them: {}", owners.join(", ")),
        count => format!("restart them: {} and {} more workloads", owners[..5].join(", "), count - 5),
    }
}

fn pod_argument(name: &str) -> String {
    match name.split_once('/') {
        Some((namespace, pod)) => format!("{pod} -n {namespace} --previous"),
        None => name.to_owned(),
    }
}

#[cfg(test)]
mod tests;
