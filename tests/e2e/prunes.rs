//! `mtls prune`: nothing goes as long as somebody needs it, and no call fails once it has gone.

use crate::lab::{Lab, TRUST_BUNDLE};
use crate::rotations::RENEW;

/// A prune, as a job runs it.
pub const PRUNE: [&str; 3] = ["prune", "-k", "--yes"];

#[test]
#[ignore = "needs the lab"]
fn what_nobody_needs_goes_once_everybody_was_restarted_and_no_call_fails() {
    let lab = Lab::calm(8);
    let bundle = || (lab.secret(TRUST_BUNDLE, "ca.crt"), lab.secret(TRUST_BUNDLE, "issuer.crt"));
    lab.mtls(&PRUNE).succeeds().says("Nothing to retire");
    for _ in 0..2 {
        lab.mtls(&RENEW).succeeds().says("`mtls prune` can retire what is older");
    }
    let before = bundle();
    lab.mtls(&PRUNE).exits(1).says("holds only older trust anchors").says("apps/server-").says("apps/client-");
    lab.restart_app("server");
    lab.mtls(&PRUNE).exits(1).says("holds only older trust anchors").says("apps/client-");
    lab.restart_app("client");
    lab.mtls(&PRUNE).exits(1).says("shows an SVID of a former issuer, until ").says("operator dapr-system/");
    assert_eq!(bundle(), before, "nothing was changed");

    lab.mtls(&["restart", "-k"]).succeeds();
    let mark = lab.mark();
    lab.mtls(&["prune", "-k", "--dry-run"]).succeeds().says("publish the issuer");
    assert!(lab.writes(mark).is_empty(), "a dry run writes nothing");
    let run = lab.mtls(&PRUNE).succeeds().says("Trusted from now on");
    assert_eq!(lab.anchors(), 1, "{run}");
    let chain = lab.secret(TRUST_BUNDLE, "issuer.crt").matches("BEGIN CERTIFICATE").count();
    assert_eq!(chain, 1, "no bridge is left: {run}");
    lab.assert_no_failed_call();
    lab.restart_app("server");
    lab.mtls(&["status", "-k"]).succeeds().says("Nothing needs attention.");
    lab.mtls(&RENEW).succeeds();
    lab.restart_app("client");
    lab.assert_no_failed_call();
}
