//! Rights that the CI account has beyond the least, for as long as a test needs them.

use crate::lab::{CONTROL_PLANE, Lab};

/// Bindings of one name, to roles of that name; gone when dropped, so that the next test finds the least rights.
pub struct Bindings<'a> {
    lab: &'a Lab,
    name: &'static str,
    kinds: &'static [&'static str],
}

impl<'a> Bindings<'a> {
    /// Binds the role, the cluster role or both (`kinds`: `role`, `clusterrole`) called `name`.
    pub fn of(lab: &'a Lab, name: &'static str, kinds: &'static [&'static str]) -> Self {
        let bindings = Self { lab, name, kinds };
        bindings.delete();
        for kind in kinds {
            let (binding, role) = (format!("{kind}binding"), format!("--{kind}={name}"));
            let to = format!("--serviceaccount={CONTROL_PLANE}:mtls-ci");
            lab.kubectl(&["-n", CONTROL_PLANE, "create", &binding, name, &role, &to]);
        }
        bindings
    }

    fn delete(&self) {
        let kinds: Vec<_> = self.kinds.iter().map(|kind| format!("{kind}binding")).collect();
        // What fails here must not hide why a test has failed.
        let _ =
            self.lab.try_kubectl(&["-n", CONTROL_PLANE, "delete", &kinds.join(","), self.name, "--ignore-not-found"]);
    }
}

impl Drop for Bindings<'_> {
    fn drop(&mut self) {
        self.delete();
    }
}
