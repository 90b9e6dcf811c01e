//! Telling a story twice.

/// Tells a story once with the headers held and once with them passed on. With `multi_thread;` in front, on several threads: for
/// stories in which the harness itself has much to do.
#[macro_export]
macro_rules! in_both_modes {
    (multi_thread; $($story:ident),+ $(,)?) => {
        $crate::in_both_modes!(@tell (flavor = "multi_thread") $($story)+);
    };
    (@tell $how:tt $($story:ident)+) => {$(
        mod $story {
            #[tokio::test $how]
            async fn hold() -> anyhow::Result<()> {
                super::$story($crate::configuration::HeadersMode::Hold).await
            }

            #[tokio::test $how]
            async fn pass() -> anyhow::Result<()> {
                super::$story($crate::configuration::HeadersMode::Pass).await
            }
        }
    )+};
    ($($story:ident),+ $(,)?) => {
        $crate::in_both_modes!(@tell () $($story)+);
    };
}
