//! From the queue to the outcome: lease, prepare, send, interpret, settle or try again later.

pub mod file_sink;
pub mod oauth;
