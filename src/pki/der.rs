//! DER as Go's `golang.org/x/crypto/cryptobyte` reads it, so that what is refused here is what Go refuses.
//!
//! x509-parser and the like are laxer in some places and stricter in others; each difference would be a bundle that is taken for good and is not,
//! or the other way round.

pub(super) const BOOLEAN: u8 = 0x01;
pub(super) const INTEGER: u8 = 0x02;
pub(super) const BIT_STRING: u8 = 0x03;
pub(super) const OCTET_STRING: u8 = 0x04;
pub(super) const NULL: &[u8] = &[0x05, 0x00];
pub(super) const OID: u8 = 0x06;
pub(super) const SEQUENCE: u8 = 0x30;
pub(super) const SET: u8 = 0x31;

/// The content of an object identifier. Go compares numbers where this compares bytes; both are the same for what it accepts.
pub(super) type Oid<'a> = &'a [u8];

/// A reader that takes one element after the other; `None` where the next is not what was asked for.
#[derive(Clone, Copy)]
pub(super) struct Der<'a>(&'a [u8]);

/// One element, with its tag and length and without.
#[derive(Clone, Copy)]
pub(super) struct Element<'a> {
    pub(super) tag: u8,
    pub(super) content: &'a [u8],
    pub(super) whole: &'a [u8],
}

impl<'a> Der<'a> {
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self(bytes)
    }

    /// What has not been taken yet.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.0
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn starts_with(&self, tag: u8) -> bool {
        self.0.first() == Some(&tag)
    }

    /// Whatever comes next: a tag of one byte, a length of the fewest bytes and at most four.
    pub(super) fn any(&mut self) -> Option<Element<'a>> {
        let (&tag, &first) = (self.0.first()?, self.0.get(1)?);
        if tag & 0x1f == 0x1f {
            return None;
        }
        let (header, length) = match usize::from(first) {
            length @ ..0x80 => (2, length),
            long => {
                let bytes = self.0.get(2..2 + (long & 0x7f))?;
                let length = bytes.iter().fold(0_u64, |length, byte| length << 8 | u64::from(*byte));
                if !(1..=4).contains(&bytes.len()) || bytes[0] == 0 || length < 0x80 {
                    return None;
                }
                (2 + bytes.len(), usize::try_from(length).ok()?)
            }
        };
        let whole = self.0.get(..header.checked_add(length)?)?;
        self.0 = &self.0[whole.len()..];
        Some(Element { tag, content: &whole[header..], whole })
    }

    /// The next element, if it has this tag.
    pub(super) fn element(&mut self, tag: u8) -> Option<Element<'a>> {
        self.any().filter(|element| element.tag == tag)
    }

    /// Its content.
    pub(super) fn content(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.element(tag).map(|element| element.content)
    }

    /// A reader of its content.
    pub(super) fn inside(&mut self, tag: u8) -> Option<Self> {
        self.content(tag).map(Self)
    }

    /// `Some(None)` where something else comes next, or nothing.
    #[allow(clippy::option_option, reason = "malformed, not there and there are three cases")]
    pub(super) fn optional(&mut self, tag: u8) -> Option<Option<Self>> {
        if self.starts_with(tag) { self.inside(tag).map(Some) } else { Some(None) }
    }

    /// Two's complement in the fewest bytes.
    pub(super) fn integer(&mut self) -> Option<&'a [u8]> {
        self.integer_tagged(INTEGER)
    }

    /// The same under an implicit tag.
    pub(super) fn integer_tagged(&mut self, tag: u8) -> Option<&'a [u8]> {
        self.content(tag).filter(|bytes| !matches!(bytes, [] | [0, 0..0x80, ..] | [0xff, 0x80..=0xff, ..]))
    }

    /// An integer that Go's `int64` can hold.
    pub(super) fn int64(&mut self, tag: u8) -> Option<i64> {
        let bytes = self.integer_tagged(tag)?;
        let sign = if bytes[0] < 0x80 { 0 } else { -1 };
        (bytes.len() <= 8).then(|| bytes.iter().fold(sign, |number, byte| number << 8 | i64::from(*byte)))
    }

    /// An integer above zero, without leading zeros.
    pub(super) fn positive(&mut self) -> Option<&'a [u8]> {
        match self.integer()? {
            [0] => None,
            [0, bytes @ ..] => Some(bytes),
            bytes => (bytes[0] < 0x80).then_some(bytes),
        }
    }

    /// 0x00 or 0xff.
    pub(super) fn boolean(&mut self) -> Option<bool> {
        match self.content(BOOLEAN)? {
            [0x00] => Some(false),
            [0xff] => Some(true),
            _ => None,
        }
    }

    /// Numbers in the fewest bytes, each below 2³¹.
    pub(super) fn oid(&mut self) -> Option<Oid<'a>> {
        self.content(OID).filter(|oid| arcs(oid).is_some())
    }

    /// A string of bits, whose unused ones are zero.
    pub(super) fn bits(&mut self) -> Option<Bits<'a>> {
        let (&unused, bytes) = self.content(BIT_STRING)?.split_first()?;
        let spare = bytes.last().map_or(0, |last| last.trailing_zeros().min(7));
        (u32::from(unused) <= spare).then_some(Bits { bytes, unused })
    }
}

/// A string of bits, the first one leftmost.
#[derive(Clone, Copy)]
pub(super) struct Bits<'a> {
    bytes: &'a [u8],
    unused: u8,
}

