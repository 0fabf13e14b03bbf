//! One request to the API server: bounded in time, retried where that is safe, and never ambiguous about its outcome.

use std::io::Write as _;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use flate2::write::GzDecoder;
use futures::StreamExt as _;
use futures::stream::LocalBoxStream;
use http::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, DATE, RETRY_AFTER};
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::Timestamp;
use kube::Client;
use kube::api::WatchEvent;
use kube::client::Body;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::Instant;
use zeroize::Zeroizing;

use super::failure::Failure;
use super::resource::At;
use super::transport::Transport;

/// What changes an object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    /// POST of a new object.
    Create,
    /// PUT of the whole object.
    Replace,
    /// A JSON merge patch: touches the fields that it names and nothing else.
    Patch,
}

impl Change {
    fn verb(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Replace => "update",
            Self::Patch => "patch",
        }
    }

    fn method(self) -> Method {
        match self {
            Self::Create => Method::POST,
            Self::Replace => Method::PUT,
            Self::Patch => Method::PATCH,
        }
    }

    fn content_type(self) -> &'static str {
        match self {
            Self::Patch => "application/merge-patch+json",
            Self::Create | Self::Replace => "application/json",
        }
    }
}

/// Asks for the metadata of listed objects alone, so that no Secret's content is read.
pub const METADATA_OF_LIST: &str = "application/json;as=PartialObjectMetadataList;g=meta.k8s.io;v=v1";
/// The same for one object.
pub const METADATA_ONLY: &str = "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1";
/// A WATCH that has not begun by then is done without.
const WATCH_BEGINS: Duration = Duration::from_secs(10);
const JSON: &str = "application/json";
const GZIP: &str = "gzip";

/// What one try sends.
struct Call<'a> {
    method: Method,
    path: &'a str,
    headers: &'a [(HeaderName, &'a str)],
    body: &'a [u8],
}

/// How often one request is tried, and how long all tries together may take beyond the first.
#[derive(Clone, Copy)]
struct Effort {
    tries: u32,
    patience: Duration,
}

const USUAL: Effort = Effort { tries: 4, patience: Duration::from_secs(20) };
/// Where giving up would leave something half done.
const UTMOST: Effort = Effort { tries: u32::MAX, patience: Duration::from_secs(60) };

/// Takes what only some want to know, and how much they must want: 1 or 2.
pub type Detail = Arc<dyn Fn(u8, &str) + Send + Sync>;

/// The API server, as the caller reaches it.
#[derive(Clone)]
pub struct Api {
    transport: Transport,
    timeout: Option<Duration>,
    detail: Detail,
    clock: Arc<Mutex<Option<(Timestamp, Instant)>>>,
}

impl Api {
    /// Over `transport`; one request takes at most `timeout`.
    pub fn new(transport: Transport, timeout: Option<Duration>) -> Self {
        Self { transport, timeout, detail: Arc::new(|_, _| ()), clock: Arc::default() }
    }

    /// Tells of every request from now on.
    pub fn telling(&mut self, detail: Detail) {
        self.detail = detail;
    }

    /// Tells something to whoever wants to know.
    pub fn detail(&self, level: u8, line: &str) {
        (self.detail)(level, line);
    }

    /// Tells of a request that has come to its end; never what it carried.
    pub fn tell_request(&self, method: &str, path: &str, started: Instant, end: &str) {
        self.detail(2, &format!("{method} {path}: {end} ({} ms)", started.elapsed().as_millis()));
    }

    /// For what is more than a request, such as a port-forward.
    pub fn streams(&self) -> Client {
        self.transport.streams.clone()
    }

    /// The API server's clock, in whole seconds, by the `Date` of its last answer; this machine's before the first.
    pub fn now(&self) -> Timestamp {
        let clock = self.clock.lock().expect("no holder of this lock panics");
        let now = clock.map_or_else(Timestamp::now, |(date, at)| date + at.elapsed());
        Timestamp::from_second(now.as_second()).unwrap_or(now)
    }

    /// Reads one object, or one page of a list.
    pub async fn get<T: DeserializeOwned>(&self, at: At<'_>, query: &str) -> Result<T, Failure> {
        self.read(at, query, JSON).await
    }

