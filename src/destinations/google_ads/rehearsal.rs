//! Reads the answer to an upload that Google only validates.

use super::{answer, codes};
use crate::destinations::Response;

/// What works, or what is wrong and how it is put right.
pub(super) fn read(response: &Response) -> Result<String, String> {
    let faults = answer::faults_of(response)?;
    let (sample, wrong): (Vec<_>, Vec<_>) =
        faults.iter().partition(|fault| codes::is_about_the_sample(&fault.failure.code));
    let mut told: Vec<String> = wrong
        .iter()
        .map(|fault| {
            let failure = &fault.failure;
            let place = failure.field.as_ref().map(|field| format!(" at {field}")).unwrap_or_default();
            let advice = codes::advice(&failure.code).unwrap_or(&failure.message);
            format!("{}{place}: {advice}", failure.code)
        })
        .collect();
    told.dedup();
    if !told.is_empty() {
        return Err(told.join("; "));
    }
    Ok(match sample.first() {
        Some(fault) => format!(
            "the account takes uploads; of the sample Google says only what holds for an invented click ({})",
            fault.failure.code
        ),
        None => "the account takes uploads for every mapped event".to_owned(),
    })
}