impl Bits<'_> {
    /// Whether that bit is set; one beyond the end is not.
    pub(super) fn has(&self, number: usize) -> bool {
        self.bytes.get(number / 8).is_some_and(|byte| byte & (0x80 >> (number % 8)) != 0)
    }

    /// The bytes with the last bit rightmost, as Go has keys and signatures (`asn1.BitString.RightAlign`).
    pub(super) fn right_aligned(&self) -> Vec<u8> {
        let mut carried = 0_u16;
        let shift = |byte: &u8| {
            let wide = (carried | u16::from(*byte)) << (8 - self.unused);
            carried = u16::from(*byte) << 8;
            wide.to_be_bytes()[0]
        };
        self.bytes.iter().map(shift).collect()
    }
}

/// The numbers of an object identifier, with the first two still in one; `None` where Go reads none.
fn arcs(oid: &[u8]) -> Option<Vec<u64>> {
    let mut numbers = Vec::new();
    let (mut number, mut length) = (0_u64, 0);
    for byte in oid {
        if length == 0 && *byte == 0x80 || length == 5 || number >= 1 << 24 {
            return None;
        }
        number = number << 7 | u64::from(byte & 0x7f);
        length += 1;
        if byte & 0x80 == 0 {
            numbers.push(number);
            (number, length) = (0, 0);
        }
    }
    (length == 0 && !numbers.is_empty()).then_some(numbers)
}

/// `2.5.29.17`.
pub(super) fn dotted(oid: Oid<'_>) -> String {
    let Some(numbers) = arcs(oid) else { return "an odd object identifier".to_owned() };
    let first = (numbers[0] / 40).min(2);
    let second = numbers[0] - 40 * first;
    let rest = numbers[1..].iter().map(|number| format!(".{number}"));
    format!("{first}.{second}{}", rest.collect::<String>())
}

/// Writes one element: tag, length, content.
pub(super) fn encode(tag: u8, content: &[u8]) -> Vec<u8> {
    let mut der = vec![tag];
    if let Ok(short @ 0..0x80) = u8::try_from(content.len()) {
        der.push(short);
    } else {
        let bytes = content.len().to_be_bytes();
        let bytes = &bytes[bytes.iter().take_while(|byte| **byte == 0).count()..];
        der.push(0x80 | u8::try_from(bytes.len()).expect("a length has at most eight bytes"));
        der.extend(bytes);
    }
    der.extend(content);
    der
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case::short(&[0x30, 1, 7], true)]
    #[case::cut_off(&[0x30, 2, 7], false)]
    #[case::long_form_of_a_short_length(&[0x30, 0x81, 1, 7], false)]
    #[case::leading_zero_in_the_length(&[0x30, 0x82, 0, 0x80], false)]
    #[case::indefinite(&[0x30, 0x80, 0, 0], false)]
    #[case::five_bytes_of_length(&[0x30, 0x85, 1, 0, 0, 0, 0], false)]
    #[case::long_tag(&[0x1f, 1, 7], false)]
    #[case::nothing(&[], false)]
    fn only_the_shortest_form_is_read(#[case] bytes: &[u8], #[case] read: bool) {
        assert_eq!(Der::new(bytes).any().is_some(), read);
    }

    #[rstest]
    #[case(&[0], Some(0))]
    #[case(&[0x7f], Some(127))]
    #[case(&[0xff], Some(-1))]
    #[case(&[0, 0x80], Some(128))]
    #[case(&[0x80, 0], Some(-32768))]
    #[case(&[], None)]
    #[case(&[0, 1], None)]
    #[case(&[0xff, 0x80], None)]
    #[case(&[1, 0, 0, 0, 0, 0, 0, 0, 0], None)]
    fn integers_have_the_fewest_bytes(#[case] content: &[u8], #[case] number: Option<i64>) {
        assert_eq!(Der::new(&encode(INTEGER, content)).int64(INTEGER), number);
    }

    #[rstest]
    #[case(&[0x55, 0x1d, 0x11], Some("2.5.29.17"))]
    #[case(&[0x2a, 0x86, 0x48, 0xce, 0x3d, 2, 1], Some("1.2.840.10045.2.1"))]
    #[case(&[0x88, 0x37, 3], Some("2.999.3"))]
    #[case(&[0x55, 0x80, 1], None)]
    #[case(&[0x55, 0x81], None)]
    #[case(&[0x55, 0x90, 0x80, 0x80, 0x80, 0], None)]
    #[case(&[], None)]
    fn object_identifiers_have_the_fewest_bytes(#[case] content: &[u8], #[case] text: Option<&str>) {
        assert_eq!(Der::new(&encode(OID, content)).oid().map(dotted).as_deref(), text);
    }

    #[rstest]
    #[case(&[0, 0xa0], Some(&[0xa0][..]))]
    #[case(&[5, 0xa0], Some(&[5][..]))]
    #[case(&[4, 0xab, 0xc0], Some(&[0x0a, 0xbc][..]))]
    #[case(&[7, 0], Some(&[0][..]))]
    #[case(&[0], Some(&[][..]))]
    #[case(&[1, 0xa1], None)]
    #[case(&[8, 0], None)]
    #[case(&[1], None)]
    #[case(&[], None)]
    fn unused_bits_are_zero(#[case] content: &[u8], #[case] aligned: Option<&[u8]>) {
        let der = encode(BIT_STRING, content);
        let bits = Der::new(&der).bits();
        assert_eq!(bits.map(|bits| bits.right_aligned()).as_deref(), aligned);
    }

    #[test]
    fn bits_are_counted_from_the_left() {
        let der = encode(BIT_STRING, &[7, 0x04, 0x80]);
        let bits = Der::new(&der).bits().unwrap();
        assert_eq!((0..20).filter(|number| bits.has(*number)).collect::<Vec<_>>(), [5, 8]);
    }
}
