//! End to end: what Huawei is answered, what the store holds and what the business saw, with a real Envoy in between.
//!
//! Each story starts an Envoy, a store and a business of its own. Run them with `cargo xtask test`, which builds what they
//! need first. Stories that may differ between the two ways of treating headers are told in both.

// A story that goes wrong may end as it likes.
#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, clippy::unwrap_used, missing_docs)]

/// Tells a story once with the headers held and once with them passed on.
macro_rules! in_both_modes {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn hold() -> anyhow::Result<()> {
                super::$story(end_to_end::configuration::HeadersMode::Hold).await
            }

            #[tokio::test]
            async fn pass() -> anyhow::Result<()> {
                super::$story(end_to_end::configuration::HeadersMode::Pass).await
            }
        }
    )+};
}

mod answers;
mod callbacks;
mod configuration;
mod graceful;
mod mid_load;
mod observability;
mod once;
mod outcomes;
mod reload;
mod samples;
mod store_faults;
mod untouched;
mod world;
