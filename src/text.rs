//! Text that came from outside, made safe to show.

use std::borrow::Cow;
use std::fmt::Write as _;

/// `text` on one line, with everything escaped that a terminal would obey instead of show: control characters, and
/// the marks that reverse the direction of writing. Names in certificates and messages of an API may hold anything.
pub fn one_line(text: &str) -> Cow<'_, str> {
    escape(text, obeyed)
}

/// The same for text of several lines of our own making: line ends stay.
pub fn lines(text: &str) -> Cow<'_, str> {
    escape(text, |c| c != '\n' && obeyed(c))
}

fn obeyed(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

fn escape(text: &str, odd: impl Fn(char) -> bool) -> Cow<'_, str> {
    if !text.contains(&odd) {
        return Cow::Borrowed(text);
    }
    let mut safe = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        if odd(c) {
            let _ = write!(safe, "{}", c.escape_default());
        } else {
            safe.push(c);
        }
    }
    Cow::Owned(safe)
}

#[cfg(test)]
mod tests {
    use rstest::rstest;

    use super::*;

    #[rstest]
    #[case("O=cluster.local", "O=cluster.local")]
    #[case("a\x1b[2Jb", r"a\u{1b}[2Jb")]
    #[case("a\u{9b}2Jb", r"a\u{9b}2Jb")]
    #[case("a\nb\r", r"a\nb\r")]
    #[case("gpj\u{202e}exe", r"gpj\u{202e}exe")]
    #[case("Grüße, 世界", "Grüße, 世界")]
    fn shows_what_a_terminal_would_obey(#[case] raw: &str, #[case] safe: &str) {
        assert_eq!(one_line(raw), safe);
        assert_eq!(one_line(safe), safe, "twice is once");
    }

    #[test]
    fn line_ends_of_our_own_stay() {
        assert_eq!(lines("a\nb\x07"), "a\nb\\u{7}");
    }
}
