//! What a person meant, before any platform's spelling: phone numbers, countries, dates of birth, genders.

mod birth;
mod country;
mod gender;
mod telephone;

pub use birth::BirthDate;
pub use country::{Country, InvalidCountry};
pub use gender::Gender;
pub use telephone::Telephone;
pub(super) use telephone::is_valid_international;
