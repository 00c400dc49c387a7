//! The only `unsafe` code of Roam: one safe wrapper per system call, and what needs machine code.
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | arrays of system calls and their interpreter |
//! | [`descriptor`] | descriptors of this and other processes: duplicate, compare, look at |
//! | [`inherited`] | descriptors that a program was started with |
//! | [`caps`] | capabilities |
//! | [`confine`] | no_new_privs and the sessions' system call filter |
//! | [`fdpass`] | descriptors over unix sockets |
//! | [`idmap`] | bind mounts with other owners |
//! | [`inject`] | system calls made in a traced process |
//! | [`memory`] | another process's memory |
//! | [`namespaces`] | the walls of a pod |
//! | [`pagemap`] | which pages a process has, and which it wrote |
//! | [`procfs`] | parsers of /proc |
//! | [`ptrace`] | tracing |
//! | [`socket`] | sockets looked at through a duplicate |
//! | [`stub`] | the program that a restore turns into a process |
//! | [`unix_diag`] | the unix sockets of a network namespace |
//! | [`spawn`] | starting programs inside it |

pub mod batch;
pub mod caps;
pub mod confine;
pub mod descriptor;
pub mod fdpass;
pub mod idmap;
pub mod inherited;
pub mod inject;
pub mod memory;
pub mod namespaces;
pub mod pagemap;
pub mod procfs;
pub mod ptrace;
pub mod socket;
pub mod spawn;
pub mod stub;
#[doc(hidden)]
pub mod testing;
pub mod unix_diag;
