//! What Go's `crypto/x509` takes from a certificate's extensions, no more and no less (`processExtensions` in `parser.go`): what it does not
//! parse is not parsed here either, so that an odd one harms nobody.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use super::CertificateError;
use super::der::{BOOLEAN, Der, INTEGER, OCTET_STRING, OID, Oid, SEQUENCE, dotted};
use super::name_constraints::{Constraints, IpRange, Subtrees, domain_name_valid, mailbox};
use super::uri;

const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

/// Tags of the kinds of name that Go takes (RFC 5280 §4.2.1.6).
const EMAIL: u8 = 0x81;
const DNS: u8 = 0x82;
const URI: u8 = 0x86;
const ADDRESS: u8 = 0x87;

const SUBJECT_KEY_ID: Oid<'_> = &[0x55, 0x1d, 14];
const AUTHORITY_KEY_ID: Oid<'_> = &[0x55, 0x1d, 35];
const AUTHORITY_INFO_ACCESS: Oid<'_> = &[0x2b, 6, 1, 5, 5, 7, 1, 1];
const ANY_POLICY: Oid<'_> = &[0x55, 0x1d, 32, 0];
const ANY_USAGE: Oid<'_> = &[0x55, 0x1d, 37, 0];
const SERVER_AUTH: Oid<'_> = &[0x2b, 6, 1, 5, 5, 7, 3, 1];
const CLIENT_AUTH: Oid<'_> = &[0x2b, 6, 1, 5, 5, 7, 3, 2];

const UNPARSED: &str = "can't be parsed";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BasicConstraints {
    pub(super) ca: bool,
    pub(super) path_length: Option<u32>,
}

/// The usages that the three profiles ask for; others only matter in that they are there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct ExtendedKeyUsage {
    pub(super) any: bool,
    pub(super) server: bool,
    pub(super) client: bool,
}

#[derive(Debug, Clone, Default)]
pub(super) struct Extensions {
    pub(super) basic_constraints: Option<BasicConstraints>,
    pub(super) key_usage: u16,
    pub(super) extended_key_usage: Option<ExtendedKeyUsage>,
    pub(super) subject_key_id: Option<Vec<u8>>,
    pub(super) authority_key_id: Option<Vec<u8>>,
    /// The encoded subject alternative names: Go compares them when it looks for loops.
    pub(super) alternative_names: Option<Vec<u8>>,
    pub(super) dns_names: Vec<String>,
    pub(super) uris: Vec<String>,
    pub(super) emails: Vec<String>,
    pub(super) addresses: Vec<Vec<u8>>,
    pub(super) constraints: Option<Constraints>,
    /// Whether it says something of policies that this tool does not follow.
    pub(super) constrains_policies: bool,
    /// Critical ones that Go does not handle.
    pub(super) unhandled: Vec<String>,
}

impl Extensions {
    /// Reads the list of extensions of a version 3 certificate.
    pub(super) fn read(mut list: Der<'_>) -> Result<Self, CertificateError> {
        let malformed = || CertificateError::Malformed("an extension is malformed".into());
        let mut extensions = Vec::new();
        let mut seen = BTreeSet::new();
        while !list.is_empty() {
            let mut extension = list.inside(SEQUENCE).ok_or_else(malformed)?;
            let oid = extension.oid().ok_or_else(malformed)?;
            let wrong = |why: &str| CertificateError::Extension { name: dotted(oid), why: why.to_owned() };
            let critical = extension.starts_with(BOOLEAN)
                && extension.boolean().ok_or_else(|| wrong("is marked critical neither by 0x00 nor by 0xff"))?;
            let value = extension.content(OCTET_STRING).ok_or_else(malformed)?;
            if !seen.insert(oid) {
                return Err(CertificateError::DuplicateExtension(dotted(oid)));
            }
            extensions.push((oid, critical, value));
        }
        let mut read = Self::default();
        for (oid, critical, value) in extensions {
            let handled = read
                .take(oid, critical, value)
                .map_err(|why| CertificateError::Extension { name: dotted(oid), why: why.to_owned() })?;
            if critical && !handled {
                read.unhandled.push(dotted(oid));
            }
        }
        Ok(read)
    }

    pub(super) fn path_length(&self) -> Option<u32> {
        self.basic_constraints.and_then(|constraints| constraints.path_length)
    }

    pub(super) fn may_sign_certificates(&self) -> bool {
        self.key_usage & KEY_CERT_SIGN != 0
    }

    pub(super) fn may_sign_revocations(&self) -> bool {
        self.key_usage & CRL_SIGN != 0
    }

