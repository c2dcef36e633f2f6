//! The nouns everything else speaks in: events, people, visits, money, time, deliveries. No I/O.

mod click;
mod consent;
mod delivery;
mod duration;
mod event;
mod id;
mod identity;
mod link;
mod money;
mod sensitive;
mod settings;
mod time;
mod visit;

pub use click::{ChoiceReason, ClickChoice, ClickId, ClickKind, ClickRule, Cookies, Credit};
pub use consent::{Choice, Consent};
pub use delivery::{
    Attempt, DestinationId, Failure, FailureClass, FileMark, NewDelivery, NewEvent, NewState, Outcome, SkipReason,
    WaitReason,
};
pub use duration::{InvalidDuration, parse_duration};
pub use event::{
    ActionSource, Attribution, Awaited, Change, Context, EventName, Item, JoinedBy, Lookup, Properties, RawContext,
    RawEvent, SealedEvent,
};
pub use id::{DestinationName, EventId, InvalidId, SourceName, TransactionId, VisitorId};
pub use identity::{
    Digest, IdentityKey, IdentityKind, InvalidDigest, MetaDigests, Normal, Raw, RawUser, SealedUser, Spelled, kind,
};
pub(crate) use identity::{contains_email, looks_like_contact_data};
pub use link::{Click, ClickVerdict, Link, LinkKey, LinkState, Split, UtmRule, Variant};
pub use money::{Currency, InvalidMoney, Money, parse_decimal};
pub use sensitive::{Secret, Sensitive};
pub use settings::{Problem, Settings, plain_url, unavailable};
pub use time::{Clock, InvalidTime, MockClock, SystemClock, Time};
pub use visit::{Action, Left, Observation, Place, Screen, Utm, Visit, Visitor};
