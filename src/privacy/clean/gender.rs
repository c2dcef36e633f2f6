//! Genders, from the words that people and forms use.

/// The two genders Meta knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gender {
    /// Female.
    Female,
    /// Male.
    Male,
}

impl Gender {
    /// Reads a letter, a word or a form of address; anything else is none that a platform takes.
    #[must_use]
    pub fn read(text: &str) -> Option<Self> {
        let word = text.trim().trim_end_matches('.').to_lowercase();
        match word.as_str() {
            "f" | "female" | "woman" | "girl" | "mrs" | "ms" | "miss" | "she" | "w" | "weiblich" | "frau" | "femme"
            | "féminin" | "feminin" | "mujer" | "femenino" | "donna" | "femmina" | "vrouw" => Some(Self::Female),
            "m" | "male" | "man" | "boy" | "mr" | "he" | "männlich" | "maennlich" | "mann" | "herr" | "homme"
            | "masculin" | "hombre" | "masculino" | "uomo" | "maschio" => Some(Self::Male),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_for_a_gender_are_understood_and_others_left_out() {
        for female in ["f", "F ", "Female", "woman", "Mrs.", "weiblich", "W"] {
            assert_eq!(Gender::read(female), Some(Gender::Female), "{female}");
        }
        for male in ["m", " M", "MALE", "Mr", "Männlich"] {
            assert_eq!(Gender::read(male), Some(Gender::Male), "{male}");
        }
        for other in ["", " ", "d", "x", "divers", "non-binary", "unknown", "0"] {
            assert_eq!(Gender::read(other), None, "{other}");
        }
    }
}
