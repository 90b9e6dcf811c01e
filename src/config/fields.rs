//! How a configuration section is declared: once, for the reader, the JSON Schema and the reference alike.
//!
//! A section is a function over [`Fields`] that names each of its fields with type, range, default and meaning. Run over a
//! [`Reader`](super::reader::Reader) it yields the typed section or notes every error; run over a
//! [`Describer`](super::describer::Describer) it yields the schema and the reference.

use std::ops::RangeInclusive;

/// What a field is called and what it means, in one or two sentences of the reference.
#[derive(Clone, Copy, Debug)]
pub struct Field {
    /// Name in the configuration, snake_case.
    pub name: &'static str,
    /// Meaning, units included.
    pub meaning: &'static str,
}

/// Declares a [`Field`].
pub const fn field(name: &'static str, meaning: &'static str) -> Field {
    Field { name, meaning }
}

/// What a text must look like.
#[derive(Clone, Copy, Debug)]
pub struct TextRule {
    /// The rule in words, completing "must be …".
    pub description: &'static str,
    /// The rule as a regular expression of JSON Schema.
    pub pattern: &'static str,
    /// Whether a text keeps the rule.
    pub accepts: fn(&str) -> bool,
}

/// A value a [`Fields::choice`] offers.
pub type Choice<T> = (&'static str, T);

/// Declares the fields of one section. Each method returns `None` where the value cannot be had, the error being noted.
pub trait Fields: Sized {
    /// A whole number with a default.
    fn integer(&mut self, field: Field, range: RangeInclusive<u64>, default: u64) -> Option<u64>;

    /// A whole number that may be left out.
    fn optional_integer(&mut self, field: Field, range: RangeInclusive<u64>) -> Option<Option<u64>>;

    /// A text that must be given.
    fn text(&mut self, field: Field, rule: TextRule) -> Option<String>;

    /// A text with a default.
    fn text_or(&mut self, field: Field, rule: TextRule, default: &'static str) -> Option<String>;

    /// A text that may be left out.
    fn optional_text(&mut self, field: Field, rule: TextRule) -> Option<Option<String>>;

    /// One of a closed set of names, the first being the default.
    fn choice<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<T>;

    /// One of a closed set of names, the first being the default, or an object that `read` declares.
    fn choice_or<T: Copy>(
        &mut self,
        field: Field,
        choices: &[Choice<T>],
        read: impl FnOnce(&mut Self) -> Option<T>,
    ) -> Option<T>;

    /// A list without repeats from a closed set of names; all of them by default, at least one.
    fn choices<T: Copy>(&mut self, field: Field, choices: &[Choice<T>]) -> Option<Vec<T>>;

    /// A map from names to texts, empty by default.
    fn texts(&mut self, field: Field, names: TextRule, values: TextRule) -> Option<Vec<(String, String)>>;

    /// A section; left out, all its fields have their defaults.
    fn section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<T>;

    /// A section that may be left out altogether.
    fn optional_section<T>(&mut self, field: Field, read: impl FnOnce(&mut Self) -> Option<T>) -> Option<Option<T>>;

    /// A list of sections. A minimum above 0 makes the field required.
    fn sections<T>(
        &mut self,
        field: Field,
        length: RangeInclusive<usize>,
        read: impl FnMut(&mut Self) -> Option<T>,
    ) -> Option<Vec<T>>;

    /// The value of an environment variable of the VM, which the field named `field` asks for.
    fn environment(&mut self, field: &'static str, variable: &str) -> Option<String>;

    /// States that exactly one of the named fields must be given.
    fn exactly_one(&mut self, fields: &'static [&'static str]) -> Option<()>;

    /// Notes an error, at the end of `path` from this section, that no rule above can express.
    fn refuse_at<T>(&mut self, path: &[&str], message: &str) -> Option<T>;

    /// Notes an error of the field named `field` that no rule above can express, or of the section itself (`""`).
    fn refuse<T>(&mut self, field: &str, message: impl Into<String>) -> Option<T> {
        let path = [field];
        self.refuse_at(if field.is_empty() { &[] } else { &path }, &message.into())
    }
}
