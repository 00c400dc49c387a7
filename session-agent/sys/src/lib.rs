//! The only `unsafe` code of Roam: one safe wrapper per system call, and what needs machine code.
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | arrays of system calls and their interpreter |

pub mod batch;
