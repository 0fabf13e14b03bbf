//! Applications: the workloads behind the sidecars, and what each that no restart replaces needs instead.

use std::collections::BTreeSet;

use futures::future::try_join_all;

use super::api::Api;
use super::control_plane::described;
use super::failure::Failure;
use super::pages::{Select, pages};
use super::resource::{DAEMON_SETS, DEPLOYMENTS, STATEFUL_SETS};
use super::wire;
use crate::mesh::{Consumer, Phase, Workload, WorkloadKind};

/// Which applications count.
#[derive(Clone, Debug, Default)]
pub struct Applications {
    /// Those of these namespaces; none: of all.
    pub namespaces: Vec<String>,
    /// Those whose workload has these labels, as kubectl's `-l` takes them.
    pub selector: Option<String>,
}

/// All workloads that a restart replaces, whether or not they have a sidecar. Three LISTs, or three a namespace.
pub async fn list(api: &Api, which: &Applications) -> Result<Vec<Workload>, Failure> {
    let kinds = [
        (DEPLOYMENTS, WorkloadKind::Deployment),
        (STATEFUL_SETS, WorkloadKind::StatefulSet),
        (DAEMON_SETS, WorkloadKind::DaemonSet),
    ];
    let places: Vec<Option<&str>> = match which.namespaces.as_slice() {
        [] => vec![None],
        named => named.iter().map(|namespace| Some(namespace.as_str())).collect(),
    };
    let select = which.selector.as_deref().map_or(Select::All, Select::Labels);
    let lists = places.iter().flat_map(|place| kinds.map(|(resource, kind)| (resource.within(*place), kind)));
    let lists =
        lists.map(|(at, kind)| pages(api, at, select, move |object: wire::Workload| Some(described(kind, &object))));
    Ok(try_join_all(lists).await?.into_iter().flat_map(|listed| listed.items).collect())
}

/// Those of `listed` that are behind `pods`, and whatever else is: named, since no restart replaces it. The labels of
/// those others were not asked for, so that they are left out where labels count.
pub fn behind<'a>(
    pods: impl Iterator<Item = &'a Consumer>,
    listed: Vec<Workload>,
    which: &Applications,
) -> Vec<Workload> {
    let stays = |pod: &&Consumer| !pod.role.is_control_plane() && pod.phase != Phase::Terminating;
    let mut owners: BTreeSet<String> = pods.filter(stays).filter_map(Consumer::workload).collect();
    let mut found: Vec<Workload> = listed.into_iter().filter(|workload| owners.remove(&workload.path())).collect();
    if which.selector.is_none() {
        found.extend(owners.iter().filter_map(|owner| other(owner, which)));
    }
    found.sort_by_cached_key(Workload::path);
    found
}

fn other(owner: &str, which: &Applications) -> Option<Workload> {
    let (namespace, name) = owner.split_once('/')?;
    let (kind, own_name) = name.split_once('/')?;
    let counts = which.namespaces.is_empty() || which.namespaces.iter().any(|counted| counted == namespace);
    let blocker = match kind {
        // Such a workload was not listed: it has gone meanwhile, and its pods go too.
        "deploy" | "sts" | "ds" => return None,
        "pod" => "nobody makes a bare pod anew: delete it and create it again".to_owned(),
        "job" => "the pods of a Job are not replaced: its next run gets what is published".to_owned(),
        "rollout" => {
            format!("Argo Rollouts restarts it: `kubectl argo rollouts restart {own_name} -n {namespace}`")
        }
        _ => "only Deployments, StatefulSets and DaemonSets are restarted: whoever made it must make its pods anew"
            .to_owned(),
    };
    counts.then(|| Workload {
        role: None,
        kind: WorkloadKind::Other,
        name: name.to_owned(),
        namespace: namespace.to_owned(),
        created: None,
        replicas: 0,
        ready: 0,
        version: String::new(),
        restarted: None,
        complete: true,
        blocker: Some(blocker),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::mesh::{Era, Role};

    fn pod(name: &str, owner: &str) -> Consumer {
        let role = Role::Sidecar { era: Era::Env, app_id: name.to_owned() };
        Consumer { owner: Some(owner.to_owned()), ..Consumer::new(role, format!("shop/{name}")) }
    }

    fn deployment(name: &str) -> Workload {
        let object = format!(r#"{{"metadata":{{"name":"{name}","namespace":"shop"}}}}"#);
        described(WorkloadKind::Deployment, &serde_json::from_str(&object).unwrap())
    }

    #[test]
    fn what_no_restart_replaces_is_named_with_what_to_do() {
        let pods = [
            pod("a", "deploy/a"),
            pod("b", "pod/b"),
            pod("c", "job/c"),
            pod("d", "rollout/d"),
            pod("e", "database/e"),
            pod("gone", "deploy/gone"),
            Consumer { phase: Phase::Terminating, ..pod("leaves", "pod/leaves") },
        ];
        let listed = || vec![deployment("a"), deployment("without-a-sidecar")];
        let named = |which: &Applications| -> Vec<(String, bool)> {
            let found = behind(pods.iter(), listed(), which);
            found.iter().map(|workload| (workload.path(), workload.blocker.is_some())).collect()
        };
        let all = [
            ("shop/database/e", true),
            ("shop/deploy/a", false),
            ("shop/job/c", true),
            ("shop/pod/b", true),
            ("shop/rollout/d", true),
        ];
        assert_eq!(named(&Applications::default()), all.map(|(name, blocked)| (name.to_owned(), blocked)));
        let elsewhere = Applications { namespaces: vec!["other".to_owned()], selector: None };
        assert!(named(&elsewhere).iter().all(|(_, blocked)| !blocked));
        let labelled = Applications { namespaces: Vec::new(), selector: Some("tier=web".to_owned()) };
        assert_eq!(named(&labelled), [("shop/deploy/a".to_owned(), false)]);
    }
}
