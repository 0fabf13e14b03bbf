//! What a command that writes says and checks before it begins: where it is, who is asked to change what, and whether
//! somebody else writes there too.

use crate::cli::{Global, RenewArgs};
use crate::error::Error;
use crate::mesh::{DISTRIBUTED, Dependent, Observed, Owner, names, refusing};
use crate::pki::{Certificate, Fingerprint};
use crate::rotation::safety::Break;
use crate::rotation::{Goal, Move, blocked, due, obstacles};
use crate::ui::Ui;

/// Says in one line which mesh this is and who asks, then what could not be seen of it.
pub fn introduce(seen: &Observed, ui: &Ui) {
    let identity = &seen.identity;
    let mut parts = vec![format!("context {}", identity.context)];
    if !seen.is_directory() {
        parts.push(format!("server {}", identity.server));
    }
    parts.push(format!("namespace {}", identity.namespace));
    parts.push(format!("trust domain {}", identity.trust_domain));
    if !identity.caller.is_empty() {
        parts.push(format!("as {}", identity.caller));
    }
    parts.push(if seen.consumers_complete {
        format!("{} consumers", seen.consumers.len())
    } else {
        "consumers unknown".to_owned()
    });
    ui.say(&parts.join(", "));
    for denied in &seen.denied {
        ui.warn(&format!("not seen: {} (not allowed to {})", denied.what, denied.grant));
    }
}

/// Errors unless the mesh is the one that the caller expects.
pub fn expectations(args: &RenewArgs, seen: &Observed) -> Result<(), Error> {
    if let Some(expected) = &args.expect_trust_domain
        && *expected != seen.identity.trust_domain
    {
        let found = &seen.identity.trust_domain;
        return Err(Error::failed(format!("the trust domain is `{found}`, not `{expected}`; nothing was changed")));
    }
    let Some(expected) = &args.expect_root else {
        return Ok(());
    };
    let expected: Fingerprint =
        expected.parse().map_err(|why| Error::usage(format!("`--expect-root {expected}`")).because(why))?;
    let found = seen.signing_root().or(seen.published.anchors.first()).map(Certificate::fingerprint);
    if found == Some(expected) {
        return Ok(());
    }
    let found = found.map_or_else(|| "missing".to_owned(), |found| found.to_string());
    Err(Error::failed(format!("the root in use is {found}, not {expected}; nothing was changed")))
}

/// Dapr before 1.12 has another control plane; what was never tried is said.
pub fn supported(seen: &Observed, ui: &Ui) -> Result<(), Error> {
    match seen.identity.dapr {
        Some((major, minor, patch)) if (major, minor) < (1, 12) => {
            Err(Error::failed(format!("Dapr {major}.{minor}.{patch} is older than 1.12, the first that is supported"))
                .hint("upgrade Dapr first"))
        }
        Some((1, 14, _)) => Ok(()),
        Some((major, minor, patch)) => {
            ui.warn(&format!("Dapr {major}.{minor}.{patch} was not tried with this version of mtls; 1.14.0 was"));
            Ok(())
        }
        None if seen.is_directory() => Ok(()),
        None => {
            ui.warn("Dapr's version is not in the tag of Sentry's image; this version of mtls was tried with 1.14.0");
            Ok(())
        }
    }
}

/// The chart writes the Secret's data from these values, and empties it where they were set once and are not any more.
const PINNED_VALUES: &str = "afterwards run `mtls export -k -o certs` and give the next upgrade the new ones: \
    `--set-file dapr_sentry.tls.root.certPEM=certs/ca.crt,dapr_sentry.tls.issuer.certPEM=certs/issuer.crt,\
    dapr_sentry.tls.issuer.keyPEM=certs/issuer.key`";

