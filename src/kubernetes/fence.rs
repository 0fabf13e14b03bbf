//! The fence: while the two halves of the trust bundle are written, Sentry may read them but not overwrite them.

use std::time::Duration;

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::{Value, json};

use super::api::{ACCESS_REVIEWS, Api, At, Change, ROLES};
use super::failure::Failure;
use super::find::Found;
use super::published::published;
use super::wire::Role;
use super::{Known, Kubernetes, names};
use crate::error::{Error, Kind};
use crate::mesh::Pair;

/// Sentry's Role without the right to write. Must be given back.
pub struct Fence {
    namespace: String,
    version: String,
    rules: Vec<Value>,
}

/// How long the API server may take to act on a changed Role.
const NOTICE: Duration = Duration::from_secs(5);
/// How long the Role is tried to be given back.
const GIVE_BACK: Duration = Duration::from_secs(60);

impl Kubernetes {
    /// Takes Sentry's right to write away, and sees that it is gone. `None`: not where the caller may not, or could
    /// not give it back; why is told.
    pub(super) async fn fence(&mut self) -> Result<Option<Fence>, Error> {
        if let Some(standing) = self.known.standing.take() {
            return Ok(Some(standing));
        }
        if !self.writing.is_some_and(|writing| writing.fence) {
            return Ok(None);
        }
        let Some((namespace, account)) =
            self.known.found.as_ref().map(|found| (found.namespace.clone(), found.sentry.service_account.clone()))
        else {
            return Ok(None);
        };
        self.verify_lock().await?;
        let api = self.connection.api.clone();
        let fence = match take(&api, &namespace, self.known.role.take()).await {
            Ok(fence) => fence,
            Err(why) => {
                (self.tell)(&format!("not fenced: {why}"));
                return Ok(None);
            }
        };
        match is_confirmed(&api, &namespace, &account).await {
            Ok(()) => Ok(Some(fence)),
            Err(why) => {
                self.give_back(fence).await?;
                (self.tell)(&format!("not fenced: {why}"));
                Ok(None)
            }
        }
    }

    /// Gives Sentry its rights back, and does not let go before that is done or plainly cannot be.
    pub(super) async fn give_back(&mut self, fence: Fence) -> Result<(), Error> {
        let api = &self.connection.api;
        let started = tokio::time::Instant::now();
        let mut version = fence.version.clone();
        loop {
            let failure = match restore(api, &fence.namespace, &fence.rules, &version).await {
                Ok(()) => return Ok(()),
                Err(failure) => failure,
            };
            let at = role_at(&fence.namespace);
            let again = match &failure {
                Failure::Conflict { .. } | Failure::Lost { .. } => match api.get::<Role>(at, "").await {
                    Ok(role) if !role.metadata.annotations.contains_key(names::FENCED) => return Ok(()),
                    Ok(role) => {
                        version = role.metadata.resource_version;
                        true
                    }
                    Err(_) => true,
                },
                Failure::Missing { .. } => return Ok(()),
                Failure::Busy { .. } | Failure::Unreachable { .. } => true,
                Failure::Forbidden { .. } | Failure::Refused { .. } | Failure::Unreadable { .. } => false,
            };
            if !again || started.elapsed() > GIVE_BACK {
                let error = Error::new(
                    Kind::Unfinished,
                    format!(
                        "Sentry's right to write could not be given back: Role `{}/{}` is still fenced ({failure})",
                        fence.namespace,
                        names::SENTRY
                    ),
                );
                return Err(error.hint("any writing command gives it back first: `mtls renew-certificate --resume`"));
            }
            tokio::time::sleep(Duration::from_millis(500)).await;
        }
    }

