use std::fmt;

/// Why a push was not authenticated. Shows nothing of what was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Refusal {
    /// Neither `x-aksk` nor `x-wsse` is there.
    Missing,
    /// `authorization`, `x-aksk` or `x-wsse` is there twice, so which one counts is anybody's guess.
    Duplicated,
    /// The credentials cannot be read as a `UsernameToken`, or are out of bounds.
    Malformed,
    /// The credentials are not UTF-8.
    NotUtf8,
    /// The configuration has no such application.
    UnknownApplication,
    /// The digest fits none of the application's secrets.
    WrongDigest,
    /// The credentials are of a scheme that the configuration does not accept.
    SchemeNotAccepted,
    /// `Created` is too far from now.
    OutsideWindow,
}

impl Refusal {
    /// The reason in a few words, for an error answer or a log line.
    pub const fn reason(self) -> &'static str {
        match self {
            Self::Missing => "no X-AKSK or X-WSSE header",
            Self::Duplicated => "Authorization, X-AKSK or X-WSSE is there more than once",
            Self::Malformed => "the credentials are not a well-formed UsernameToken",
            Self::NotUtf8 => "the credentials are not UTF-8",
            Self::UnknownApplication => "the Username is not a configured application",
            Self::WrongDigest => "the PasswordDigest does not fit the application's secret",
            Self::SchemeNotAccepted => "the credentials are of a scheme that is not accepted",
            Self::OutsideWindow => "Created is too far from the current time",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.reason())
    }
}

impl std::error::Error for Refusal {}
