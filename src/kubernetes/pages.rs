//! Long lists, page by page: each page is let go of before the next one is read.

use serde::de::DeserializeOwned;

use super::api::Api;
use super::failure::Failure;
use super::resource::At;
use super::wire::List;

/// Objects a page: 250 pods are about 3 MB of JSON.
const PAGE: u32 = 250;
/// The same of objects of one name. 1,000 copies of a trust bundle are no larger than those pods, and the API server
/// goes through all that it has left once a page.
const SMALL_PAGE: u32 = 1000;

/// Which objects.
#[derive(Clone, Copy)]
pub enum Select<'a> {
    /// All.
    All,
    /// Those with these labels, as kubectl's `-l` takes them.
    Labels(&'a str),
    /// Those with this field, `metadata.name=NAME`.
    Field(&'a str),
}

/// What was kept of a list, and the version up to which it is complete.
pub struct Listed<K> {
    /// What was kept.
    pub items: Vec<K>,
    /// Where a WATCH would begin.
    pub version: String,
}

/// Lists what `select` selects, and keeps what `keep` makes of each.
pub async fn pages<T: DeserializeOwned, K>(
    api: &Api,
    at: At<'_>,
    select: Select<'_>,
    mut keep: impl FnMut(T) -> Option<K>,
) -> Result<Listed<K>, Failure> {
    let mut kept = Vec::new();
    let mut next = String::new();
    loop {
        let mut query = match select {
            Select::All => format!("limit={PAGE}"),
            Select::Labels(labels) => format!("labelSelector={}&limit={PAGE}", escape(labels)),
            Select::Field(field) => format!("fieldSelector={}&limit={SMALL_PAGE}", escape(field)),
        };
        if !next.is_empty() {
            query.push_str("&continue=");
            query.push_str(&escape(&next));
        }
        let page: Result<List<T>, Failure> = api.get(at, &query).await;
        let page = match page {
            // The list grew too old while it was read: from the beginning, what was read is read again.
            Err(Failure::Refused { code: 410, .. }) if !next.is_empty() => {
                kept.clear();
                next.clear();
                continue;
            }
            page => page?,
        };
        kept.extend(page.items.into_iter().filter_map(&mut keep));
        next = page.metadata.next;
        if next.is_empty() {
            return Ok(Listed { items: kept, version: page.metadata.version });
        }
    }
}

fn escape(text: &str) -> String {
    use std::fmt::Write as _;
    let mut escaped = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            escaped.push(char::from(byte));
        } else {
            let _ = write!(escaped, "%{byte:02X}");
        }
    }
    escaped
}
