//! What a run of the released binary may cost.

use crate::audit::Request;
use crate::lab::Lab;
use crate::rotations::RENEW;
use crate::run::{Run, released};
use crate::wait::figure;

/// Bounds on one command.
struct Budget {
    args: &'static [&'static str],
    requests: usize,
    mebibytes: u64,
}

#[test]
#[ignore = "needs the lab"]
fn requests_memory_and_size_stay_in_their_budgets() {
    let lab = Lab::calm(3);
    let budgets = [
        Budget { args: &RENEW, requests: 60, mebibytes: 20 },
        Budget { args: &["status", "-k"], requests: 12, mebibytes: 15 },
        Budget { args: &["expiry", "-k"], requests: 6, mebibytes: 15 },
    ];
    for budget in budgets {
        let Budget { args, requests: most, mebibytes } = budget;
        let (run, requests) = measure(&lab, &budget);
        let (all, writes) = (requests.len(), requests.iter().filter(|request| request.mutating).count());
        let (seconds, kib) = (run.took.as_secs_f64(), run.peak_kib);
        figure(format!("{}: {all} requests ({writes} writes), {seconds:.2} s, {kib} KiB", run.line));
        assert!(!requests.is_empty() && all <= most, "{most} at most: {requests:#?}");
        if args == RENEW {
            let fence = |request: &&Request| request.mutating && request.what == "patch roles  dapr-sentry";
            assert_eq!(requests.iter().filter(fence).count(), 2, "not fenced: {requests:#?}");
            assert!(released().is_none() || seconds <= 8.0, "it took {seconds} s");
        }
        assert!(released().is_none() || (1..=mebibytes * 1024).contains(&kib), "{mebibytes} MiB at most: {kib} KiB");
    }
    if let Some(binary) = released() {
        let size = std::fs::metadata(binary).expect("the binary is there").len();
        figure(format!("binary: {} KiB", size / 1024));
        assert!(size <= 12_000_000, "12 MB at most: {size}");
    }
    lab.assert_no_failed_call();
}

/// Runs a command up to three times: a Sentry that takes longer than usual is looked at once more, and a command may be
/// over before its memory was looked at.
fn measure(lab: &Lab, budget: &Budget) -> (Run, Vec<Request>) {
    let once = || {
        let mark = lab.mark();
        let run = lab.mtls(budget.args).succeeds();
        (run, lab.requests(mark))
    };
    let fits = |(run, requests): &(Run, Vec<Request>)| requests.len() <= budget.requests && run.peak_kib > 0;
    let mut last = once();
    for _ in 0..2 {
        if !fits(&last) {
            last = once();
        }
    }
    last
}
