//! roam-lab: several machines on one, for tests, the demo and people.
//!
//! A machine is a set of namespaces held by its process 1 (`roam-lab internal init`); all the
//! machines' cables end in the bridge of one more process, the switch. Everything that a machine
//! writes lies in memory that goes with its namespaces, so that taking it down is one SIGKILL.
//!
//! ```text
//!   switch: network namespace, bridge br0 ── port-desk ═ eth0 of desk
//!                                         └─ port-laptop ═ eth0 of laptop
//!   $ROAM_LAB_DIR/lab.json      what stands (one writer at a time, by a lock)
//!                 home/         the one shared folder: HOME of every machine
//!                 NAME/log/     what the machine's services printed
//! ```
//! | module | what |
//! |---|---|
//! | [`state`] | the lab's folder, its lock, what stands |
//! | [`proc`] | processes of the lab: are they the same still, end them, wait for their end |
//! | [`machine`] | the namespaces, the root and process 1 of a machine |
//! | [`vm`] | the same as a virtual machine, with another kernel and processor |
//! | [`net`] | the switch, cables, rates and cuts |
//! | [`enter`] | commands inside a machine, as its user or as root |
//! | [`screen`] | X server, window manager, message bus, pictures |
//! | [`roam`] | agents, pairing, and which process plays which part |
//! | [`verbs`] | up, down, status: the order of it all |

pub mod enter;
pub mod machine;
pub mod net;
pub mod proc;
pub mod roam;
pub mod screen;
pub mod state;
pub mod verbs;
pub mod vm;
