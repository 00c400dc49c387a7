//! A move between two machines (DESIGN §7).
//!
//! [`sender`] and [`receiver`] are the two state machines: pure, messages and times in, effects out. [`send`]
//! and [`receive`] are the loops around them: lane, engine, journal; [`orders`] is what the engine does at the source. [`lane`] is one connection between
//! the two keepers. What survives which crash is in `session-agent/docs/adr/`.

pub mod fit;
pub mod lane;
pub mod orders;
pub mod receive;
pub mod receiver;
pub mod send;
pub mod sender;
