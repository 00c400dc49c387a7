//! Every message that two parts of Roam exchange, and how a message becomes bytes.
//!
//! This crate does no I/O and knows no sockets. One module per conversation:
//!
//! | module | between | transport |
//! |---|---|---|
//! | [`agent`] | app or command line, and the agent | local socket `agent.sock` |
//! | [`keeper`] | the agent and a session's keeper | local socket `keeper.sock` |
//! | [`init`] | a keeper and the pod's pid 1 | local socket `init.sock` |
//! | [`peer`] | two agents | QUIC stream of the link |
//! | [`migration`] | two keepers, during a move | TLS lane |
//! | [`charge`] | a keeper and a roam-display it started | local socket, descriptors beside it |
//! | [`display`] | roam-display and a viewer | local socket, or relayed by the link |
//!
//! [`codec`] holds the one binary encoding (always size-limited) and the frame header;
//! [`session`] and [`error`] hold the words that all conversations share; [`envelope`] is the
//! outer form of a checkpoint image.

pub mod agent;
pub mod charge;
pub mod codec;
pub mod display;
pub mod envelope;
pub mod environment;
pub mod error;
pub mod init;
pub mod keeper;
pub mod migration;
pub mod peer;
pub mod session;
