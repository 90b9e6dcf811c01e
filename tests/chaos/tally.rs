//! What the businesses counted themselves: every callback is a line that a business prints before it answers, and that
//! stays when the business is killed.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result};

/// Callbacks of one business, over all its lives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// How often each call was called back, by its id.
    pub callbacks: HashMap<String, u32>,
    /// Callbacks whose body was no record.
    pub invalid: u64,
    /// Callbacks without a call's id.
    pub nameless: u64,
}

impl Tally {
    /// What the lines of `log` tell.
    pub fn read(log: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(log).with_context(|| format!("cannot read {}", log.display()))?;
        Ok(Self::of(&text))
    }

    fn of(text: &str) -> Self {
        let mut tally = Self::default();
        for line in text.lines().filter(|line| line.starts_with("callback ")) {
            let mut words = line.split_whitespace().skip_while(|word| *word != "webhook-id").skip(1);
            match words.next().filter(|id| *id != "-") {
                Some(id) => *tally.callbacks.entry(id.to_owned()).or_default() += 1,
                None => tally.nameless += 1,
            }
            tally.invalid += u64::from(!line.contains(" record valid "));
        }
        tally
    }

    /// All callbacks.
    pub fn total(&self) -> u64 {
        self.callbacks.values().map(|count| u64::from(*count)).sum::<u64>() + self.nameless
    }
}

#[cfg(test)]
mod tests {
    use super::Tally;

    #[test]
    fn the_lines_of_all_lives_are_counted() {
        let tally = Tally::of(
            "privatenumber-sim business listening on http://127.0.0.1:1\n\
             callback 1 at 5: webhook-id 0a ak A callinTime 1 answerTime - disconnectTime 2 signature not checked record valid -> 200\n\
             privatenumber-sim business listening on http://127.0.0.1:1\n\
             callback 1 at 9: webhook-id 0a ak A callinTime 1 answerTime - disconnectTime 2 signature not checked record valid -> reset\n\
             callback 2 at 9: webhook-id - ak - callinTime - answerTime - disconnectTime - signature not checked record invalid (no) -> 200\n",
        );
        assert_eq!((tally.callbacks.get("0a"), tally.nameless, tally.invalid, tally.total()), (Some(&2), 1, 1, 3));
    }
}
