//! Captures the windows of a pod for one viewer, and carries the viewer's input to them.
//! The X server's cookie comes in the environment, as hexadecimal digits in ROAM_X_COOKIE.

use std::os::fd::AsFd;
use std::process::ExitCode;

use anyhow::{Context as _, Result};
use clap::Parser;

/// Captures a session's windows for one viewer. Started by roam-keeper.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Inherited descriptor of the stream to the viewer.
    #[arg(long)]
    fd: i32,
    /// Inherited descriptor of a socket connected to the pod's X server.
    #[arg(long)]
    x_fd: i32,
    /// The process to end with: its successor would not know of this display.
    #[arg(long)]
    keeper: i32,
    /// Take no input from the viewer.
    #[arg(long)]
    view_only: bool,
}

fn main() -> ExitCode {
    match run(&Arguments::parse()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-display: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Result<()> {
    end_with(arguments.keeper)?;
    let hex = std::env::var("ROAM_X_COOKIE").context("ROAM_X_COOKIE is not set.")?;
    let cookie =
        roam_x11_proxy::cookie_from_hex(&hex).context("ROAM_X_COOKIE is not a row of hexadecimal digits.")?;
    let inherited = |fd: i32| {
        roam_sys::inherited::inherited(fd).with_context(|| format!("Descriptor {fd} was not passed on."))
    };
    roam_x11_proxy::compositor::run(roam_x11_proxy::compositor::Options {
        stream: inherited(arguments.fd)?,
        x: inherited(arguments.x_fd)?,
        cookie,
        view_only: arguments.view_only,
    })
}

/// Ends this process when that one, its parent, does.
fn end_with(parent: i32) -> Result<()> {
    let handle = roam_sys::spawn::pidfd_open(nix::unistd::Pid::from_raw(parent))
        .context("The keeper that started this is gone.")?;
    // Asked for after the handle is there: so the handle is the parent's, and not a later process's.
    anyhow::ensure!(nix::unistd::getppid().as_raw() == parent, "This is not the child of its keeper.");
    std::thread::spawn(move || {
        let mut keeper = [nix::poll::PollFd::new(handle.as_fd(), nix::poll::PollFlags::POLLIN)];
        while nix::poll::poll(&mut keeper, nix::poll::PollTimeout::NONE) == Err(nix::errno::Errno::EINTR) {}
        std::process::exit(0);
    });
    Ok(())
}
