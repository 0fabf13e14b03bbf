//! What Go's `crypto/x509` takes from a certificate's extensions, no more and no less.

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, Ipv6Addr};

use x509_parser::extensions::{GeneralName, NameConstraints, ParsedExtension};
use x509_parser::prelude::{X509Certificate, X509Extension};

use super::CertificateError;
use super::name_constraints::{Constraints, IpRange, Subtrees, domain_name_valid, uri_host};

const KEY_CERT_SIGN: u16 = 1 << 5;
const CRL_SIGN: u16 = 1 << 6;

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
    pub(super) requires_policy: bool,
    /// Critical ones that Go does not handle.
    pub(super) unhandled: Vec<String>,
}

impl Extensions {
    pub(super) fn read(x509: &X509Certificate<'_>) -> Result<Self, CertificateError> {
        let mut read = Self::default();
        let mut seen = BTreeSet::new();
        for extension in x509.extensions() {
            let oid = extension.oid.to_id_string();
            if !seen.insert(oid.clone()) {
                return Err(CertificateError::DuplicateExtension(oid));
            }
            if !read.take(extension)? && extension.critical {
                read.unhandled.push(oid);
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
    fn take(&mut self, extension: &X509Extension<'_>) -> Result<bool, CertificateError> {
        let oid = extension.oid.to_id_string();
        let wrong = |why: &str| CertificateError::Extension { name: oid.clone(), why: why.to_owned() };
        let not_critical = || {
            if extension.critical { Err(wrong("must not be critical")) } else { Ok(()) }
        };
        match extension.parsed_extension() {
            ParsedExtension::KeyUsage(usage) => self.key_usage = usage.flags,
            ParsedExtension::BasicConstraints(constraints) => {
                self.basic_constraints =
                    Some(BasicConstraints { ca: constraints.ca, path_length: constraints.path_len_constraint });
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                self.alternative_names = Some(extension.value.to_vec());
                for name in &names.general_names {
                    self.take_name(name).map_err(wrong)?;
                }
                return Ok(!(self.dns_names.is_empty()
                    && self.uris.is_empty()
                    && self.emails.is_empty()
                    && self.addresses.is_empty()));
            }
            ParsedExtension::NameConstraints(constraints) => {
                let (read, all_known) = read_constraints(constraints).map_err(wrong)?;
                self.constraints = Some(read);
                return Ok(all_known);
            }
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                not_critical()?;
                self.authority_key_id = id.key_identifier.as_ref().map(|id| id.0.to_vec());
            }
            ParsedExtension::SubjectKeyIdentifier(id) => {
                not_critical()?;
                self.subject_key_id = Some(id.0.to_vec());
            }
            ParsedExtension::ExtendedKeyUsage(usage) => {
                self.extended_key_usage =
                    Some(ExtendedKeyUsage { any: usage.any, server: usage.server_auth, client: usage.client_auth });
            }
            ParsedExtension::AuthorityInfoAccess(_) => not_critical()?,
            ParsedExtension::PolicyConstraints(constraints) => {
                self.requires_policy |= constraints.require_explicit_policy.is_some();
            }
            ParsedExtension::CRLDistributionPoints(_)
            | ParsedExtension::CertificatePolicies(_)
            | ParsedExtension::InhibitAnyPolicy(_)
            | ParsedExtension::PolicyMappings(_) => {}
            ParsedExtension::ParseError { .. } => return Err(wrong("can't be parsed")),
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn take_name(&mut self, name: &GeneralName<'_>) -> Result<(), &'static str> {
        match *name {
            GeneralName::RFC822Name(email) if email.is_ascii() => {
                self.emails.push(email.to_owned());
            }
            GeneralName::DNSName(dns) if dns.is_ascii() => self.dns_names.push(dns.to_owned()),
            GeneralName::URI(uri) if uri.is_ascii() => {
                let host = uri_host(uri).ok_or("holds a URI that Go can't parse")?;
                if !domain_name_valid(&host, false) {
                    return Err("holds a URI with an invalid domain");
                }
                self.uris.push(uri.to_owned());
            }
            GeneralName::IPAddress(bytes) if matches!(bytes.len(), 4 | 16) => {
                self.addresses.push(bytes.to_vec());
            }
            GeneralName::RFC822Name(_) | GeneralName::DNSName(_) | GeneralName::URI(_) => {
                return Err("holds a name that is not ASCII");
            }
            GeneralName::IPAddress(_) => return Err("holds an IP address of a wrong length"),
            GeneralName::Invalid(tag, _) if matches!(tag.0, 1 | 2 | 6 | 7) => {
                return Err("holds a malformed name");
            }
            _ => {}
        }
        Ok(())
    }
}

/// The constraints, and whether all of them are of the four kinds that Go applies.
fn read_constraints(constraints: &NameConstraints<'_>) -> Result<(Constraints, bool), &'static str> {
    let mut all_known = true;
    let mut read = |subtrees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        let mut found = Subtrees::default();
        for subtree in subtrees.iter().flatten() {
            match subtree.base {
                GeneralName::DNSName(dns) if ascii_domain(dns) => found.dns.push(dns.to_owned()),
                GeneralName::URI(uri) if ascii_domain(uri) && !is_address(uri) => {
                    found.uris.push(uri.to_owned());
                }
                GeneralName::RFC822Name(email) if email.is_ascii() && (email.contains('@') || ascii_domain(email)) => {
                    found.emails.push(email.to_owned());
                }
                GeneralName::IPAddress(bytes) => {
                    found.addresses.push(IpRange::read(bytes).ok_or("holds a malformed IP range")?);
                }
                GeneralName::DNSName(_) | GeneralName::URI(_) | GeneralName::RFC822Name(_) => {
                    return Err("holds a constraint that Go can't parse");
                }
                GeneralName::Invalid(tag, _) if matches!(tag.0, 1 | 2 | 6 | 7) => {
                    return Err("holds a malformed name");
                }
                _ => all_known = false,
            }
        }
        Ok(found)
    };
    let permitted = read(&constraints.permitted_subtrees)?;
    let excluded = read(&constraints.excluded_subtrees)?;
    if constraints.permitted_subtrees.is_none() && constraints.excluded_subtrees.is_none() {
        return Err("is empty");
    }
    Ok((Constraints { permitted, excluded }, all_known))
}

fn ascii_domain(text: &str) -> bool {
    text.is_ascii() && domain_name_valid(text, true)
}

fn is_address(text: &str) -> bool {
    text.parse::<Ipv4Addr>().is_ok() || text.parse::<Ipv6Addr>().is_ok()
}
