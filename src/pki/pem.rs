//! PEM as Go's `encoding/pem` reads it, and what may be wrong with a file that is given.

use base64::Engine;
use base64::alphabet::STANDARD;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use zeroize::Zeroizing;

use super::{Certificate, CertificateError, Fingerprint};

const BEGIN: &[u8] = b"-----BEGIN ";
const END: &[u8] = b"\n-----END ";
const DASHES: &[u8] = b"-----";
const LINE: usize = 64;

/// Go's `base64.StdEncoding`: padding is asked for, left-over bits are not looked at.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &STANDARD,
    GeneralPurposeConfig::new()
        .with_decode_padding_mode(DecodePaddingMode::RequireCanonical)
        .with_decode_allow_trailing_bits(true),
);

/// What is wrong with a PEM file, and in which line.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}{problem}", line.map(|line| format!("line {line}: ")).unwrap_or_default())]
pub struct PemError {
    /// Counted from 1; `None` where the file as a whole is meant.
    pub line: Option<usize>,
    /// What it is.
    pub problem: PemProblem,
}

/// The ways in which a PEM file is refused: each would be dropped or misread by Sentry.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PemProblem {
    /// No certificate at all.
    #[error("it holds no certificate")]
    Empty,
    /// A UTF-8 byte order mark, which hides the first block from Go.
    #[error("it begins with a byte order mark, which hides the first certificate from Dapr")]
    ByteOrderMark,
    /// `BEGIN` in the middle of a line: two files joined without a newline between them.
    #[error("a certificate begins in the middle of a line, so Dapr would see neither it nor the one before")]
    Joined,
    /// Another kind of block, at which Dapr stops reading.
    #[error("a block `{0}` that is not a certificate, at which Dapr stops reading")]
    Foreign(String),
    /// A private key among certificates.
    #[error("a private key (`{0}`) among certificates")]
    PrivateKey(String),
    /// A block that is cut off, has bad base64 or a wrong end line.
    #[error("a certificate that is cut off or damaged, which Dapr would skip without a word")]
    Damaged,
    /// A block whose content Go does not parse, so that Dapr refuses the whole file.
    #[error("a block that is not a certificate that Dapr can parse")]
    Unreadable(#[source] CertificateError),
    /// A certificate without a signature of its own in a trust bundle (a cross certificate, an issuer).
    #[error("`{subject}` ({}) is not a self-signed CA certificate, so Sentry would refuse the whole bundle", fingerprint.short())]
    NotSelfSigned {
        /// For people.
        subject: String,
        /// Which one.
        fingerprint: Fingerprint,
        /// What Go says of its signature.
        #[source]
        why: super::SignatureError,
    },
    /// One in a trust bundle whose own signature this tool can't check. Dapr may well accept it.
    #[error("whether `{subject}` ({}) is self-signed can't be told", fingerprint.short())]
    Unchecked {
        /// For people.
        subject: String,
        /// Which one.
        fingerprint: Fingerprint,
        /// What this tool can't check.
        #[source]
        why: super::SignatureError,
    },
    /// More than fits into a sidecar's environment.
    #[error("the bundle is {0} bytes, more than the 65536 that fit safely into a sidecar's environment")]
    TooLarge(usize),
    /// Certificates that do not sign one another in the order given.
    #[error("`{below}` is not signed by the certificate after it, `{above}`")]
    OutOfOrder {
        /// The one whose signer should follow.
        below: String,
        /// The one that follows.
        above: String,
        /// What Go says of the signature.
        #[source]
        why: super::SignatureError,
    },
    /// A self-signed certificate before the end of a chain: Sentry leaves it out of what it sends.
    #[error("the self-signed `{0}` stands before the end of the chain")]
    SelfSignedWithin(String),
}

impl From<PemProblem> for PemError {
    fn from(problem: PemProblem) -> Self {
        Self { line: None, problem }
    }
}

impl PemError {
    /// The way out, for people.
    pub fn hint(&self) -> &'static str {
        self.problem.hint()
    }
}

