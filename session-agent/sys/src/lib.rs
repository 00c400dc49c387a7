//! The only `unsafe` code of Roam: one safe wrapper per system call, and what needs machine code.
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | arrays of system calls and their interpreter |
//! | [`descriptor`] | descriptors of this and other processes: duplicate, compare, look at |
//! | [`inherited`] | descriptors that a program was started with |
//! | [`inject`] | system calls made in a traced process |
//! | [`memory`] | another process's memory |
//! | [`pagemap`] | which pages a process has, and which it wrote |
//! | [`procfs`] | parsers of /proc |
//! | [`ptrace`] | tracing |
//! | [`stub`] | the program that a restore turns into a process |
//! | [`idmap`] | bind mounts with other owners |

pub mod batch;
pub mod descriptor;
pub mod idmap;
pub mod inherited;
pub mod inject;
pub mod memory;
pub mod pagemap;
pub mod procfs;
pub mod ptrace;
pub mod stub;
#[doc(hidden)]
pub mod testing;
