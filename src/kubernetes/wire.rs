//! API objects with the few fields that are used, so that a page of pods decodes into little.

use std::collections::BTreeMap;

use jiff::Timestamp;
use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_json::Value;

/// A page of a list.
#[derive(Deserialize)]
pub struct List<T> {
    #[serde(default)]
    pub metadata: ListMeta,
    #[serde(default = "Vec::new")]
    pub items: Vec<T>,
}

#[derive(Default, Deserialize)]
pub struct ListMeta {
    #[serde(default, rename = "continue")]
    pub next: String,
    #[serde(default, rename = "resourceVersion")]
    pub version: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Meta {
    pub name: String,
    pub namespace: String,
    pub uid: String,
    pub resource_version: String,
    pub generation: i64,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    pub labels: BTreeMap<String, String>,
    pub annotations: BTreeMap<String, String>,
    pub managed_fields: Vec<ManagedFields>,
}

impl Meta {
    /// When the key `name` of `data` was last written, or any later write of the same manager; any key where `None`.
    pub fn written(&self, name: Option<&str>) -> Option<Timestamp> {
        self.managed_fields.iter().filter(|entry| entry.wrote(name)).filter_map(|entry| entry.time).max()
    }
}

/// Who wrote which fields last, and when.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ManagedFields {
    pub manager: String,
    pub time: Option<Timestamp>,
    pub fields_v1: Value,
}

impl ManagedFields {
    /// Whether this manager wrote the key `name` of `data`; any key where `None`.
    pub fn wrote(&self, name: Option<&str>) -> bool {
        match (self.fields_v1.get("f:data"), name) {
            (None, _) => false,
            (Some(_), None) => true,
            (Some(data), Some(name)) => data.get(format!("f:{name}")).is_some(),
        }
    }
}

/// An object of which the metadata is all that is asked for.
#[derive(Deserialize)]
pub struct MetadataOnly {
    pub metadata: Meta,
}

