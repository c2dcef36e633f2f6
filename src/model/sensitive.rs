//! Values that have to leave in clear but never appear in a text.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A value that is stored and sent (IP address, user agent, page address) but never printed.
///
/// ```
/// let ip = conversion_relay::model::Sensitive::new("203.0.113.7");
/// assert_eq!(format!("{ip:?}"), "Sensitive(..)");
/// ```
/// ```compile_fail
/// let ip = conversion_relay::model::Sensitive::new("203.0.113.7");
/// format!("{ip}");
/// ```
#[derive(Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Sensitive<T>(T);

impl<T> Sensitive<T> {
    /// Wraps `value`.
    pub const fn new(value: T) -> Self {
        Self(value)
    }

    /// The value, for the code that sends it.
    pub const fn expose(&self) -> &T {
        &self.0
    }

    /// The value itself, for the code that cleans it.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T> fmt::Debug for Sensitive<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Sensitive(..)")
    }
}

/// A credential from the configuration: compared and sent, never stored, never printed.
///
/// ```compile_fail
/// fn stored<T: serde::Serialize>() {}
/// stored::<conversion_relay::model::Secret>();
/// ```
#[derive(Clone, PartialEq, Eq, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// Wraps `value`.
    pub fn new(value: impl Into<String>) -> Self {
        Self(value.into())
    }

    /// The credential, for the code that compares or sends it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Secret(..)")
    }
}
