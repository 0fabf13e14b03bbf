//! The fence: while the two halves of the trust bundle are written, Sentry may read them but not overwrite them.

use std::time::Duration;

use serde::de::IgnoredAny;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use tokio::time::Instant;

use super::api::{Api, Change};
use super::failure::Failure;
use super::observe::optional;
use super::published::published;
use super::resource::{ACCESS_REVIEWS, At, CONFIG_MAPS, ROLES, SECRETS};
use super::wire::Role;
use super::{Kubernetes, names};
use crate::error::{Error, Kind};
use crate::mesh::Pair;

/// Sentry's Role without the right to write. Must be given back, but never around a torn pair.
pub struct Fence {
    namespace: String,
    /// What the Role's annotation says, which tells this fence from any other.
    mark: String,
    /// The rules to give back; `None`: somebody wrote other ones over the fence, and they stay.
    rules: Option<Vec<Value>>,
    version: String,
    /// Since when the pair behind it is whole; `None`: it was torn when it was last looked at.
    whole: Option<Instant>,
}

/// The annotation's content.
#[derive(Serialize, Deserialize)]
struct Mark {
    by: String,
    rules: Vec<Value>,
}

/// How long the API server may take to act on a changed Role.
const NOTICE: Duration = Duration::from_secs(5);
/// How long it is tried to give the Role back, or to make the pair behind it whole.
pub const GIVE_BACK: Duration = Duration::from_secs(60);
/// How long after the write of the Secret the fence stands at least.
///
/// # Why
/// A Sentry that read the old Secret and the new `ConfigMap` just before makes a CA of its own and stores it, which
/// takes it a few requests (`dapr/pkg/sentry/server/ca/kube.go`).
const SENTRY_STORES: Duration = Duration::from_secs(1);

impl Kubernetes {
    /// Takes Sentry's right to write away, and sees that it is gone. False: not where the caller may not, or could not
    /// give it back; why is told.
    pub(super) async fn fence(&mut self) -> Result<bool, Error> {
        if self.known.standing.is_some() {
            return Ok(true);
        }
        if !self.writing.as_ref().is_some_and(|writing| writing.fence) {
            return Ok(false);
        }
        let (Some(found), Some(lock)) = (&self.known.found, &self.lock) else {
            return Ok(false);
        };
        let (namespace, account) = (found.namespace.clone(), found.sentry.service_account.clone());
        let by = lock.holder().to_owned();
        self.verify_lock().await?;
        let api = self.connection.api.clone();
        let why = match take(&api, &namespace, &by, self.known.role.take()).await {
            Ok(fence) => {
                self.known.standing = Some(fence);
                match is_confirmed(&api, &namespace, &account).await {
                    Ok(()) => return Ok(true),
                    Err(why) => why,
                }
            }
            Err(failure) => failure.to_string(),
        };
        self.lift().await?;
        (self.tell)(&format!("not fenced: {why}"));
        Ok(false)
    }

    /// Notes whether the pair behind the fence is whole, which decides whether the fence may go.
    pub(super) fn guard(&mut self, whole: bool) {
        if let Some(fence) = &mut self.known.standing {
            fence.whole = whole.then(Instant::now);
        }
    }

    /// Whether a fence stands that has done its work.
    pub(super) fn may_lift(&self) -> bool {
        let whole = self.known.standing.as_ref().and_then(|fence| fence.whole);
        whole.is_some_and(|since| since.elapsed() >= SENTRY_STORES)
    }

    /// Gives Sentry its rights back, and does not let go before that is done or plainly cannot be. Errors leave the
    /// fence standing: around a torn pair it is all that keeps Sentry from inventing a CA.
    pub(super) async fn lift(&mut self) -> Result<(), Error> {
        let Some(fence) = &self.known.standing else {
            return Ok(());
        };
        let role = format!("Role `{}/{}`", fence.namespace, names::SENTRY);
        match fence.whole {
            Some(since) => tokio::time::sleep_until(since + SENTRY_STORES).await,
            None if !self.is_torn().await.map_err(Error::after_changes)? => tokio::time::sleep(SENTRY_STORES).await,
            None => {
                let why = "the two halves of the trust bundle differ, and it would invent a CA";
                let error =
                    Error::new(Kind::Unfinished, format!("Sentry's right to write stays taken ({role}): {why}"));
                return Err(error.hint(REPAIR));
            }
        }
        let restored = give_back(&self.connection.api, fence).await.map_err(|failure| {
            let what = format!("Sentry's right to write could not be given back: {role} is still fenced ({failure})");
            Error::new(Kind::Unfinished, what).hint(REPAIR)
        })?;
        if !restored {
            (self.tell)(&format!(
                "{role} was changed by somebody else while it was fenced, and stays as it is: see that Sentry may write its Secret and ConfigMap"
            ));
        }
        self.known.standing = None;
        Ok(())
    }

