//! Why a verifier would refuse a chain: which certificate is to blame, and for what.

use std::fmt;

use jiff::Timestamp;

use super::{Certificate, SignatureError};

/// The most useful reason why no path was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// There is nothing to verify.
    NoChain,
    /// The leaf is not a workload identity (SPIFFE X509-SVID §2 and §4).
    NotAnSvid(&'static str),
    /// No trust anchor and no certificate of the chain signed this one; `None` is the leaf.
    UnknownAuthority {
        /// The certificate whose signer is missing.
        of: Option<Certificate>,
        /// One that has the signer's name but another key.
        namesake: Option<Certificate>,
    },
    /// Go gives up after 100 signatures.
    TooManySignatures,
    /// The signer can't have signed, or its signature can't be checked.
    Signer {
        /// The signer.
        by: Certificate,
        /// What is wrong with it or with its signature.
        why: SignatureError,
    },
    /// Sentry asks that each certificate of a chain is signed by the next.
    OutOfOrder {
        /// The certificate whose signer should follow.
        below: Certificate,
        /// The one that follows.
        above: Certificate,
        /// What is wrong between them.
        why: SignatureError,
    },
    /// An intermediate without basic constraints.
    NotACa(Certificate),
    /// A critical extension that Go does not handle; `None` is the leaf.
    CriticalExtension {
        /// Whose.
        of: Certificate,
        /// Its object identifier.
        oid: String,
    },
    /// It is valid only later.
    NotYetValid(Certificate),
    /// It was valid only until before.
    Expired(Certificate),
    /// Its basic constraints allow fewer certificates below it than there are.
    PathLength {
        /// Whose.
        of: Certificate,
        /// How many it allows.
        allowed: u32,
        /// How many there are, the leaf not counted.
        needed: usize,
    },
    /// A certificate asks for certificate policies or maps any policy, which this tool does not evaluate.
    Policies(Certificate),
    /// Its extended key usage excludes what the verifier asks for; `None` is the leaf.
    KeyUsage {
        /// Whose.
        of: Option<Certificate>,
        /// `server` or `client` authentication.
        wanted: &'static str,
    },
    /// Its name constraints exclude a name below it.
    NameConstraint {
        /// Whose.
        of: Certificate,
        /// Which name, and how.
        why: String,
    },
}

impl Refusal {
    /// How near the refused path was to being accepted: of several reasons the nearest is the one to act on.
    pub(super) fn rank(&self) -> u8 {
        match self {
            Self::NoChain | Self::NotAnSvid(_) | Self::UnknownAuthority { .. } => 0,
            Self::TooManySignatures => 1,
            Self::Signer { .. } | Self::OutOfOrder { .. } | Self::NotACa(_) | Self::CriticalExtension { .. } => 2,
            Self::NotYetValid(_) | Self::Expired(_) => 3,
            Self::PathLength { .. } => 4,
            Self::Policies(_) | Self::KeyUsage { .. } | Self::NameConstraint { .. } => 5,
        }
    }

    /// Whether it is this tool alone that can't tell: Go may well accept what it is shown.
    pub fn is_doubt(&self) -> bool {
        matches!(
            self,
            Self::Signer { why: SignatureError::Unchecked(_), .. }
                | Self::OutOfOrder { why: SignatureError::Unchecked(_), .. }
        )
    }

    /// The reason, told at `now`, where it may still lie ahead.
    pub(super) fn as_of(&self, now: Timestamp) -> String {
        match self {
            Self::Expired(of) if !of.is_expired(now) => {
                format!("{} expires at {}", Blamed(Some(of)), Second(of.not_after()))
            }
            other => other.to_string(),
        }
    }

