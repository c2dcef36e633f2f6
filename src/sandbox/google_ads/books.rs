//! The conversions that were taken, as far as later rows depend on them. Bounded.

use std::{
    collections::{HashMap, VecDeque},
    time::Duration,
};

use super::{
    rules::{Adjustment, Conversion, Flaw, of_adjustment, of_upload},
    wire::AdjustmentType,
};
use crate::model::Time;

/// How old a conversion must be to be adjusted.
/// Source: google-ads 34.0.0, v26/errors/types/conversion_adjustment_upload_error.py, checked 2026-11-20.
const ADJUSTABLE_AFTER: Duration = Duration::from_secs(24 * 3600);
/// How old it may be. Source: as above.
const ADJUSTABLE_FOR: Duration = Duration::from_secs(54 * 24 * 3600);

/// A conversion that was taken.
struct Taken {
    at: Time,
    adjusted: Option<Time>,
    retracted: bool,
}

/// What was taken, found by order id and by click and time.
#[derive(Default)]
pub(in crate::sandbox) struct Books {
    taken: HashMap<u64, Taken>,
    serials: HashMap<u64, u64>,
    order: VecDeque<(u64, [Option<u64>; 2])>,
    next: u64,
}

impl Books {
    /// The number of the conversion that is the same, if there is one.
    pub(super) fn serial_of(&self, conversion: &Conversion) -> Option<u64> {
        let known = |key: Option<u64>| self.serials.get(&key?).copied();
        known(conversion.order).or_else(|| known(conversion.click))
    }

    /// Whether a conversion can be taken.
    pub(super) fn check_conversion(&self, conversion: &Conversion) -> Result<(), Flaw> {
        let known = |key: Option<u64>| key.is_some_and(|key| self.serials.contains_key(&key));
        if known(conversion.order) {
            return Err(of_upload("ORDER_ID_ALREADY_IN_USE", "order_id", "the order id was used before"));
        }
        if known(conversion.click) {
            return Err(of_upload("CLICK_CONVERSION_ALREADY_EXISTS", "", "the same click and time came before"));
        }
        Ok(())
    }

    pub(super) fn take_conversion(&mut self, conversion: &Conversion, max: usize) {
        let (serial, keys) = (self.next, [conversion.order, conversion.click]);
        self.next += 1;
        self.taken.insert(serial, Taken { at: conversion.at, adjusted: None, retracted: false });
        self.serials.extend(keys.into_iter().flatten().map(|key| (key, serial)));
        self.order.push_back((serial, keys));
        while self.order.len() > max {
            let Some((oldest, keys)) = self.order.pop_front() else { break };
            self.taken.remove(&oldest);
            for key in keys.into_iter().flatten() {
                self.serials.remove(&key);
            }
        }
    }

    /// Whether an adjustment can be taken.
    pub(super) fn check_adjustment(&self, adjustment: &Adjustment, now: Time) -> Result<(), Flaw> {
        let wrong = |code, message| Err(of_adjustment(code, "", message));
        let serial = self.serials.get(&adjustment.conversion);
        let Some(taken) = serial.and_then(|serial| self.taken.get(serial)) else {
            return wrong("CONVERSION_NOT_FOUND", "no such conversion");
        };
        if taken.retracted {
            return wrong("CONVERSION_ALREADY_RETRACTED", "the conversion was retracted before");
        }
        if now < taken.at.plus(ADJUSTABLE_AFTER) {
            return wrong("TOO_RECENT_CONVERSION", "the conversion is less than 24 hours old");
        }
        if now > taken.at.plus(ADJUSTABLE_FOR) {
            return wrong("CONVERSION_EXPIRED", "the conversion is more than 54 days old");
        }
        if adjustment.at <= taken.at {
            return wrong("ADJUSTMENT_PRECEDES_CONVERSION", "adjusted before it was converted");
        }
        match taken.adjusted {
            Some(at) if at == adjustment.at => wrong("RESTATEMENT_ALREADY_EXISTS", "adjusted at that time before"),
            Some(at) if at > adjustment.at => wrong("MORE_RECENT_RESTATEMENT_FOUND", "adjusted at a later time before"),
            _ => Ok(()),
        }
    }

    pub(super) fn take_adjustment(&mut self, adjustment: &Adjustment) {
        let serial = self.serials.get(&adjustment.conversion);
        if let Some(taken) = serial.and_then(|serial| self.taken.get_mut(serial)) {
            taken.adjusted = Some(adjustment.at);
            taken.retracted |= adjustment.kind == AdjustmentType::Retraction;
        }
    }
}
