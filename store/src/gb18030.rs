//! What a CDR says in GBK, GB 2312 or GB 18030: the last has all characters of the others. The filter only tells its characters from
//! JSON's own; the tables are here, where they cost nothing.

use encoding_rs::GB18030;
use privatenumber_cdr::read_cdr;
use privatenumber_contract::{CallReport, Record, Warning};

use crate::record::from_report;

/// Fills in what of `record` is `null` only because it is not UTF-8, if the whole CDR can be decoded. `warnings`: those of `report`.
pub(crate) fn fill(report: &CallReport<'_>, record: &mut Record, warnings: &mut [Warning<'_>]) {
    let mut undecoded = warnings.iter_mut().filter(|warning| warning.reason == Warning::NOT_UTF8).peekable();
    if undecoded.peek().is_none() {
        return;
    }
    let Some(cdr) = &report.cdr else { return };
    let Some(text) = GB18030.decode_without_bom_handling_and_without_replacement(cdr.as_bytes()) else { return };
    let Ok(decoded) = read_cdr(text.as_bytes(), &report.app_key, None, 0) else { return };
    let Record { user_data, private_num, orig_num, record_url, .. } = from_report(&decoded);
    record.user_data = record.user_data.take().or(user_data);
    record.private_num = record.private_num.take().or(private_num);
    record.orig_num = record.orig_num.take().or(orig_num);
    record.record_url = record.record_url.take().or(record_url);
    for warning in undecoded {
        // What is too long, say, is so in any character set.
        if !decoded.warnings.iter().any(|left| left.field == warning.field) {
            warning.reason = Warning::DECODED.into();
        }
    }
}

#[cfg(test)]
mod tests {
    use privatenumber_cdr::read_cdr;
    use privatenumber_contract::Warning;

    use super::fill;
    use crate::record::from_report;

    /// What becomes of `userData` with that value, and the reason of its warning.
    fn user_data(value: &[u8]) -> (Option<String>, String) {
        let cdr = [b"{\"appKey\":\"a\",\"sessionId\":\"s\",\"userData\":\"", value, b"\"}"].concat();
        let report = read_cdr(&cdr, "a", None, 1).unwrap();
        let (mut record, mut warnings) = (from_report(&report), report.warnings.clone());
        assert_eq!(record.user_data, None);
        fill(&report, &mut record, &mut warnings);
        let user_data = record.user_data.map(|text| text.expose().clone());
        (user_data, warnings[0].reason.clone().into_owned())
    }

    #[test]
    fn a_text_in_gbk_is_decoded() {
        for (bytes, text) in [
            (&b"\xd6\xd0\xce\xc4"[..], "中文"),
            (b"\x95\x5c", "昞"),
            (b"a\\n\x81\x30\x81\x30\\u4e2d\x95\x5c\\\\", "a\n\u{80}中昞\\"),
        ] {
            assert_eq!(user_data(bytes), (Some(text.to_owned()), Warning::DECODED.to_owned()));
        }
    }

    #[test]
    fn what_is_in_no_character_set_stays_null() {
        assert_eq!(user_data(b"\xff"), (None, Warning::NOT_UTF8.to_owned()));
        assert_eq!(user_data(b"\xd6\xd0\xff"), (None, Warning::NOT_UTF8.to_owned()));
        assert_eq!(user_data(&b"\xd6\xd0".repeat(1025)), (None, Warning::NOT_UTF8.to_owned()), "too long");
    }
}
