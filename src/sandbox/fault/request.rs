//! How a fault is asked for: as JSON, or in one word on the command line.
//!
//! ```text
//! PLATFORM:MODE[=VALUE][:FOR][:SETTING=VALUE]…
//!
//! meta:outage:20s                          503 for 20 seconds from now
//! meta:outage:from=10s:for=20s             the same, but it begins in 10 seconds
//! data_manager:error_rate=0.1:status=503   every tenth request
//! meta:throttle=30s:1m                     "come back in 30 seconds", for a minute
//! meta:slow=200ms   meta:slow=100ms-2s     each answer comes that much later
//! meta:cut:for_requests=3                  the next three connections break in mid-request; nothing is taken
//! meta:reset:for_requests=1                taken, and the connection breaks instead of an answer
//! meta:hang:30s                            taken, and never answered
//! data_manager:expired_token:once          the token that comes next is dead, a new one works
//! meta:expired_token                       no token works any more
//! meta:partial=order-1,order-2             taken but for these ids
//! meta:poison=order-7   meta:poison_every=500   these events make the platform refuse what they travel in
//! meta:usage=95:minutes=5                  says that 95 % of the limit are used
//! ```
//!
//! A bare time is [`for`](FaultRequest), and `once` is `for_requests=1`. Ids with a colon or a comma are for JSON only.

use std::{str::FromStr, time::Duration};

use serde::Deserialize;

use super::{Fault, FaultMode, MILLION, Platform};
use crate::model::{Time, parse_duration};

/// A fault as it is asked for: times are still relative to when it begins to count.
///
/// As JSON: `{"platform": "meta", "mode": "outage", "for": "20s"}`. Every setting but these two may be left out: `from`
/// (a time, or how long from now), `for`, `for_requests`, `delay_ms`, `delay_max_ms`, `retry_after_s`, `share` and
/// `status` (`error_rate`), `ids` (`partial`, `poison`), `poison_every`, `percent` and `minutes` (`usage`), and `add`:
/// whether the platform's other faults stay.
#[derive(Clone, Debug, PartialEq, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FaultRequest {
    platform: Platform,
    mode: FaultMode,
    #[serde(default)]
    add: bool,
    from: Option<String>,
    r#for: Option<String>,
    for_requests: Option<u64>,
    #[serde(default)]
    delay_ms: u64,
    delay_max_ms: Option<u64>,
    retry_after_s: Option<u64>,
    share: Option<f64>,
    status: Option<u16>,
    #[serde(default)]
    ids: Vec<String>,
    poison_every: Option<u64>,
    percent: Option<u32>,
    minutes: Option<u64>,
}

/// Why something is no fault.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidFault(String);

fn invalid<T>(why: impl Into<String>) -> Result<T, InvalidFault> {
    Err(InvalidFault(why.into()))
}

impl FaultRequest {
    /// What it is about.
    pub(in crate::sandbox) const fn platform(&self) -> Platform {
        self.platform
    }

    /// Whether the platform's other faults stay.
    pub(in crate::sandbox) const fn adds(&self) -> bool {
        self.add
    }

