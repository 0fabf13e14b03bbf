//! Name constraints (RFC 5280 §4.2.1.10) as Go 1.26 applies them (`crypto/x509/constraints.go`).

use std::net::{Ipv4Addr, Ipv6Addr};

use super::extensions::Extensions;
use super::uri;

#[derive(Debug, Clone, Default)]
pub(super) struct Constraints {
    pub(super) permitted: Subtrees,
    pub(super) excluded: Subtrees,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Subtrees {
    pub(super) dns: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) addresses: Vec<IpRange>,
}

#[derive(Debug, Clone)]
pub(super) struct IpRange {
    address: Vec<u8>,
    mask: Vec<u8>,
}

/// The names in one certificate that constraints are held against.
#[derive(Debug, Clone, Copy)]
pub(super) struct Names<'a> {
    pub(super) dns: &'a [String],
    pub(super) uris: &'a [String],
    pub(super) emails: &'a [String],
    pub(super) addresses: &'a [Vec<u8>],
}

impl<'a> Names<'a> {
    /// The subject alternative names; `None` without that extension, which Go then leaves unchecked.
    pub(super) fn of(extensions: &'a Extensions) -> Option<Self> {
        extensions.alternative_names.as_ref()?;
        Some(Self {
            dns: &extensions.dns_names,
            uris: &extensions.uris,
            emails: &extensions.emails,
            addresses: &extensions.addresses,
        })
    }
}

impl Constraints {
    /// Says which name is not allowed, and why.
    pub(super) fn check(&self, names: &Names<'_>) -> Result<(), String> {
        // Go reads all URIs and mailboxes before it compares anything, so these fail whatever kind is constrained.
        let hosts = names.uris.iter().map(|uri| constrained_host(uri)).collect::<Result<Vec<_>, _>>()?;
        let mailboxes = names
            .emails
            .iter()
            .map(|email| mailbox(email).ok_or_else(|| format!("mail address `{email}` can't be read")))
            .collect::<Result<Vec<_>, _>>()?;

        let Self { permitted, excluded } = self;
        for address in names.addresses {
            let matches = |ranges: &[IpRange]| ranges.iter().any(|range| range.contains(address));
            decide("IP address", &format!("{address:?}"), &permitted.addresses, &excluded.addresses, matches, matches)?;
        }
        for dns in names.dns {
            if !domain_name_valid(dns, false) {
                return Err(format!("DNS name `{dns}` can't be read"));
            }
            let (permits, excludes) = domain_rules(dns);
            decide("DNS name", dns, &permitted.dns, &excluded.dns, permits, excludes)?;
        }
        for (uri, host) in names.uris.iter().zip(&hosts) {
            let (permits, excludes) = domain_rules(host);
            decide("URI", uri, &permitted.uris, &excluded.uris, permits, excludes)?;
        }
        for (email, mailbox) in names.emails.iter().zip(&mailboxes) {
            let (permits, excludes) = domain_rules(&mailbox.1);
            decide(
                "mail address",
                email,
                &permitted.emails,
                &excluded.emails,
                |rules| mailbox_matches(mailbox, rules, &permits),
                |rules| mailbox_matches(mailbox, rules, &excludes),
            )?;
        }
        Ok(())
    }
}

impl IpRange {
    /// An address and its mask, 8 or 32 bytes; the mask must be ones followed by zeros.
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        if !matches!(bytes.len(), 8 | 32) {
            return None;
        }
        let (address, mask) = bytes.split_at(bytes.len() / 2);
        let ones: u32 = mask.iter().map(|byte| byte.leading_ones()).take_while(|ones| *ones == 8).sum();
        let after = usize::try_from(ones / 8).ok()?;
        let contiguous = mask.get(after).is_none_or(|byte| byte.leading_ones() + byte.trailing_zeros() == 8)
            && mask.iter().skip(after + 1).all(|byte| *byte == 0);
        contiguous.then(|| Self { address: address.to_vec(), mask: mask.to_vec() })
    }

    fn contains(&self, address: &[u8]) -> bool {
        self.address.len() == address.len()
            && self.address.iter().zip(&self.mask).zip(address).all(|((own, mask), other)| own & mask == other & mask)
    }
}

/// Applies the permitted rules, if there are any of this kind, and then the excluded ones.
fn decide<T>(
    kind: &str,
    name: &str,
    permitted: &[T],
    excluded: &[T],
    permits: impl Fn(&[T]) -> bool,
    forbids: impl Fn(&[T]) -> bool,
) -> Result<(), String> {
    if !permitted.is_empty() && !permits(permitted) {
        return Err(format!("{kind} `{name}` is outside what it permits"));
    }
    if !excluded.is_empty() && forbids(excluded) {
        return Err(format!("{kind} `{name}` is excluded by it"));
    }
    Ok(())
}

