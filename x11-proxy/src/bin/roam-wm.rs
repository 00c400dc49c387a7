//! The window manager inside a pod. Takes DISPLAY and XAUTHORITY from the environment.

use std::process::ExitCode;

fn main() -> ExitCode {
    match roam_x11_proxy::wm::run() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-wm: {error:#}");
            ExitCode::FAILURE
        }
    }
}
