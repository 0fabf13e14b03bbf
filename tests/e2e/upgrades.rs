//! `helm upgrade` beside rotations: what its values bring back or take away, who says so, and what mends it.

use crate::cuts::APPEND_IN_PHASES;
use crate::helm::Release;
use crate::lab::{Lab, TRUST_BUNDLE};
use crate::prunes::PRUNE;
use crate::rotations::RENEW;

const REUSE: [&str; 1] = ["--reuse-values"];

/// The bridge hides it: whoever shows an SVID of the issuer that is gone is still accepted under the root that is back.
#[test]
#[ignore = "needs the lab"]
fn pinned_values_bring_the_ca_before_back_which_a_renewal_mends_and_new_ones_prevent() {
    let lab = Lab::calm(2);
    let release = Release::pinned(&lab);
    let before = published(&lab);
    lab.mtls(&RENEW).succeeds().says("would write them back").says("--set-file dapr_sentry.tls.root.certPEM=");
    lab.restart_app("server");
    release.upgrade(&REUSE);
    assert_eq!(published(&lab), before, "the CA before is back");
    lab.nudge("app.kubernetes.io/part-of=dapr");
    lab.mtls(&["status", "-k"]).says("is not published any more").says("`mtls renew-certificate -k`");
    lab.restart_app("client");
    lab.assert_no_failed_call();

    lab.mtls(&RENEW).succeeds();
    lab.restart_app("server");
    let renewed = published(&lab);
    release.pin();
    release.upgrade(&REUSE);
    assert_eq!(published(&lab), renewed, "what is pinned now is what is live");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

/// The server was born after the CA was retired and refuses what would be signed from now on.
#[test]
#[ignore = "needs the lab"]
fn pinned_values_bring_a_ca_back_that_was_retired_which_a_restore_mends_before_a_call_fails() {
    let lab = Lab::calm(1);
    let release = Release::pinned(&lab);
    lab.mtls(&RENEW).succeeds();
    lab.mtls(&["restart", "-k", "--apps", "--yes"]).succeeds();
    lab.follow_new_pods();
    lab.mtls(&PRUNE).succeeds();
    let kept = lab.secret(TRUST_BUNDLE, "ca.crt");
    lab.nudge("app=dapr-sidecar-injector");
    lab.until_injector_takes(&kept);
    lab.restart_app("server");
    release.upgrade(&REUSE);
    let back = lab.secret(TRUST_BUNDLE, "ca.crt");
    assert_ne!(back, kept, "the retired CA is back");
    lab.mtls(&["status", "-k"]).says("apps/server-").says("or somebody replaced it").says("`mtls restore -k`");
    lab.mtls(&["restore", "-k"]).succeeds();
    let both = lab.secret(TRUST_BUNDLE, "ca.crt");
    assert!(both.contains(&kept) && both.contains(&back), "both sides stay trusted");
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn values_that_pin_no_more_empty_the_secret_which_a_restore_mends_before_sentry_acts() {
    let lab = Lab::calm(1);
    let release = Release::pinned(&lab);
    lab.mtls(&RENEW).succeeds();
    let before = published(&lab);
    release.upgrade_to_the_labs_values();
    assert_eq!(published(&lab), [""; 3].map(str::to_owned), "the chart takes away what it had pinned");
    lab.mtls(&["status", "-k"]).says("carries no certificates").says("`mtls restore -k`");
    lab.mtls(&["restore", "-k"]).succeeds();
    assert_eq!(published(&lab), before);
    release.upgrade_to_the_labs_values();
    assert_eq!(published(&lab), before, "what is not pinned is left alone");
    lab.restart_app("server");
    lab.restart_app("client");
    lab.assert_no_failed_call();
}

#[test]
#[ignore = "needs the lab"]
fn an_append_whose_new_root_pinned_values_have_taken_away_publishes_it_again() {
    let lab = Lab::calm(1);
    let release = Release::pinned(&lab);
    let [before, issuer, _] = published(&lab);
    lab.mtls(&APPEND_IN_PHASES).exits(4);
    let both = lab.secret(TRUST_BUNDLE, "ca.crt");
    lab.restart_app("server");
    release.upgrade(&REUSE);
    assert_eq!(lab.secret(TRUST_BUNDLE, "ca.crt"), before, "the new root is gone");
    lab.mtls(&["status", "-k"]).says("a rotation (strategy append) is open");
    let run = lab.mtls(&APPEND_IN_PHASES).exits(4).says("deploy/client");
    assert!(!run.has("deploy/server"), "it holds the new root: {run}");
    assert_eq!([lab.secret(TRUST_BUNDLE, "ca.crt"), lab.secret(TRUST_BUNDLE, "issuer.crt")], [both, issuer]);
    lab.restart_app("client");
    lab.mtls(&["renew-certificate", "-k", "--resume"]).succeeds();
    lab.restart_app("server");
    lab.assert_no_failed_call();
}

fn published(lab: &Lab) -> [String; 3] {
    let issuer = lab.secret(TRUST_BUNDLE, "issuer.crt");
    [lab.secret(TRUST_BUNDLE, "ca.crt"), issuer, lab.config_map(TRUST_BUNDLE, "ca.crt")]
}