/// How a domain is held against permitted and against excluded rules: the latter also catch a wildcard that covers them.
fn domain_rules(domain: &str) -> (impl Fn(&[String]) -> bool, impl Fn(&[String]) -> bool) {
    let name = domain.to_ascii_lowercase();
    let parent = name.starts_with('*').then(|| after_first_label(&name).to_owned());
    let permits = move |rules: &[String]| rules.iter().any(|rule| has_suffix(&rule.to_ascii_lowercase(), &name));
    let permits_too = permits.clone();
    let excludes = move |rules: &[String]| {
        let covered = |rule: &String| {
            let rule = rule.to_ascii_lowercase();
            let rest = after_first_label(&rule);
            !rest.is_empty() && parent.as_deref() == Some(rest)
        };
        permits_too(rules) || rules.iter().any(covered)
    };
    (permits, excludes)
}

/// Whether `name` lies in the subtree `rule`; a leading period asks for at least one more label.
fn has_suffix(rule: &str, name: &str) -> bool {
    rule.is_empty()
        || name.strip_suffix(rule).is_some_and(|rest| rest.is_empty() || rule.starts_with('.') || rest.ends_with('.'))
}

fn after_first_label(name: &str) -> &str {
    name.find('.').map_or("", |dot| &name[dot..])
}

fn mailbox_matches(mailbox: &(String, String), rules: &[String], domain_matches: &impl Fn(&[String]) -> bool) -> bool {
    let (full, domains): (Vec<String>, Vec<String>) = rules.iter().cloned().partition(|rule| rule.contains('@'));
    full.iter().any(|rule| self::mailbox(rule).as_ref() == Some(mailbox)) || domain_matches(&domains)
}

/// Local part and lower-case domain. Quoted local parts, which Go reads, are taken for unreadable: the chain is then refused.
pub(super) fn mailbox(email: &str) -> Option<(String, String)> {
    let (local, domain) = email.split_once('@')?;
    let atoms = |c: char| c.is_ascii_alphanumeric() || "!#$%&'*+-/=?^_`{|}~.".contains(c);
    let fits = !local.is_empty()
        && local.chars().all(atoms)
        && !local.starts_with('.')
        && !local.ends_with('.')
        && !local.contains("..")
        && domain_name_valid(domain, false);
    fits.then(|| (local.to_owned(), domain.to_ascii_lowercase()))
}

/// The host of a URI that constraints apply to: never empty, never an address.
fn constrained_host(uri: &str) -> Result<String, String> {
    let host = uri::host(uri).unwrap_or_default().to_ascii_lowercase();
    if host.is_empty() {
        return Err(format!("URI `{uri}` has no host to compare"));
    }
    let host = match host.rsplit_once(':') {
        Some((before, _)) if !host.ends_with(']') => before.to_owned(),
        _ => host,
    };
    let literal = host.starts_with('[') && host.ends_with(']');
    if literal || host.parse::<Ipv4Addr>().is_ok() || host.parse::<Ipv6Addr>().is_ok() {
        return Err(format!("URI `{uri}` has an address for a host"));
    }
    Ok(host)
}

/// Go's `domainNameValid`.
pub(super) fn domain_name_valid(name: &str, constraint: bool) -> bool {
    if name.is_empty() {
        return true;
    }
    let name = if constraint { name.strip_prefix('.').unwrap_or(name) } else { name };
    name.bytes().all(|byte| (33..=126).contains(&byte)) && name.split('.').all(|label| !label.is_empty())
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("a.example.com", "*.example.com", true)]
    #[case("a.example.com", "*.example.org", false)]
    #[case("example.com", "*.example.com", true)]
    #[case(".example.com", "example.com", false)]
    #[case("example.com", "anexample.com", false)]
    #[case("", "anything", true)]
    fn an_excluded_domain_takes_the_wildcards_over_it(#[case] rule: &str, #[case] name: &str, #[case] taken: bool) {
        assert_eq!(domain_rules(name).1(&[rule.to_owned()]), taken);
    }

    #[rstest]
    #[case(&[10, 0, 0, 0, 255, 0, 0, 0], &[10, 1, 2, 3], Some(true))]
    #[case(&[10, 0, 0, 0, 255, 128, 0, 0], &[10, 128, 2, 3], Some(false))]
    #[case(&[0; 8], &[1, 2, 3, 4], Some(true))]
    #[case(&[0; 8], &[0; 16], Some(false))]
    #[case(&[10, 0, 0, 0, 255, 0, 255, 0], &[10, 1, 2, 3], None)]
    #[case(&[10, 0, 0, 0], &[10, 1, 2, 3], None)]
    fn ranges_hold_addresses_of_their_own_kind(
        #[case] range: &[u8],
        #[case] address: &[u8],
        #[case] held: Option<bool>,
    ) {
        assert_eq!(IpRange::read(range).map(|range| range.contains(address)), held);
    }
}
