//! What the API server's audit log says about the requests of `mtls`.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};

use serde_json::{Value, json};

use crate::lab::Lab;
use crate::wait::until;

/// A place in the audit log.
#[derive(Clone, Copy)]
pub struct Mark(u64);

/// A request of `mtls`.
pub struct Request {
    /// Such as `get pods`.
    pub what: String,
    /// Whether it could change an object: no dry run, no review of access, no port-forward.
    pub mutating: bool,
}

impl fmt::Debug for Request {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.what)
    }
}

impl Lab {
    /// Where the audit log ends now.
    pub fn mark(&self) -> Mark {
        Mark(self.dir().join("run/audit.log").metadata().expect("the lab has an audit log").len())
    }

    /// The requests of `mtls` since `mark`, each once.
    pub fn requests(&self, mark: Mark) -> Vec<Request> {
        // A request of our own that has reached the log has everything before it in the log too.
        let last = format!("mtls-e2e-{}-{}", std::process::id(), mark.0);
        let mut text = String::new();
        self.read(&format!("/version?mark={last}")).expect("the API server answers");
        until(10, "the audit log", || {
            text = self.audit_from(mark);
            text.contains(&last)
        });
        let mut found = BTreeMap::new();
        for event in text.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok()) {
            let ours = event["userAgent"].as_str().is_some_and(|agent| agent.starts_with("mtls/"));
            if let (true, Some(id)) = (ours, event["auditID"].as_str()) {
                found.entry(id.to_owned()).or_insert_with(|| request(&event));
            }
        }
        found.into_values().collect()
    }

    /// The mutating requests of `mtls` since `mark`.
    pub fn writes(&self, mark: Mark) -> Vec<Request> {
        self.requests(mark).into_iter().filter(|request| request.mutating).collect()
    }

    /// What the audit log has since `mark`.
    pub fn audit_from(&self, mark: Mark) -> String {
        let mut file = File::open(self.dir().join("run/audit.log")).expect("the lab has an audit log");
        file.seek(SeekFrom::Start(mark.0)).expect("a file can be sought in");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("the audit log is text");
        text
    }
}

fn request(event: &Value) -> Request {
    let object = &event["objectRef"];
    let part = |name: &str| object[name].as_str().unwrap_or_default();
    let verb = event["verb"].as_str().unwrap_or_default();
    let group = part("apiGroup");
    let review = group == "authorization.k8s.io" || group == "authentication.k8s.io";
    let dry = event["requestURI"].as_str().is_some_and(|uri| uri.contains("dryRun="));
    let changes = ["create", "update", "patch", "delete", "deletecollection"].contains(&verb);
    Request {
        what: format!("{verb} {} {} {}", part("resource"), part("subresource"), part("name")),
        mutating: changes && !review && !dry && object["subresource"] != json!("portforward"),
    }
}
