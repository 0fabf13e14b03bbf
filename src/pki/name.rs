//! Subject and issuer names as Go's `crypto/x509` reads them (`parseName`, `parseASN1String` in `parser.go`).

use std::fmt::Write as _;

use super::der::{Der, SEQUENCE, SET, dotted};

const UTF8_STRING: u8 = 12;
const NUMERIC_STRING: u8 = 18;
const PRINTABLE_STRING: u8 = 19;
const T61_STRING: u8 = 20;
const IA5_STRING: u8 = 22;
const BMP_STRING: u8 = 30;

/// Reads a name, tag and length included, and writes it for people: `O=cluster.local, CN=root`. Otherwise says what Go does not take in it.
pub(super) fn read(name: &[u8]) -> Result<String, &'static str> {
    let structure = "is no sequence of attributes";
    let mut shown = String::new();
    let mut sets = Der::new(name).inside(SEQUENCE).ok_or(structure)?;
    while !sets.is_empty() {
        let mut set = sets.inside(SET).ok_or(structure)?;
        let mut between = if shown.is_empty() { "" } else { ", " };
        while !set.is_empty() {
            let mut attribute = set.inside(SEQUENCE).ok_or(structure)?;
            let kind = attribute.oid().ok_or(structure)?;
            let value = attribute.any().ok_or(structure)?;
            let _ = write!(shown, "{between}{}={}", label(kind), text(value.tag, value.content)?);
            between = " + ";
        }
    }
    Ok(shown)
}

fn label(kind: &[u8]) -> String {
    let known = match kind {
        [0x55, 0x04, 3] => "CN",
        [0x55, 0x04, 5] => "serialNumber",
        [0x55, 0x04, 6] => "C",
        [0x55, 0x04, 7] => "L",
        [0x55, 0x04, 8] => "ST",
        [0x55, 0x04, 9] => "STREET",
        [0x55, 0x04, 10] => "O",
        [0x55, 0x04, 11] => "OU",
        [0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 1] => "emailAddress",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 1] => "UID",
        [0x09, 0x92, 0x26, 0x89, 0x93, 0xf2, 0x2c, 0x64, 1, 25] => "DC",
        other => return dotted(other),
    };
    known.to_owned()
}

fn text(tag: u8, value: &[u8]) -> Result<String, &'static str> {
    let ascii = |allowed: fn(u8) -> bool, why| {
        if value.iter().all(|byte| allowed(*byte)) { Ok(String::from_utf8_lossy(value).into_owned()) } else { Err(why) }
    };
    match tag {
        UTF8_STRING => String::from_utf8(value.to_vec()).map_err(|_| "holds a UTF8String that is not UTF-8"),
        // Go takes `*` and `&` as well, which the standard does not (`isPrintable`).
        PRINTABLE_STRING => ascii(
            |byte| byte.is_ascii_alphanumeric() || b" '()*+,-./:=?&".contains(&byte),
            "holds a PrintableString with a character that may not stand in one, such as `_` or `@`",
        ),
        IA5_STRING => ascii(|byte| byte.is_ascii(), "holds an IA5String that is not ASCII"),
        NUMERIC_STRING => ascii(
            |byte| byte.is_ascii_digit() || byte == b' ',
            "holds a NumericString with a character that is no digit",
        ),
        // Latin-1, as most of the world has it.
        T61_STRING => Ok(value.iter().map(|byte| char::from(*byte)).collect()),
        BMP_STRING => bmp(value).ok_or("holds a malformed BMPString"),
        _ => Err("holds a value that is no string"),
    }
}

/// UCS-2 without surrogates and the reserved non-characters; one terminating zero is dropped.
fn bmp(value: &[u8]) -> Option<String> {
    if !value.len().is_multiple_of(2) {
        return None;
    }
    let value = value.strip_suffix(&[0, 0]).unwrap_or(value);
    let point = |pair: &[u8]| match u32::from(pair[0]) << 8 | u32::from(pair[1]) {
        0xfffe | 0xffff | 0xfdd0..=0xfdef => None,
        point => char::from_u32(point),
    };
    value.chunks(2).map(point).collect()
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;
    use crate::pki::der::{OID, encode};

    fn attribute(kind: &[u8], tag: u8, value: &[u8]) -> Vec<u8> {
        encode(SEQUENCE, &[encode(OID, kind), encode(tag, value)].concat())
    }

    #[test]
    fn a_name_is_shown_with_the_usual_labels() {
        let (o, cn) = (&[0x55, 4, 10][..], &[0x55, 4, 3][..]);
        let sets = [
            encode(SET, &attribute(o, PRINTABLE_STRING, b"one")),
            encode(
                SET,
                &[attribute(cn, UTF8_STRING, "zw\u{e4}i".as_bytes()), attribute(&[0x2a, 3], IA5_STRING, b"3")].concat(),
            ),
        ];
        assert_eq!(read(&encode(SEQUENCE, &sets.concat())).as_deref(), Ok("O=one, CN=zw\u{e4}i + 1.2.3=3"));
        assert_eq!(read(&encode(SEQUENCE, &[])).as_deref(), Ok(""));
    }

    #[rstest]
    #[case::printable(PRINTABLE_STRING, b"A-z 0'9*&?", Some("A-z 0'9*&?"))]
    #[case::underscore(PRINTABLE_STRING, b"a_b", None)]
    #[case::at(PRINTABLE_STRING, b"a@b", None)]
    #[case::utf8(UTF8_STRING, b"\xc3\xa4", Some("\u{e4}"))]
    #[case::no_utf8(UTF8_STRING, b"\xe4", None)]
    #[case::latin1(T61_STRING, b"\xe4", Some("\u{e4}"))]
    #[case::bmp(BMP_STRING, b"\0a\0b\0\0", Some("ab"))]
    #[case::surrogate(BMP_STRING, b"\xd8\0", None)]
    #[case::half(BMP_STRING, b"\0a\0", None)]
    #[case::ia5(IA5_STRING, b"a_b@c", Some("a_b@c"))]
    #[case::no_ia5(IA5_STRING, b"\xe4", None)]
    #[case::numeric(NUMERIC_STRING, b"1 2", Some("1 2"))]
    #[case::no_numeric(NUMERIC_STRING, b"1-2", None)]
    #[case::octets(4, b"a", None)]
    #[case::universal(28, b"\0\0\0a", None)]
    fn values_are_the_strings_that_go_takes(#[case] tag: u8, #[case] value: &[u8], #[case] shown: Option<&str>) {
        assert_eq!(text(tag, value).ok().as_deref(), shown);
    }
}