    /// Watches what `query` selects, from `version` on. `None`: that is not to be had, and no error.
    pub async fn watch<T>(
        &self,
        at: At<'_>,
        query: &str,
        version: &str,
    ) -> Option<LocalBoxStream<'static, kube::Result<WatchEvent<T>>>>
    where
        T: DeserializeOwned + Clone + 'static,
    {
        let path = at.path(&format!("watch=1&allowWatchBookmarks=true&resourceVersion={version}&{query}"));
        let started = Instant::now();
        let request = Request::get(&path).body(Vec::new()).ok()?;
        let events = self.transport.requests.request_events(request);
        let events = tokio::time::timeout(self.timeout.unwrap_or(WATCH_BEGINS), events).await.ok()?;
        let end = if events.is_ok() { "begun" } else { "refused" };
        self.tell_request("WATCH", &path, started, end);
        Some(events.ok()?.boxed_local())
    }

    /// Reads with another `Accept`.
    ///
    /// # Why
    /// A list may come compressed, as kubectl's do: 10,000 copies of a trust bundle are 23 MB, or 0.7. One object is
    /// small, and a Secret would leave its content in the decoder's buffers.
    pub async fn read<T: DeserializeOwned>(&self, at: At<'_>, query: &str, accept: &str) -> Result<T, Failure> {
        let grant = at.grant(if at.is_one() { "get" } else { "list" });
        let path = at.path(query);
        let headers = [(ACCEPT, accept), (ACCEPT_ENCODING, GZIP)];
        let headers = if at.is_one() { &headers[..1] } else { &headers };
        let call = Call { method: Method::GET, path: &path, headers, body: &[] };
        let started = Instant::now();
        let mut tries = 1;
        let body = loop {
            let failure = match self.send(&grant, &call, tries).await {
                Ok(body) => break body,
                Err(failure) => failure,
            };
            match again(&failure, false, tries, started, USUAL) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(failure),
            }
            tries += 1;
        };
        decode(&grant, &body)
    }

    /// Changes something. `dry_run`: the API server checks everything and keeps nothing.
    ///
    /// # Why
    /// An answer that was lost is not a no. The same request goes out again: it names the version that it changes (or
    /// creates a name that must be free), so it is done at most once, and the second answer is 200 or 409. Any other
    /// answer says nothing of the try whose answer was lost. [`Failure::Conflict`] and [`Failure::Lost`] therefore ask
    /// the caller to read and compare.
    pub async fn change<T: DeserializeOwned>(
        &self,
        at: At<'_>,
        change: Change,
        body: &[u8],
        dry_run: bool,
    ) -> Result<T, Failure> {
        let dry = if dry_run { "&dryRun=All" } else { "" };
        self.write(at, change, body, dry, USUAL).await
    }

    /// Changes something that must not stay half done: tries as long as a minute to learn what became of it.
    pub async fn insist<T: DeserializeOwned>(&self, at: At<'_>, change: Change, body: &[u8]) -> Result<T, Failure> {
        self.write(at, change, body, "", UTMOST).await
    }

    async fn write<T: DeserializeOwned>(
        &self,
        at: At<'_>,
        change: Change,
        body: &[u8],
        dry: &str,
        effort: Effort,
    ) -> Result<T, Failure> {
        let at_path = if change == Change::Create { at.all() } else { at };
        let grant = at.grant(change.verb());
        let path = at_path.path(&format!("fieldManager={}{dry}", super::names::MANAGER));
        let headers = &[(ACCEPT, JSON), (CONTENT_TYPE, change.content_type())];
        let call = Call { method: change.method(), path: &path, headers, body };
        let started = Instant::now();
        let mut tries = 1;
        let mut lost: Option<Failure> = None;
        let answer = loop {
            let failure = match self.send(&grant, &call, tries).await {
                Ok(answer) => break answer,
                Err(failure) => failure,
            };
            if matches!(failure, Failure::Lost { .. }) {
                lost = Some(failure.clone());
            }
            let open = lost.as_ref().filter(|_| !matches!(failure, Failure::Conflict { .. }));
            match again(&failure, open.is_some(), tries, started, effort) {
                Some(wait) => tokio::time::sleep(wait).await,
                None => return Err(open.cloned().unwrap_or(failure)),
            }
            tries += 1;
        };
        decode(&grant, &answer).map_err(|failure| match failure {
            Failure::Unreadable { what, why } => Failure::Lost { what, why },
            failure => failure,
        })
    }

    async fn send(&self, grant: &str, call: &Call<'_>, tries: u32) -> Result<Zeroizing<Vec<u8>>, Failure> {
        // Why: a shared connection outlives a request that nobody answers on it, and the next one would share its fate.
        let Transport { requests, streams } = &self.transport;
        let client = if tries == 1 { requests } else { streams };
        let started = Instant::now();
        let request = Request::builder().method(&call.method).uri(call.path);
        let request = call.headers.iter().fold(request, |request, (name, value)| request.header(name, *value));
        let lost = |why: String| Failure::Lost { what: grant.to_owned(), why };
        let request = request.body(Body::from(call.body.to_vec())).map_err(|why| lost(why.to_string()))?;
        let exchange = async {
            let response = client.send(request).await.map_err(|why| Failure::of_transport(grant, &why))?;
            let (parts, body) = response.into_parts();
            self.note_date(&parts.headers);
            let bytes = collect(body, &parts.headers).await.map_err(|why| lost(why.to_string()))?;
            Ok((parts, bytes))
        };
        let answered = match self.timeout {
            None => exchange.await,
            Some(limit) => tokio::time::timeout(limit, exchange)
                .await
                .unwrap_or_else(|_| Err(lost(format!("no answer within {} s", limit.as_secs_f32())))),
        };
        let end = answered.as_ref().map_or_else(ToString::to_string, |(parts, _)| parts.status.as_str().to_owned());
        self.tell_request(call.method.as_str(), call.path, started, &end);
        match answered? {
            (parts, bytes) if parts.status.is_success() => Ok(bytes),
            (parts, bytes) => Err(refusal(grant, parts.status, &parts.headers, &bytes)),
        }
    }

    fn note_date(&self, headers: &HeaderMap) {
        let date = headers.get(DATE).and_then(|date| date.to_str().ok());
        let Some(date) = date.and_then(|date| jiff::fmt::rfc2822::parse(date).ok()) else {
            return;
        };
        let date = date.timestamp();
        let mut clock = self.clock.lock().expect("no holder of this lock panics");
        let known = clock.map(|(known, at)| known + at.elapsed());
        // `Date` is cut to whole seconds: the latest reading is the nearest.
        if known.is_none_or(|known| date > known || known.duration_since(date).as_secs() > 2) {
            *clock = Some((date, Instant::now()));
        }
    }
}

