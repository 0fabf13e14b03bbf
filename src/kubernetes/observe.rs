//! One look: a round of objects, as far as the control plane must not be found first all at once, then a round of probes.

use std::sync::Arc;

use jiff::SignedDuration;
use jiff::Timestamp;

use super::api::Api;
use super::ca_bundles::ca_bundles;
use super::consumers::{self, Sidecar, of_mesh};
use super::control_plane::{fence, settings, workloads};
use super::failure::Failure;
use super::find::{Found, find, version};
use super::probe::probe;
use super::published::{ConfigMap, Secret, published};
use super::resource::{CONFIG_MAPS, CONFIGURATIONS, DEFINITIONS, ROLES, SECRETS, STATEFUL_SETS, WEBHOOKS};
use super::wire::{self, Configuration, Definition, List, Pod, WebhookConfiguration, Workload};
use super::{Known, Kubernetes, Writing, applications, distribution, names, owners, record};
use crate::error::Error;
use crate::mesh::{
    Anchors, Answer, Consumer, DISTRIBUTED, Denied, Identity, Observed, Owner, Pair, Published, Role, TrustSource,
    is_of_file_era,
};
use crate::rotation::Need;

/// What the round of objects brought; `None`: not asked.
struct Objects {
    secret: Result<Option<Secret>, Failure>,
    config_map: Result<Option<ConfigMap>, Failure>,
    source: Option<Result<Option<Secret>, Failure>>,
    configuration: Option<Result<Option<Configuration>, Failure>>,
    configurations: Option<Result<List<Configuration>, Failure>>,
    stateful_sets: Option<Result<List<Workload>, Failure>>,
    role: Option<Result<Option<wire::Role>, Failure>>,
    pods: Option<Result<Vec<Pod>, Failure>>,
    sidecars: Option<Result<Vec<Sidecar>, Failure>>,
    helm: Option<Owner>,
    webhook: Option<Result<Option<WebhookConfiguration>, Failure>>,
    definition: Option<Result<Option<Definition>, Failure>>,
    caller: Option<String>,
}

impl Kubernetes {
    /// Looks for what `need` names. At most 12 requests without probes and applications, further pages of a list not
    /// counted; the record comes along with the first look at the consumers.
    pub(super) async fn look(&mut self, need: &Need) -> Result<Observed, Error> {
        let (api, known) = (&self.connection.api, &mut self.known);
        let namespace = known.found.as_ref().map(|found| found.namespace.as_str()).or(self.namespace.as_deref());
        // The longest list does not wait for the shortest one.
        let (found, (listed, sidecars)) =
            tokio::join!(when(known.found.is_none() || need.control_plane, find(api, namespace)), async {
                // Why: of a workload whose rollout was complete, a list of pods that begins later has no old one.
                let listed = when(need.applications, applications::list(api, &self.which)).await;
                (listed, when(need.consumers, consumers::sidecars(api, need.everyone, &mut known.interned)).await)
            },);
        if let Some(found) = found {
            known.found = Some(found?);
        }
        let listed = listed.transpose()?;
        let found = self.known.found.take().unwrap_or_default();
        let mut denied: Vec<Denied> = found.denied.iter().cloned().collect();
        let mut objects = Box::pin(self.objects(need, &found)).await;
        objects.sidecars = sidecars;
        let observed = self.understand(need, &found, objects, &mut denied);
        let mut observed = match observed {
            Ok(observed) => observed,
            Err(why) => {
                self.known.found = Some(found);
                return Err(why);
            }
        };
        self.known.found = Some(found);
        denied.extend(self.known.unrecorded.clone());
        observed.denied = denied;
        if let Some(listed) = listed {
            let pods = observed.consumers.iter().chain(&observed.uninjected);
            self.known.applications = applications::behind(pods, listed, &self.which);
        }
        observed.applications.clone_from(&self.known.applications);
        // Why: whoever decides by it asks also where nobody mounts a copy now, since somebody may tomorrow.
        let (follows, is_there) = (self.writing.is_some(), observed.trust_source.is_some() || observed.has_file_era());
        if need.distribution && (follows || is_there) {
            let Known { copies, interned, .. } = &mut self.known;
            observed.distribution = copies.look(&self.connection.api, follows, interned).await;
            // Why: what is still waited for takes a pass over all copies, and is asked of a silent WATCH alone.
            let waits = |seen: &Observed| !seen.behind().is_empty() || !seen.unserved().is_empty();
            if copies.is_silent(observed.now) && waits(&observed) {
                observed.distribution = copies.look_afresh(&self.connection.api, interned).await;
            }
            if matches!(observed.distribution, Answer::Forbidden(_)) && !is_there {
                observed.distribution = Answer::NotAsked;
            }
            if let Answer::Forbidden(grant) = &observed.distribution {
                let what = "how far the file era's trust bundle has come".to_owned();
                observed.denied.push(Denied { what, grant: grant.clone() });
            }
            self.look_into_the_distributor(&mut observed).await;
        }
        observed.settle_files();
        probe(&self.connection.api, need, &mut observed, &mut self.known.evidence).await;
        observed.mount_lag = self.mount_lag(&observed).await;
        assume(&mut observed, self.known.map_written);
        self.connection.api.detail(1, &format!("looked: {}", in_a_line(&observed)));
        Ok(observed)
    }

