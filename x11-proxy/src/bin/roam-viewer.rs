//! Shows a session's windows on this screen.

use std::process::ExitCode;

use clap::Parser;
use roam_x11_proxy::viewer::{Options, run};

/// Shows a session's windows as native ones. Started by roam-agent.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    /// Inherited descriptor of the stream to the display; without it, standard input and output.
    #[arg(long)]
    fd: Option<i32>,
    /// Added to every window's title.
    #[arg(long, default_value = "")]
    title: String,
    /// Send no input.
    #[arg(long)]
    view_only: bool,
}

fn main() -> ExitCode {
    let Arguments { fd, title, view_only } = Arguments::parse();
    match run(Options { fd, title, view_only }) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-viewer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