    /// The fault, counted from `now`.
    pub(in crate::sandbox) fn fault(&self, now: Time) -> Result<Fault, InvalidFault> {
        let mode = self.mode;
        let begins = self.from.as_deref().map(|text| begin(text, now)).transpose()?;
        let lasts = self.r#for.as_deref().map(|text| span("for", text)).transpose()?;
        let share = self.share.unwrap_or_default();
        if (mode == FaultMode::ErrorRate) != self.share.is_some() || !(0.0..=1.0).contains(&share) {
            return invalid("error_rate, and no other mode, wants a share from 0 to 1");
        }
        if self.status.is_some_and(|status| mode != FaultMode::ErrorRate || !(500..=599).contains(&status)) {
            return invalid("status is for error_rate: 500 to 599");
        }
        let about_ids = mode == FaultMode::Partial || mode == FaultMode::Poison;
        if !self.ids.is_empty() && !about_ids || self.poison_every.is_some() && mode != FaultMode::Poison {
            return invalid("ids are for partial and poison, poison_every is for poison");
        }
        if mode == FaultMode::Poison && self.ids.is_empty() && self.poison_every.is_none() {
            return invalid("poison wants ids or poison_every");
        }
        if self.poison_every == Some(0) || self.ids.iter().any(String::is_empty) {
            return invalid("poison_every is 1 or more, and no id is empty");
        }
        if (mode == FaultMode::Usage) != self.percent.is_some() || mode != FaultMode::Usage && self.minutes.is_some() {
            return invalid("usage, and no other mode, wants percent, and minutes if there are any");
        }
        if mode == FaultMode::Usage && self.platform != Platform::Meta {
            return invalid("usage is for meta");
        }
        if about_ids && self.platform == Platform::Oauth {
            return invalid("oauth has no events to refuse");
        }
        let delay = Duration::from_millis(self.delay_ms);
        let delay_max = self.delay_max_ms.map(Duration::from_millis);
        if delay_max.is_some_and(|max| max < delay) {
            return invalid("delay_max_ms must not be less than delay_ms");
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million")]
        let share_ppm = (share * f64::from(MILLION)).round() as u32;
        Ok(Fault {
            mode,
            delay,
            delay_max,
            retry_after: self.retry_after_s.map(Duration::from_secs),
            for_requests: self.for_requests,
            begins,
            ends: lasts.map(|span| begins.unwrap_or(now).plus(span)),
            share_ppm,
            status: self.status,
            ids: self.ids.clone(),
            every: self.poison_every,
            percent: self.percent.unwrap_or_default(),
            minutes: self.minutes.unwrap_or_default(),
        })
    }

    fn of(platform: Platform, mode: FaultMode) -> Self {
        Self {
            platform,
            mode,
            add: true,
            from: None,
            r#for: None,
            for_requests: None,
            delay_ms: 0,
            delay_max_ms: None,
            retry_after_s: None,
            share: None,
            status: None,
            ids: Vec::new(),
            poison_every: None,
            percent: None,
            minutes: None,
        }
    }

    /// What stands behind the mode: `slow=200ms`, `error_rate=0.1`.
    fn set_value(&mut self, value: &str) -> Result<(), InvalidFault> {
        match self.mode {
            FaultMode::ErrorRate => self.set("share", value),
            FaultMode::Throttle | FaultMode::Outage => self.set("retry_after", value),
            FaultMode::Slow => self.set("delay", value),
            FaultMode::Partial | FaultMode::Poison => self.set("ids", value),
            FaultMode::Usage => self.set("percent", value),
            mode => invalid(format!("{} takes no value", mode.as_str())),
        }
    }

    fn set(&mut self, name: &str, value: &str) -> Result<(), InvalidFault> {
        match name {
            "from" => self.from = Some(value.to_owned()),
            "for" => self.r#for = Some(value.to_owned()),
            "for_requests" => self.for_requests = Some(number(name, value)?),
            "delay" => match value.split_once('-') {
                Some((least, most)) => {
                    (self.delay_ms, self.delay_max_ms) = (ms(name, least)?, Some(ms(name, most)?));
                }
                None => self.delay_ms = ms(name, value)?,
            },
            "retry_after" => self.retry_after_s = Some(span(name, value)?.as_secs()),
            "share" => self.share = Some(number(name, value)?),
            "status" => self.status = Some(number(name, value)?),
            "ids" => self.ids = value.split(',').map(str::to_owned).collect(),
            "poison_every" => self.poison_every = Some(number(name, value)?),
            "percent" => self.percent = Some(number(name, value.trim_end_matches('%'))?),
            "minutes" => self.minutes = Some(number(name, value)?),
            _ => {
                return invalid(format!(
                    "{name} is no setting; known: from, for, for_requests, delay, retry_after, share, status, ids, \
                     poison_every, percent, minutes"
                ));
            }
        }
        Ok(())
    }
}

/// Reads the form of the command line; such a fault is always added to those that are there.
impl FromStr for FaultRequest {
    type Err = InvalidFault;

    fn from_str(text: &str) -> Result<Self, InvalidFault> {
        let mut parts = text.split(':');
        let (platform, mode) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
        let Some(platform) = Platform::named(platform) else {
            let known = Platform::ALL.map(Platform::as_str).join(", ");
            return invalid(format!("wants PLATFORM:MODE, such as meta:outage:20s; platforms: {known}"));
        };
        let (name, value) = mode.split_once('=').map_or((mode, None), |(name, value)| (name, Some(value)));
        let mut request = if name == "poison_every" {
            let mut request = Self::of(platform, FaultMode::Poison);
            request.set(name, value.unwrap_or_default())?;
            request
        } else {
            let Some(mode) = FaultMode::ALL.into_iter().find(|mode| mode.as_str() == name) else {
                let known = FaultMode::ALL.map(FaultMode::as_str).join(", ");
                return invalid(format!("{name:?} is no mode; modes: {known}"));
            };
            let mut request = Self::of(platform, mode);
            value.map_or(Ok(()), |value| request.set_value(value))?;
            request
        };
        for part in parts {
            match part.split_once('=') {
                Some((name, value)) => request.set(name, value)?,
                None if part == "once" => request.for_requests = Some(1),
                None => request.set("for", part)?,
            }
        }
        // Said at once, not when it is put in force.
        request.fault(Time::default())?;
        Ok(request)
    }
}

fn number<T: FromStr>(name: &str, text: &str) -> Result<T, InvalidFault> {
    text.parse().or_else(|_| invalid(format!("{name} wants a number")))
}

fn span(name: &str, text: &str) -> Result<Duration, InvalidFault> {
    parse_duration(text).or_else(|error| invalid(format!("{name} {error}")))
}

fn ms(name: &str, text: &str) -> Result<u64, InvalidFault> {
    span(name, text).map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX))
}

/// A time, or how long from now.
fn begin(text: &str, now: Time) -> Result<Time, InvalidFault> {
    match parse_duration(text) {
        Ok(span) => Ok(now.plus(span)),
        Err(_) => {
            Time::parse(text).or_else(|_| invalid("from wants a time such as 2026-11-20T08:15:00Z, or such as 10s"))
        }
    }
}