    async fn objects(&mut self, need: &Need, found: &Found) -> Objects {
        let (api, known, writes) = (&self.connection.api, &mut self.known, self.writing.is_some());
        let namespace = found.namespace.as_str();
        let canaries = [&need.accepts, &need.holds, &need.former];
        let probes = need.served || need.held || need.svids || canaries.iter().any(|canary| canary.is_some());
        let pods = need.consumers || need.control_plane || probes;
        let first = known.caller.is_none() && writes;
        let asks_source = known.has_source.unwrap_or(need.owners || need.distribution);
        let trust_source = source_name(self.writing.as_ref());
        // Helm's comes first: it takes two requests, one after the other.
        let (
            helm,
            secret,
            config_map,
            source,
            configuration,
            configurations,
            stateful_sets,
            role,
            pods,
            webhook,
            definition,
            caller,
            record,
        ) = tokio::join!(
            when(need.owners, owners::helm(api, &found.sentry)),
            optional(api.get(SECRETS.named(namespace, names::TRUST_BUNDLE), "")),
            optional(api.get(CONFIG_MAPS.named(namespace, names::TRUST_BUNDLE), "")),
            when(asks_source, optional(api.get(SECRETS.named(namespace, trust_source), ""))),
            when(
                need.control_plane && known.settings.is_none(),
                optional(api.get(CONFIGURATIONS.named(namespace, names::CONFIGURATION), ""))
            ),
            when(need.signed_histories, api.get(CONFIGURATIONS.within(None), "")),
            when(need.control_plane, stateful_sets(api, namespace)),
            when(need.control_plane, optional(api.get(ROLES.named(namespace, names::SENTRY), ""))),
            when(pods, consumers::control_plane(api, namespace)),
            when(need.held, optional(api.get(WEBHOOKS.cluster(names::INJECTOR), ""))),
            when(need.held, optional(api.get(DEFINITIONS.cluster(names::CONVERTED), ""))),
            when(first, self.connection.caller()),
            when(need.consumers && !known.record_read, record::load(api, namespace)),
        );
        if let Some(loaded) = record {
            known.record_read = true;
            known.note_record(loaded);
        }
        Objects {
            secret,
            config_map,
            source,
            configuration,
            configurations,
            stateful_sets,
            role,
            pods,
            sidecars: None,
            helm: helm.flatten(),
            webhook,
            definition,
            caller,
        }
    }

