//! `roam-agent`: the agent of this user on this machine.

use std::process::ExitCode;

use clap::Parser;

fn main() -> ExitCode {
    // A keeper is started through this program, so that it belongs to no one (`agent::spawn`); and
    // namespaces are tried in a process that ends (`agent::doctor`).
    use roam_agent::agent::{doctor, spawn};
    let mut arguments = std::env::args_os().skip(1);
    match arguments.next() {
        Some(word) if word == spawn::DETACH => return spawn::detach(arguments),
        Some(word) if word == doctor::PROBE => return doctor::probe(),
        _ => {}
    }
    ExitCode::from(roam_agent::agent::main(&roam_agent::agent::Options::parse()))
}