impl PemProblem {
    /// The way out, for people.
    pub fn hint(&self) -> &'static str {
        match self {
            PemProblem::Empty => "give a file with at least one `BEGIN CERTIFICATE` block",
            PemProblem::ByteOrderMark => "save the file without a byte order mark (UTF-8, not UTF-8-BOM)",
            PemProblem::Joined => "put a newline after each `-----END CERTIFICATE-----`",
            PemProblem::Foreign(_) => {
                "keep only the `CERTIFICATE` blocks; `openssl x509 -in FILE` rewrites a `TRUSTED CERTIFICATE`"
            }
            PemProblem::PrivateKey(_) => "take the key out of this file; if others could read it, make a new one",
            PemProblem::Damaged
            | PemProblem::Unreadable(CertificateError::Malformed(_) | CertificateError::TrailingData(_)) => {
                "copy the file again from where it was made; `openssl x509 -in FILE -text` must show it"
            }
            PemProblem::Unreadable(_) => {
                "have it issued again with a positive serial number, names as UTF8String, and each extension once and well-formed"
            }
            PemProblem::NotSelfSigned { why: super::SignatureError::Mismatch, .. } => {
                "give only self-signed roots as trust anchors; intermediate and cross certificates belong into the issuer chain"
            }
            PemProblem::NotSelfSigned { why, .. } | PemProblem::Unchecked { why, .. } => why.hint(),
            PemProblem::TooLarge(_) => "bring fewer trust anchors along: those that are published already have to stay",
            PemProblem::OutOfOrder { .. } => "put the issuer first and each signer after the certificate it signed",
            PemProblem::SelfSignedWithin(_) => "put the root at the end of the chain, or leave it out",
        }
    }
}

/// One block, and where it stood.
pub(super) struct Block {
    pub(super) label: String,
    pub(super) headers: Vec<(String, String)>,
    /// May be a key.
    pub(super) bytes: Zeroizing<Vec<u8>>,
    /// Offset of its `-----BEGIN`.
    pub(super) begin: usize,
    /// Offset of what follows its last line.
    pub(super) end: usize,
}

/// Go's `pem.Decode` from offset `from` on.
pub(super) fn decode(data: &[u8], from: usize) -> Option<Block> {
    let mut at = from;
    let mut skip = 0_usize;
    loop {
        // Everything below is relative to `at`, which moves on as lines are taken.
        at = at.checked_add(skip).filter(|at| *at <= data.len())?;
        let end = at + find(&data[at..], END)?;
        skip = end + END.len() - at;
        let Some(begin) = rfind(&data[at..end], BEGIN).map(|begin| at + begin) else {
            continue;
        };
        if begin > at && data[begin - 1] != b'\n' {
            continue;
        }
        let (type_line, next) = line(data, begin + BEGIN.len());
        at = next;
        skip = (end + END.len()).checked_sub(at)?;
        let Some(label) = type_line.strip_suffix(DASHES) else {
            continue;
        };

        let mut headers = Vec::new();
        loop {
            if at == data.len() {
                return None;
            }
            let (text, next) = line(data, at);
            let Some(colon) = text.iter().position(|byte| *byte == b':') else {
                break;
            };
            let clean = |bytes: &[u8]| String::from_utf8_lossy(bytes).trim().to_owned();
            headers.push((clean(&text[..colon]), clean(&text[colon + 1..])));
            at = next;
        }
        if !headers.is_empty() && end < at {
            skip = (end + END.len()).checked_sub(at)?;
            continue;
        }
        skip = (end + END.len()).checked_sub(at)?;

        let trailer = &data[end + END.len()..];
        let Some(after) = trailer.strip_prefix(label).and_then(|rest| rest.strip_prefix(DASHES)) else {
            continue;
        };
        if !line(after, 0).0.is_empty() {
            continue;
        }
        let text = data.get(at..end).unwrap_or_default();
        // Why: a buffer that grows leaves copies of a key behind.
        let mut body = Zeroizing::new(Vec::with_capacity(text.len()));
        body.extend(text.iter().filter(|byte| !b" \t\r\n".contains(byte)));
        let Ok(bytes) = BASE64.decode(&*body).map(Zeroizing::new) else {
            continue;
        };
        let next = line(data, end + 1).1;
        return Some(Block { label: String::from_utf8_lossy(label).into_owned(), headers, bytes, begin, end: next });
    }
}

/// Every block that Go's `pem.Decode` finds, called again and again.
pub(super) fn blocks(data: &[u8]) -> Vec<Block> {
    std::iter::successors(decode(data, 0), |block| decode(data, block.end)).collect()
}

/// Offsets of everything that looks like the start of a block.
pub(super) fn begins(data: &[u8]) -> Vec<usize> {
    let mut found = Vec::new();
    let mut at = 0;
    while let Some(offset) = find(&data[at..], BEGIN) {
        found.push(at + offset);
        at += offset + BEGIN.len();
    }
    found
}

/// The label of the block that starts at `begin`, as far as it can be read.
pub(super) fn label_at(data: &[u8], begin: usize) -> String {
    let (text, _) = line(data, begin + BEGIN.len());
    let end = find(text, DASHES).unwrap_or(text.len());
    String::from_utf8_lossy(&text[..end]).into_owned()
}