    fn understand(
        &mut self,
        need: &Need,
        found: &Found,
        objects: Objects,
        denied: &mut Vec<Denied>,
    ) -> Result<Observed, Error> {
        let known = &mut self.known;
        let mut published = trust(known, found, objects.secret, objects.config_map, self.writing.is_some(), denied)?;
        let mut unsourced = Vec::new();
        let trust_source = match objects.source {
            Some(read) => {
                let at = (found.namespace.as_str(), source_name(self.writing.as_ref()));
                source(known, at, read, &mut published, &mut unsourced)?
            }
            None => None,
        };
        if let Some(read) = objects.configuration {
            let mut unset = Vec::new();
            let read = allowed(read, "the mTLS settings, so that Dapr's defaults are assumed", &mut unset)?;
            (known.settings, known.unset) = (Some(settings(&read.flatten().unwrap_or_default())), unset.pop());
        }
        denied.extend(known.unset.clone());
        if let Some(list) = objects.stateful_sets {
            let list = allowed(list, "the placement and scheduler services", denied)?;
            let sets = list.map(|list| list.items).unwrap_or_default();
            known.control_plane = workloads(&found.deployments, &sets);
        }
        if let Some(role) = objects.role {
            let role = allowed(role, "whether Sentry may write its Secret", denied)?;
            known.fence = role.as_ref().and_then(Option::as_ref).map(fence).unwrap_or_default();
        }
        if let Some(caller) = objects.caller {
            known.caller = Some(caller);
        }
        let mut consumers = Vec::new();
        if let Some(pods) = objects.pods {
            let pods = allowed(pods, "the control plane's pods", denied)?.unwrap_or_default();
            let node = |pod: &Pod| {
                Some((format!("{}/{}", pod.metadata.namespace, pod.metadata.name), pod.spec.node_name.clone()?))
            };
            known.nodes.extend(pods.iter().filter_map(node));
            let map = known.config_map.as_ref().filter(|_| published.pair == Pair::Equal);
            let written = map.and_then(|map| map.metadata.written(Some(&found.sentry.ca)));
            known.map_written = written;
            consumers = consumers::of_control_plane(&pods, written, &published.anchors);
        }
        if let Some(sidecars) = objects.sidecars {
            let sidecars = allowed(sidecars, "the pods with a sidecar", denied)?;
            known.sidecars_complete = sidecars.is_some();
            known.nodes.extend(sidecars.iter().flatten().filter_map(Sidecar::place));
            (known.sidecars, known.uninjected) = of_mesh(sidecars.unwrap_or_default(), &found.namespace);
        }
        if self.writing.is_some() {
            consumers.extend(known.sidecars.iter().cloned());
        } else {
            consumers.append(&mut known.sidecars);
        }
        let marks = published.marks();
        for consumer in consumers.iter_mut().filter(|consumer| consumer.mounts) {
            let missed = known.unnudged.get(&consumer.name).filter(|mark| marks.contains(mark));
            consumer.nudged = missed.cloned().or(consumer.nudged.take());
        }
        consumers.extend(ca_bundles(objects.webhook, objects.definition, found, &mut known.interned, denied)?);
        // Why: who has no right to what is not there misses nothing.
        denied.extend(unsourced.into_iter().filter(|_| consumers.iter().any(is_of_file_era)));
        let mut owners = Vec::new();
        if need.owners {
            let (secret, map) = (known.secret.as_ref(), known.config_map.as_ref());
            owners = owners::of_objects(secret, map, &found.sentry, &found.namespace);
            owners.extend(objects.helm);
        }
        Ok(Observed {
            now: self.connection.api.now(),
            identity: Identity {
                context: self.connection.context.clone(),
                server: self.connection.server.clone(),
                namespace: found.namespace.clone(),
                trust_domain: found.sentry.trust_domain.clone(),
                caller: known.caller.clone().unwrap_or_default(),
                dapr: version(&format!(":{}", found.sentry.version)),
            },
            settings: known.settings.unwrap_or_default(),
            published,
            trust_source,
            distribution: Answer::NotAsked,
            consumers,
            consumers_complete: known.sidecars_complete,
            control_plane: known.control_plane.clone(),
            applications: Vec::new(),
            uninjected: known.uninjected.clone(),
            owners,
            fence: known.fence,
            nudge_refused: known.nudge_refused,
            mount_lag: SignedDuration::ZERO,
            record_trouble: known.record_trouble.clone(),
            signed_histories: objects.configurations.map_or(Answer::NotAsked, signed_histories),
            denied: Vec::new(),
        })
    }
}

