//! Shows a session's windows on this screen.

use std::process::ExitCode;
use std::time::{Duration, UNIX_EPOCH};

use clap::Parser;
use roam_api::display::ENDED_WITH_KEYBOARD;
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
    /// When the person asked for the windows on this screen, in milliseconds since the epoch; without it
    /// somebody else did, and they come without taking the keyboard.
    #[arg(long, value_name = "UNIX_MS")]
    asked: Option<u64>,
}

fn main() -> ExitCode {
    let Arguments { fd, title, view_only, asked } = Arguments::parse();
    let asked = asked.and_then(|ms| UNIX_EPOCH.checked_add(Duration::from_millis(ms)));
    match run(Options { fd, title, view_only, asked }) {
        Ok(ended) if ended.had_keyboard => ExitCode::from(ENDED_WITH_KEYBOARD),
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-viewer: {error:#}");
            ExitCode::FAILURE
        }
    }
}
