//! Applications after the control plane: wave by wave, and only while new pods get the trust that is published.
//!
//! # Why
//! A stale injector gives a new pod stale trust or, silently, no sidecar at all. So the first wave waits for the proof
//! that it is not stale, and each further one for the pods of the wave before. Where a wave stands is read from the
//! workloads and their pods, so that a run which was cut off goes on with what is missing.

use std::collections::{BTreeSet, HashMap};

use jiff::SignedDuration;

use super::next::{Limits, Step, blocker, holds_target, is_restarted, shows_former, trusts_its_server};
use super::{Goal, Move, Need};
use crate::mesh::{Anchors, Answer, Consumer, DISTRIBUTED, Observed, Phase, Role, Workload};

/// An application that is not restarted, though it should be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Blocked {
    /// `shop/deploy/cart`.
    pub workload: String,
    /// Why, and what to do.
    pub why: String,
}

/// The applications that are to be restarted yet: those first that are whole, so that one which was broken before keeps
/// no other waiting.
pub fn due<'a>(goal: &Goal, seen: &'a Observed) -> Vec<&'a Workload> {
    in_order(states(goal, seen))
}

fn in_order(states: Vec<(&Workload, State)>) -> Vec<&Workload> {
    let due = states.into_iter().filter(|(_, state)| matches!(state, State::Due));
    let mut due: Vec<&Workload> = due.map(|(workload, _)| workload).collect();
    due.sort_by_key(|workload| !workload.complete);
    due
}

/// The applications that should be restarted and are not, since no restart would come to an end or help.
pub fn blocked(goal: &Goal, seen: &Observed) -> Vec<Blocked> {
    let blocked = |(workload, state): (&Workload, State)| match state {
        State::Blocked(why) => Some(Blocked { workload: workload.path(), why }),
        State::Due | State::Spoilt(_) | State::Fine => None,
    };
    states(goal, seen).into_iter().filter_map(blocked).collect()
}

/// What a wave that is on its way is waited for; `None`: none is.
pub(super) fn wait(goal: &Goal, seen: &Observed, waited: SignedDuration, limits: Limits) -> Option<Step> {
    let rolling = seen.applications.iter().filter(|workload| has(goal) && is_rolling(goal, workload));
    let names = in_short(&rolling.map(Workload::path).collect::<Vec<_>>())?;
    Some(if waited < limits.rollout {
        Step::Wait(format!("the rollout of {names}"), Need { applications: true, ..Need::default() })
    } else {
        Step::Stuck(format!("the rollout of {names} did not come to an end; the applications after it were left alone"))
    })
}

/// The next wave, or why there must be none. Asks for a look at everything.
pub(super) fn restarts(goal: &Goal, seen: &Observed, waited: SignedDuration, limits: Limits) -> Option<Step> {
    let states = states(goal, seen);
    let spoilt = |(workload, state): &(&Workload, State)| match state {
        State::Spoilt(why) => Some(format!("{}: {why}; the applications after it were left alone", workload.path())),
        State::Due | State::Blocked(_) | State::Fine => None,
    };
    if let Some(why) = states.iter().find_map(spoilt) {
        return Some(Step::Stuck(why));
    }
    let due = in_order(states).into_iter().take(limits.parallel.max(1));
    let wave: BTreeSet<String> = due.map(Workload::path).collect();
    if wave.is_empty() {
        return None;
    }
    let patience = limits.propagation.max(seen.mount_lag).max(TAKES_OVER);
    let age = |injector: &Consumer| injector.started.map_or(waited, |at| seen.now.duration_since(at));
    Some(match stale_injection(goal, seen) {
        None => Step::Do(Move::RestartApplications { workloads: wave }),
        // Why: a rollout may take long itself, and a proof has its time from the start of the new process on.
        Some(why) if injectors(seen).any(|injector| waited.min(age(injector)) < patience) => {
            let need = Need { held: true, ..Need::default() };
            Step::Wait(format!("the proof that new pods get what is published: {why}"), need)
        }
        Some(why) => Step::Stuck(format!("no application is restarted: {why}")),
    })
}

/// Whether the goal is after applications too.
pub(super) fn has(goal: &Goal) -> bool {
    goal.restart.is_some_and(|restart| restart.scope.has_applications())
}

/// `all`, the first three by name; `None`: there are none.
pub(super) fn in_short<T: AsRef<str>>(all: &[T]) -> Option<String> {
    const NAMED: usize = 3;
    let names = all.iter().take(NAMED).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match all.len().checked_sub(NAMED) {
        None | Some(0) => (!all.is_empty()).then_some(names),
        Some(more) => Some(format!("{names} and {more} more")),
    }
}

/// Where an application stands.
enum State {
    /// It is to be restarted.
    Due,
    /// It should be, and is left alone; the text says why and what to do.
    Blocked(String),
    /// It was restarted and did not get what is published.
    Spoilt(String),
    /// There is nothing to do, or not yet.
    Fine,
}

/// What the pods of a workload show, those that are being deleted left out.
#[derive(Default)]
struct Pods<'a> {
    with_sidecar: bool,
    /// One whose sidecar was given other anchors than the goal's.
    stale: Option<&'a Consumer>,
    /// One that asks for a sidecar and has none.
    bare: Option<&'a Consumer>,
    /// Whether one shows an SVID of the CA that a replacement has put out of use.
    shows_former: bool,
    /// One that mounts a copy which is not right, as its successor would.
    unserved: Option<&'a Consumer>,
}

