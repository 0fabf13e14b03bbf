//! An API server in memory: objects with versions, merge patches, dry runs, and faults on demand.

mod http;

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use ::http::{Request, Response, StatusCode};
use futures::StreamExt as _;
use futures::channel::mpsc::{UnboundedSender, unbounded};
use http_body::Frame;
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, StreamBody};
use jiff::Timestamp;
use kube::client::Body;
use mtls::kubernetes::{Connection, Kubernetes, Writing};
use serde_json::{Value, json};

/// What goes wrong with one request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// It is carried out, and the connection breaks before the answer.
    LostAnswer,
    /// The connection breaks before it is carried out.
    LostRequest,
    /// No connection comes about.
    Refused,
    /// The server says that it could not, which need not be true.
    ServerError,
    /// The list grew too old while it was read.
    Gone,
    /// The answer comes so many seconds after it is carried out.
    Late(u64),
    /// Nothing comes back, ever.
    Silent,
    /// The caller lacks the right.
    Forbidden,
    /// The caller's token has ended.
    Unauthorized,
    /// Come back in so many seconds.
    Busy(u64),
    /// Somebody else writes the object just before.
    WrittenBefore(&'static str),
}

/// One request as it arrived.
#[derive(Clone, Debug)]
pub struct Seen {
    pub method: String,
    pub path: String,
    pub query: String,
    pub accept: String,
    pub body: String,
}

impl Seen {
    /// `PATCH secrets/dapr-trust-bundle`, with `dry` behind it for a dry run.
    pub fn line(&self) -> String {
        let short = self.path.rsplit_once("/namespaces/").map_or(self.path.as_str(), |(_, rest)| rest);
        let short = short.split_once('/').map_or(short, |(_, rest)| rest);
        let short = if self.query.contains("watch=1") { "configmaps?watch" } else { short };
        let dry = if self.query.contains("dryRun=All") { " dry" } else { "" };
        format!("{} {}{dry}", self.method, short.trim_start_matches('/'))
    }

    pub fn is_write(&self) -> bool {
        self.method != "GET" && !self.path.contains("reviews")
    }
}

#[derive(Default)]
struct State {
    objects: BTreeMap<String, Value>,
    /// What to look for, what goes wrong, how often, and how many to let pass before.
    faults: Vec<(String, Fault, usize, usize)>,
    log: Vec<Seen>,
    versions: u64,
    /// Changes to an object by somebody else, each time it is read.
    alive: Vec<(String, Alive)>,
    /// Who watches the copies of the file era.
    watchers: Vec<UnboundedSender<String>>,
    /// Whose connection stays open and brings nothing any more.
    deaf: Vec<UnboundedSender<String>>,
}

type Alive = fn(&mut Value, Timestamp);

impl State {
    fn tell(&mut self, path: &str, kind: &str) {
        if path.ends_with("/configmaps/dapr-root-ca.crt") {
            let line = json!({ "type": kind, "object": self.objects.get(path) }).to_string() + "\n";
            self.watchers.retain(|watcher| watcher.unbounded_send(line.clone()).is_ok());
        }
    }
}

/// The server. Clones are the same one.
#[derive(Clone)]
pub struct ApiServer {
    state: Arc<Mutex<State>>,
    started: tokio::time::Instant,
}

/// The server's clock when it starts; it goes on with Tokio's.
pub const START: &str = "2026-06-01T00:00:00Z";
pub const NAMESPACE: &str = "dapr-system";
/// What can be listed.
const LISTED: [&str; 8] =
    ["pods", "deployments", "statefulsets", "daemonsets", "secrets", "configmaps", "leases", "configurations"];

impl ApiServer {
    pub fn new() -> Self {
        Self { state: Arc::default(), started: tokio::time::Instant::now() }
    }

    /// A mesh on this server, as a command that writes sees it.
    pub fn mesh(&self, fence: bool) -> Kubernetes {
        let patience = jiff::SignedDuration::from_secs(300);
        self.reader().writing(Writing { fence, patience, trust_source: "dapr-root-ca.crt".to_owned() })
    }

    /// A mesh on this server, as a command that only looks sees it.
    pub fn reader(&self) -> Kubernetes {
        Kubernetes::new(Connection::over(self.client(), "test"), None)
    }