    /// Whether the two halves differ right now: Sentry would invent a CA as soon as it may write.
    async fn is_torn(&self) -> Result<bool, Error> {
        let Some(found) = &self.known.found else {
            return Ok(false);
        };
        let api = &self.connection.api;
        let (secret, map) = tokio::join!(
            optional(api.get(SECRETS.named(&found.namespace, names::TRUST_BUNDLE), "")),
            optional(api.get(CONFIG_MAPS.named(&found.namespace, names::TRUST_BUNDLE), "")),
        );
        Ok(matches!(published(secret?.as_ref(), map?.as_ref(), &found.sentry).pair, Pair::Unequal(_)))
    }

    /// Removes a fence that a killed run left behind, or keeps it for the repair of a torn pair. Keeps the Role for the
    /// fence that may follow.
    pub(super) async fn unfence(&mut self) -> Result<(), Error> {
        let Some(namespace) = self.known.found.as_ref().map(|found| found.namespace.clone()) else {
            return Ok(());
        };
        let role: Role = match self.connection.api.get(role_at(&namespace), "").await {
            Ok(role) => role,
            Err(Failure::Forbidden { .. } | Failure::Missing { .. }) => return Ok(()),
            Err(failure) => return Err(failure.into()),
        };
        let Some(fence) = Fence::of(&namespace, &role) else {
            self.known.role = Some(role);
            return Ok(());
        };
        let fence = fence.map_err(|failure| {
            Error::from(failure).hint("put back the rules of Dapr's chart: `helm upgrade --reuse-values`, or by hand")
        })?;
        // Why: behind rules that somebody wrote over it Sentry may write, so that it is no fence to repair behind.
        let stands = fence.rules.is_some();
        self.known.standing = Some(fence);
        self.guard(!stands);
        if stands && self.is_torn().await? {
            (self.tell)("Sentry's right to write stays taken until the torn pair is repaired");
            return Ok(());
        }
        self.lift().await?;
        if stands {
            (self.tell)("gave Sentry back the right to write that a killed run had taken");
        }
        Ok(())
    }
}

const REPAIR: &str =
    "`mtls restart --stale -k` repairs the pair and gives the right back, as the rotation that is open does";

impl Fence {
    /// The fence that stands around this Role, if one does.
    fn of(namespace: &str, role: &Role) -> Option<Result<Self, Failure>> {
        let mark = role.metadata.annotations.get(names::FENCED)?;
        let Ok(Mark { rules, .. }) = serde_json::from_str(mark) else {
            return Some(Err(Failure::Unreadable {
                what: role_at(namespace).grant("get"),
                why: format!("it is fenced, and its annotation `{}` does not say what it was", names::FENCED),
            }));
        };
        Some(Ok(Self {
            namespace: namespace.to_owned(),
            mark: mark.clone(),
            rules: (role.rules == fenced(&rules)).then_some(rules),
            version: role.metadata.resource_version.clone(),
            whole: None,
        }))
    }
}

fn role_at(namespace: &str) -> At<'_> {
    ROLES.named(namespace, names::SENTRY)
}

/// Fences the Role: the one that is known, or once more the one that somebody wrote since.
async fn take(api: &Api, namespace: &str, by: &str, known: Option<Role>) -> Result<Fence, Failure> {
    let at = role_at(namespace);
    let role = match known {
        Some(role) => role,
        None => api.get(at, "").await?,
    };
    match take_from(api, namespace, by, role).await {
        Err(Failure::Conflict { .. }) => take_from(api, namespace, by, api.get(at, "").await?).await,
        taken => taken,
    }
}

async fn take_from(api: &Api, namespace: &str, by: &str, role: Role) -> Result<Fence, Failure> {
    // By an earlier try whose answer was lost: what the Role says now is not what it was.
    if let Some(standing) = Fence::of(namespace, &role) {
        return standing;
    }
    let (at, rules, version) = (role_at(namespace), role.rules, role.metadata.resource_version);
    // The API server checks that the caller holds what it grants only if the rules change: a rule twice is a change.
    let mut probe = rules.clone();
    probe.extend(rules.first().cloned());
    let body = json!({ "metadata": { "resourceVersion": version }, "rules": probe });
    let _: IgnoredAny = api.change(at, Change::Patch, body.to_string().as_bytes(), true).await?;

    let mark = Mark { by: by.to_owned(), rules: rules.clone() };
    let mark = serde_json::to_string(&mark).expect("a struct of strings and JSON serialises");
    let metadata = json!({ "resourceVersion": version, "annotations": { names::FENCED: mark } });
    let body = json!({ "metadata": metadata, "rules": fenced(&rules) });
    let version = match api.insist::<Role>(at, Change::Patch, body.to_string().as_bytes()).await {
        Ok(role) => role.metadata.resource_version,
        // Not known to stand, so it is asked about and given back as if it did.
        Err(Failure::Lost { .. } | Failure::Unreachable { .. } | Failure::Unreadable { .. }) => version,
        Err(failure) => return Err(failure),
    };
    Ok(Fence { namespace: namespace.to_owned(), mark, rules: Some(rules), version, whole: Some(Instant::now()) })
}

