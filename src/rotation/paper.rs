//! What a look would find after a move: how a plan is made without touching anything.

use std::sync::Arc;

use super::Move;
use crate::mesh::{Anchors, Answer, Consumer, Observed, Pair, Role};

/// `seen`, as it would be once `step` has come to its full effect.
pub fn after(seen: &Observed, step: &Move) -> Observed {
    let mut seen = seen.clone();
    match step {
        Move::PublishTrust { bundle, issuer } => {
            seen.published.anchors = bundle.anchors().to_vec();
            seen.published.mirror = bundle.anchors().to_vec();
            seen.published.pair = Pair::Equal;
            if let Some(issuer) = issuer {
                publish(&mut seen, issuer);
            }
            seen.settle_files();
        }
        Move::PublishSource { anchors } => {
            if let Some(source) = &mut seen.trust_source {
                source.anchors.clone_from(anchors);
            }
        }
        Move::PublishIssuer { issuer } => publish(&mut seen, issuer),
        Move::Nudge => {
            let nudge = seen.nudge();
            for consumer in &mut seen.consumers {
                if let Some(nudge) = nudge.as_ref().filter(|nudge| nudge.pods.contains(&consumer.name)) {
                    consumer.nudged = Some(nudge.mark.clone());
                }
                if consumer.role == Role::Sentry {
                    let chain = &seen.published.chain;
                    consumer.served = Answer::Proven(chain.iter().take(1).chain(chain).cloned().collect());
                }
            }
        }
        Move::Restart { workload } => {
            let now = seen.now;
            for service in seen.control_plane.iter_mut().filter(|service| service.name == *workload) {
                service.restarted = Some(now);
                service.complete = true;
                let theirs = |consumer: &&mut Consumer| service.keeps(consumer);
                for consumer in seen.consumers.iter_mut().filter(theirs) {
                    consumer.held = Answer::Proven(seen.published.anchors.clone().into());
                    consumer.holds = Answer::Proven(true);
                    consumer.accepts = Answer::Proven(true);
                }
            }
        }
        Move::RestartApplications { workloads } => {
            let now = seen.now;
            let theirs = |pod: &Consumer| pod.workload().is_some_and(|workload| workloads.contains(&workload));
            for workload in seen.applications.iter_mut().filter(|workload| workloads.contains(&workload.path())) {
                workload.restarted = Some(now);
                workload.complete = true;
            }
            seen.uninjected.retain(|pod| !theirs(pod));
            let anchors: Anchors = seen.published.anchors.clone().into();
            for pod in seen.consumers.iter_mut().filter(|consumer| theirs(consumer)) {
                pod.held = Answer::Proven(Arc::clone(&anchors));
            }
        }
    }
    seen
}

fn publish(seen: &mut Observed, issuer: &crate::pki::Issuer) {
    seen.published.chain.clone_from(&issuer.chain);
    seen.published.key = Some(issuer.key.clone());
    for sentry in seen.consumers.iter_mut().filter(|consumer| consumer.role == Role::Sentry) {
        sentry.served = Answer::Unknown("it has not reloaded yet".to_owned());
    }
}