    pub fn client(&self) -> kube::Client {
        let server = self.clone();
        let service = tower::service_fn(move |request: Request<Body>| {
            let server = server.clone();
            async move { server.answer(request).await }
        });
        kube::Client::new(service, "default")
    }

    pub fn put(&self, path: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.versions += 1;
        object["metadata"]["resourceVersion"] = json!(state.versions.to_string());
        let name = path.rsplit('/').next().unwrap().to_owned();
        object["metadata"]["name"] = json!(name);
        if let Some(rest) = path.split("/namespaces/").nth(1) {
            object["metadata"]["namespace"] = json!(rest.split('/').next().unwrap());
        }
        state.objects.insert(path.to_owned(), object);
        state.tell(path, "MODIFIED");
    }

    pub fn get(&self, path: &str) -> Value {
        self.state.lock().unwrap().objects.get(path).cloned().unwrap_or_default()
    }

    pub fn remove(&self, path: &str) {
        let mut state = self.state.lock().unwrap();
        state.tell(path, "DELETED");
        state.objects.remove(path);
    }

    /// The next `times` requests whose line contains `what` go wrong.
    pub fn fail(&self, what: &str, fault: Fault, times: usize) {
        self.state.lock().unwrap().faults.push((what.to_owned(), fault, times, 0));
    }

    /// The `nth` request whose line contains `what` goes wrong.
    pub fn fail_nth(&self, what: &str, fault: Fault, nth: usize) {
        self.state.lock().unwrap().faults.push((what.to_owned(), fault, 1, nth - 1));
    }

    /// Nothing goes wrong any more.
    pub fn heal(&self) {
        self.state.lock().unwrap().faults.clear();
    }

    /// Somebody changes the object at `path` each time it is read.
    pub fn keep_alive(&self, path: &str, change: Alive) {
        self.state.lock().unwrap().alive.push((path.to_owned(), change));
    }

    pub fn log(&self) -> Vec<Seen> {
        self.state.lock().unwrap().log.clone()
    }

    /// The requests that change something, in order; reviews and the lock left out.
    pub fn writes(&self) -> Vec<String> {
        let log = self.log();
        let lines = log.iter().filter(|seen| seen.is_write()).map(Seen::line);
        lines.filter(|line| !line.contains("leases")).collect()
    }

    pub fn forget(&self) {
        self.state.lock().unwrap().log.clear();
    }

    pub fn now(&self) -> Timestamp {
        START.parse::<Timestamp>().unwrap() + self.started.elapsed()
    }

    async fn answer(&self, request: Request<Body>) -> Result<Response<Answer>, std::io::Error> {
        let (parts, body) = request.into_parts();
        let body = body.collect_bytes().await.map_err(std::io::Error::other)?;
        let seen = Seen {
            method: parts.method.to_string(),
            path: parts.uri.path().to_owned(),
            query: parts.uri.query().unwrap_or_default().to_owned(),
            accept: parts.headers.get("accept").map(|v| v.to_str().unwrap().to_owned()).unwrap_or_default(),
            body: String::from_utf8_lossy(&body).into_owned(),
        };
        let fault = self.note(&seen);
        match fault {
            Some(Fault::LostRequest) => return Err(std::io::ErrorKind::ConnectionReset.into()),
            Some(Fault::Refused) => return Err(std::io::Error::other("client error (Connect)")),
            Some(Fault::ServerError) => {
                return Ok(whole(self.status(StatusCode::INTERNAL_SERVER_ERROR, "failed calling webhook")));
            }
            Some(Fault::Gone) => return Ok(whole(self.status(StatusCode::GONE, "the continue token is too old"))),
            Some(Fault::Silent) => std::future::pending().await,
            Some(Fault::Forbidden) => return Ok(whole(self.status(StatusCode::FORBIDDEN, "forbidden: no such right"))),
            Some(Fault::Unauthorized) => return Ok(whole(self.status(StatusCode::UNAUTHORIZED, "Unauthorized"))),
            Some(Fault::Busy(seconds)) => {
                let mut response = self.status(StatusCode::TOO_MANY_REQUESTS, "too many requests");
                response.headers_mut().insert("retry-after", seconds.into());
                return Ok(whole(response));
            }
            Some(Fault::WrittenBefore(key)) => self.write_as_somebody(&seen.path, key),
            Some(Fault::LostAnswer | Fault::Late(_)) | None => {}
        }
        if seen.query.contains("watch=1") {
            return Ok(self.watch());
        }
        let response = self.carry_out(&seen);
        if let Some(Fault::Late(seconds)) = fault {
            tokio::time::sleep(Duration::from_secs(seconds)).await;
        }
        if fault == Some(Fault::LostAnswer) {
            return Err(std::io::ErrorKind::ConnectionReset.into());
        }
        Ok(whole(response))
    }

