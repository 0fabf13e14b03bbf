//! Finds the control plane, and reads from its Deployments what they are told by their arguments.

use super::api::Api;
use super::failure::Failure;
use super::names;
use super::resource::DEPLOYMENTS;
use super::wire::{List, Workload};
use crate::error::Error;
use crate::mesh::Denied;

/// The control plane, as its Deployments show it.
#[derive(Default)]
pub struct Found {
    /// Where it is.
    pub namespace: String,
    /// Its Deployments.
    pub deployments: Vec<Workload>,
    /// What Sentry's arguments say.
    pub sentry: Sentry,
    /// The right that was missing to read them, so that Dapr's defaults stand in.
    pub denied: Option<Denied>,
}

/// What Sentry's Deployment says about itself (`dapr/cmd/sentry/options`).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentry {
    /// `--trust-domain`.
    pub trust_domain: String,
    /// `--issuer-ca-filename`: the key of the trust bundle in both objects.
    pub ca: String,
    /// `--issuer-certificate-filename`.
    pub issuer: String,
    /// `--issuer-key-filename`.
    pub key: String,
    /// Whether it renews its CA by itself: the argument that says so.
    pub renews: Option<String>,
    /// Whose rights it has.
    pub service_account: String,
    /// The tag of its image.
    pub version: String,
    /// The Helm release it belongs to: name and namespace.
    pub release: Option<(String, String)>,
}

impl Default for Sentry {
    fn default() -> Self {
        Self {
            trust_domain: names::DEFAULT_TRUST_DOMAIN.to_owned(),
            ca: names::CA_FILE.to_owned(),
            issuer: names::ISSUER_FILE.to_owned(),
            key: names::KEY_FILE.to_owned(),
            renews: None,
            service_account: names::SENTRY.to_owned(),
            version: String::new(),
            release: None,
        }
    }
}

/// Looks for Sentry in `namespace`, or everywhere. One LIST.
pub async fn find(api: &Api, namespace: Option<&str>) -> Result<Found, Error> {
    let apps = [names::SENTRY, names::OPERATOR, names::INJECTOR, names::OLD_PLACEMENT, names::DASHBOARD];
    let query = format!("labelSelector={}%20in%20({})", names::APP, apps.join(","));
    let list: Result<List<Workload>, Failure> = api.get(DEPLOYMENTS.within(namespace), &query).await;
    let deployments = match (list, namespace) {
        (Ok(list), _) => list.items,
        (Err(failure), Some(namespace)) if failure.is_forbidden() => {
            let denied = failure.denied(
                "the control plane's Deployments, so that Sentry's arguments are taken to be Dapr's defaults",
            )?;
            return Ok(Found { namespace: namespace.to_owned(), denied: Some(denied), ..Found::default() });
        }
        (Err(failure), None) if failure.is_forbidden() => {
            return Err(
                Error::from(failure).hint("or name the control plane's namespace: `mtls status -n dapr-system`")
            );
        }
        (Err(failure), _) => return Err(failure.into()),
    };
    let mut homes: Vec<&str> =
        deployments.iter().filter(|d| is_sentry(d)).map(|d| d.metadata.namespace.as_str()).collect();
    homes.sort_unstable();
    homes.dedup();
    let home = match (homes.as_slice(), namespace) {
        ([home], _) => (*home).to_owned(),
        ([], Some(namespace)) => {
            return Err(Error::failed(format!(
                "there is no Dapr control plane in namespace `{namespace}`: no Deployment with the label app=dapr-sentry"
            ))
            .hint("leave `-n` out, and it is looked for in all namespaces"));
        }
        ([], None) => {
            return Err(Error::failed(
                "there is no Dapr control plane in this cluster: no Deployment with the label app=dapr-sentry in any namespace",
            )
            .hint("is this the right cluster? `--context NAME` chooses another")
            .hint("for a self-hosted Dapr: `mtls status --self-hosted`"));
        }
        (several, _) => {
            return Err(Error::failed(format!(
                "there are several Dapr control planes, in the namespaces {}",
                several.join(", ")
            ))
            .hint(format!("choose one: `mtls status -n {}`", several[0])));
        }
    };
    let deployments: Vec<Workload> = deployments.into_iter().filter(|d| d.metadata.namespace == home).collect();
    let sentry = deployments.iter().find(|d| is_sentry(d)).map(sentry).unwrap_or_default();
    Ok(Found { namespace: home, deployments, sentry, denied: None })
}