/// What a look found, for whoever follows a run.
fn in_a_line(seen: &Observed) -> String {
    let published = &seen.published;
    let pair = match &published.pair {
        Pair::Equal => "the pair is equal",
        Pair::Absent => "nothing is published",
        Pair::Unequal(why) | Pair::Unknown(why) => why,
    };
    format!(
        "Secret at version {}, ConfigMap at {}; {pair}; {} consumers, {} rights missing",
        published.secret.0,
        published.config_map.0,
        seen.consumers.len(),
        seen.denied.len()
    )
}

impl Known {
    /// Keeps the record until it is asked for, and says in its place why there is none to show.
    fn note_record(&mut self, loaded: record::Loaded) {
        match &loaded {
            Ok(_) => {}
            Err(record::Unread::Failed(Failure::Forbidden { grant, .. })) => {
                self.unrecorded = Some(Denied { what: "whether a rotation is open".to_owned(), grant: grant.clone() });
            }
            Err(record::Unread::Failed(failure)) => self.record_trouble = Some(failure.to_string()),
            Err(record::Unread::Unusable(error)) => self.record_trouble = Some(error.in_full()),
        }
        self.record = Some(loaded);
    }
}

/// What is published. A command that writes must see both objects; others show what they may.
fn trust(
    known: &mut super::Known,
    found: &Found,
    secret: Result<Option<Secret>, Failure>,
    config_map: Result<Option<ConfigMap>, Failure>,
    writes: bool,
    denied: &mut Vec<Denied>,
) -> Result<Published, Error> {
    let hidden = match (&secret, &config_map) {
        (Err(Failure::Forbidden { grant, .. }), _) | (_, Err(Failure::Forbidden { grant, .. })) if !writes => {
            Some(grant.clone())
        }
        _ => None,
    };
    let (secret, config_map) = if writes {
        (secret?, config_map?)
    } else {
        (
            allowed(secret, "the trust bundle, the issuer and when they were written", denied)?.flatten(),
            allowed(config_map, "the ConfigMap's half of the trust bundle", denied)?.flatten(),
        )
    };
    let mut published = published(secret.as_ref(), config_map.as_ref(), &found.sentry);
    if let Some(grant) = hidden {
        published.pair = Pair::Unknown(format!("not allowed to {grant}"));
        if published.anchors.is_empty() {
            published.anchors.clone_from(&published.mirror);
        }
    }
    known.secret = secret;
    known.config_map = config_map;
    Ok(published)
}

/// The Secret that is looked at as the source of the file era.
fn source_name(writing: Option<&Writing>) -> &str {
    writing.map_or(DISTRIBUTED, |writing| &writing.trust_source)
}

/// The source of the file era, where there is one. Another than the usual one was named by somebody who counts on it.
fn source(
    known: &mut Known,
    (namespace, name): (&str, &str),
    read: Result<Option<Secret>, Failure>,
    published: &mut Published,
    denied: &mut Vec<Denied>,
) -> Result<Option<TrustSource>, Error> {
    let read = if name == DISTRIBUTED {
        allowed(read, "what the file era's trust bundle is copied from", denied)?.flatten()
    } else {
        Some(read?.ok_or_else(|| distribution::no_source(namespace, name))?)
    };
    known.has_source = Some(read.is_some());
    Ok(read.map(|secret| {
        let (source, oddities) = distribution::source(name, &secret);
        published.oddities.extend(oddities);
        source
    }))
}

