//! What a request is about: kinds of objects, their paths, and the rights that they take.

use std::fmt::Write as _;

/// A kind of object.
#[derive(Clone, Copy, Debug)]
pub struct Resource {
    api: &'static str,
    plural: &'static str,
}

macro_rules! resources {
    ($($name:ident = $api:literal $plural:literal;)*) => {
        $(#[doc = concat!("`", $plural, "` of `", $api, "`.")]
        pub const $name: Resource = Resource { api: $api, plural: $plural };)*
    };
}

resources! {
    SECRETS = "api/v1" "secrets";
    CONFIG_MAPS = "api/v1" "configmaps";
    PODS = "api/v1" "pods";
    NODES = "api/v1" "nodes";
    EVENTS = "api/v1" "events";
    DEPLOYMENTS = "apis/apps/v1" "deployments";
    STATEFUL_SETS = "apis/apps/v1" "statefulsets";
    DAEMON_SETS = "apis/apps/v1" "daemonsets";
    ROLES = "apis/rbac.authorization.k8s.io/v1" "roles";
    LEASES = "apis/coordination.k8s.io/v1" "leases";
    CONFIGURATIONS = "apis/dapr.io/v1alpha1" "configurations";
    WEBHOOKS = "apis/admissionregistration.k8s.io/v1" "mutatingwebhookconfigurations";
    DEFINITIONS = "apis/apiextensions.k8s.io/v1" "customresourcedefinitions";
    BUNDLES = "apis/trust.cert-manager.io/v1alpha1" "bundles";
    ACCESS_REVIEWS = "apis/authorization.k8s.io/v1" "subjectaccessreviews";
    SELF_REVIEWS = "apis/authentication.k8s.io/v1" "selfsubjectreviews";
}

impl Resource {
    /// One object.
    pub fn named<'a>(&self, namespace: &'a str, name: &'a str) -> At<'a> {
        At { resource: *self, namespace: Some(namespace), name: Some(name) }
    }

    /// The objects of a namespace; `None`: of all.
    pub fn within<'a>(&self, namespace: Option<&'a str>) -> At<'a> {
        At { resource: *self, namespace, name: None }
    }

    /// One object that stands in no namespace.
    pub fn cluster<'a>(&self, name: &'a str) -> At<'a> {
        At { resource: *self, namespace: None, name: Some(name) }
    }
}

/// Where a request goes.
#[derive(Clone, Copy, Debug)]
pub struct At<'a> {
    resource: Resource,
    namespace: Option<&'a str>,
    name: Option<&'a str>,
}

impl At<'_> {
    /// Whether it is one object, and no list.
    pub fn is_one(&self) -> bool {
        self.name.is_some()
    }

    /// The list that it is in, which is where one is created.
    pub fn all(self) -> Self {
        Self { name: None, ..self }
    }

    /// Path and query of its URL.
    pub fn path(&self, query: &str) -> String {
        let mut path = format!("/{}", self.resource.api);
        if let Some(namespace) = self.namespace {
            let _ = write!(path, "/namespaces/{namespace}");
        }
        let _ = write!(path, "/{}", self.resource.plural);
        if let Some(name) = self.name {
            let _ = write!(path, "/{name}");
        }
        if !query.is_empty() {
            let _ = write!(path, "?{query}");
        }
        path
    }

    /// The right that is needed, in the words of a Role: `get secrets/dapr-trust-bundle in namespace dapr-system`.
    pub fn grant(&self, verb: &str) -> String {
        let mut grant = format!("{verb} {}", self.resource.plural);
        if let Some((group, _)) = self.resource.api.strip_prefix("apis/").and_then(|api| api.split_once('/')) {
            let _ = write!(grant, ".{group}");
        }
        if let Some(name) = self.name {
            let _ = write!(grant, "/{name}");
        }
        match self.namespace {
            Some(namespace) => {
                let _ = write!(grant, " in namespace {namespace}");
            }
            None if self.name.is_none() => grant.push_str(" in all namespaces"),
            None => {}
        }
        grant
    }
}
