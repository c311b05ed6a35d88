//! The agent's side of the relay: heartbeats and findings to the operator, orders and rules
//! from it.
//!
//! Nothing here stands in the way of anything else: while the relay cannot be reached, the last
//! good rules (at first the built-in ones) are in use and findings go to standard output as
//! always.
//!
//! * [`access`]: where the relay is, and as whom to come.
//! * [`connection`]: HTTP/1.1 over TLS, with limits.
//! * [`outbox`]: findings on their way.
//! * [`rules`]: from a bundle's bytes to rules in use.
//! * [`client`]: the conversation.

pub mod access;
pub mod client;
pub mod connection;
pub mod outbox;
pub mod rules;

pub use access::Access;
pub use client::Client;
pub use outbox::{Outbox, Relayed};
