//! How a business behaves.

use std::fmt;
use std::time::Duration;

use hyper::StatusCode;
use serde::{Deserialize, Serialize};

/// What becomes of a callback that was read in full.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, clap::ValueEnum)]
#[serde(rename_all = "kebab-case")]
pub enum Mode {
    /// Answer with `status`, 200 unless told otherwise
    #[default]
    Ok,
    /// Answer with `status`, 500 unless told otherwise
    Error,
    /// Do not answer; close the connection after `hang_ms`
    Hang,
    /// Reset the connection (TCP RST)
    Reset,
    /// Close the connection in good order (TCP FIN) without an answer
    Close,
    /// Announce a longer body than is sent, then close
    Truncate,
    /// Send the first half of the answer's headers, then close
    HalfHeaders,
    /// Send the answer's body one byte every `slow_body_ms`
    SlowBody,
}

impl fmt::Display for Mode {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Ok => "ok",
            Self::Error => "error",
            Self::Hang => "hang",
            Self::Reset => "reset",
            Self::Close => "close",
            Self::Truncate => "truncate",
            Self::HalfHeaders => "half-headers",
            Self::SlowBody => "slow-body",
        })
    }
}

/// How a business behaves. As JSON (`PUT /__control/temper`) every member may be left out.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Temper {
    /// What becomes of callbacks.
    pub mode: Mode,
    /// The answer's status, 200 to 599; `null` is 200, or 500 in mode `error`.
    pub status: Option<u16>,
    /// Wait this long before doing anything, milliseconds.
    pub delay_ms: u64,
    /// Which share of the callbacks meets `mode` (mode `error` where `mode` is `ok`), 0 to 1; the others are answered
    /// well. `null`: all meet `mode`.
    pub fail_share: Option<f64>,
    /// How long mode `hang` keeps the connection open, milliseconds.
    pub hang_ms: u64,
    /// How long mode `slow-body` waits between two bytes, milliseconds.
    pub slow_body_ms: u64,
}

impl Default for Temper {
    fn default() -> Self {
        Self { mode: Mode::Ok, status: None, delay_ms: 0, fail_share: None, hang_ms: 3_600_000, slow_body_ms: 1000 }
    }
}

/// A temper that cannot be acted out.
#[derive(Clone, Copy, Debug, PartialEq, thiserror::Error)]
pub enum TemperError {
    /// `status` out of range.
    #[error("status: {0} is not an HTTP status from 200 to 599")]
    Status(u16),
    /// `fail_share` out of range.
    #[error("fail_share: {0} is not a share from 0 to 1")]
    FailShare(f64),
}

/// What a temper makes of one callback.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Act {
    /// [`Mode::Ok`] and [`Mode::Error`] differ in nothing but `status` here.
    pub mode: Mode,
    pub status: StatusCode,
    pub delay: Duration,
    pub hang: Duration,
    pub slow_body: Duration,
}

impl Temper {
    /// A temper of this mode, otherwise as usual.
    pub fn of(mode: Mode) -> Self {
        Self { mode, ..Self::default() }
    }

    /// Whether it can be acted out.
    ///
    /// # Errors
    ///
    /// The member that cannot, see [`TemperError`].
    pub fn check(&self) -> Result<(), TemperError> {
        if let Some(status) = self.status.filter(|status| !(200..=599).contains(status)) {
            return Err(TemperError::Status(status));
        }
        if let Some(share) = self.fail_share.filter(|share| !(0.0..=1.0).contains(share)) {
            return Err(TemperError::FailShare(share));
        }
        Ok(())
    }

    /// What to do with a callback; `fails` is the result of drawing by `fail_share`, where there is one.
    pub(super) fn act(&self, fails: Option<bool>) -> Act {
        let mode = match (fails, self.mode) {
            (Some(false), _) => Mode::Ok,
            (Some(true), Mode::Ok) => Mode::Error,
            (_, mode) => mode,
        };
        // A given status belongs to the mode it was given with.
        let given = self.status.filter(|_| mode == self.mode).and_then(|status| StatusCode::from_u16(status).ok());
        let usual = if mode == Mode::Error { StatusCode::INTERNAL_SERVER_ERROR } else { StatusCode::OK };
        Act {
            mode,
            status: given.unwrap_or(usual),
            delay: Duration::from_millis(self.delay_ms),
            hang: Duration::from_millis(self.hang_ms),
            slow_body: Duration::from_millis(self.slow_body_ms),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{Mode, Temper, TemperError};

    fn status(temper: &Temper, fails: Option<bool>) -> (Mode, u16) {
        let act = temper.act(fails);
        (act.mode, act.status.as_u16())
    }

    #[test]
    fn the_status_belongs_to_the_mode_it_was_given_with() {
        let ok = Temper { status: Some(204), fail_share: Some(0.5), ..Temper::default() };
        assert_eq!(status(&ok, Some(false)), (Mode::Ok, 204));
        assert_eq!(status(&ok, Some(true)), (Mode::Error, 500));
        let error = Temper { status: Some(503), ..Temper::of(Mode::Error) };
        assert_eq!(status(&error, None), (Mode::Error, 503));
        assert_eq!(status(&error, Some(false)), (Mode::Ok, 200));
        assert_eq!(status(&Temper::of(Mode::Error), None), (Mode::Error, 500));
        assert_eq!(status(&Temper::of(Mode::Reset), Some(true)), (Mode::Reset, 200));
    }

    #[test]
    fn a_temper_that_cannot_be_acted_out_names_the_member() {
        let temper = |text: &str| serde_json::from_str::<Temper>(text);
        assert_eq!(temper(r#"{"mode":"half-headers"}"#).unwrap(), Temper::of(Mode::HalfHeaders));
        assert_eq!(temper(r#"{"status":100}"#).unwrap().check(), Err(TemperError::Status(100)));
        assert_eq!(temper(r#"{"fail_share":1.5}"#).unwrap().check(), Err(TemperError::FailShare(1.5)));
        assert!(temper(r#"{"delay":5}"#).unwrap_err().to_string().contains("delay_ms"));
    }
}
