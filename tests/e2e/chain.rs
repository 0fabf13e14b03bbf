//! One command in many runs, each of which is killed: run after run goes on where the one before stopped.

use std::time::Duration;

use crate::lab::{Lab, TRUST_BUNDLE, User};
use crate::proxy::{Fault, Proxy, Write};
use crate::wait::figure;

/// A command that is given again and again.
pub struct Chain<'a> {
    lab: &'a Lab,
    proxy: Proxy,
    args: &'a [&'a str],
    written: Vec<Write>,
}

impl<'a> Chain<'a> {
    /// Begins with no run yet.
    pub fn start(lab: &'a Lab, user: User, args: &'a [&'a str]) -> Self {
        Self { lab, proxy: Proxy::start(lab, user), args, written: Vec::new() }
    }

    /// Kills a run at its first write to an object of a kind. Returns how long it took to come so far.
    #[track_caller]
    pub fn kill(&mut self, fault: Fault, kind: &str) -> Duration {
        let took = self.strike(fault, kind);
        self.lab.assert_no_failed_call();
        took
    }

    /// Kills a run once it has restarted one application of a wave, and returns when each has come back.
    #[track_caller]
    pub fn kill_in_a_wave(&mut self) {
        self.strike(Fault::KillAfter, "applications");
        for app in ["server", "client"] {
            self.lab.until_restarted(app);
        }
        self.lab.assert_no_failed_call();
    }

    #[track_caller]
    fn strike(&mut self, fault: Fault, kind: &str) -> Duration {
        let run = self.proxy.break_at(self.lab, fault, kind, self.args);
        figure(format!("{fault:?} of {kind}: ended with {:?} after {:.1} s", run.code, run.took.as_secs_f64()));
        assert_eq!(run.code, None, "it was not killed: {run}");
        self.written.extend(self.proxy.writes());
        // Killed before it wrote the lock, a run holds none.
        if (fault, kind) != (Fault::KillBefore, "leases") {
            self.lab.let_lock_run_out();
        }
        run.took
    }

    /// The last run was killed after it had closed the record; so many anchors are published, by one write of each half
    /// and another of the issuer. Returns with nothing written, as if it had just been started.
    #[track_caller]
    pub fn ends(&mut self, anchors: usize) {
        let written = std::mem::take(&mut self.written);
        let count =
            |kind: &str, name: &str| written.iter().filter(|write| write.kind == kind && write.name == name).count();
        assert_eq!((count("configmaps", TRUST_BUNDLE), count("secrets", TRUST_BUNDLE)), (1, 2), "{written:?}");
        self.is_done(anchors);
    }

    /// The record is closed, and so many anchors are published.
    #[track_caller]
    pub fn is_done(&self, anchors: usize) {
        let lab = self.lab;
        assert_eq!((lab.record_status().as_str(), lab.anchors()), ("done", anchors));
        lab.until_unfenced();
        lab.restart_app("server");
        lab.assert_no_failed_call();
    }
}