    /// An answer that never ends: a line for each change from now on.
    fn watch(&self) -> Response<Answer> {
        let (sender, receiver) = unbounded();
        self.state.lock().unwrap().watchers.push(sender);
        let lines = receiver.map(|line| Ok::<_, std::io::Error>(Frame::data(line.into_bytes().into())));
        Response::new(StreamBody::new(lines).map_err(Into::into).boxed_unsync())
    }

    /// Whoever watches now hears nothing any more, as behind a proxy whose own connection has died.
    pub fn deafen(&self) {
        let State { watchers, deaf, .. } = &mut *self.state.lock().unwrap();
        deaf.append(watchers);
    }

    fn note(&self, seen: &Seen) -> Option<Fault> {
        let mut state = self.state.lock().unwrap();
        state.log.push(seen.clone());
        let line = seen.line();
        let due = state.faults.iter_mut().find(|(what, _, times, _)| *times > 0 && line.contains(what.as_str()))?;
        if due.3 > 0 {
            due.3 -= 1;
            return None;
        }
        due.2 -= 1;
        Some(due.1)
    }

    fn write_as_somebody(&self, path: &str, key: &str) {
        let mut state = self.state.lock().unwrap();
        state.versions += 1;
        let version = state.versions.to_string();
        let object = state.objects.get_mut(path).unwrap();
        let (place, name) = key.split_once('/').unwrap();
        object[place][name] = json!("c29tZWJvZHk=");
        object["metadata"]["resourceVersion"] = json!(version);
        object["metadata"]["managedFields"] =
            json!([{ "manager": "somebody", "time": self.now().to_string(), "fieldsV1": {} }]);
    }

    fn carry_out(&self, seen: &Seen) -> Response<Body> {
        let body: Value = serde_json::from_str(&seen.body).unwrap_or_default();
        let dry_run = seen.query.contains("dryRun=All");
        match seen.method.as_str() {
            "GET" if seen.query.contains("watch=refused") => self.status(StatusCode::FORBIDDEN, "no watch here"),
            "GET" => self.read(&seen.path, &seen.query),
            "POST" if seen.path.ends_with("/selfsubjectreviews") => {
                self.ok(&json!({ "status": { "userInfo": { "username": "tester" } } }))
            }
            "POST" if seen.path.ends_with("/subjectaccessreviews") => self.review(&body),
            "POST" => {
                let path = format!("{}/{}", seen.path, body["metadata"]["name"].as_str().unwrap());
                if self.state.lock().unwrap().objects.contains_key(&path) {
                    return self.status(StatusCode::CONFLICT, "already exists");
                }
                self.store(&path, body, dry_run)
            }
            _ => {
                let Some(stored) = self.state.lock().unwrap().objects.get(&seen.path).cloned() else {
                    return self.status(StatusCode::NOT_FOUND, "not found");
                };
                let version = &body["metadata"]["resourceVersion"];
                if !version.is_null() && *version != stored["metadata"]["resourceVersion"] {
                    return self.status(StatusCode::CONFLICT, "the object has been modified");
                }
                let mut object = if seen.method == "PUT" { body } else { merged(stored, &body) };
                if object != self.get(&seen.path) && seen.path.ends_with("dapr-trust-bundle") {
                    object["metadata"]["managedFields"] = json!([
                        { "manager": "mtls", "time": self.now().to_string(), "fieldsV1": { "f:data": { "f:ca.crt": {} } } }]);
                }
                self.store(&seen.path, object, dry_run)
            }
        }
    }