    /// What may be done about it, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            Self::NoChain => "give an issuer certificate",
            Self::NotAnSvid(_) => "a workload certificate has exactly one URI, its SPIFFE ID, and is no CA",
            Self::UnknownAuthority { .. } => {
                "the trust bundle needs the root that signed it, or the chain the certificates up to a root that is there"
            }
            Self::TooManySignatures => "shorten the chain: certificates of earlier rotations are left in it",
            Self::Signer { why, .. } => why.hint(),
            Self::NotACa(_) => SignatureError::NotACa.hint(),
            Self::CriticalExtension { .. } => "make it again without that extension, or with it not critical",
            Self::NotYetValid(_) => {
                "wait until then, or check the clocks; certificates are best back-dated by the clock skew allowed"
            }
            Self::OutOfOrder { .. } => "put the issuer first and each signer after the certificate it signed",
            Self::Expired(_) => "renew it",
            Self::PathLength { .. } => "make it again without a path length, or with a larger one",
            Self::Policies(_) => "make it again without policy constraints and mappings",
            Self::KeyUsage { .. } => {
                "make it again without an extended key usage, or with both serverAuth and clientAuth"
            }
            Self::NameConstraint { .. } => {
                "make it again without name constraints, or with ones that permit the URIs of the trust domain and of `public`, which applications have, and the cluster's DNS names"
            }
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoChain => write!(f, "there is no certificate to verify"),
            Self::NotAnSvid(why) => write!(f, "the leaf is no workload identity: {why}"),
            Self::UnknownAuthority { of, namesake } => {
                write!(f, "no trust anchor signed {}", Blamed(of.as_ref()))?;
                match namesake {
                    Some(other) => write!(f, "; {} has the signer's name but another key", Blamed(Some(other))),
                    None => Ok(()),
                }
            }
            Self::TooManySignatures => write!(f, "Go gives up after 100 signature checks"),
            Self::Signer { by, why: why @ SignatureError::Unchecked(_) } => {
                write!(f, "{why}, such as the one of {}", Blamed(Some(by)))
            }
            Self::Signer { by, why } => write!(f, "{} is no signer: {why}", Blamed(Some(by))),
            Self::OutOfOrder { below, above, why: why @ SignatureError::Unchecked(_) } => {
                write!(f, "{why}, so not whether {} signed {}", Blamed(Some(above)), Blamed(Some(below)))
            }
            Self::OutOfOrder { below, above, why } => write!(
                f,
                "{} is not signed by the next in the chain, {}: {why}",
                Blamed(Some(below)),
                Blamed(Some(above))
            ),
            Self::NotACa(of) => write!(f, "{} is not a CA certificate", Blamed(Some(of))),
            Self::CriticalExtension { of, oid } => {
                write!(f, "{} has the critical extension {oid}, which Go does not know", Blamed(Some(of)))
            }
            Self::NotYetValid(of) => write!(f, "{} is valid only from {}", Blamed(Some(of)), Second(of.not_before())),
            Self::Expired(of) => write!(f, "{} expired at {}", Blamed(Some(of)), Second(of.not_after())),
            Self::PathLength { of, allowed, needed } => {
                write!(f, "{} allows {allowed} further certificates below it and there are {needed}", Blamed(Some(of)))
            }
            Self::Policies(of) => {
                write!(f, "{} constrains certificate policies, which this tool cannot evaluate", Blamed(Some(of)))
            }
            Self::KeyUsage { of, wanted } => {
                write!(f, "the extended key usage of {} excludes {wanted} authentication", Blamed(of.as_ref()))
            }
            Self::NameConstraint { of, why } => {
                write!(f, "a name constraint of {}: {why}", Blamed(Some(of)))
            }
        }
    }
}

impl std::error::Error for Refusal {}

struct Blamed<'a>(Option<&'a Certificate>);

impl fmt::Display for Blamed<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            None => write!(f, "the leaf"),
            Some(certificate) if certificate.subject().is_empty() => {
                write!(f, "the leaf ({})", certificate.fingerprint().short())
            }
            Some(certificate) => write!(f, "`{}` ({})", certificate.subject(), certificate.fingerprint().short()),
        }
    }
}

struct Second(Timestamp);

impl fmt::Display for Second {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.0.strftime("%Y-%m-%dT%H:%M:%SZ"))
    }
}
