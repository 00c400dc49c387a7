//! The session's own display, inside the pod: X server, session bus and window manager.
//!
//! All three are started before the app, are helpers of the pod and are carried with the session.
//! [`xserver`] chooses the X server; [`attach`] connects a viewer to it.

pub mod attach;
mod xserver;

use std::io::{self, Read};
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use roam_api::error::Failure;
use roam_api::init::{Request, Role};

use crate::journal::Facts;
use crate::paths::{companion, in_path};
use crate::pod::handle::Pod;

/// The display number inside every pod.
pub const DISPLAY: u8 = 0;

/// Starts the helpers and returns the facts with what programs need to find them.
///
/// # Errors
/// What could not be started, and what to install.
pub fn start(pod: &Pod, mut facts: Facts) -> Result<Facts, Failure> {
    let server = xserver::choose()?;
    let bus = in_path("dbus-daemon").ok_or_else(|| {
        Failure::refused("A session with a screen needs dbus-daemon.").next("Install the package dbus.")
    })?;
    let manager = companion("roam-wm").map_err(|e| Failure::refused(format!("{e}.")))?;
    let runtime = PathBuf::from(std::ffi::OsStr::from_bytes(&facts.runtime_dir));

    let cookie: [u8; 16] = rand::random();
    let authority = runtime.join("Xauthority");
    let outside = roam_checkpoint::pod::Pod::root(pod).join(
        authority.strip_prefix("/").map_err(|_| Failure::refused("XDG_RUNTIME_DIR is no absolute path."))?,
    );
    write_authority(&outside, &cookie).map_err(|e| not_started("the X server's cookie file", &e))?;

    let mut set = |name: &str, value: &[u8]| facts.env.push((name.into(), value.to_vec()));
    set("DISPLAY", format!(":{DISPLAY}").as_bytes());
    set("XAUTHORITY", authority.as_os_str().as_bytes());
    let address = format!("unix:path={}", runtime.join("bus").display());
    set("DBUS_SESSION_BUS_ADDRESS", address.as_bytes());
    facts.cookie = Some(cookie.to_vec());

    let argv = xserver::command_line(&server, DISPLAY, &authority);
    let said = helper(pod, &facts, argv).map_err(|e| not_started("the X server", &e))?;
    if said.trim() != DISPLAY.to_string() {
        return Err(Failure::undone(format!("{} did not start.", server.display()))
            .next("Run it by hand to see why: the session's log does not hold its messages."));
    }
    let argv = [
        bus.as_os_str().as_bytes(),
        b"--session",
        b"--fork",
        b"--nopidfile",
        b"--print-pid=1",
        format!("--address={address}").as_bytes(),
    ]
    .map(<[u8]>::to_vec)
    .to_vec();
    let said = helper(pod, &facts, argv).map_err(|e| not_started("the session bus", &e))?;
    let pid = said.trim().parse().map_err(|_| Failure::undone("The session bus did not start."))?;
    pod.client()
        .ok(&Request::Track { pid, role: Role::Helper, status: None }, &[])
        .map_err(|e| not_started("the session bus", &e))?;
    let null = pod.null().map_err(|e| not_started("the window manager", &e))?;
    start_one(pod, &facts, vec![manager.as_os_str().as_bytes().to_vec()], &null, &null)
        .map_err(|e| not_started("the window manager", &e))?;
    Ok(facts)
}

/// Starts a helper that says one thing on its standard output when it is ready and closes it then;
/// returns what it said.
fn helper(pod: &Pod, facts: &Facts, argv: Vec<Vec<u8>>) -> io::Result<String> {
    let (mut said, say) = io::pipe()?;
    let null = pod.null()?;
    start_one(pod, facts, argv, &say, &null)?;
    drop(say);
    let mut text = String::new();
    said.read_to_string(&mut text)?;
    Ok(text)
}

fn start_one(
    pod: &Pod,
    facts: &Facts,
    argv: Vec<Vec<u8>>,
    stdout: &impl AsFd,
    null: &std::fs::File,
) -> io::Result<()> {
    let request =
        Request::Start { role: Role::Helper, argv, env: facts.env.clone(), cwd: b"/".to_vec(), umask: 0o077 };
    pod.client().start(&request, &[null.as_fd(), stdout.as_fd(), null.as_fd()])?;
    Ok(())
}

/// An Xauthority file with one cookie that holds for every address.
fn write_authority(path: &Path, cookie: &[u8; 16]) -> io::Result<()> {
    const WILD: u16 = 0xffff;
    let mut bytes = WILD.to_be_bytes().to_vec();
    let number = DISPLAY.to_string();
    for field in [b"".as_slice(), number.as_bytes(), b"MIT-MAGIC-COOKIE-1", cookie] {
        bytes.extend_from_slice(&(field.len() as u16).to_be_bytes());
        bytes.extend_from_slice(field);
    }
    let mut options = std::fs::OpenOptions::new();
    std::os::unix::fs::OpenOptionsExt::mode(options.write(true).create_new(true), 0o600);
    io::Write::write_all(&mut options.open(path)?, &bytes)
}

fn not_started(what: &str, error: &io::Error) -> Failure {
    Failure::undone(format!("Starting {what} in the session failed: {error}."))
}
