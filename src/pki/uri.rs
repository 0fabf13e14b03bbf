//! The host of a URI as Go's `net/url` finds it, for a certificate with a URI that Go can't parse is refused as a whole.
//!
//! As Go 1.24 and earlier do it, and later releases for a module that says so (`GODEBUG=urlstrictcolons=0`).

use std::net::Ipv6Addr;

/// The host of a URI that is ASCII, with its port; empty where there is none; `None` if Go can't parse the URI.
pub(super) fn host(uri: &str) -> Option<String> {
    let (uri, fragment) = uri.split_once('#').unwrap_or((uri, ""));
    if uri.bytes().any(|byte| byte < b' ' || byte == 0x7f) || !escapes_valid(fragment) {
        return None;
    }
    let (scheme, rest) = split_scheme(uri)?;
    let rest = rest.split('?').next().unwrap_or_default();
    if !rest.starts_with('/') {
        // Opaque after a scheme; without one a colon would be taken for the end of it.
        let segment = rest.split('/').next().unwrap_or_default();
        let valid = scheme || uri == "*" || !segment.contains(':') && escapes_valid(rest);
        return valid.then(String::new);
    }
    let Some(hierarchy) = rest.strip_prefix("//").filter(|rest| scheme || !rest.starts_with('/')) else {
        return escapes_valid(rest).then(String::new);
    };
    let (authority, path) = hierarchy.split_at(hierarchy.find('/').unwrap_or(hierarchy.len()));
    let (user, host) = authority.rsplit_once('@').unwrap_or(("", authority));
    let user_valid = user.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._:~!$&'()*+,;=%@".contains(&byte))
        && escapes_valid(user);
    if user_valid && escapes_valid(path) { read_host(host) } else { None }
}

/// Whether there is a scheme, and what follows it; `None` where it is missing before its colon.
fn split_scheme(uri: &str) -> Option<(bool, &str)> {
    let end = uri.find(|c: char| !c.is_ascii_alphanumeric() && !"+-.".contains(c)).unwrap_or(uri.len());
    match uri[end..].strip_prefix(':') {
        Some(_) if end == 0 => None,
        Some(rest) if uri.starts_with(|c: char| c.is_ascii_alphabetic()) => Some((true, rest)),
        _ => Some((false, uri)),
    }
}

fn read_host(host: &str) -> Option<String> {
    let Some(open) = host.rfind('[') else {
        let port = host.rfind(':').map_or("", |colon| &host[colon..]);
        return if port_valid(port) { unescape(host, false) } else { None };
    };
    let (literal, port) = host.strip_prefix('[').filter(|_| open == 0)?.rsplit_once(']')?;
    let (address, zone) = literal.split_at(literal.find("%25").unwrap_or(literal.len()));
    let (address, zone) = (unescape(address, false)?, unescape(zone, true)?);
    let valid = address.parse::<Ipv6Addr>().is_ok() && zone != "%" && port_valid(port);
    valid.then(|| format!("[{address}{zone}]{port}"))
}

fn port_valid(port: &str) -> bool {
    port.is_empty() || port.strip_prefix(':').is_some_and(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))
}

/// Escaped may be a percent sign; in the zone of an address also what could stand there plainly, and a space. Bytes beyond ASCII may be as well, but no
/// certificate with such a host is accepted.
fn unescape(text: &str, zone: bool) -> Option<String> {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.~!$&'()*+,;=:[]<>\"".contains(&byte);
    let (first, escaped) = text.split_once('%').map_or((text, None), |(first, escaped)| (first, Some(escaped)));
    let mut read = first.to_owned();
    for part in escaped.into_iter().flat_map(|escaped| escaped.split('%')) {
        let byte = part.get(..2).filter(|_| escapes_valid(&format!("%{part}")))?;
        let byte = u8::from_str_radix(byte, 16).ok()?;
        if byte != b'%' && !(zone && (byte == b' ' || plain(byte))) {
            return None;
        }
        read.push(char::from(byte));
        read.push_str(&part[2..]);
    }
    let written = first.bytes().chain(escaped.into_iter().flat_map(str::bytes));
    written.filter(|byte| *byte != b'%').all(plain).then_some(read)
}

fn escapes_valid(text: &str) -> bool {
    text.split('%').skip(1).all(|rest| rest.len() >= 2 && rest.bytes().take(2).all(|byte| byte.is_ascii_hexdigit()))
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("spiffe://cluster.local/ns/a/b", Some("cluster.local"))]
    #[case("https://user@Example.com:8443/x?y#z", Some("Example.com:8443"))]
    #[case("https://[fd00::1]:80/", Some("[fd00::1]:80"))]
    #[case("https://[fe80::1%25en0]/", Some("[fe80::1%en0]"))]
    #[case("https://[::1", None)]
    #[case("https://[1.2.3.4]/", None)]
    #[case("https://[fe80::1%25]/", None)]
    #[case("https://a[::1]/", None)]
    #[case("https://\u{e9}[::1]/", None)]
    #[case("urn:uuid:1", Some(""))]
    #[case("urn:%zz", Some(""))]
    #[case("/path", Some(""))]
    #[case("*", Some(""))]
    #[case("", Some(""))]
    #[case("///a:b", Some(""))]
    #[case("a b/c", Some(""))]
    #[case("a b:c", None)]
    #[case(":nothing", None)]
    #[case("1http://host/", None)]
    #[case("http://host:port/", None)]
    #[case("http://a:b:80/", Some("a:b:80"))]
    #[case("http://a b/", None)]
    #[case("http://a%25b/", Some("a%b"))]
    #[case("http://a%41/", None)]
    #[case("http://a%ff/", None)]
    #[case("http://us er@host/", None)]
    #[case("http://u%zz@host/", None)]
    #[case("http://host/%zz", None)]
    #[case("http://host/#%zz", None)]
    #[case("http://host/?%zz", Some("host"))]
    fn hosts_are_found_as_go_finds_them(#[case] uri: &str, #[case] found: Option<&str>) {
        assert_eq!(host(uri).as_deref(), found);
    }
}
