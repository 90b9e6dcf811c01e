//! Huawei's times: UTC, to the second, and what else can be one.

/// Milliseconds of a day.
const DAY_MS: i64 = 86_400_000;

/// A CDR's time as epoch milliseconds, where it can mean one thing only:
///
/// - `yyyy-MM-dd HH:mm:ss`, which is UTC as Huawei documents it; also with a fraction of the second;
/// - the same with `T` or white space between date and time, and with `Z` or an offset (`+08:00`, `+0800`, `+08`) behind it;
/// - the 13 digits of epoch milliseconds.
///
/// Runs of white space between the parts, and around, are accepted, since they have been seen. A fraction is cut off below the
/// millisecond. `None` for anything else: `T` without a zone (ISO 8601 says local time, Huawei says UTC), 10 digits (seconds, or a
/// number of another kind), names of zones, a day that does not exist, a leap second, a year before 1970 (a placeholder, not the
/// time of a call).
pub fn parse(text: &str) -> Option<i64> {
    parse_usual(text).or_else(|| parse_epoch_ms(text)).or_else(|| parse_tolerantly(text))
}

/// `yyyy-MM-dd HH:mm:ss` with exactly one blank, as nearly every time is.
pub(crate) fn parse_usual(text: &str) -> Option<i64> {
    match (text.get(..10), text.get(10..11), text.get(11..19)) {
        (Some(date), Some(" "), Some(clock)) if text.len() == 19 => epoch_ms(date, clock),
        _ => None,
    }
}

/// The 13 digits of epoch milliseconds.
pub(crate) fn parse_epoch_ms(text: &str) -> Option<i64> {
    // Looked at first: a longer text would overflow.
    let is_epoch = text.len() == 13 && !text.starts_with('0');
    if is_epoch { number(text.as_bytes()) } else { None }
}

fn parse_tolerantly(text: &str) -> Option<i64> {
    let text = text.trim_ascii();
    let (date, rest) = (text.get(..10)?, text.get(10..)?);
    let (clock, has_t) = match rest.strip_prefix('T') {
        Some(clock) => (clock, true),
        None => (rest.trim_ascii_start(), false),
    };
    if clock.len() == rest.len() {
        return None;
    }
    let (clock, rest) = (clock.get(..8)?, clock.get(8..)?);
    let (fraction, zone) = match rest.strip_prefix(['.', ',']) {
        Some(rest) => rest.split_at(rest.find(|digit: char| !digit.is_ascii_digit()).unwrap_or(rest.len())),
        None => ("0", rest),
    };
    let milliseconds = fraction_ms(fraction)?;
    let offset = match zone.trim_ascii_start() {
        "" if has_t => return None,
        "" => 0,
        zone => offset_ms(zone)?,
    };
    let moment = epoch_ms(date, clock)? + milliseconds - offset;
    (moment >= 0).then_some(moment)
}

/// Milliseconds from the digits behind a decimal point; `None` where there are none.
fn fraction_ms(digits: &str) -> Option<i64> {
    let digits = digits.as_bytes();
    let thousandths = digits.get(..digits.len().min(3)).filter(|digits| !digits.is_empty())?;
    number(thousandths).map(|value| value * [100, 10, 1].get(thousandths.len() - 1).copied().unwrap_or(1))
}

/// How far ahead of UTC a zone is, milliseconds: `Z`, `+08:00`, `+0800` or `+08`.
fn offset_ms(zone: &str) -> Option<i64> {
    let (sign, digits) = match zone.as_bytes() {
        b"Z" => return Some(0),
        [b'+', digits @ ..] => (1, digits),
        [b'-', digits @ ..] => (-1, digits),
        _ => return None,
    };
    let (hours, minutes) = match digits {
        [h1, h2, b':', m1, m2] | [h1, h2, m1, m2] => (number(&[*h1, *h2])?, number(&[*m1, *m2])?),
        [h1, h2] => (number(&[*h1, *h2])?, 0),
        _ => return None,
    };
    // Nowhere is it more than 14 hours.
    (hours <= 14 && minutes < 60).then_some(sign * (hours * 60 + minutes) * 60_000)
}

