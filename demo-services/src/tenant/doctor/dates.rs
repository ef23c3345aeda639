//! Dates of two kinds as seconds since 1970: HTTP's (RFC 9110 5.6.7) and Graph's (RFC 3339 in UTC). And how long that is, in words.

/// `Sun, 06 Nov 1994 08:49:37 GMT`; the two obsolete forms are not read.
pub(super) fn http(text: &str) -> Option<i64> {
    const MONTHS: [&str; 12] = [
        "Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec",
    ];
    let rest = text.strip_suffix(" GMT")?;
    let (_, rest) = rest.split_once(", ")?;
    let mut parts = rest.split(' ');
    let (day, month, year, time) = (parts.next()?, parts.next()?, parts.next()?, parts.next()?);
    let month = MONTHS.iter().position(|name| *name == month)?;
    seconds(year, &(month + 1).to_string(), day, time)
}

/// `2026-11-26T03:24:50Z`, perhaps with parts of a second.
pub(super) fn rfc3339(text: &str) -> Option<i64> {
    let (date, time) = text.strip_suffix('Z')?.split_once('T')?;
    let time = time.split_once('.').map_or(time, |(time, _)| time);
    let mut date = date.split('-');
    seconds(date.next()?, date.next()?, date.next()?, time)
}

fn seconds(year: &str, month: &str, day: &str, time: &str) -> Option<i64> {
    let mut time = time.split(':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (time.next()??, time.next()??, time.next()??);
    let (year, month, day): (i64, i64, i64) =
        (year.parse().ok()?, month.parse().ok()?, day.parse().ok()?);
    let real =
        (1970..=9999).contains(&year) && (1..=12).contains(&month) && (1..=31).contains(&day);
    // Days from 1970, by Howard Hinnant's `days_from_civil`.
    let year = if month <= 2 { year - 1 } else { year };
    let (era, year_of_era) = (year.div_euclid(400), year.rem_euclid(400));
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let days = era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100
        + day_of_year
        - 719_468;
    real.then_some(days * 86_400 + hour * 3600 + minute * 60 + second)
}

/// `90 seconds`, `12 minutes`, `5 hours`, `3 days`.
pub(super) fn how_long(seconds: u64) -> String {
    match seconds {
        0..=119 => format!("{seconds} seconds"),
        120..=7199 => format!("{} minutes", seconds / 60),
        7200..=172_799 => format!("{} hours", seconds / 3600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_kinds_tell_the_same_second() {
        assert_eq!(http("Sun, 06 Nov 1994 08:49:37 GMT"), Some(784_111_777));
        assert_eq!(rfc3339("1994-11-06T08:49:37Z"), Some(784_111_777));
        assert_eq!(rfc3339("1994-11-06T08:49:37.1234567Z"), Some(784_111_777));
        assert_eq!(rfc3339("2000-02-29T00:00:00Z"), Some(951_782_400));
        for wrong in [
            "",
            "Z",
            "1994-11-06",
            "1994-11-06T08:49Z",
            "1994-13-06T08:49:37Z",
            "x-y-zT1:2:3Z",
        ] {
            assert_eq!(rfc3339(wrong), None, "{wrong}");
        }
        for wrong in [
            "",
            "GMT",
            "Sunday, 06-Nov-94 08:49:37 GMT",
            "Sun, 06 Foo 1994 08:49:37 GMT",
        ] {
            assert_eq!(http(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn a_time_is_told_in_the_unit_that_fits() {
        let told = [90, 720, 18_000, 259_200].map(how_long);
        assert_eq!(told, ["90 seconds", "12 minutes", "5 hours", "3 days"]);
    }
}
