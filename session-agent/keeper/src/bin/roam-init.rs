//! Pid 1 of a session's pod, and the program that makes pods.
//!
//! `roam-init create` makes a pod for the keeper at its standard input. `roam-init run LISTENER GUARD`
//! is then execed inside as pid 1. Neither is meant to be run by hand.

use std::os::fd::AsFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::process::ExitCode;

use roam_sys::inherited::inherited;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let result = match arguments.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["create"] => std::io::stdin()
            .as_fd()
            .try_clone_to_owned()
            .and_then(|keeper| roam_keeper::pod::create::main(UnixStream::from(keeper))),
        ["run", listener, guard] => run(listener, guard),
        ["--version"] => {
            println!("roam-init {}", env!("CARGO_PKG_VERSION"));
            Ok(())
        }
        _ => {
            eprintln!("roam-init is started by roam-keeper; there is nothing to do by hand.");
            return ExitCode::from(2);
        }
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-init: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(listener: &str, guard: &str) -> std::io::Result<()> {
    let number = |text: &str| text.parse().map_err(|_| std::io::Error::other("not a descriptor's number"));
    let listener = UnixListener::from(inherited(number(listener)?)?);
    let guard = UnixStream::from(inherited(number(guard)?)?);
    roam_sys::spawn::seal_descriptors()?;
    roam_keeper::init::run(listener, guard)
}
