//! The cursor of a list: opaque to whoever pages, a number of an entry to the store.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

/// The cursor that continues before the entry `number`.
pub fn write(number: i64) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(format!("before:{number}"))
}

/// The number in a cursor; `None` if it is not one of [`write`]'s.
pub fn read(cursor: &str) -> Option<i64> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    std::str::from_utf8(&bytes).ok()?.strip_prefix("before:")?.parse().ok()
}

#[cfg(test)]
mod tests {
    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        assert_eq!(super::read(&super::write(42)), Some(42));
        for bad in ["", "42", "!", "YmVmb3JlOg", "YmVmb3JlOng"] {
            assert_eq!(super::read(bad), None, "{bad}");
        }
    }
}