fn signed_histories(read: Result<List<Configuration>, Failure>) -> Answer<Vec<String>> {
    let signs = |configuration: &Configuration| {
        configuration.spec.features.iter().any(|feature| feature.name == names::SIGNED_HISTORY && feature.enabled)
    };
    let name = |meta: &wire::Meta| format!("{}/{}", meta.namespace, meta.name);
    match read {
        Ok(list) => Answer::Proven(list.items.iter().filter(|c| signs(c)).map(|c| name(&c.metadata)).collect()),
        Err(failure) => failure.answer(),
    }
}

async fn stateful_sets(api: &Api, namespace: &str) -> Result<List<Workload>, Failure> {
    let query = format!("labelSelector={}%20in%20({},{})", names::APP, names::PLACEMENT, names::SCHEDULER);
    api.get(STATEFUL_SETS.within(Some(namespace)), &query).await
}

/// An answer, if it is wanted; nothing is sent for one that is not.
async fn when<T>(wanted: bool, ask: impl Future<Output = T>) -> Option<T> {
    if wanted { Some(ask.await) } else { None }
}

/// An object that need not be there.
pub async fn optional<T>(read: impl Future<Output = Result<T, Failure>>) -> Result<Option<T>, Failure> {
    match read.await {
        Ok(object) => Ok(Some(object)),
        Err(Failure::Missing { .. }) => Ok(None),
        Err(failure) => Err(failure),
    }
}

/// What was read; `None`, with the missing right noted, where the caller may not.
pub fn allowed<T>(read: Result<T, Failure>, what: &str, denied: &mut Vec<Denied>) -> Result<Option<T>, Error> {
    match read {
        Ok(read) => Ok(Some(read)),
        Err(failure) => {
            denied.push(failure.denied(what)?);
            Ok(None)
        }
    }
}

/// Where a process may not be asked, the time that its mount takes stands in for its answer: only of versions that see
/// every change of it (dapr-facts §2).
fn assume(observed: &mut Observed, written: Option<Timestamp>) {
    let lag = observed.mount_lag;
    if written.is_none_or(|written| observed.now < written + lag) {
        return;
    }
    let anchors: Anchors = observed.published.anchors.clone().into();
    for consumer in observed.consumers.iter_mut().filter(|consumer| is_muted(consumer)) {
        consumer.held = Answer::Assumed(Arc::clone(&anchors));
    }
}

/// Whether this process, which sees every change of its mount, may not be asked what it holds.
pub(super) fn is_muted(consumer: &Consumer) -> bool {
    const SEE_EVERY_CHANGE: std::ops::Range<(u32, u32, u32)> = (1, 12, 0)..(1, 16, 0);
    let forbidden = match consumer.role {
        Role::Injector => matches!(consumer.held, Answer::Forbidden(_)),
        Role::Operator | Role::Placement | Role::Scheduler => {
            consumer.held.proven().is_none() && matches!(consumer.accepts, Answer::Forbidden(_))
        }
        _ => false,
    };
    forbidden && consumer.mounts && consumer.version.is_some_and(|version| SEE_EVERY_CHANGE.contains(&version))
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn a_wait_stands_in_for_an_answer_only_where_every_change_is_seen() {
        let now: Timestamp = "2026-01-01T12:00:00Z".parse().unwrap();
        let assumed = |version, waited: i64| {
            let mut operator = Consumer::new(Role::Operator, "dapr-system/operator");
            (operator.mounts, operator.version) = (true, Some(version));
            operator.accepts = Answer::Forbidden("get pods/portforward".to_owned());
            let mount_lag = SignedDuration::from_secs(90);
            let mut seen = Observed { now, mount_lag, consumers: vec![operator], ..Observed::default() };
            assume(&mut seen, Some(now - SignedDuration::from_secs(waited)));
            seen.consumers[0].held.known().is_some()
        };
        assert!(assumed((1, 14, 0), 90));
        assert!(!assumed((1, 14, 0), 89), "its mount may be an old one still");
        assert!(!assumed((1, 16, 0), 900), "its watcher may have died");
        assert!(!assumed((1, 11, 9), 900));
    }
}
