//! What the fuzz targets do with a piece of input, and what must hold whatever it is.
//!
//! Each module is one target: `run` feeds the input to the filter's core and panics where a promise is broken. The same
//! functions are run by libFuzzer (`targets/`) and, over the kept corpora, by the ordinary tests (`tests/hostile`).

pub mod configuration;
pub mod credentials;
pub mod exchange;
pub mod push_body;
pub mod store_answer;
mod worker;

/// What every fictitious number, `sessionId` and secret of the corpora contains, and no text of the core may (promise P7).
pub const PRIVATE: [&str; 4] = ["1701000", "callenabler", "fictitious", "whsec_"];

/// Panics if `text` shows anything private.
pub fn shows_nothing_private(text: &str) {
    for private in PRIVATE {
        assert!(!text.contains(private), "P7: {private} in {text}");
    }
}