fn states<'a>(goal: &Goal, seen: &'a Observed) -> Vec<(&'a Workload, State)> {
    if !has(goal) {
        return Vec::new();
    }
    let root = goal.target.root();
    let stays = |pod: &&Consumer| pod.phase != Phase::Terminating && !pod.role.is_control_plane();
    let unserved = seen.unserved();
    let mut pods: HashMap<String, Pods> = HashMap::new();
    for pod in seen.consumers.iter().filter(stays) {
        let Some(workload) = pod.workload() else { continue };
        let pods = pods.entry(workload).or_default();
        pods.with_sidecar = true;
        let older = |held: &Anchors| root.is_some_and(|root| !held.contains(root));
        if pod.held.proven().is_some_and(older) || pod.holds == Answer::Proven(false) {
            pods.stale.get_or_insert(pod);
        }
        pods.shows_former |= shows_former(goal, seen, pod);
        if unserved.contains(&pod.name) {
            pods.unserved.get_or_insert(pod);
        }
    }
    for pod in seen.uninjected.iter().filter(stays) {
        if let Some(workload) = pod.workload() {
            pods.entry(workload).or_default().bare.get_or_insert(pod);
        }
    }
    let none = Pods::default();
    let of = |workload: &Workload| state(goal, seen, workload, pods.get(&workload.path()).unwrap_or(&none));
    seen.applications.iter().map(|workload| (workload, of(workload))).collect()
}

fn state(goal: &Goal, seen: &Observed, workload: &Workload, pods: &Pods) -> State {
    let was_restarted = is_restarted(goal, workload);
    let may_be = workload.blocker.is_none();
    if may_be && is_rolling(goal, workload) {
        return State::Fine;
    }
    if let (true, true, Some(pod)) = (may_be, was_restarted, pods.bare) {
        return State::Spoilt(format!("{} came up without a sidecar", pod.name));
    }
    if let (false, Some(_)) = (pods.with_sidecar, pods.bare) {
        let why = "its pods ask for a sidecar and have none: restart it once the injector works";
        return State::Blocked(why.to_owned());
    }
    let stale_only = goal.restart.is_some_and(|restart| restart.scope.is_stale_only());
    let is_due = match (was_restarted, pods.stale) {
        (false, stale) => pods.with_sidecar && (!stale_only || stale.is_some() || pods.shows_former),
        (true, None) => false,
        (true, Some(pod)) if may_be && !is_outdated(seen, workload) => {
            let why = "came up with other trust anchors than those that are published";
            return State::Spoilt(format!("{} {why}", pod.name));
        }
        (true, Some(_)) => true,
    };
    let in_vain = || {
        let why = pods.unserved?.held.why_not().unwrap_or_else(|| format!("ConfigMap `{DISTRIBUTED}` is not right"));
        Some(format!("{why}, and new pods would mount the same: restart it once that is mended"))
    };
    match blocker(goal, workload).or_else(in_vain) {
        _ if !is_due => State::Fine,
        Some(why) => State::Blocked(why),
        None => State::Due,
    }
}

/// Whether it was restarted for this goal and that has not come to an end.
fn is_rolling(goal: &Goal, workload: &Workload) -> bool {
    workload.blocker.is_none() && is_restarted(goal, workload) && !workload.complete
}

/// Whether a workload was restarted before the trust that is there now was published, or before the injector that is.
fn is_outdated(seen: &Observed, workload: &Workload) -> bool {
    let since = injectors(seen).filter_map(|injector| injector.started).chain(seen.published.written).max();
    since > workload.restarted
}

fn injectors(seen: &Observed) -> impl Iterator<Item = &Consumer> {
    seen.consumers.iter().filter(|consumer| consumer.role == Role::Injector && consumer.phase != Phase::Terminating)
}

/// A Pod's default grace period: one that is still being deleted then is not asked any more.
const TAKES_OVER: SignedDuration = SignedDuration::from_secs(30);

/// Why a new pod might not get what is published; `None`: it is known to.
fn stale_injection(goal: &Goal, seen: &Observed) -> Option<String> {
    let webhooks = || seen.consumers.iter().filter(|consumer| consumer.role == Role::Webhook);
    // Why: the API server may go on asking the one before for a moment, and a pod that it refuses gets no sidecar.
    let leaves = |consumer: &&Consumer| consumer.role == Role::Injector && consumer.phase == Phase::Terminating;
    let is_new = |injector: &Consumer| injector.started.is_some_and(|at| seen.now.duration_since(at) < TAKES_OVER);
    if let Some(former) = seen.consumers.iter().find(leaves).filter(|_| injectors(seen).any(is_new)) {
        return Some(format!("{} is being deleted, and may still be asked", former.name));
    }
    let mut ready = injectors(seen).filter(|injector| injector.phase == Phase::Ready).peekable();
    if ready.peek().is_none() {
        return Some("no sidecar injector is ready".to_owned());
    }
    let unknown = |consumer: &Consumer| consumer.held.why_not().unwrap_or_else(|| "it was not asked".to_owned());
    let stale = |injector: &Consumer| match injector.held.known() {
        Some(held) if holds_target(goal, held) => None,
        Some(_) => Some(format!("{} gives new pods older trust anchors", injector.name)),
        None => Some(format!("what {} gives new pods is not known: {}", injector.name, unknown(injector))),
    };
    let bypassed = |webhook: &Consumer| match webhook.held.proven() {
        Some(_) if trusts_its_server(webhook, seen) => None,
        Some(_) => Some(format!(
            "the caBundle of {} does not verify the injector, and new pods would come up without a sidecar",
            webhook.name
        )),
        None => Some(format!("the caBundle of {} is not known: {}", webhook.name, unknown(webhook))),
    };
    let unasked = || "no webhook asks the injector of this control plane about new pods".to_owned();
    ready
        .find_map(stale)
        .or_else(|| webhooks().find_map(bypassed))
        .or_else(|| webhooks().next().is_none().then(unasked))
}
