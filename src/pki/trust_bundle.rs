//! The set of trust anchors that a mesh publishes.

use std::collections::BTreeSet;

use super::pem::{self, PemError, PemProblem, check_anchor};
use super::{Certificate, Fingerprint};

/// The largest encoding that is published: a sidecar's environment holds 131,071 bytes in one string.
pub const MAX_BYTES: usize = 64 * 1024;

/// One or more trust anchors: each self-signed, none twice.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct TrustBundle(Vec<Certificate>);

impl TrustBundle {
    /// Reads a file that was given. Everything that Dapr would drop, misread or refuse is an error that names its line.
    pub fn parse(pem: &[u8]) -> Result<Self, PemError> {
        Self::parse_kept(pem)?.that_fits()
    }

    /// Reads what was kept of a live bundle, as strictly but for its size.
    pub fn parse_kept(pem: &[u8]) -> Result<Self, PemError> {
        let certificates = pem::certificates(pem)?;
        for (line, certificate) in &certificates {
            check(certificate).map_err(|problem| PemError { line: Some(*line), problem })?;
        }
        Self::published(certificates.into_iter().map(|(_, certificate)| certificate).collect())
    }

    /// Takes certificates in this order, each once, to publish them.
    pub fn from_anchors(anchors: Vec<Certificate>) -> Result<Self, PemError> {
        Self::published(anchors)?.that_fits()
    }

    /// The same of what is published already, which may be larger.
    pub fn published(anchors: Vec<Certificate>) -> Result<Self, PemError> {
        let mut seen = BTreeSet::new();
        let mut unique = Vec::with_capacity(anchors.len());
        for anchor in anchors {
            if seen.insert(anchor.fingerprint()) {
                check(&anchor)?;
                unique.push(anchor);
            }
        }
        if unique.is_empty() { Err(PemProblem::Empty.into()) } else { Ok(Self(unique)) }
    }

    fn that_fits(self) -> Result<Self, PemError> {
        match self.to_pem().len() {
            size if size > MAX_BYTES => Err(PemProblem::TooLarge(size).into()),
            _ => Ok(self),
        }
    }

    /// In the order in which they are published. Dapr's own CLI looks at the first alone.
    pub fn anchors(&self) -> &[Certificate] {
        &self.0
    }

    /// Whether this anchor is among them.
    pub fn contains(&self, anchor: Fingerprint) -> bool {
        self.0.iter().any(|own| own.fingerprint() == anchor)
    }

    /// Puts `new` in front and leaves the rest in order.
    pub fn with(&self, new: &Certificate) -> Result<Self, PemError> {
        Self::from_anchors(std::iter::once(new).chain(&self.0).cloned().collect())
    }

    /// Appends those of `other` that are new.
    pub fn merged(&self, other: &Self) -> Result<Self, PemError> {
        Self::from_anchors(self.0.iter().chain(&other.0).cloned().collect())
    }

    /// Canonical: LF line ends, no text between blocks, one final newline, so that equal bundles are equal bytes.
    pub fn to_pem(&self) -> String {
        self.0.iter().map(Certificate::to_pem).collect()
    }

    /// Which anchors, whatever their order.
    pub fn fingerprints(&self) -> BTreeSet<Fingerprint> {
        self.0.iter().map(Certificate::fingerprint).collect()
    }
}

/// Whether it may stand in a bundle. One that this tool can't check may: leaving out a live anchor would break what works.
fn check(anchor: &Certificate) -> Result<(), PemProblem> {
    check_anchor(anchor).or_else(|problem| if anchor.is_anchor() { Ok(()) } else { Err(problem) })
}

#[cfg(test)]
mod tests;