/// Reads a file of certificates that is given; refuses whatever Dapr would not read as it is meant. Returns each with its line.
pub(super) fn certificates(data: &[u8]) -> Result<Vec<(usize, Certificate)>, PemError> {
    let at = |offset: usize, problem| PemError { line: Some(line_number(data, offset)), problem };
    if data.starts_with(b"\xef\xbb\xbf") {
        return Err(at(0, PemProblem::ByteOrderMark));
    }
    let begins = begins(data);
    if let Some(joined) = begins.iter().find(|begin| **begin > 0 && data[**begin - 1] != b'\n') {
        return Err(at(*joined, PemProblem::Joined));
    }
    let blocks = blocks(data);
    for begin in begins {
        let label = label_at(data, begin);
        if label.ends_with("PRIVATE KEY") {
            return Err(at(begin, PemProblem::PrivateKey(label)));
        }
        if label != "CERTIFICATE" {
            return Err(at(begin, PemProblem::Foreign(label)));
        }
        if !blocks.iter().any(|block| block.begin == begin) {
            return Err(at(begin, PemProblem::Damaged));
        }
    }
    let read = |block: &Block| match Certificate::from_der(&block.bytes) {
        Ok(certificate) => Ok((line_number(data, block.begin), certificate)),
        Err(error) => Err(at(block.begin, PemProblem::Unreadable(error))),
    };
    let certificates = blocks.iter().map(read).collect::<Result<Vec<_>, _>>()?;
    if certificates.is_empty() {
        return Err(PemProblem::Empty.into());
    }
    Ok(certificates)
}

/// Sentry's own condition (`sentry/server/ca/validate.go`): an anchor verifies with its own key. One that looks like an anchor and that this tool
/// can't check is [`PemProblem::Unchecked`].
pub(super) fn check_anchor(certificate: &Certificate) -> Result<(), PemProblem> {
    let (subject, fingerprint) = (certificate.subject().to_owned(), certificate.fingerprint());
    match certificate.check_signature_from(certificate) {
        Ok(()) => Ok(()),
        Err(why) if certificate.is_anchor() => Err(PemProblem::Unchecked { subject, fingerprint, why }),
        Err(why) => Err(PemProblem::NotSelfSigned { subject, fingerprint, why }),
    }
}

/// One block: LF line ends, 64 characters a line, one final newline.
pub(super) fn encode(label: &str, der: &[u8]) -> Zeroizing<String> {
    let body = Zeroizing::new(BASE64.encode(der));
    let around = "-----BEGIN -----\n-----END -----\n".len() + 2 * label.len();
    // Why: a buffer that grows leaves copies of a key behind.
    let mut pem = Zeroizing::new(String::with_capacity(around + body.len() + body.len().div_ceil(LINE)));
    pem.extend(["-----BEGIN ", label, "-----\n"]);
    for chunk in body.as_bytes().chunks(LINE) {
        pem.extend(chunk.iter().map(|byte| char::from(*byte)));
        pem.push('\n');
    }
    pem.extend(["-----END ", label, "-----\n"]);
    pem
}

/// Counted from 1.
pub(super) fn line_number(data: &[u8], offset: usize) -> usize {
    data[..offset].split(|byte| *byte == b'\n').count()
}

/// Go's `getLine`: the line at `at` without line end and trailing blanks, and where the next begins.
fn line(data: &[u8], at: usize) -> (&[u8], usize) {
    let rest = &data[at..];
    let (text, next) = match rest.iter().position(|byte| *byte == b'\n') {
        Some(newline) => {
            let text = &rest[..newline];
            (text.strip_suffix(b"\r").unwrap_or(text), at + newline + 1)
        }
        None => (rest, data.len()),
    };
    let kept = text.iter().rposition(|byte| !b" \t".contains(byte)).map_or(0, |last| last + 1);
    (&text[..kept], next)
}

fn find(data: &[u8], pattern: &[u8]) -> Option<usize> {
    data.windows(pattern.len()).position(|window| window == pattern)
}

fn rfind(data: &[u8], pattern: &[u8]) -> Option<usize> {
    data.windows(pattern.len()).rposition(|window| window == pattern)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_buffer_of_a_key_grows() {
        for length in [0, 1, 47, 48, 49, 138, 1216] {
            let der = vec![7; length];
            let pem = encode("PRIVATE KEY", &der);
            assert_eq!(pem.capacity(), pem.len(), "of {length} bytes");
            assert_eq!(*decode(pem.as_bytes(), 0).unwrap().bytes, der);
        }
    }
}
