//! The owner of one session: its pod, its output, its checkpoints and its moves.
//!
//! One `roam-keeper` serves one session; `roam-init` is pid 1 of the session's pod and survives the
//! keeper. [`pod`] makes and speaks to pods, [`init`] is what runs inside them; [`keeper`] is the
//! session's owner, [`server`] its socket, [`live`] a session that has a pod here, [`journal`]
//! what must be known after a crash.

pub mod adoption;
pub mod bundle;
pub mod carry;
pub mod engine;
pub mod exec;
pub mod init;
pub mod journal;
pub mod keeper;
pub mod live;
pub mod log;
pub mod migration;
pub mod park;
pub mod parked_file;
pub mod paths;
pub mod pod;
pub mod screen;
pub mod server;
pub mod start;
pub mod wire;
