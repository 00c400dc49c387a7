//! Which X server a session gets. The only place that knows.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use roam_api::error::Failure;

use crate::paths::in_path;

/// In the order of preference.
const KNOWN: [&str; 2] = ["Xvfb", "Xtigervnc"];

/// The screen on which windows are laid out; viewers show windows, not this.
const SIZE: &str = "2560x1440";

/// The installed X server.
///
/// # Errors
/// If there is none, with the package to install.
pub fn choose() -> Result<PathBuf, Failure> {
    KNOWN.iter().find_map(|name| in_path(name)).ok_or_else(|| {
        Failure::refused("A session with a screen needs an X server of its own, and none is installed.")
            .next("Install the package xvfb, or start the program with --no-screen.")
    })
}

/// Its command line: reachable only inside the pod and only with the cookie; says the display's number
/// on standard output when it is ready, and closes that.
#[must_use]
pub fn command_line(server: &Path, display: u8, authority: &Path) -> Vec<Vec<u8>> {
    let display = format!(":{display}");
    let common: [&[u8]; 12] = [
        server.as_os_str().as_bytes(),
        display.as_bytes(),
        b"-auth",
        authority.as_os_str().as_bytes(),
        b"-nolisten",
        b"tcp",
        b"-nolisten",
        b"local",
        b"-noreset",
        b"-displayfd",
        b"1",
        b"-dpi",
    ];
    let size: &[&[u8]] = if server.ends_with("Xtigervnc") {
        // No VNC port: only its X side is used.
        &[b"-geometry", SIZE.as_bytes(), b"-depth", b"24", b"-rfbport", b"-1", b"-SecurityTypes", b"None"]
    } else {
        &[b"-screen", b"0"]
    };
    let mut line: Vec<Vec<u8>> = common.iter().map(|arg| arg.to_vec()).collect();
    line.push(b"96".to_vec());
    line.extend(size.iter().map(|arg| arg.to_vec()));
    if !server.ends_with("Xtigervnc") {
        line.push(format!("{SIZE}x24").into_bytes());
    }
    line
}
