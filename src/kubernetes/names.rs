//! What Dapr and this tool call things in a cluster.

/// Secret and `ConfigMap` of the trust bundle (`dapr/pkg/sentry/server/ca/kube.go`).
pub const TRUST_BUNDLE: &str = "dapr-trust-bundle";
/// Keys of the trust bundle, unless Sentry's arguments name others (`dapr/cmd/sentry/options`).
pub const CA_FILE: &str = "ca.crt";
/// Key of the issuer's chain.
pub const ISSUER_FILE: &str = "issuer.crt";
/// Key of the issuer's private key.
pub const KEY_FILE: &str = "issuer.key";
/// Trust domain of Dapr's Helm chart.
pub const DEFAULT_TRUST_DOMAIN: &str = "cluster.local";

/// Label by which Dapr's chart names the services of the control plane and their pods.
pub const APP: &str = "app";
/// Sentry's Deployment, Role and (in Dapr's chart) `ServiceAccount`.
pub const SENTRY: &str = "dapr-sentry";
/// The operator's Deployment.
pub const OPERATOR: &str = "dapr-operator";
/// The placement service's `StatefulSet` since Dapr 1.12.
pub const PLACEMENT: &str = "dapr-placement-server";
/// The placement service's Deployment in older versions.
pub const OLD_PLACEMENT: &str = "dapr-placement";
/// The scheduler's `StatefulSet`, since Dapr 1.14.
pub const SCHEDULER: &str = "dapr-scheduler-server";
/// The injector's Deployment, and its `MutatingWebhookConfiguration`.
pub const INJECTOR: &str = "dapr-sidecar-injector";
/// The optional dashboard: part of `status`, verifies nobody.
pub const DASHBOARD: &str = "dapr-dashboard";
/// The Configuration of the control plane (`charts/dapr/charts/dapr_config`).
pub const CONFIGURATION: &str = "daprsystem";
/// The feature of a Configuration that has workflow history signed (`dapr/pkg/config/configuration.go`, since 1.18).
pub const SIGNED_HISTORY: &str = "WorkflowHistorySigning";
/// The one resource definition with a conversion webhook (`charts/dapr/crds/subscription.yaml`).
pub const CONVERTED: &str = "subscriptions.dapr.io";

/// Label of a pod that the injector put a sidecar into (`dapr/pkg/injector/consts`).
pub const INJECTED: &str = "dapr.io/sidecar-injected=true";
/// Name of the sidecar's container, or of its init container since Dapr 1.18.
pub const DAPRD: &str = "daprd";
/// Names the control plane that a sidecar belongs to.
pub const ENV_NAMESPACE: &str = "DAPR_CONTROLPLANE_NAMESPACE";
/// The anchors of an env-era sidecar (`dapr/pkg/security/consts`).
pub const ENV_ANCHORS: &str = "DAPR_TRUST_ANCHORS";
/// The path of the anchors of a file-era sidecar.
pub const ENV_ANCHORS_FILE: &str = "DAPR_TRUST_ANCHORS_FILE";

/// Sentry's gRPC port in its pod.
pub const SENTRY_PORT: u16 = 50001;
/// The operator's gRPC port.
pub const OPERATOR_PORT: u16 = 6500;
/// The placement service's gRPC port.
pub const PLACEMENT_PORT: u16 = 50005;
/// The scheduler's gRPC port.
pub const SCHEDULER_PORT: u16 = 50006;
/// The internal gRPC port of a sidecar.
pub const SIDECAR_PORT: u16 = 50002;
/// The injector's webhook port.
pub const INJECTOR_PORT: u16 = 4000;
/// The operator's conversion webhook (`dapr/cmd/operator/options`; the Service `dapr-webhook` targets it).
pub const CONVERSION_PORT: u16 = 19443;

/// Secret of the record, and the Lease that is the lock.
pub const ROTATION: &str = "mtls-rotation";
/// Type of the record's Secret.
pub const RECORD_TYPE: &str = "mtls.dapr.io/rotation";
/// Annotation on the trust bundle's Secret: the last rotation, for whoever reads the object.
pub const ROTATION_NOTE: &str = "mtls.dapr.io/rotation";
/// Annotation on a pod: what was published when it was last nudged.
pub const NUDGED: &str = "mtls.dapr.io/nudged";
/// Annotation on Sentry's Role: its rules before they were fenced.
pub const FENCED: &str = "mtls.dapr.io/fence";
/// Annotation by which `kubectl rollout restart` restarts (`kubectl/pkg/polymorphichelpers/objectrestarter.go`).
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation on a node: for how many seconds its kubelet may keep Secrets and `ConfigMaps` as they were.
pub const NODE_TTL: &str = "node.alpha.kubernetes.io/ttl";
/// The Lease that trust-manager renews while it runs (`trust-manager/cmd/trust-manager/app`).
pub const TRUST_MANAGER_LEASE: &str = "trust-manager-leader-election";
/// Who writes, as `managedFields`, Events and labels say it.
pub const MANAGER: &str = "mtls";
