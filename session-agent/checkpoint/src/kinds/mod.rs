//! One file per kernel object: its state, how it is captured, how it is made anew, its tests.

mod build;
mod clock;
pub mod descriptors;
pub mod device;
pub mod directory;
pub mod epoll;
pub mod eventfd;
pub mod external;
mod gather;
pub mod kernel_file;
pub mod memory;
pub mod memory_file;
pub mod open_file;
mod paths;
pub mod pidfd;
pub mod pipe;
pub mod process;
pub mod regular;
pub mod signalfd;
pub mod signals;
pub mod syscalls;
pub mod terminal;
#[cfg(test)]
mod testing;
pub mod threads;
pub mod timerfd;
pub mod timers;
pub mod tree;
mod tty_queue;
pub mod unix;
mod unix_build;
mod unix_queue;
pub mod vdso;
