//! A handshake that asks a listener whether it trusts a client.

use std::fs;
use std::process::Command;
use std::time::Duration;

use crate::authority::{CANARY, leaf};
use crate::lab::Lab;
use crate::wait::{Tick, until_with};

/// Whether the listener at `address` accepts a leaf under the first certificate of `signer`, sent with `chain` behind
/// it. A refusal is told by a TLS alert; where the connection was closed before curl had read it, it is asked again.
pub fn accepts(lab: &Lab, address: &str, [signer, key]: [&str; 2], chain: &str) -> bool {
    leaf(lab, CANARY, signer, key);
    let [cert_file, key_file] = ["leaf.pem", "leaf.key"].map(|name| lab.path(name));
    fs::write(&cert_file, fs::read_to_string(&cert_file).expect("a leaf") + chain).expect("a file can be written");
    let url = format!("https://{address}/");
    until_with(Duration::from_secs(20), Tick::Short, format!("a verdict of {address}"), || {
        let out = Command::new("curl")
            .args(["--silent", "--show-error", "--insecure", "--http1.1", "--max-time", "10"])
            .args(["--cert", &cert_file, "--key", &key_file, &url])
            .output()
            .expect("curl is installed");
        if out.status.success() {
            return Some(true);
        }
        String::from_utf8_lossy(&out.stderr).contains("alert").then_some(false)
    })
}
