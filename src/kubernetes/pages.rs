//! Long lists, page by page: each page is let go of before the next one is read.

use serde::de::DeserializeOwned;

use super::api::{Api, At};
use super::failure::Failure;
use super::wire::List;

/// Objects a page: 250 pods are about 3 MB of JSON.
const PAGE: u32 = 250;

/// Lists what has the labels of `selector`, or everything, and keeps what `keep` makes of each.
pub async fn pages<T: DeserializeOwned, K>(
    api: &Api,
    at: At<'_>,
    selector: Option<&str>,
    mut keep: impl FnMut(T) -> Option<K>,
) -> Result<Vec<K>, Failure> {
    let mut kept = Vec::new();
    let mut next = String::new();
    loop {
        let mut query = format!("limit={PAGE}");
        if let Some(selector) = selector {
            query.insert_str(0, &format!("labelSelector={}&", escape(selector)));
        }
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
            return Ok(kept);
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
