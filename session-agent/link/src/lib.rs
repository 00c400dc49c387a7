//! The link between machines: who a machine is, how it is found, how two of them talk.
//!
//! | module | what it does |
//! |---|---|
//! | [`identity`] | a machine's Ed25519 key and the file it lives in |
//! | [`raw_key`] | TLS with bare Ed25519 keys instead of certificates, pinned on both sides |
//! | [`frames`] | reading and writing `roam_api::codec` frames on any byte stream |
//! | [`endpoint`] | QUIC connections between agents |
//! | [`discovery`] | finding machines by mDNS |
//! | [`pairing`] | pairing by a six-digit code (pure) |
//! | [`lane`] | keeper-to-keeper TLS over TCP with one-time keys |
//!
//! Nothing here decides what a machine may do: that is the agent's.

pub mod discovery;
pub mod endpoint;
pub mod frames;
pub mod identity;
pub mod lane;
pub mod pairing;
pub mod raw_key;
