//! The Helm release that the lab's Dapr was installed by, with values that pin the CA as `dapr upgrade` leaves them.

use std::process::Command;

use serde_json::Value;

use crate::lab::{CONTROL_PLANE, Lab};

const OF_HELM: [&str; 6] = ["-n", CONTROL_PLANE, "get", "secrets", "-l", "owner=helm"];

/// The release; what it was is put back in the end, and so is what the release left in the cluster.
pub struct Release<'a> {
    lab: &'a Lab,
    before: Value,
}

impl<'a> Release<'a> {
    /// Pins the live CA: it stays as it is.
    pub fn pinned(lab: &'a Lab) -> Self {
        let release = Self { lab, before: lab.get(&OF_HELM) };
        release.pin();
        release
    }

    /// Pins what is live now, as `mtls` says how.
    #[track_caller]
    pub fn pin(&self) {
        let to = self.lab.path("certs");
        self.lab.mtls(&["export", "-k", "-o", &to]).succeeds();
        let of = |value: &str, file: &str| format!("dapr_sentry.tls.{value}={to}/{file}");
        let files =
            [of("root.certPEM", "ca.crt"), of("issuer.certPEM", "issuer.crt"), of("issuer.keyPEM", "issuer.key")];
        self.upgrade(&["--reuse-values", "--set-file", &files.join(",")]);
        std::fs::remove_dir_all(to).expect("a directory can be removed");
    }

    /// Upgrades it, to the version that it has.
    #[track_caller]
    pub fn upgrade(&self, values: &[&str]) {
        let (dir, chart) = (self.lab.dir(), self.lab.dir().join("chart/dapr"));
        let out = Command::new(dir.join("bin/helm"))
            .arg("--kubeconfig")
            .arg(dir.join("run/admin.kubeconfig"))
            .args(["--namespace", CONTROL_PLANE, "upgrade", "dapr"])
            .arg(chart)
            .args(values)
            .output()
            .expect("helm starts");
        assert!(out.status.success(), "helm upgrade: {}", String::from_utf8_lossy(&out.stderr));
    }

    /// Upgrades it to the values that the lab installs it with, and no others.
    #[track_caller]
    pub fn upgrade_to_the_labs_values(&self) {
        let values = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lab/manifests/dapr-values.yaml");
        self.upgrade(&["--reset-values", "--values", values]);
    }
}

impl Drop for Release<'_> {
    fn drop(&mut self) {
        let file = self.lab.path("release.json");
        let mut before = self.before.clone();
        for secret in before["items"].as_array_mut().into_iter().flatten() {
            let meta = secret["metadata"].as_object_mut().expect("an object has metadata");
            meta.retain(|field, _| ["name", "namespace", "labels"].contains(&field.as_str()));
        }
        let put_back = || {
            std::fs::write(&file, before.to_string()).map_err(|why| why.to_string())?;
            self.lab.try_kubectl(&["-n", CONTROL_PLANE, "delete", "secrets", "-l", "owner=helm"])?;
            self.lab.try_kubectl(&["create", "-f", &file])
        };
        let done = put_back();
        assert!(done.is_ok() || std::thread::panicking(), "the release is not as it was: {done:?}");
    }
}
