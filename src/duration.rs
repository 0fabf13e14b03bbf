//! Spans of time as people type and read them: `300`, `90s`, `30d`, `89 days`.

use jiff::{SignedDuration, Span, SpanRelativeTo};

/// Reads a span whose bare number counts seconds, as `--timeout` of `dapr mtls` does. A day has 24 hours.
pub fn parse(text: &str) -> Result<SignedDuration, String> {
    match text.parse::<u32>() {
        Ok(seconds) => at_most_a_century(SignedDuration::from_secs(i64::from(seconds))),
        Err(_) => with_unit(text),
    }
}

/// Reads a span whose bare number counts days, as `--valid-until` of `dapr mtls` does.
pub fn parse_days(text: &str) -> Result<SignedDuration, String> {
    let span = match text.parse::<u32>() {
        Ok(days) => at_most_a_century(SignedDuration::from_hours(24 * i64::from(days)))?,
        Err(_) => with_unit(text)?,
    };
    if span.is_zero() {
        return Err("a certificate must live longer than that".to_owned());
    }
    Ok(span)
}

/// A span as people say it, in its largest unit: `89 days`, `1 hour`. Never more than there is.
pub fn in_words(span: SignedDuration) -> String {
    let seconds = span.as_secs().abs();
    let units = [("day", 86_400), ("hour", 3_600), ("minute", 60), ("second", 1)];
    // Why: "47 hours" says more than "1 day".
    let (unit, length) = units.into_iter().find(|(_, length)| seconds >= 2 * length).unwrap_or(("second", 1));
    let count = seconds / length;
    format!("{count} {unit}{}", if count == 1 { "" } else { "s" })
}

fn with_unit(text: &str) -> Result<SignedDuration, String> {
    let wanted = || "expected a number with a unit, such as `300`, `90s`, `12h` or `30d`".to_owned();
    let span: Span = text.parse().map_err(|_| wanted())?;
    let duration = span.to_duration(SpanRelativeTo::days_are_24_hours()).map_err(|_| wanted())?;
    if duration.is_negative() {
        return Err("it lies in the past".to_owned());
    }
    at_most_a_century(duration)
}

/// No certificate needs more, and every date stays one that can be written.
fn at_most_a_century(span: SignedDuration) -> Result<SignedDuration, String> {
    if span > SignedDuration::from_hours(24 * 36_500) {
        return Err("it is longer than a hundred years".to_owned());
    }
    Ok(span)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bare_number_counts_seconds_or_days() {
        assert_eq!(parse("300"), Ok(SignedDuration::from_secs(300)));
        assert_eq!(parse_days("365"), Ok(SignedDuration::from_hours(365 * 24)));
    }

    #[test]
    fn units_mean_the_same_everywhere() {
        for read in [parse, parse_days] {
            assert_eq!(read("90s"), Ok(SignedDuration::from_secs(90)));
            assert_eq!(read("30d"), Ok(SignedDuration::from_hours(720)));
            assert_eq!(read("1h30m"), Ok(SignedDuration::from_mins(90)));
            assert_eq!(read("2w"), Ok(SignedDuration::from_hours(14 * 24)));
        }
    }

    #[test]
    fn spans_are_said_in_their_largest_unit() {
        let said = |seconds| in_words(SignedDuration::from_secs(seconds));
        assert_eq!(said(90 * 86_400 - 1), "89 days");
        assert_eq!(said(47 * 3_600), "47 hours");
        assert_eq!(said(-61), "61 seconds");
        assert_eq!(said(1), "1 second");
    }

    #[test]
    fn nonsense_is_answered_with_examples() {
        for text in ["", "soon", "30 fortnights", "1mo"] {
            assert!(parse(text).is_err_and(|why| why.contains("`30d`")), "{text}");
        }
        assert!(parse("-5s").is_err());
        assert!(parse_days("0").is_err());
    }
}
