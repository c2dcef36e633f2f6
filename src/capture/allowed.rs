//! What may be kept of a visitor.

use super::wire::AllowedWire;
use crate::{
    model::{Choice, Consent},
    web::Word,
};

/// What the visitor allowed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Allowed {
    /// As events have it.
    pub(super) consent: Consent,
    /// Whether something may be stored in the browser for ads.
    storage: Choice,
}

/// What follows from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keeping {
    /// All that is told.
    All,
    /// That the visitor said no, and nothing else.
    Refusal,
    /// Nothing: it is counted.
    Nothing,
}

impl Allowed {
    /// Reads what was posted. A browser that signals Global Privacy Control says no to what goes to ad platforms.
    /// Source: <https://w3c.github.io/gpc/>, read 2026-11-20.
    pub(super) fn of(wire: AllowedWire, privacy_control: bool) -> Self {
        let choice = |given: Option<Word<Choice>>| given.map(|Word(choice)| choice).unwrap_or_default();
        let (storage, analytics) = (choice(wire.ad_storage), choice(wire.analytics_storage));
        let mut consent =
            Consent { ad_user_data: choice(wire.ad_user_data), ad_personalization: choice(wire.ad_personalization) };
        if privacy_control {
            consent = Consent { ad_user_data: Choice::Denied, ad_personalization: Choice::Denied };
        }
        // Who refuses every kind of storage refuses the cookie, whatever it is for.
        let storage = if storage == Choice::Unknown && analytics == Choice::Denied { analytics } else { storage };
        Self { consent, storage }
    }

    /// What is said here, with `earlier` where nothing is.
    pub(super) fn or(self, earlier: Consent) -> Self {
        Self { consent: self.consent.or(earlier), ..self }
    }

    /// What may be kept; `required` says that nothing is without a yes, `known` that the visitor has an id already.
    pub(super) fn keeping(self, required: bool, known: bool) -> Keeping {
        let denied = self.consent.ad_user_data == Choice::Denied || self.storage == Choice::Denied;
        let granted = self.consent.ad_user_data == Choice::Granted && !denied;
        match (denied, granted || !required) {
            (false, true) => Keeping::All,
            // A later sale is to find the no: it is kept with whom it is about, if that is known or may be.
            (true, _) if known => Keeping::Refusal,
            (true, _) if !required && self.storage != Choice::Denied => Keeping::Refusal,
            _ => Keeping::Nothing,
        }
    }

    /// That of the two which goes with the data to ad platforms: who refuses to have ids stored has refused that too.
    pub(super) fn told(self) -> Consent {
        match self.storage {
            Choice::Denied => Consent { ad_user_data: Choice::Denied, ..self.consent },
            _ => self.consent,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allowed(ad_user_data: Choice, storage: Choice) -> Allowed {
        Allowed { consent: Consent { ad_user_data, ad_personalization: Choice::Unknown }, storage }
    }

    #[test]
    fn without_a_yes_nothing_is_kept_where_one_is_required() {
        use Choice::{Denied, Granted, Unknown};
        for (data, storage, required, known, keeping) in [
            (Unknown, Unknown, false, false, Keeping::All),
            (Granted, Unknown, true, false, Keeping::All),
            (Granted, Granted, true, false, Keeping::All),
            (Unknown, Unknown, true, false, Keeping::Nothing),
            (Unknown, Granted, true, false, Keeping::Nothing),
            (Denied, Unknown, true, false, Keeping::Nothing),
            (Granted, Denied, true, false, Keeping::Nothing),
            (Granted, Denied, false, false, Keeping::Nothing),
            (Denied, Unknown, false, false, Keeping::Refusal),
            (Denied, Unknown, true, true, Keeping::Refusal),
            (Unknown, Denied, true, true, Keeping::Refusal),
            (Unknown, Unknown, true, true, Keeping::Nothing),
        ] {
            let found = allowed(data, storage).keeping(required, known);
            assert_eq!(found, keeping, "{data:?} {storage:?} required {required} known {known}");
        }
    }

    #[test]
    fn privacy_control_outweighs_a_yes() {
        let yes = || AllowedWire { ad_user_data: Some(Word(Choice::Granted)), ..AllowedWire::default() };
        assert_eq!(Allowed::of(yes(), true).consent.ad_user_data, Choice::Denied);
        assert_eq!(Allowed::of(yes(), false).consent.ad_user_data, Choice::Granted);
        let none = AllowedWire { analytics_storage: Some(Word(Choice::Denied)), ..yes() };
        assert_eq!(Allowed::of(none, false).told().ad_user_data, Choice::Denied);
    }
}
