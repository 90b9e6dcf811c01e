use std::fmt;

use serde::{Deserialize, Serialize};

/// A value that must not reach a log, a metric or an error answer: a phone number, a `sessionId`, a secret, a recording
/// address.
///
/// `Debug` shows that something is there and nothing of what it is; `Display` does not exist. On the wire it is the bare
/// value. Whoever needs the value says so with [`Private::expose`].
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Private<T>(T);

impl<T> Private<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value itself. Never pass the result to a log or an error text.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, taken out.
    pub fn into_exposed(self) -> T {
        self.0
    }
}

impl From<&str> for Private<String> {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl<T> fmt::Debug for Private<T> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("***")
    }
}

#[cfg(test)]
mod tests {
    use super::Private;

    #[test]
    fn p7_a_private_value_is_bare_on_the_wire_and_masked_in_debug() {
        let number = Private::<String>::from("+8617010000001");
        assert_eq!(format!("{number:?} {:?}", Some(&number)), "*** Some(***)");
        assert_eq!(serde_json::to_string(&number).unwrap(), r#""+8617010000001""#);
    }
}