/// The `Created` of credentials, `yyyy-MM-dd'T'HH:mm:ss'Z'`, as epoch milliseconds.
pub fn parse_created(text: &str) -> Option<i64> {
    let (date, clock) = text.strip_suffix('Z')?.split_once('T')?;
    epoch_ms(date, clock)
}

fn epoch_ms(date: &str, clock: &str) -> Option<i64> {
    let &[y1, y2, y3, y4, b'-', m1, m2, b'-', d1, d2] = date.as_bytes() else { return None };
    let &[h1, h2, b':', n1, n2, b':', s1, s2] = clock.as_bytes() else { return None };
    let (year, month, day) = (number(&[y1, y2, y3, y4])?, number(&[m1, m2])?, number(&[d1, d2])?);
    let (hour, minute, second) = (number(&[h1, h2])?, number(&[n1, n2])?, number(&[s1, s2])?);
    let valid = year >= 1970 && (1..=days_in(year, month)?).contains(&day) && hour < 24 && minute < 60 && second < 60;
    valid.then(|| days_since_epoch(year, month, day) * DAY_MS + ((hour * 60 + minute) * 60 + second) * 1000)
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, byte| byte.is_ascii_digit().then(|| sum * 10 + i64::from(byte - b'0')))
}

/// How many days the month has; `None` where there is no such month.
fn days_in(year: i64, month: i64) -> Option<i64> {
    let leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    match month {
        1 | 3 | 5 | 7 | 8 | 10 | 12 => Some(31),
        4 | 6 | 9 | 11 => Some(30),
        2 => Some(if leap { 29 } else { 28 }),
        _ => None,
    }
}

/// Days from 1970-01-01 to a date that exists, in the Gregorian calendar.
///
/// Years are counted from March: the leap day is then the last of its year, and the days before a month are a straight line
/// of 153 days in five months.
fn days_since_epoch(year: i64, month: i64, day: i64) -> i64 {
    /// Days from 0000-03-01 to 1970-01-01.
    const EPOCH: i64 = 719_468;
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    year * 365 + year / 4 - year / 100 + year / 400 + (153 * month + 2) / 5 + day - 1 - EPOCH
}

#[cfg(test)]
mod tests {
    use super::{DAY_MS, days_in, days_since_epoch, parse, parse_created};

    #[test]
    fn times_are_utc() {
        // GNU date: date -u -d '2026-01-05 02:30:03' +%s
        for (text, seconds) in [
            ("1970-01-01 00:00:00", 0),
            ("2026-01-05 02:30:03", 1_767_580_203),
            ("2024-02-29 23:59:59", 1_709_251_199),
            ("2000-02-29 00:00:00", 951_782_400),
            ("2026-01-31 16:00:00", 1_769_875_200),
            ("9999-12-31 23:59:59", 253_402_300_799),
        ] {
            assert_eq!(parse(text), Some(seconds * 1000), "{text}");
        }
    }

    #[test]
    fn every_day_of_four_centuries_follows_the_one_before() {
        let mut expected = 0;
        for year in 1970..2370 {
            for month in 1..=12 {
                for day in 1..=days_in(year, month).unwrap() {
                    assert_eq!(days_since_epoch(year, month, day), expected, "{year}-{month}-{day}");
                    expected += 1;
                }
            }
        }
        assert_eq!(expected, 146_097, "days of 400 years");
        assert_eq!(parse("2369-12-31 00:00:00"), Some((expected - 1) * DAY_MS));
    }

    #[test]
    fn runs_of_white_space_are_one_blank() {
        for text in ["2026-01-05  02:30:03", " 2026-01-05 02:30:03 ", "2026-01-05\t \n02:30:03\r\n"] {
            assert_eq!(parse(text), Some(1_767_580_203_000), "{text:?}");
        }
    }

