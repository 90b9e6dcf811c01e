//! The cursor of a list: opaque to whoever pages. To the store it is the number of an entry, and for a span of time where that
//! begins, so that not every page has to look for it.

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;

use crate::database::Since;

/// The cursor that continues before the entry `number`.
pub fn write(number: i64, since: Option<Since>) -> String {
    BASE64_URL_SAFE_NO_PAD.encode(match since {
        None => format!("before:{number}"),
        Some(Since { times: (from, to), number: first }) => format!("before:{number}:{first}:{from}:{to}"),
    })
}

/// What is in a cursor; `None` if it is not one of [`write`]'s.
pub fn read(cursor: &str) -> Option<(i64, Option<Since>)> {
    let bytes = BASE64_URL_SAFE_NO_PAD.decode(cursor).ok()?;
    let mut numbers = std::str::from_utf8(&bytes).ok()?.strip_prefix("before:")?.split(':').map(str::parse);
    let before = numbers.next()?.ok()?;
    let since = match (numbers.next(), numbers.next(), numbers.next(), numbers.next()) {
        (None, ..) => None,
        (Some(Ok(number)), Some(Ok(from)), Some(Ok(to)), None) => Some(Since { times: (from, to), number }),
        _ => return None,
    };
    Some((before, since))
}

#[cfg(test)]
mod tests {
    use super::Since;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        let since = Some(Since { times: (i64::MIN, 5), number: 7 });
        assert_eq!(super::read(&super::write(42, None)), Some((42, None)));
        assert_eq!(super::read(&super::write(42, since)), Some((42, since)));
        // The last ones are "before:", "before:x", "before:1:2" and "before:1:2:3:4:5".
        for bad in ["", "42", "!", "YmVmb3JlOg", "YmVmb3JlOng", "YmVmb3JlOjE6Mg", "YmVmb3JlOjE6MjozOjQ6NQ"] {
            assert_eq!(super::read(bad), None, "{bad}");
        }
    }
}
