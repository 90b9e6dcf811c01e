//! The forms in which times travel. All of them are UTC.

use std::time::{SystemTime, UNIX_EPOCH};

use time::format_description::BorrowedFormatItem;
use time::macros::format_description;
use time::{OffsetDateTime, PrimitiveDateTime};

const CDR: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day] [hour]:[minute]:[second]");
const CREATED: &[BorrowedFormatItem<'_>] = format_description!("[year]-[month]-[day]T[hour]:[minute]:[second]Z");
const COMPACT: &[BorrowedFormatItem<'_>] = format_description!("[year][month][day][hour][minute][second]");

/// Now, in milliseconds since 1970 in UTC.
pub fn epoch_millis() -> i64 {
    let elapsed = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(elapsed.as_millis()).unwrap_or(i64::MAX)
}

/// Now, in whole seconds since 1970 in UTC.
pub fn epoch_seconds() -> i64 {
    epoch_millis() / 1000
}

/// A time as CDRs carry it: `yyyy-MM-dd HH:mm:ss`.
pub fn cdr_time(epoch_seconds: i64) -> String {
    format(epoch_seconds, CDR)
}

/// A time as `Created` of Huawei's credentials carries it: `yyyy-MM-dd'T'HH:mm:ss'Z'`.
pub fn created_time(epoch_seconds: i64) -> String {
    format(epoch_seconds, CREATED)
}

/// A time as it stands inside a `sessionId`: `yyyyMMddHHmmss`.
pub fn compact_time(epoch_seconds: i64) -> String {
    format(epoch_seconds, COMPACT)
}

/// Reads what [`created_time`] writes. `None` for anything else.
pub fn parse_created_time(text: &str) -> Option<i64> {
    PrimitiveDateTime::parse(text, CREATED).ok().map(|moment| moment.assume_utc().unix_timestamp())
}

/// Outside the years that can be written the nearest end of 1970 to 9999 is, so that there is no error to handle.
fn format(epoch_seconds: i64, form: &[BorrowedFormatItem<'_>]) -> String {
    const LAST: i64 = 253_402_300_799;
    OffsetDateTime::from_unix_timestamp(epoch_seconds.clamp(0, LAST))
        .ok()
        .and_then(|moment| moment.format(form).ok())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::{cdr_time, compact_time, created_time, parse_created_time};

    #[test]
    fn times_are_written_in_huaweis_forms() {
        let moment = 1_767_580_203;
        assert_eq!(cdr_time(moment), "2026-01-05 02:30:03");
        assert_eq!(created_time(moment), "2026-01-05T02:30:03Z");
        assert_eq!(compact_time(moment), "20260105023003");
        assert_eq!(parse_created_time("2026-01-05T02:30:03Z"), Some(moment));
        assert_eq!(parse_created_time("2026-01-05 02:30:03"), None);
        assert_eq!(created_time(i64::MAX), "9999-12-31T23:59:59Z");
    }
}