    #[test]
    fn p6_digits_without_end_are_no_time() {
        for text in ["9999999999999999999", "99999999999999999999999999999999", "10000000000000", "0000000000001"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    #[test]
    fn a_time_in_another_form_is_taken_where_it_can_mean_one_thing_only() {
        for (text, expected) in [
            ("2026-01-05 02:30:03.0", 1_767_580_203_000),
            ("2026-01-05 02:30:03.25", 1_767_580_203_250),
            ("2026-01-05 02:30:03,125999", 1_767_580_203_125),
            ("2026-01-05 02:30:03Z", 1_767_580_203_000),
            ("2026-01-05T02:30:03Z", 1_767_580_203_000),
            ("2026-01-05T02:30:03.007Z", 1_767_580_203_007),
            ("2026-01-05T10:30:03+08:00", 1_767_580_203_000),
            ("2026-01-05T10:30:03.000000000+0800", 1_767_580_203_000),
            ("2026-01-04T21:30:03-05", 1_767_580_203_000),
            ("2026-01-05 10:30:03 +08:00", 1_767_580_203_000),
            (" 2026-01-05  02:30:03.5  Z ", 1_767_580_203_500),
            ("1767580203000", 1_767_580_203_000),
            ("9999999999999", 9_999_999_999_999),
        ] {
            assert_eq!(parse(text), Some(expected), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_moment_is_refused() {
        for text in [
            "",
            " ",
            "0",
            "1767580203",
            "0000000000000",
            "17675802030000",
            "+176758020300",
            "2026-01-05",
            "02:30:03",
            "2026-01-0502:30:03",
            "2026-01-05T02:30:03",
            "2026-01-05T02:30:03.0",
            "2026-01-05T 02:30:03Z",
            "2026-01-05 T02:30:03Z",
            "2026-01-05 02:30:03.",
            "2026-01-05 02:30:03.Z",
            "2026-01-05 02:30:03.0.0",
            "2026-01-05T02:30:03ZZ",
            "2026-01-05T02:30:03z",
            "2026-01-05T02:30:03+8",
            "2026-01-05T02:30:03+15:00",
            "2026-01-05T02:30:03+08:60",
            "2026-01-05T02:30:03+08:0",
            "2026-01-05T02:30:03 CST",
            "2026-01-05 02:30:03 Asia/Shanghai",
            "2026-01-05T02:30:03\u{2212}08:00",
            "1970-01-01T00:00:00+08:00",
            "2026-02-29T02:30:03Z",
            "2026-01-05T02:30:60Z",
            "2026-01-05 02:30",
            "2026-01-05 2:30:03",
            "26-01-05 02:30:03",
            "02026-01-05 02:30:03",
            "2026/01/05 02:30:03",
            "2026-1-5 02:30:03",
            "+026-01-05 02:30:03",
            "2026-01-05 -2:30:03",
            "2026-00-05 02:30:03",
            "2026-13-05 02:30:03",
            "2026-01-00 02:30:03",
            "2026-01-32 02:30:03",
            "2026-04-31 02:30:03",
            "2026-02-29 02:30:03",
            "2100-02-29 02:30:03",
            "2026-01-05 24:00:00",
            "2026-01-05 23:60:00",
            "2026-01-05 23:59:60",
            "0000-00-00 00:00:00",
            "0001-01-01 00:00:00",
            "1969-12-31 23:59:59",
            "2026-01-05 02:30:0\u{663}",
            "２０２６-01-05 02:30:03",
            "2026-01-05 02:30:03\0",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn created_has_one_form() {
        assert_eq!(parse_created("2026-01-05T02:30:24Z"), Some(1_767_580_224_000));
        for text in
            ["2026-01-05 02:30:24", "2026-01-05T02:30:24", "2026-01-05T02:30:24.000Z", "2026-02-29T02:30:24Z", "TZ", ""]
        {
            assert_eq!(parse_created(text), None, "{text}");
        }
    }
}