/// Says who else writes the trust bundle, and errors where two would undo each other.
pub fn owners(ignore: bool, seen: &Observed, ui: &Ui) -> Result<(), Error> {
    for owner in &seen.owners {
        match owner {
            Owner::HelmValues { release } => {
                ui.warn(&format!(
                    "the values of Helm release {release} pin certificates: the next `helm upgrade` would write them back"
                ));
                ui.hint(PINNED_VALUES);
            }
            Owner::HelmUnknown(why) => ui.say(&format!("Helm values could not be looked at: {why}")),
            Owner::Reconciler { who, remedy } if !ignore => {
                return Err(Error::failed(format!(
                    "{who} owns the trust bundle and would undo the rotation; nothing was changed"
                ))
                .hint(remedy.clone())
                .hint("`--ignore-owners` writes all the same"));
            }
            Owner::Reconciler { who, .. } => ui.warn(&format!("{who} owns the trust bundle; writing all the same")),
            Owner::AutomaticRenewal(why) => {
                return Err(Error::failed(format!(
                    "Dapr renews its CA by itself here ({why}); two would undo each other; nothing was changed"
                ))
                .hint("let Dapr finish, or switch its renewal off first"));
            }
        }
    }
    Ok(())
}

/// Names everybody who stands in the way of what waits for proof, and lets the goal break them if the caller said that
/// so many may. Errors with them if they are more, or if one of them may not break. A pod that is being deleted, which the
/// run waits for, is counted where that number has room for it.
pub fn force(goal: &mut Goal, force: usize, seen: &Observed, ui: &Ui) -> Result<(), Vec<Break>> {
    let all = obstacles(goal, seen);
    let found = if all.len() > force { obstacles(goal, &seen.staying()) } else { all };
    for found in &found {
        ui.warn(&format!("{} {} {}", found.role, found.consumer, found.why));
    }
    if found.len() > force || found.iter().any(|found| !found.may_be_allowed) {
        return Err(found);
    }
    goal.allowed = found.into_iter().map(|found| found.consumer).collect();
    Ok(())
}

/// Names the applications that will not be restarted, and asks before others are: a restart can hurt.
pub fn applications(goal: &Goal, seen: &Observed, parallel: u16, global: &Global, ui: &Ui) -> Result<(), Error> {
    for blocked in blocked(goal, seen) {
        ui.warn(&format!("{} will not be restarted: {}", blocked.workload, blocked.why));
    }
    let question = match due(goal, seen).len() {
        0 => return Ok(()),
        1 => "Restart one application?".to_owned(),
        count => format!("Restart {count} applications, at most {parallel} at once?"),
    };
    ui.confirm(&format!("{question} `--dry-run` names what would be restarted."), global.yes)
}

/// Says it where a plan ends before the applications that are due.
pub fn unplanned(goal: &Goal, seen: &Observed, moves: &[Move], ui: &Ui) {
    let has_wave = moves.iter().any(|step| matches!(step, Move::RestartApplications { .. }));
    let due = due(goal, seen).len();
    if due > 0 && !has_wave {
        ui.warn(&format!(
            "{due} applications are due, and restarted only once the injector is proven to give new pods what is published"
        ));
    }
}

/// Names the copies of the file era that their distributor leaves as they are: pods that are born there hold older trust.
pub fn left_alone(seen: &Observed, ui: &Ui) {
    const NAMED: usize = 10;
    let hindered = seen.hindered();
    for (namespace, why) in hindered.iter().take(NAMED) {
        ui.warn(&format!("ConfigMap {namespace}/{DISTRIBUTED} does not carry what is published, and {why}"));
    }
    if hindered.len() > NAMED {
        ui.warn(&format!("and {} more; `mtls status -k` names them all", hindered.len() - NAMED));
    }
}

/// Names who refuses what Sentry signs today and goes on refusing, because nothing that is on record reaches them.
pub fn lost(goal: &Goal, seen: &Observed, ui: &Ui) {
    let chain = &goal.target.issuer.chain;
    for group in refusing(seen).iter().filter(|group| seen.until(chain, &group.held, group.profile).is_err()) {
        let held: Vec<String> = group.held.iter().map(|anchor| anchor.fingerprint().short()).collect();
        let consumers: Vec<Dependent> = group.consumers.iter().map(|consumer| Dependent::from(*consumer)).collect();
        let root = seen.signing_root().map_or_else(|| "none".to_owned(), |root| root.fingerprint().short());
        ui.warn(&format!(
            "{} hold only {} and refuse the root in use, {root}, until they are restarted",
            names(&consumers),
            if held.is_empty() { "no trust anchor".to_owned() } else { held.join(" + ") },
        ));
    }
}
