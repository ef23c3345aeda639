//! `DateTimeOffset` of Graph: `2026-11-22T03:49:26Z`.

use serde_json::Value;

use crate::{calendar, clock};

/// Seconds since 1970 as Graph writes them.
pub(super) fn text(seconds: u64) -> String {
    clock::timestamp(seconds).replace(' ', "T")
}

pub(super) fn value(seconds: Option<u64>) -> Value {
    seconds.map_or(Value::Null, |seconds| text(seconds).into())
}

/// RFC 3339, from 1970 on; fractions of a second are cut off.
pub(super) fn parse(text: &str) -> Option<u64> {
    let (date, time) = text.split_once(['T', 't'])?;
    let mut fields = date.splitn(3, '-').map(|field| number(field, 4));
    let (year, month, day) = (fields.next()??, fields.next()??, fields.next()??);
    let at = time.find(['Z', 'z', '+', '-'])?;
    let (clock, zone) = time.split_at(at);
    let offset = offset(zone)?;
    let whole = match clock.split_once('.') {
        None => clock,
        Some((whole, fraction)) => {
            number(fraction, 9)?;
            whole
        }
    };
    let mut fields = whole.splitn(3, ':').map(|field| number(field, 2));
    let (hour, minute, second) = (fields.next()??, fields.next()??, fields.next()??);
    let seconds = calendar::seconds((year, month, day), (hour, minute, second))?;
    seconds
        .checked_sub(offset)
        .and_then(|seconds| u64::try_from(seconds).ok())
}

fn offset(zone: &str) -> Option<i64> {
    if zone.eq_ignore_ascii_case("z") {
        return Some(0);
    }
    let (sign, rest) = zone.split_at_checked(1)?;
    let (hours, minutes) = rest.split_once(':')?;
    let seconds = number(hours, 2)? * 3600 + number(minutes, 2)? * 60;
    Some(if sign == "-" { -seconds } else { seconds })
}

fn number(text: &str, longest: usize) -> Option<i64> {
    let plain =
        !text.is_empty() && text.len() <= longest && text.bytes().all(|byte| byte.is_ascii_digit());
    plain.then(|| text.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_dates_are_dates() {
        assert_eq!(parse("2026-11-22T03:49:26Z"), Some(1_795_319_366));
        assert_eq!(
            parse("2026-11-22T04:49:26.1234567+01:00"),
            Some(1_795_319_366)
        );
        assert_eq!(parse("1970-01-01T00:00:00Z"), Some(0));
        for text in [
            "",
            "2026-11-22",
            "2026-13-01T00:00:00Z",
            "2026-02-29T00:00:00Z",
            "2026-11-22T24:00:00Z",
            "1970-01-01T00:00:00+01:00",
            "1969-12-31T23:59:59Z",
            "x-1-1T0:0:0Z",
            "2026-11-22T03:49:26",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_can_be_read(seconds in 0u64..200_000_000_000) {
            assert_eq!(parse(&text(seconds)), Some(seconds));
        }

        #[test]
        fn nothing_panics(text in ".*") {
            let _ = parse(&text);
        }
    }
}
