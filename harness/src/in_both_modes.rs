//! Telling a story twice.

/// Tells a story once with the headers held and once with them passed on.
#[macro_export]
macro_rules! in_both_modes {
    ($($story:ident),+ $(,)?) => {$(
        mod $story {
            #[tokio::test]
            async fn hold() -> anyhow::Result<()> {
                super::$story($crate::configuration::HeadersMode::Hold).await
            }

            #[tokio::test]
            async fn pass() -> anyhow::Result<()> {
                super::$story($crate::configuration::HeadersMode::Pass).await
            }
        }
    )+};
}
