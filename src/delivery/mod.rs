//! Delivery: leases what is due, sends it, and settles what came of it.

pub mod oauth;