/// Reads a body into a buffer that is wiped. It is large enough from the start where the length is known, so that
/// growing leaves no copies behind. What comes compressed is unpacked as it comes.
async fn collect(
    mut body: Body,
    headers: &HeaderMap,
) -> Result<Zeroizing<Vec<u8>>, Box<dyn std::error::Error + Send + Sync>> {
    const MOST: usize = 64 << 20;
    let length = headers.get(CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse().ok());
    let mut bytes = Zeroizing::new(Vec::with_capacity(length.unwrap_or(64 << 10).min(MOST)));
    let is_packed = headers.get(CONTENT_ENCODING).is_some_and(|encoding| encoding == GZIP);
    let mut unpack = is_packed.then(|| GzDecoder::new(Vec::new()));
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        match &mut unpack {
            Some(unpack) => unpack.write_all(&data)?,
            None => bytes.extend_from_slice(&data),
        }
    }
    match unpack {
        Some(unpack) => Ok(Zeroizing::new(unpack.finish()?)),
        None => Ok(bytes),
    }
}

/// How long to wait before the next try; `None`: that was the last. `open`: the answer to an earlier try was lost, so
/// that this one settles nothing.
fn again(failure: &Failure, open: bool, tries: u32, started: Instant, effort: Effort) -> Option<Duration> {
    let backoff = Duration::from_millis(100 << tries.min(5));
    let wait = match failure {
        Failure::Busy { after, .. } => after.unwrap_or(backoff),
        Failure::Lost { .. } | Failure::Unreachable { .. } => backoff,
        _ if open => backoff,
        _ => return None,
    };
    (tries < effort.tries && started.elapsed() + wait < effort.patience).then_some(wait)
}

