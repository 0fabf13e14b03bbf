//! Certificates, keys and trust bundles: read as Dapr reads them, minted, and verified as Go verifies them, without network, clock or randomness of its own.

mod certificate;
mod der;
mod draft;
mod extensions;
mod fingerprint;
mod issuer;
mod judge;
mod key;
mod mint;
mod name;
mod name_constraints;
mod path;
mod pem;
mod reading;
mod refusal;
mod shown;
mod signature;
mod svid;
mod trust_bundle;
mod uri;

#[cfg(test)]
mod testing;

pub use certificate::{Certificate, CertificateError};
pub use fingerprint::{Fingerprint, FingerprintError};
pub use issuer::{Issuer, below, parse_chain, read_chain_as_go};
pub use judge::{Judged, Problem, Refuser, Severity, judge};
pub use key::{Algorithm, KeyError, PrivateKey};
pub use mint::{Entropy, LeafName, MintError, Validity, cross_sign, issuer, leaf, root, same_key_root};
pub use path::{Profile, verify};
pub use pem::{PemError, PemProblem};
pub use reading::{Oddity, OddityKind, Reading, read_as_go};
pub use refusal::Refusal;
pub use shown::Shown;
pub use signature::SignatureError;
pub use svid::{Signing, Svid};
pub use trust_bundle::{MAX_BYTES, TrustBundle};
