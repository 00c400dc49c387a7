//! The agent of a machine, and the `roam` command line that talks to it.
//!
//! | module | what it does |
//! |---|---|
//! | [`paths`] | where state, sockets and other Roam programs are |
//! | [`names`] | session names, and which session a person means (pure) |
//! | [`client`] | connecting to the agent, starting it if there is none |
//! | [`cli`] | the command line: arguments, output, exit codes |
//! | [`agent`] | the agent itself |

pub mod agent;
pub mod cli;
pub mod client;
pub mod names;
pub mod paths;