    /// Takes one extension; false where Go knows it not, or not all of it.
    fn take(&mut self, oid: Oid<'_>, critical: bool, value: &[u8]) -> Result<bool, &'static str> {
        if critical && [SUBJECT_KEY_ID, AUTHORITY_KEY_ID, AUTHORITY_INFO_ACCESS].contains(&oid) {
            return Err("must not be critical");
        }
        let mut value = Der::new(value);
        match oid {
            AUTHORITY_INFO_ACCESS => check_access(value).ok_or(UNPARSED)?,
            SUBJECT_KEY_ID => self.subject_key_id = Some(value.content(OCTET_STRING).ok_or(UNPARSED)?.to_vec()),
            [0x55, 0x1d, 15] => self.key_usage = read_key_usage(value).ok_or(UNPARSED)?,
            [0x55, 0x1d, 17] => return self.take_names(value),
            [0x55, 0x1d, 19] => self.basic_constraints = Some(BasicConstraints::read(value).ok_or(UNPARSED)?),
            [0x55, 0x1d, 30] => {
                let (constraints, all_known) = read_constraints(value)?;
                self.constraints = Some(constraints);
                return Ok(all_known);
            }
            [0x55, 0x1d, 31] => check_distribution_points(value).ok_or(UNPARSED)?,
            [0x55, 0x1d, 32] => check_policies(value)?,
            [0x55, 0x1d, 33] => self.constrains_policies |= maps_any_policy(value).ok_or(UNPARSED)?,
            AUTHORITY_KEY_ID => {
                let id = value.inside(SEQUENCE).and_then(|mut id| id.optional(0x80)).ok_or(UNPARSED)?;
                self.authority_key_id = id.map(|id| id.rest().to_vec());
            }
            [0x55, 0x1d, 36] => self.constrains_policies |= requires_policy(value).ok_or(UNPARSED)?,
            [0x55, 0x1d, 37] => self.extended_key_usage = Some(ExtendedKeyUsage::read(value).ok_or(UNPARSED)?),
            [0x55, 0x1d, 54] => drop(value.int64(INTEGER).ok_or(UNPARSED)?),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_names(&mut self, mut value: Der<'_>) -> Result<bool, &'static str> {
        self.alternative_names = Some(value.rest().to_vec());
        let mut names = value.inside(SEQUENCE).ok_or(UNPARSED)?;
        while !names.is_empty() {
            let name = names.any().ok_or(UNPARSED)?;
            let text = || {
                let text = std::str::from_utf8(name.content).ok().filter(|text| text.is_ascii());
                text.map(str::to_owned).ok_or("holds a name that is not ASCII")
            };
            match name.tag {
                EMAIL => self.emails.push(text()?),
                DNS => self.dns_names.push(text()?),
                URI => {
                    let text = text()?;
                    let host = uri::host(&text).ok_or("holds a URI that Go can't parse")?;
                    if !domain_name_valid(&host, false) {
                        return Err("holds a URI with an invalid domain");
                    }
                    self.uris.push(text);
                }
                ADDRESS if matches!(name.content.len(), 4 | 16) => self.addresses.push(name.content.to_vec()),
                ADDRESS => return Err("holds an IP address of a wrong length"),
                _ => {}
            }
        }
        let none =
            self.dns_names.is_empty() && self.uris.is_empty() && self.emails.is_empty() && self.addresses.is_empty();
        Ok(!none)
    }
}

impl BasicConstraints {
    fn read(mut value: Der<'_>) -> Option<Self> {
        let mut value = value.inside(SEQUENCE)?;
        let ca = value.starts_with(BOOLEAN) && value.boolean()?;
        let path_length =
            if value.starts_with(INTEGER) { Some(u64::try_from(value.int64(INTEGER)?).ok()?) } else { None };
        Some(Self { ca, path_length: path_length.map(|length| u32::try_from(length).unwrap_or(u32::MAX)) })
    }
}

impl ExtendedKeyUsage {
    /// An empty list restricts nothing, as Go has it.
    fn read(mut value: Der<'_>) -> Option<Self> {
        let mut listed = value.inside(SEQUENCE)?;
        let mut usage = Self { any: listed.is_empty(), server: false, client: false };
        while !listed.is_empty() {
            match listed.oid()? {
                ANY_USAGE => usage.any = true,
                SERVER_AUTH => usage.server = true,
                CLIENT_AUTH => usage.client = true,
                _ => {}
            }
        }
        Some(usage)
    }
}

fn read_key_usage(mut value: Der<'_>) -> Option<u16> {
    let bits = value.bits()?;
    Some((0..9).filter(|number| bits.has(*number)).fold(0, |usage, number| usage | 1 << number))
}

/// CRL distribution points: only as much as can make Go refuse the certificate.
fn check_distribution_points(mut value: Der<'_>) -> Option<()> {
    let mut points = value.inside(SEQUENCE)?;
    while !points.is_empty() {
        let Some(mut name) = points.inside(SEQUENCE)?.optional(0xa0)? else { continue };
        let mut full = name.inside(0xa0)?;
        while full.starts_with(URI) {
            full.content(URI)?;
        }
    }
    Some(())
}

/// Authority information access, likewise.
fn check_access(mut value: Der<'_>) -> Option<()> {
    let mut descriptions = value.inside(SEQUENCE)?;
    while !descriptions.is_empty() {
        let mut description = descriptions.inside(SEQUENCE)?;
        description.oid()?;
        description.optional(URI)?;
    }
    Some(())
}

/// Certificate policies: Go refuses one that is named twice.
fn check_policies(mut value: Der<'_>) -> Result<(), &'static str> {
    let mut policies = value.inside(SEQUENCE).ok_or(UNPARSED)?;
    let mut seen = BTreeSet::new();
    while !policies.is_empty() {
        let policy = policies.inside(SEQUENCE).and_then(|mut policy| policy.content(OID)).ok_or(UNPARSED)?;
        let shortest =
            std::iter::once(&0).chain(policy).zip(policy).all(|(before, byte)| *byte != 0x80 || before & 0x80 != 0);
        if !shortest || policy.last().is_none_or(|last| last & 0x80 != 0) {
            return Err(UNPARSED);
        }
        if !seen.insert(policy) {
            return Err("names a policy twice");
        }
    }
    Ok(())
}

/// RFC 5280 §6.1.4 (a): no policy may be mapped to or from any policy.
fn maps_any_policy(mut value: Der<'_>) -> Option<bool> {
    let mut mappings = value.inside(SEQUENCE)?;
    let mut any = false;
    while !mappings.is_empty() {
        let mut mapping = mappings.inside(SEQUENCE)?;
        any |= [mapping.content(OID)?, mapping.content(OID)?].contains(&ANY_POLICY);
    }
    Some(any)
}

/// Whether policy constraints have a `requireExplicitPolicy`.
fn requires_policy(mut value: Der<'_>) -> Option<bool> {
    let mut constraints = value.inside(SEQUENCE)?;
    let mut read = |tag| if constraints.starts_with(tag) { constraints.int64(tag).map(Some) } else { Some(None) };
    let required = read(0x80)?;
    read(0x81)?;
    Some(required.is_some_and(|skip| skip >= 0))
}

/// The constraints, and whether all of them are of the four kinds that Go applies.
fn read_constraints(mut value: Der<'_>) -> Result<(Constraints, bool), &'static str> {
    let mut lists = value.inside(SEQUENCE).filter(|_| value.is_empty()).ok_or(UNPARSED)?;
    let permitted = lists.optional(0xa0).ok_or(UNPARSED)?;
    let excluded = lists.optional(0xa1).filter(|_| lists.is_empty()).ok_or(UNPARSED)?;
    if [permitted, excluded].into_iter().flatten().all(|list| list.is_empty()) {
        return Err("is empty");
    }
    let ((permitted, one), (excluded, two)) = (read_subtrees(permitted)?, read_subtrees(excluded)?);
    Ok((Constraints { permitted, excluded }, one && two))
}

fn read_subtrees(list: Option<Der<'_>>) -> Result<(Subtrees, bool), &'static str> {
    let (mut found, mut all_known) = (Subtrees::default(), true);
    let mut list = list.unwrap_or(Der::new(&[]));
    while !list.is_empty() {
        let base = list.inside(SEQUENCE).and_then(|mut subtree| subtree.any()).ok_or(UNPARSED)?;
        if base.tag == ADDRESS {
            found.addresses.push(IpRange::read(base.content).ok_or("holds a malformed IP range")?);
            continue;
        }
        let text = String::from_utf8_lossy(base.content).into_owned();
        let domain = text.is_ascii() && domain_name_valid(&text, true);
        match base.tag {
            DNS if domain => found.dns.push(text),
            URI if domain && !is_address(&text) => found.uris.push(text),
            EMAIL if if text.contains('@') { mailbox(&text).is_some() } else { domain } => found.emails.push(text),
            DNS | URI | EMAIL => return Err("holds a constraint that Go can't parse"),
            _ => all_known = false,
        }
    }
    Ok((found, all_known))
}

fn is_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok()
}
