//! Days and dates of the Gregorian calendar, in UTC and without leap seconds.

const DAY: i64 = 86_400;

/// Year, month and day of the `days`th day after 1970-01-01, by Howard Hinnant's `civil_from_days`.
pub(crate) fn date(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let era = shifted / 146_097;
    let day_of_era = shifted % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month_from_march = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month_from_march + 2) / 5 + 1;
    let month = if month_from_march < 10 {
        month_from_march + 3
    } else {
        month_from_march - 9
    };
    (era * 400 + year_of_era + u64::from(month <= 2), month, day)
}

/// Seconds since 1970 of a date and a time, negative before; `None` if the calendar or the clock does not have them. Years 0 to 9999.
pub(crate) fn seconds(
    (year, month, day): (i64, i64, i64),
    (hour, minute, second): (i64, i64, i64),
) -> Option<i64> {
    let real = (0..=9999).contains(&year)
        && (1..=12).contains(&month)
        && (1..=31).contains(&day)
        && (0..24).contains(&hour)
        && (0..60).contains(&minute)
        && (0..60).contains(&second);
    if !real {
        return None;
    }
    let next = match month {
        12 => first_day(year + 1, 1),
        _ => first_day(year, month + 1),
    };
    let days = first_day(year, month) + day - 1;
    (days < next).then_some(days * DAY + hour * 3600 + minute * 60 + second)
}

/// Days from 1970 to the first of a month, by Howard Hinnant's `days_from_civil`.
fn first_day(year: i64, month: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5;
    era * 146_097 + year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year - 719_468
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDNIGHT: (i64, i64, i64) = (0, 0, 0);

    #[test]
    fn only_what_is_in_the_calendar_has_a_second() {
        for (date, at) in [
            ((1970, 1, 1), Some(0)),
            ((1950, 1, 1), Some(-631_152_000)),
            ((2000, 2, 29), Some(951_782_400)),
            ((2100, 3, 1), Some(4_107_542_400)),
            ((2024, 2, 29), Some(1_709_164_800)),
            ((2023, 2, 29), None),
            ((2100, 2, 29), None),
            ((2026, 4, 31), None),
            ((2026, 12, 32), None),
            ((2026, 0, 1), None),
            ((2026, 13, 1), None),
            ((2026, 1, 0), None),
            ((-1, 1, 1), None),
            ((10_000, 1, 1), None),
        ] {
            assert_eq!(seconds(date, MIDNIGHT), at, "{date:?}");
        }
        let last = seconds((9999, 12, 31), (23, 59, 59));
        assert_eq!(last, Some(253_402_300_799));
        for time in [(24, 0, 0), (0, 60, 0), (0, 0, 60), (-1, 0, 0)] {
            assert_eq!(seconds((1970, 1, 1), time), None, "{time:?}");
        }
    }

    #[test]
    fn each_day_of_four_centuries_is_itself_again() {
        for days in 0..146_097_u64 {
            let (year, month, day) = date(days);
            let signed = |number: u64| i64::try_from(number).unwrap();
            let date = (signed(year), signed(month), signed(day));
            assert_eq!(seconds(date, MIDNIGHT), Some(signed(days) * DAY));
        }
    }
}