    /// Whether the two halves differed at the last look: Sentry would invent a CA as soon as it may write.
    fn is_torn(&self) -> bool {
        let Known { found, secret, config_map, .. } = &self.known;
        let pair = |found: &Found| published(secret.as_ref(), config_map.as_ref(), &found.sentry).pair;
        found.as_ref().is_some_and(|found| matches!(pair(found), Pair::Unequal(_)))
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
        let Some(kept) = role.metadata.annotations.get(names::FENCED) else {
            self.known.role = Some(role);
            return Ok(());
        };
        let rules: Vec<Value> = serde_json::from_str(kept).map_err(|_| {
            Error::failed(format!(
                "Role `{namespace}/{}` is fenced, and its annotation `{}` does not say what it was",
                names::SENTRY,
                names::FENCED
            ))
            .hint("put back the rules of Dapr's chart: `helm upgrade --reuse-values`, or by hand")
        })?;
        let fence = Fence { namespace, version: role.metadata.resource_version, rules };
        if self.is_torn() {
            (self.tell)("Sentry's right to write stays taken until the torn pair is repaired");
            self.known.standing = Some(fence);
            return Ok(());
        }
        self.give_back(fence).await?;
        (self.tell)("gave Sentry back the right to write that a killed run had taken");
        Ok(())
    }
}

fn role_at(namespace: &str) -> At<'_> {
    ROLES.named(namespace, names::SENTRY)
}

async fn take(api: &Api, namespace: &str, known: Option<Role>) -> Result<Fence, Failure> {
    let at = role_at(namespace);
    let role: Role = match known {
        Some(role) => role,
        None => api.get(at, "").await?,
    };
    // The API server checks that the caller holds what it grants only if the rules change: a rule twice is a change.
    let mut probe = role.rules.clone();
    probe.extend(role.rules.first().cloned());
    let version = &role.metadata.resource_version;
    let body = json!({ "metadata": { "resourceVersion": version }, "rules": probe });
    let _: IgnoredAny = api.change(at, Change::Patch, body.to_string().as_bytes(), true).await?;

    let kept = Value::from(role.rules.clone()).to_string();
    let rules: Vec<Value> = role.rules.iter().map(read_only).collect();
    let metadata = json!({ "resourceVersion": version, "annotations": { names::FENCED: kept } });
    let body = json!({ "metadata": metadata, "rules": rules });
    let taken: Result<Role, Failure> = api.change(at, Change::Patch, body.to_string().as_bytes(), false).await;
    let version = match taken {
        Ok(role) => role.metadata.resource_version,
        // It may have been taken all the same, by the request whose answer was lost.
        Err(failure @ (Failure::Conflict { .. } | Failure::Lost { .. })) => {
            match api.get::<Role>(at, "").await {
                Ok(there) if there.metadata.annotations.get(names::FENCED) != Some(&kept) => return Err(failure),
                Ok(there) => there.metadata.resource_version,
                // Not known to stand, so it is given back as if it did.
                Err(_) => version.clone(),
            }
        }
        Err(failure) => return Err(failure),
    };
    Ok(Fence { namespace: namespace.to_owned(), version, rules: role.rules })
}

async fn restore(api: &Api, namespace: &str, rules: &[Value], version: &str) -> Result<(), Failure> {
    let metadata = json!({ "resourceVersion": version, "annotations": { names::FENCED: null } });
    let body = json!({ "metadata": metadata, "rules": rules });
    let _: IgnoredAny = api.change(role_at(namespace), Change::Patch, body.to_string().as_bytes(), false).await?;
    Ok(())
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

/// Asks the API server until it says that Sentry may write neither object.
async fn is_confirmed(api: &Api, namespace: &str, account: &str) -> Result<(), String> {
    let started = tokio::time::Instant::now();
    loop {
        let asked = tokio::join!(
            may_update(api, namespace, account, "secrets"),
            may_update(api, namespace, account, "configmaps")
        );
        match asked {
            (Ok(false), Ok(false)) => return Ok(()),
            (Err(why), _) | (_, Err(why)) => return Err(why.to_string()),
            _ if started.elapsed() > NOTICE => {
                return Err("Sentry has the right to write from elsewhere too".to_owned());
            }
            _ => tokio::time::sleep(Duration::from_millis(50)).await,
        }
    }
}

async fn may_update(api: &Api, namespace: &str, account: &str, resource: &str) -> Result<bool, Failure> {
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
                "namespace": namespace, "verb": "update", "resource": resource, "name": names::TRUST_BUNDLE,
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
