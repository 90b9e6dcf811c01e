//! Query parameters: what is not known is refused by name, so that a misspelt filter never passes for no filter.

use std::borrow::Cow;
use std::ops::RangeInclusive;

use super::body::{hidden_name, safe_name};
use super::problem::{Kind, Refusal};
use crate::cursor;
use crate::database::Page;

/// Entries of a page if the request does not say.
const LIMIT_DEFAULT: u32 = 50;
/// Most entries of a page.
const LIMIT_MAX: u32 = 500;

/// The parameters of one request.
pub struct Parameters<'a>(Vec<(Cow<'a, str>, Cow<'a, str>)>);

impl<'a> Parameters<'a> {
    /// Reads the query part of an address.
    ///
    /// # Errors
    /// 400 where a parameter is not among `known`, or is there twice.
    pub fn read(query: Option<&'a str>, known: &[&str]) -> Result<Self, Refusal> {
        let mut parameters = Vec::new();
        for (name, value) in form_urlencoded::parse(query.unwrap_or_default().as_bytes()) {
            if !known.contains(&name.as_ref()) {
                let known =
                    if known.is_empty() { "none is".to_owned() } else { format!("known are {}", known.join(", ")) };
                return Err(match safe_name(&name) {
                    Some(name) => invalid(name, &format!("not known here; {known}")),
                    None => {
                        let detail = format!("{}; {known}", hidden_name("a parameter"));
                        Refusal::new(Kind::InvalidParameter, detail)
                    }
                });
            }
            if parameters.iter().any(|(other, _)| *other == name) {
                return Err(invalid(&name, "there twice; leave one out"));
            }
            parameters.push((name, value));
        }
        Ok(Self(parameters))
    }

    fn find(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_ref())
    }

    /// A text.
    ///
    /// # Errors
    /// 400 where it is empty.
    pub fn text(&self, name: &str) -> Result<Option<String>, Refusal> {
        match self.find(name) {
            Some("") => Err(invalid(name, "empty; give a value or leave it out")),
            value => Ok(value.map(str::to_owned)),
        }
    }

    /// One of several words.
    ///
    /// # Errors
    /// 400 where it is none of them.
    pub fn one_of<T: Copy>(&self, name: &str, words: &[(&str, T)]) -> Result<Option<T>, Refusal> {
        let Some(value) = self.find(name) else { return Ok(None) };
        match words.iter().find(|(word, _)| *word == value) {
            Some((_, meaning)) => Ok(Some(*meaning)),
            None => Err(not_one_of(name, words)),
        }
    }

    /// Some of several words, separated by commas; none where the parameter is not there. Words of `old` are taken as well, and a
    /// refusal does not name them.
    ///
    /// # Errors
    /// 400 where one is none of them.
    pub fn all_of<T: Copy>(&self, name: &str, words: &[(&str, T)], old: &[(&str, T)]) -> Result<Vec<T>, Refusal> {
        let Some(values) = self.find(name) else { return Ok(Vec::new()) };
        let meaning = |value: &str| {
            let known = words.iter().chain(old).find(|(word, _)| *word == value);
            known.map(|(_, meaning)| *meaning).ok_or_else(|| not_one_of(name, words))
        };
        values.split(',').map(meaning).collect()
    }

    /// A moment, epoch milliseconds.
    ///
    /// # Errors
    /// 400 where it is not a whole number, or looks like seconds.
    pub fn moment(&self, name: &str) -> Result<Option<i64>, Refusal> {
        let Some(value) = self.find(name) else { return Ok(None) };
        let moment = value.parse().map_err(|_| invalid(name, "not a whole number; give epoch milliseconds"))?;
        match seconds_taken_for_milliseconds(moment) {
            Some(hint) => Err(invalid(name, hint)),
            None => Ok(Some(moment)),
        }
    }

    /// `limit` and `cursor`.
    ///
    /// # Errors
    /// 400 where `limit` is out of range or `cursor` is none.
    pub fn page(&self) -> Result<Page, Refusal> {
        let limit = match self.find("limit") {
            None => LIMIT_DEFAULT,
            Some(value) => value
                .parse()
                .ok()
                .filter(|limit| (1..=LIMIT_MAX).contains(limit))
                .ok_or_else(|| invalid("limit", &format!("not an integer from 1 to {LIMIT_MAX}")))?,
        };
        let Some(value) = self.find("cursor") else { return Ok(Page::first(limit)) };
        let (before, since) = cursor::read(value)
            .ok_or_else(|| invalid("cursor", "not a cursor; give the `nextCursor` of a page as it is"))?;
        Ok(Page { limit, before: Some(before), since })
    }
}

/// Moments that are certainly meant as seconds: as seconds from 2001 to 5138, as milliseconds from January 1970 to 1973.
const MEANT_AS_SECONDS: RangeInclusive<i64> = 1_000_000_000..=99_999_999_999;

/// What to say of a moment that was given in seconds, where milliseconds belong.
pub fn seconds_taken_for_milliseconds(moment: i64) -> Option<&'static str> {
    let hint = "looks like epoch seconds; give epoch milliseconds, which is the number multiplied by 1000";
    MEANT_AS_SECONDS.contains(&moment).then_some(hint)
}

fn not_one_of<T>(name: &str, words: &[(&str, T)]) -> Refusal {
    let words: Vec<&str> = words.iter().map(|(word, _)| *word).collect();
    invalid(name, &format!("not one of {}", words.join(", ")))
}

/// The problem of one parameter.
pub fn invalid(name: &str, what: &str) -> Refusal {
    Refusal::new(Kind::InvalidParameter, format!("`{name}`: {what}"))
}