fn refusal(grant: &str, status: StatusCode, headers: &HeaderMap, body: &[u8]) -> Failure {
    #[derive(Default, Deserialize)]
    struct Status {
        #[serde(default)]
        message: String,
    }
    let Status { message } = serde_json::from_slice(body).unwrap_or_default();
    let what = grant.to_owned();
    match status {
        StatusCode::FORBIDDEN => Failure::Forbidden { grant: what, message },
        StatusCode::NOT_FOUND => Failure::Missing { what },
        StatusCode::CONFLICT => Failure::Conflict { what, message },
        StatusCode::TOO_MANY_REQUESTS => {
            let after = headers.get(RETRY_AFTER).and_then(|after| after.to_str().ok()?.parse().ok());
            Failure::Busy { what, after: after.map(Duration::from_secs) }
        }
        status if status.is_server_error() => {
            Failure::Lost { what, why: format!("the API server answered {status} {message}") }
        }
        status => Failure::Refused { what, code: status.as_u16(), message },
    }
}

fn decode<T: DeserializeOwned>(grant: &str, body: &[u8]) -> Result<T, Failure> {
    serde_json::from_slice(body).map_err(|why| Failure::Unreadable {
        what: grant.to_owned(),
        // A decoder's message may quote what it choked on, which may be a key: only the place is kept.
        why: format!("unexpected content at line {} column {}", why.line(), why.column()),
    })
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http::Response;
    use serde_json::Value;

    use super::super::resource::{PODS, SECRETS};
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn a_second_try_takes_a_connection_of_its_own() {
        let client = |status: u16| {
            let answer = move |_: Request<Body>| async move {
                let body = Body::from(b"{}".to_vec());
                Ok::<_, Infallible>(Response::builder().status(status).body(body).expect("an answer"))
            };
            Client::new(tower::service_fn(answer), "default")
        };
        let broken = Transport { requests: client(503), streams: client(200) };
        let api = Api::new(broken, None);
        assert_eq!(api.get::<Value>(SECRETS.named("d", "s"), "").await.unwrap(), serde_json::json!({}));
        let change = api.change::<Value>(SECRETS.named("d", "s"), Change::Patch, b"{}", false).await;
        assert_eq!(change.unwrap(), serde_json::json!({}));
    }

    #[tokio::test]
    async fn lists_may_come_compressed_and_nothing_else() {
        let packed = |bytes: &[u8]| {
            let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
            gzip.write_all(bytes).expect("a buffer takes what it is given");
            gzip.finish().expect("a buffer takes what it is given")
        };
        let server = |whole: bool| {
            let answer = move |request: Request<Body>| async move {
                let response = Response::builder();
                let asked = request.headers().get(ACCEPT_ENCODING).is_some_and(|encoding| encoding == GZIP);
                let (response, body) = match (asked, packed(br#"{"items":[7]}"#)) {
                    (false, _) => (response, br#""plain""#.to_vec()),
                    (true, body) => {
                        let length = if whole { body.len() } else { body.len() - 9 };
                        (response.header(CONTENT_ENCODING, GZIP), body[..length].to_vec())
                    }
                };
                Ok::<_, Infallible>(response.body(Body::from(body)).expect("an answer"))
            };
            Api::new(Client::new(tower::service_fn(answer), "default").into(), None)
        };
        let list = server(true).get::<Value>(PODS.within(None), "").await;
        assert_eq!(list.unwrap(), serde_json::json!({ "items": [7] }));
        assert_eq!(server(true).get::<Value>(SECRETS.named("d", "s"), "").await.unwrap(), "plain");
        let change = server(true).change::<Value>(SECRETS.named("d", "s"), Change::Patch, b"{}", false).await;
        assert_eq!(change.unwrap(), "plain");
        let torn = server(false).get::<Value>(PODS.within(None), "").await;
        assert!(matches!(torn, Err(Failure::Lost { .. })), "{torn:?}");
    }
}
