//! Asks a platform whether it would take events: `check --live`. It goes over the transport that delivers, so that what
//! works here works there.

use std::{sync::Arc, time::Duration};

use super::https::{Https, NoAnswer};
use crate::{
    destinations::{Auth, Destination, GoogleCredentials, Profile, Rehearsal},
    model::{Clock, Failure, SealedEvent, Secret},
};

/// The longest one question may take, the access token for it included.
const TIMEOUT: Duration = Duration::from_secs(30);

/// One question to a platform, and what came of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Rehearsed {
    /// What was tried.
    pub what: &'static str,
    /// What works, or what is wrong and how it is put right. Holds no credential.
    pub result: Result<String, String>,
}

/// Asks everything that `destination` has to ask, one question after the other; nothing where it has no platform. `sample` is
/// an event that is not real.
pub async fn rehearse(destination: &dyn Destination, sample: &SealedEvent, clock: Arc<dyn Clock>) -> Vec<Rehearsed> {
    let rehearsals = destination.rehearsals(sample);
    if rehearsals.is_empty() {
        return Vec::new();
    }
    let profile = destination.profile();
    let https = match Https::new(profile, Arc::clone(&clock)) {
        Ok(https) => https,
        Err(error) => {
            return vec![Rehearsed { what: "a connection", result: Err(format!("cannot set up HTTPS: {error}")) }];
        }
    };
    let mut rehearsed = Vec::with_capacity(rehearsals.len());
    for Rehearsal { what, request, read } in rehearsals {
        let asked = tokio::time::timeout(TIMEOUT, https.send(profile, &request, clock.now())).await;
        let result = match asked {
            Ok(Ok(response)) => read(&response),
            Ok(Err(NoAnswer::Blocked(failure) | NoAnswer::Failed { failure, .. })) => Err(told(&failure)),
            Err(_) => Err(format!("no answer within {} seconds", TIMEOUT.as_secs())),
        };
        let result = match result {
            Ok(works) => Ok(without_secrets(&works, profile)),
            Err(wrong) => Err(without_secrets(&wrong, profile)),
        };
        rehearsed.push(Rehearsed { what, result });
    }
    rehearsed
}

fn told(failure: &Failure) -> String {
    let hint = match failure.code.as_str() {
        "connect" => ": is base_url right, and does the network let us out?",
        _ => "",
    };
    format!("{}: {}{hint}", failure.code, failure.message)
}

/// A platform may repeat the credential that it does not like.
fn without_secrets(text: &str, profile: &Profile) -> String {
    let secrets: Vec<&Secret> = match &profile.auth {
        Auth::None => Vec::new(),
        Auth::Query { value, .. } => vec![value],
        Auth::Google(auth) => match &auth.credentials {
            GoogleCredentials::Refresh { client_secret, refresh_token, .. } => vec![client_secret, refresh_token],
            GoogleCredentials::ServiceAccount { private_key, .. } => vec![private_key],
        },
    };
    let secrets = secrets.into_iter().map(|secret| secret.expose()).filter(|secret| !secret.is_empty());
    secrets.fold(text.to_owned(), |text, secret| text.replace(secret, "(credential)"))
}
