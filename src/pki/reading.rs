//! What Dapr makes of a bundle that is published already, right or wrong.

use std::collections::BTreeSet;
use std::fmt;

use super::pem::{self, PemProblem, check_anchor};
use super::{Certificate, Fingerprint, KeyError};

/// What a Dapr component has in hand after reading a bundle.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reading {
    /// Exactly those that it reads, in order; none if it refuses the whole.
    pub certificates: Vec<Certificate>,
    /// What is odd about the bytes, in order of appearance.
    pub oddities: Vec<Oddity>,
}

/// Something in a published bundle that its author did not mean.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Oddity {
    /// Counted from 1; `None` where the whole is meant.
    pub line: Option<usize>,
    /// What it is.
    pub what: OddityKind,
}

/// The kinds of [`Oddity`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum OddityKind {
    /// No certificate is read: operator, injector, placement and scheduler exit on that.
    Nothing,
    /// One block can't be parsed, so that Go refuses the bundle as a whole.
    RefusedWhole(PemProblem),
    /// A block is skipped without a word.
    Skipped(PemProblem),
    /// Reading ends at this block, which is not a certificate.
    StopsHere(PemProblem),
    /// A certificate after the block at which reading ends.
    NeverReached,
    /// The same certificate once more.
    Duplicate(Fingerprint),
    /// Sentry refuses the bundle because of it.
    NotAnAnchor(PemProblem),
    /// Sentry may refuse the bundle because of it; this tool can't tell.
    Unchecked(PemProblem),
    /// Sentry finds no key that it can use in the first block, and looks at no other.
    NoKey(KeyError),
    /// Sentry may use the key in the first block; this tool can't.
    ForeignKey(KeyError),
}

impl Oddity {
    /// What it does.
    pub fn means(&self) -> &'static str {
        match self.what {
            OddityKind::Unchecked(_) => "this tool cannot tell whether Dapr takes it",
            OddityKind::NoKey(_) => "Sentry exits when it starts",
            OddityKind::ForeignKey(_) => "no bridge can be signed with it",
            _ => "Dapr reads less or other than what stands there",
        }
    }
}

impl fmt::Display for Oddity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(line) = self.line {
            write!(f, "line {line}: ")?;
        }
        match &self.what {
            OddityKind::Nothing => write!(f, "no certificate is read from it, and Dapr's control plane exits on that"),
            OddityKind::RefusedWhole(problem) => {
                write!(f, "{problem}, so the whole bundle is refused")
            }
            OddityKind::NeverReached => write!(f, "this certificate is never read"),
            OddityKind::NoKey(error) => write!(f, "Sentry takes the first block, and no key from it: {error}"),
            OddityKind::ForeignKey(error) => write!(f, "this tool cannot use the key: {error}"),
            OddityKind::Duplicate(fingerprint) => {
                write!(f, "certificate {} is there twice", fingerprint.short())
            }
            OddityKind::Skipped(problem)
            | OddityKind::StopsHere(problem)
            | OddityKind::NotAnAnchor(problem)
            | OddityKind::Unchecked(problem) => write!(f, "{problem}"),
        }
    }
}

/// Reads a bundle as the loop around `pem.Decode` in Dapr does (`kit/crypto/pem/pem.go`), and tells what is odd about it. Never fails.
pub fn read_as_go(data: &[u8]) -> Reading {
    let mut certificates: Vec<Certificate> = Vec::new();
    let mut oddities = Vec::new();
    let mut read = BTreeSet::new();
    let mut stopped = None;
    let mut refused = false;
    let at = |offset: usize, what| Oddity { line: Some(pem::line_number(data, offset)), what };

    let mut from = 0;
    while let Some(block) = pem::decode(data, from) {
        from = block.end;
        read.insert(block.begin);
        if block.label != "CERTIFICATE" {
            stopped = Some(block.begin);
            oddities.push(at(block.begin, OddityKind::StopsHere(foreign(block.label))));
            break;
        }
        match Certificate::from_der(&block.bytes) {
            Ok(certificate) => {
                if certificates.contains(&certificate) {
                    oddities.push(at(block.begin, OddityKind::Duplicate(certificate.fingerprint())));
                }
                match check_anchor(&certificate) {
                    Ok(()) => {}
                    Err(problem @ PemProblem::Unchecked { .. }) => {
                        oddities.push(at(block.begin, OddityKind::Unchecked(problem)));
                    }
                    Err(problem) => oddities.push(at(block.begin, OddityKind::NotAnAnchor(problem))),
                }
                certificates.push(certificate);
            }
            Err(error) => {
                refused = true;
                stopped = Some(block.begin);
                oddities.push(at(block.begin, OddityKind::RefusedWhole(PemProblem::Unreadable(error))));
                break;
            }
        }
    }
    for begin in pem::begins(data).into_iter().filter(|begin| !read.contains(begin)) {
        let what = if stopped.is_some_and(|stopped| begin > stopped) {
            OddityKind::NeverReached
        } else if begin == 3 && data.starts_with(b"\xef\xbb\xbf") {
            OddityKind::Skipped(PemProblem::ByteOrderMark)
        } else if begin > 0 && data[begin - 1] != b'\n' {
            OddityKind::Skipped(PemProblem::Joined)
        } else {
            OddityKind::Skipped(PemProblem::Damaged)
        };
        oddities.push(at(begin, what));
    }
    oddities.sort_by_key(|oddity| oddity.line);
    if refused {
        certificates.clear();
    }
    if certificates.is_empty() {
        oddities.push(Oddity { line: None, what: OddityKind::Nothing });
    }
    Reading { certificates, oddities }
}

fn foreign(label: String) -> PemProblem {
    if label.ends_with("PRIVATE KEY") { PemProblem::PrivateKey(label) } else { PemProblem::Foreign(label) }
}
