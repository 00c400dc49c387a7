//! The only `unsafe` code of Roam: one safe wrapper per system call, and what needs machine code.
//!
//! | module | what |
//! |---|---|
//! | [`batch`] | arrays of system calls and their interpreter |
//! | [`borrowed`] | a thread of a running program, borrowed for injections |
//! | [`caps`] | capabilities |
//! | [`confine`] | no_new_privs and the sessions' system call filter |
//! | [`descriptor`] | descriptors of this and other processes: duplicate, compare, look at |
//! | [`fdpass`] | descriptors over unix sockets |
//! | [`idmap`] | bind mounts with other owners |
//! | [`inherited`] | descriptors a program was started with |
//! | [`inject`] | system calls made in a traced process |
//! | [`limits`] | resource limits |
//! | [`memory`] | another process's memory |
//! | [`message_queue`] | POSIX message queues |
//! | [`multicast`] | groups of the loop |
//! | [`namespaces`] | the walls of a pod |
//! | [`options`] | what a kernel may have been built without |
//! | [`pagemap`] | which pages a process has, and which it wrote |
//! | [`notify`] | hearing of filters that programs install |
//! | [`pass`] | how injected calls get through filters |
//! | [`procfs`] | parsers of /proc |
//! | [`ptrace`] | tracing |
//! | [`sched`] | scheduling of a thread |
//! | [`socket`] | sockets looked at through a duplicate |
//! | [`soft_dirty`] | the bits by which older kernels note writes |
//! | [`stub`] | the program that a restore turns into a process |
//! | [`tcp_repair`] | what a TCP socket has not delivered |
//! | [`tracking`] | how written pages are found out here |
//! | [`tty`] | terminals, from their master side |
//! | [`unix_diag`] | the unix sockets of a network namespace |
//! | [`spawn`] | starting programs inside it |
//! | [`uffd`] | noting writes, marking areas |
//! | [`way_back`] | how a borrowed thread goes on when its tracer dies |
//! | [`xattr`] | extended attributes |
//! | [`xstate`] | where this processor keeps which registers |

pub mod batch;
pub mod borrowed;
pub mod caps;
pub mod confine;
pub mod descriptor;
pub mod fdpass;
pub mod idmap;
pub mod inherited;
pub mod inject;
pub mod limits;
pub mod mapped;
pub mod memory;
pub mod message_queue;
pub mod multicast;
pub mod namespaces;
pub mod notify;
pub mod options;
pub mod pagemap;
pub mod pass;
pub mod procfs;
pub mod ptrace;
pub mod runs;
pub mod sched;
pub mod socket;
pub mod soft_dirty;
pub mod spawn;
pub mod stub;
pub mod tcp_repair;
#[doc(hidden)]
pub mod testing;
pub mod tracking;
pub mod tty;
pub mod uffd;
pub mod unix_diag;
pub mod way_back;
pub mod xattr;
pub mod xstate;