/// Takes the fence down. False: the rules are somebody else's by now, and only the mark of the fence was removed.
async fn give_back(api: &Api, fence: &Fence) -> Result<bool, Failure> {
    let (at, started) = (role_at(&fence.namespace), Instant::now());
    let (mut version, mut rules) = (fence.version.clone(), fence.rules.clone());
    loop {
        let metadata = json!({ "resourceVersion": version, "annotations": { names::FENCED: null } });
        let mut body = json!({ "metadata": metadata });
        if let Some(rules) = &rules {
            body["rules"] = json!(rules);
        }
        match api.insist::<IgnoredAny>(at, Change::Patch, body.to_string().as_bytes()).await {
            Ok(_) | Err(Failure::Missing { .. }) => return Ok(rules.is_some()),
            Err(Failure::Conflict { .. }) if started.elapsed() < GIVE_BACK => {}
            Err(failure) => return Err(failure),
        }
        let role: Role = api.get(at, "").await?;
        match Fence::of(&fence.namespace, &role) {
            Some(Ok(standing)) if standing.mark == fence.mark => (version, rules) = (standing.version, standing.rules),
            // It was given back by the try whose answer was lost, or is somebody else's by now.
            _ => return Ok(true),
        }
    }
}

/// Rules as they are while the fence stands.
fn fenced(rules: &[Value]) -> Vec<Value> {
    rules.iter().map(read_only).collect()
}

/// A rule as it is while the fence stands: whatever touches Secrets or `ConfigMaps` may only be read.
fn read_only(rule: &Value) -> Value {
    let has = |field: &str, names: &[&str]| {
        rule.get(field)
            .and_then(Value::as_array)
            .is_some_and(|values| values.iter().filter_map(Value::as_str).any(|value| names.contains(&value)))
    };
    if !has("apiGroups", &["", "*"]) || !has("resources", &["secrets", "configmaps", "*"]) {
        return rule.clone();
    }
    let mut rule = rule.clone();
    let reads = ["get", "list", "watch"];
    let verbs: Vec<Value> = if has_all(&rule) {
        reads.map(Value::from).to_vec()
    } else {
        let verbs = rule.get("verbs").and_then(Value::as_array).cloned().unwrap_or_default();
        verbs.into_iter().filter(|verb| verb.as_str().is_some_and(|verb| reads.contains(&verb))).collect()
    };
    rule["verbs"] = if verbs.is_empty() { json!(["get"]) } else { Value::from(verbs) };
    rule
}

fn has_all(rule: &Value) -> bool {
    rule.get("verbs").and_then(Value::as_array).is_some_and(|verbs| verbs.iter().any(|verb| verb == "*"))
}

/// Asks the API server until it says that Sentry may not write the Secret.
///
/// # Why
/// Sentry stores the Secret first, and leaves the `ConfigMap` alone where that fails
/// (`dapr/pkg/sentry/server/ca/kube.go`).
async fn is_confirmed(api: &Api, namespace: &str, account: &str) -> Result<(), String> {
    let started = Instant::now();
    loop {
        match may_store(api, namespace, account).await {
            Ok(false) => return Ok(()),
            Err(why) => return Err(why.to_string()),
            Ok(true) if started.elapsed() > NOTICE => {
                return Err("Sentry has the right to write from elsewhere too".to_owned());
            }
            Ok(true) => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn may_store(api: &Api, namespace: &str, account: &str) -> Result<bool, Failure> {
    #[derive(Deserialize)]
    struct Review {
        status: Status,
    }
    #[derive(Deserialize)]
    struct Status {
        #[serde(default)]
        allowed: bool,
    }
    let body = json!({
        "apiVersion": "authorization.k8s.io/v1",
        "kind": "SubjectAccessReview",
        "spec": {
            "user": format!("system:serviceaccount:{namespace}:{account}"),
            "groups": ["system:serviceaccounts", format!("system:serviceaccounts:{namespace}"), "system:authenticated"],
            "resourceAttributes": {
                "namespace": namespace, "verb": "update", "resource": "secrets", "name": names::TRUST_BUNDLE,
            },
        },
    });
    let at = ACCESS_REVIEWS.within(None);
    let review: Review = api.change(at, Change::Create, body.to_string().as_bytes(), false).await?;
    Ok(review.status.allowed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fenced_rule_reads_and_no_more() {
        let chart = json!({ "apiGroups": [""], "resources": ["secrets"], "verbs": ["get", "update", "delete"],
            "resourceNames": ["dapr-trust-bundle"] });
        let fenced = read_only(&chart);
        assert_eq!(fenced["verbs"], json!(["get"]));
        assert_eq!(fenced["resourceNames"], chart["resourceNames"]);
        let all = json!({ "apiGroups": ["*"], "resources": ["*"], "verbs": ["*"] });
        assert_eq!(read_only(&all)["verbs"], json!(["get", "list", "watch"]));
        let other = json!({ "apiGroups": ["dapr.io"], "resources": ["configurations"], "verbs": ["list", "update"] });
        assert_eq!(read_only(&other), other);
        let only_update = json!({ "apiGroups": [""], "resources": ["configmaps"], "verbs": ["update"] });
        assert_eq!(read_only(&only_update)["verbs"], json!(["get"]), "a rule without verbs is not valid");
    }
}