/// The tag of an image: `1.14.0` of `registry:5000/dapr/sentry:1.14.0@sha256:…`.
pub fn tag(image: &str) -> &str {
    let name = image.split('@').next().unwrap_or_default();
    let last = name.rsplit('/').next().unwrap_or_default();
    last.split_once(':').map_or("", |(_, tag)| tag)
}

/// The version in an image tag; variants such as `1.14.0-mariner` count as their release.
pub fn version(image: &str) -> Option<(u32, u32, u32)> {
    let tag = tag(image).trim_start_matches('v');
    let mut numbers = tag.split(['-', '+']).next()?.split('.').map(str::parse::<u32>);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?, numbers.next()?.ok()?))
}

fn is_sentry(deployment: &Workload) -> bool {
    deployment.metadata.labels.get(names::APP).is_some_and(|app| app == names::SENTRY)
}

fn sentry(deployment: &Workload) -> Sentry {
    let spec = &deployment.spec.template.spec;
    let container = spec.containers.iter().find(|c| c.name == names::SENTRY).or(spec.containers.first());
    let args = container.map(|container| container.args.as_slice()).unwrap_or_default();
    let file = |flag: &str, default: &str| {
        let given = argument(args, flag).unwrap_or_default();
        // Sentry takes the base name (`dapr/pkg/sentry/server/ca/kube.go`).
        let base = given.rsplit('/').next().unwrap_or_default();
        if base.is_empty() { default.to_owned() } else { base.to_owned() }
    };
    let annotations = &deployment.metadata.annotations;
    let release = annotations.get("meta.helm.sh/release-name").map(|name| {
        let namespace = annotations.get("meta.helm.sh/release-namespace").unwrap_or(&deployment.metadata.namespace);
        (name.clone(), namespace.clone())
    });
    Sentry {
        trust_domain: argument(args, "trust-domain")
            .filter(|domain| !domain.is_empty())
            .unwrap_or(names::DEFAULT_TRUST_DOMAIN)
            .to_owned(),
        ca: file("issuer-ca-filename", names::CA_FILE),
        issuer: file("issuer-certificate-filename", names::ISSUER_FILE),
        key: file("issuer-key-filename", names::KEY_FILE),
        renews: argument(args, "ca-renewal-enabled")
            .filter(|value| *value != "false")
            .map(|_| "Sentry's argument --ca-renewal-enabled".to_owned()),
        service_account: spec.service_account_name.clone().unwrap_or_else(|| "default".to_owned()),
        version: container.map(|container| tag(&container.image).to_owned()).unwrap_or_default(),
        release,
    }
}

/// The value of a flag, as Go's pflag takes it: `--flag value`, `--flag=value`; empty for a bare one.
fn argument<'a>(args: &'a [String], flag: &str) -> Option<&'a str> {
    args.iter().enumerate().rev().find_map(|(at, arg)| {
        let rest = arg.strip_prefix("--").or_else(|| arg.strip_prefix('-'))?.strip_prefix(flag)?;
        match rest.strip_prefix('=') {
            Some(value) => Some(value),
            None if rest.is_empty() => {
                Some(args.get(at + 1).map(String::as_str).filter(|next| !next.starts_with('-')).unwrap_or_default())
            }
            None => None,
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split(' ').map(str::to_owned).collect()
    }

    #[test]
    fn arguments_are_read_as_sentry_reads_them() {
        let line =
            args("--log-level info --trust-domain example.org --issuer-ca-filename=root.pem --ca-renewal-enabled");
        assert_eq!(argument(&line, "trust-domain"), Some("example.org"));
        assert_eq!(argument(&line, "issuer-ca-filename"), Some("root.pem"));
        assert_eq!(argument(&line, "ca-renewal-enabled"), Some(""));
        assert_eq!(argument(&line, "issuer-ca"), None, "a flag is not found by the beginning of another");
        let twice = args("--trust-domain a --trust-domain b");
        assert_eq!(argument(&twice, "trust-domain"), Some("b"), "the last one counts");
    }

    #[test]
    fn the_version_is_in_the_tag() {
        assert_eq!(version("ghcr.io/dapr/dapr:1.14.0"), Some((1, 14, 0)));
        assert_eq!(version("registry:5000/dapr/daprd:1.16.2-mariner@sha256:00"), Some((1, 16, 2)));
        assert_eq!(version("registry:5000/dapr/daprd"), None);
        assert_eq!(version("daprd:edge"), None);
    }
}