    fn read(&self, path: &str, query: &str) -> Response<Body> {
        let mut state = self.state.lock().unwrap();
        let alive: Vec<_> = state.alive.iter().filter(|(of, _)| of == path).map(|(_, change)| *change).collect();
        for change in alive {
            state.versions += 1;
            let version = state.versions.to_string();
            if let Some(object) = state.objects.get_mut(path) {
                change(object, self.now());
                object["metadata"]["resourceVersion"] = json!(version);
            }
        }
        if let Some(object) = state.objects.get(path) {
            return self.ok(object);
        }
        let plural = path.rsplit('/').next().unwrap();
        let api = path.split("/namespaces/").next().unwrap().trim_end_matches(&format!("/{plural}"));
        let everywhere = !path.contains("/namespaces/");
        if LISTED.contains(&plural) {
            let name = query.split('&').find_map(|part| part.strip_prefix("fieldSelector=metadata.name"));
            let name = name.map(|name| name.trim_start_matches("%3D").trim_start_matches('='));
            let named = |key: &str| name.is_none_or(|name| key.ends_with(&format!("/{name}")));
            let listed = |key: &&String| {
                let parent = key.rsplit_once('/').map_or("", |(parent, _)| parent);
                named(key)
                    && (parent == path
                        || (everywhere && key.starts_with(api) && parent.ends_with(&format!("/{plural}"))))
            };
            let number = |name: &str| -> Option<usize> {
                query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('=')?.parse().ok())
            };
            let (from, limit) = (number("continue").unwrap_or(0), number("limit").unwrap_or(usize::MAX));
            let mut all = state.objects.iter().filter(|(key, _)| listed(key)).map(|(_, object)| object).skip(from);
            let items: Vec<&Value> = all.by_ref().take(limit).collect();
            let next = all.next().map(|_| (from + limit).to_string()).unwrap_or_default();
            let version = state.versions.to_string();
            return self.ok(&json!({ "metadata": { "continue": next, "resourceVersion": version }, "items": items }));
        }
        self.status(StatusCode::NOT_FOUND, "not found")
    }

    /// Sentry may update what its Role lets it.
    fn review(&self, body: &Value) -> Response<Body> {
        let asked = &body["spec"]["resourceAttributes"];
        let role = self.get(&format!("/apis/rbac.authorization.k8s.io/v1/namespaces/{NAMESPACE}/roles/dapr-sentry"));
        let has = |rule: &Value, field: &str, what: &Value| {
            rule[field].as_array().is_some_and(|values| values.contains(what))
        };
        let allowed = role["rules"].as_array().is_some_and(|rules| {
            rules.iter().any(|rule| has(rule, "resources", &asked["resource"]) && has(rule, "verbs", &asked["verb"]))
        });
        self.ok(&json!({ "status": { "allowed": allowed } }))
    }

    fn store(&self, path: &str, mut object: Value, dry_run: bool) -> Response<Body> {
        if !dry_run {
            let mut state = self.state.lock().unwrap();
            state.versions += 1;
            object["metadata"]["resourceVersion"] = json!(state.versions.to_string());
            state.objects.insert(path.to_owned(), object.clone());
        }
        self.ok(&object)
    }

    fn ok(&self, object: &Value) -> Response<Body> {
        self.response(StatusCode::OK, object)
    }

    fn status(&self, code: StatusCode, message: &str) -> Response<Body> {
        self.response(code, &json!({ "kind": "Status", "message": message, "code": code.as_u16() }))
    }

    fn response(&self, code: StatusCode, body: &Value) -> Response<Body> {
        let date = jiff::fmt::rfc2822::DateTimePrinter::new().timestamp_to_rfc9110_string(&self.now()).unwrap();
        Response::builder().status(code).header("date", date).body(Body::from(body.to_string().into_bytes())).unwrap()
    }
}

/// What an answer carries, which may never come to its end.
pub type Answer = UnsyncBoxBody<<Body as http_body::Body>::Data, Box<dyn std::error::Error + Send + Sync>>;

fn whole(response: Response<Body>) -> Response<Answer> {
    response.map(|body| body.map_err(Into::into).boxed_unsync())
}

/// RFC 7396.
fn merged(mut target: Value, patch: &Value) -> Value {
    let Value::Object(fields) = patch else { return patch.clone() };
    if !target.is_object() {
        target = json!({});
    }
    for (name, value) in fields {
        if value.is_null() {
            target.as_object_mut().unwrap().remove(name);
        } else {
            let below = target[name].take();
            target[name] = merged(below, value);
        }
    }
    target
}

/// Runs to its end on a clock that stands still but for waits, and not for ever.
pub async fn within<T>(limit: Duration, work: impl Future<Output = T>) -> T {
    tokio::time::timeout(limit, work).await.expect("it came to its end in time")
}