#[derive(Deserialize)]
pub struct Pod {
    pub metadata: PodMeta,
    #[serde(default)]
    pub spec: PodSpec,
    #[serde(default)]
    pub status: PodStatus,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct PodMeta {
    pub name: String,
    #[serde(default)]
    pub namespace: String,
    pub creation_timestamp: Option<Timestamp>,
    pub deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    pub labels: PodLabels,
    #[serde(default)]
    pub annotations: PodAnnotations,
    #[serde(default)]
    pub owner_references: Vec<OwnerReference>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PodLabels {
    pub app: Option<String>,
    #[serde(rename = "dapr.io/app-id")]
    pub app_id: Option<String>,
    #[serde(rename = "pod-template-hash")]
    pub template_hash: Option<String>,
    #[serde(rename = "rollouts-pod-template-hash")]
    pub rollout_hash: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct PodAnnotations {
    #[serde(rename = "mtls.dapr.io/nudged")]
    pub nudged: Option<String>,
    #[serde(rename = "dapr.io/app-id")]
    pub app_id: Option<String>,
    #[serde(rename = "dapr.io/enabled")]
    pub enabled: Option<String>,
}

#[derive(Clone, Deserialize)]
pub struct OwnerReference {
    pub kind: String,
    pub name: String,
    #[serde(default)]
    pub controller: bool,
}

/// The copy of the file era's trust bundle in one namespace.
#[derive(Clone, Deserialize)]
pub struct DistributedMap {
    pub metadata: DistributedMeta,
    #[serde(default)]
    pub data: DistributedData,
    #[serde(default)]
    pub immutable: bool,
}

#[derive(Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DistributedMeta {
    #[serde(default)]
    pub namespace: String,
    pub deletion_timestamp: Option<Timestamp>,
    #[serde(default)]
    pub labels: DistributedLabels,
    #[serde(default)]
    pub owner_references: Vec<OwnerReference>,
}

/// The marks of those who distribute (dapr-facts §2, §12).
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct DistributedLabels {
    #[serde(rename = "trust.cert-manager.io/bundle")]
    pub bundle: Option<String>,
    #[serde(rename = "app.kubernetes.io/managed-by")]
    pub managed_by: Option<String>,
}

#[derive(Clone, Default, Deserialize)]
pub struct DistributedData {
    #[serde(rename = "ca.crt")]
    pub bundle: Option<String>,
}

/// A Bundle of trust-manager, of which only the conditions count.
#[derive(Deserialize)]
pub struct Bundle {
    #[serde(default)]
    pub status: BundleStatus,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct BundleStatus {
    pub conditions: Vec<Condition>,
}

/// A Lease, of which only its age counts.
#[derive(Deserialize)]
pub struct Lease {
    #[serde(default)]
    pub spec: LeaseSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LeaseSpec {
    pub renew_time: Option<Timestamp>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodSpec {
    pub containers: Vec<Container>,
    pub init_containers: Vec<Container>,
    pub volumes: Vec<Volume>,
    pub service_account_name: Option<String>,
    pub node_name: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Container {
    pub name: String,
    pub image: String,
    pub args: Vec<String>,
    pub env: Vec<Variable>,
    #[serde(rename = "volumeMounts")]
    pub volume_mounts: Vec<VolumeMount>,
}

impl Container {
    /// The literal value of an environment variable.
    pub fn variable(&self, name: &str) -> Option<&str> {
        self.env.iter().find(|variable| variable.name == name).and_then(|variable| variable.value.as_deref())
    }
}

#[derive(Deserialize)]
pub struct Variable {
    pub name: String,
    pub value: Option<String>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Volume {
    pub name: String,
    pub secret: Option<SecretVolume>,
    pub config_map: Option<ConfigMapVolume>,
    pub projected: ProjectedVolume,
}

impl Volume {
    /// Whether it has the `ConfigMap` of that name.
    pub fn has_config_map(&self, name: &str) -> bool {
        let projected = self.projected.sources.iter().filter_map(|source| source.config_map.as_ref());
        self.config_map.iter().chain(projected).any(|map| map.name == name)
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ProjectedVolume {
    pub sources: Vec<ProjectedSource>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ProjectedSource {
    pub config_map: Option<ConfigMapVolume>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct VolumeMount {
    pub name: String,
    #[serde(default)]
    pub mount_path: String,
    #[serde(default)]
    pub sub_path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SecretVolume {
    #[serde(default)]
    pub secret_name: String,
}

#[derive(Deserialize)]
pub struct ConfigMapVolume {
    #[serde(default)]
    pub name: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct PodStatus {
    pub phase: String,
    pub conditions: Vec<Condition>,
    pub container_statuses: Vec<ContainerStatus>,
    pub init_container_statuses: Vec<ContainerStatus>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    #[serde(rename = "type")]
    pub kind: String,
    pub status: String,
    pub last_transition_time: Option<Timestamp>,
    #[serde(default)]
    pub reason: String,
    #[serde(default)]
    pub message: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerStatus {
    pub name: String,
    #[serde(default)]
    pub state: ContainerState,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct ContainerState {
    pub running: Option<Running>,
    pub waiting: Option<Waiting>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Running {
    pub started_at: Option<Timestamp>,
}

#[derive(Deserialize)]
pub struct Waiting {
    #[serde(default)]
    pub reason: String,
}

/// A Deployment, a `StatefulSet` or a `DaemonSet`.
#[derive(Deserialize)]
pub struct Workload {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: WorkloadSpec,
    #[serde(default)]
    pub status: WorkloadStatus,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadSpec {
    pub replicas: Option<i32>,
    pub paused: bool,
    pub update_strategy: Strategy,
    pub template: Template,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Strategy {
    #[serde(rename = "type")]
    pub kind: String,
    pub rolling_update: RollingUpdate,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct RollingUpdate {
    pub partition: i32,
}

#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Template {
    pub metadata: Meta,
    pub spec: PodSpec,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct WorkloadStatus {
    pub observed_generation: i64,
    pub replicas: i32,
    pub updated_replicas: i32,
    pub ready_replicas: i32,
    pub available_replicas: i32,
    pub current_revision: String,
    pub update_revision: String,
    pub desired_number_scheduled: i32,
    pub updated_number_scheduled: i32,
    pub number_ready: i32,
    pub number_available: i32,
}

/// A Configuration: `daprsystem`, or an application's.
#[derive(Default, Deserialize)]
pub struct Configuration {
    #[serde(default)]
    pub metadata: Meta,
    #[serde(default)]
    pub spec: ConfigurationSpec,
}

#[derive(Default, Deserialize)]
pub struct ConfigurationSpec {
    #[serde(default)]
    pub mtls: Mtls,
    #[serde(default)]
    pub features: Vec<Feature>,
}

/// A switch for something new.
#[derive(Default, Deserialize)]
#[serde(default)]
pub struct Feature {
    pub name: String,
    pub enabled: bool,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Mtls {
    pub enabled: Option<bool>,
    #[serde(rename = "workloadCertTTL")]
    pub workload_cert_ttl: Option<String>,
    pub allowed_clock_skew: Option<String>,
    pub token_validators: Vec<IgnoredAny>,
}

/// A `MutatingWebhookConfiguration`.
#[derive(Deserialize)]
pub struct WebhookConfiguration {
    pub metadata: Meta,
    #[serde(default)]
    pub webhooks: Vec<Webhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Webhook {
    #[serde(default)]
    pub client_config: ClientConfig,
}

/// A `CustomResourceDefinition`, of which only the conversion counts.
#[derive(Deserialize)]
pub struct Definition {
    pub metadata: Meta,
    #[serde(default)]
    pub spec: DefinitionSpec,
}

#[derive(Default, Deserialize)]
pub struct DefinitionSpec {
    pub conversion: Option<Conversion>,
}

#[derive(Deserialize)]
pub struct Conversion {
    pub webhook: Option<ConversionWebhook>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ConversionWebhook {
    #[serde(default)]
    pub client_config: ClientConfig,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct ClientConfig {
    pub ca_bundle: Option<String>,
    pub service: Option<ServiceReference>,
}

#[derive(Deserialize)]
pub struct ServiceReference {
    pub namespace: String,
}

/// A Role.
#[derive(Clone, Default, Deserialize)]
#[serde(default)]
pub struct Role {
    pub metadata: RoleMeta,
    pub rules: Vec<Value>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct RoleMeta {
    pub resource_version: String,
    pub annotations: BTreeMap<String, String>,
}
