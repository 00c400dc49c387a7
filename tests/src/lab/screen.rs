//! The screen of a machine: Xvfb, openbox and a message bus as its user, and pictures of it.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::process::Stdio;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, poll};
use x11rb::connection::Connection;
use x11rb::protocol::Event;
use x11rb::protocol::damage::{ConnectionExt as _, ReportLevel};
use x11rb::protocol::xproto::{
    AtomEnum, ChangeWindowAttributesAux, ConnectionExt, EventMask, ImageFormat, ImageOrder,
};

use super::enter::{self, as_user, roam_lab};
use super::roam;
use super::state::{Folder, Machine};
use crate::harness::wait::{self, Limit};

/// Width and height of every screen.
pub const SIZE: (u16, u16) = (1280, 800);

/// Starts what is missing of X server, window manager and message bus; returns when all are ready.
pub fn start(folder: &Folder, machine: &Machine) -> Result<()> {
    let running: Vec<String> = roam::running(machine)?.into_iter().map(|process| process.name).collect();
    let runs = |name: &str| running.iter().any(|running| running == name);
    if !runs("Xvfb") {
        start_server(folder, machine)?;
    }
    if !runs("openbox") {
        service(folder, machine, &["openbox", "--sm-disable"])?
            .stdout(folder.log(&machine.name, "openbox")?)
            .status()?;
        let mut wait_for_it = as_user(machine, roam_lab());
        wait::success(wait_for_it.args(["internal", "wait-wm"]), Limit::seconds(20))
            .context("openbox did not start")?;
    }
    // Pictures of two machines are told apart at a glance.
    let colour = ["#31415e", "#5e4331", "#315e3a", "#56315e"][usize::from(machine.number - 1) % 4];
    wait::success(as_user(machine, "xsetroot").args(["-solid", colour]), Limit::seconds(20))?;
    if !runs("dbus-daemon") {
        let bus = machine.runtime().join("bus");
        let address = format!("--address=unix:path={}", bus.display());
        service(folder, machine, &["dbus-daemon", "--session", "--nofork", "--nopidfile", &address])?
            .stdout(folder.log(&machine.name, "dbus-daemon")?)
            .status()?;
        let mut wait_for_it = as_user(machine, roam_lab());
        wait::success(wait_for_it.args(["internal", "wait-path"]).arg(&bus), Limit::seconds(20))?;
    }
    Ok(())
}

/// A program that goes on in the machine, with a session of its own and a log.
pub fn service(folder: &Folder, machine: &Machine, argv: &[&str]) -> Result<std::process::Command> {
    let mut command = enter::service(machine, argv);
    command.stdin(Stdio::null()).stdout(Stdio::null());
    command.stderr(folder.log(&machine.name, argv[0])?);
    Ok(command)
}

fn start_server(folder: &Folder, machine: &Machine) -> Result<()> {
    let display = machine.display();
    let mut keep = as_user(machine, "sh");
    let mut writer = keep.args(["-c", r#"umask 077; cat > "$XAUTHORITY""#]).stdin(Stdio::piped()).spawn()?;
    let cookie = authority(display.trim_start_matches(':'), rand::random());
    writer.stdin.take().context("stdin was piped")?.write_all(&cookie)?;
    if !writer.wait()?.success() {
        bail!("the X cookie could not be written");
    }
    let screen = format!("{}x{}x24", SIZE.0, SIZE.1);
    let authority = machine.runtime().join("Xauthority").display().to_string();
    let argv = [
        "Xvfb",
        &display,
        "-screen",
        "0",
        &screen,
        "-nolisten",
        "tcp",
        "-auth",
        &authority,
        "-displayfd",
        "1",
    ];
    let mut start = service(folder, machine, &argv)?.stdout(Stdio::piped()).spawn()?;
    // The server writes its number once it can be reached.
    let mut line = String::new();
    BufReader::new(start.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
    start.wait()?;
    if line.trim().is_empty() {
        bail!("Xvfb did not start; see {}", folder.of(&machine.name).join("log/Xvfb.log").display());
    }
    Ok(())
}

/// One entry of an Xauthority file, for any address and this display.
fn authority(display: &str, cookie: [u8; 16]) -> Vec<u8> {
    const ANY_ADDRESS: u16 = 0xffff;
    let mut entry = ANY_ADDRESS.to_be_bytes().to_vec();
    for field in [b"", display.as_bytes(), b"MIT-MAGIC-COOKIE-1", &cookie] {
        let length = u16::try_from(field.len()).unwrap_or(0);
        entry.extend_from_slice(&length.to_be_bytes());
        entry.extend_from_slice(field);
    }
    entry
}

/// A picture of the machine's whole screen, as PNG.
pub fn picture(machine: &Machine) -> Result<Vec<u8>> {
    let mut command = as_user(machine, roam_lab());
    let mut child =
        command.args(["internal", "picture"]).stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut png = Vec::new();
    child.stdout.take().context("stdout was piped")?.read_to_end(&mut png)?;
    if !child.wait()?.success() {
        bail!("no picture of {}'s screen", machine.name);
    }
    Ok(png)
}

/// `roam-lab internal picture`: the screen of `$DISPLAY` as PNG on stdout.
pub fn print_picture() -> Result<()> {
    let (connection, screen) = x11rb::connect(None).context("the X server can't be reached")?;
    let setup = connection.setup();
    let screen = &setup.roots[screen];
    let (width, height) = (screen.width_in_pixels, screen.height_in_pixels);
    let image =
        connection.get_image(ImageFormat::Z_PIXMAP, screen.root, 0, 0, width, height, u32::MAX)?.reply()?;
    if image.data.len() != usize::from(width) * usize::from(height) * 4 || image.depth < 24 {
        bail!("the screen has not 24 bits a pixel");
    }
    let least_first = setup.image_byte_order == ImageOrder::LSB_FIRST;
    let rgb: Vec<u8> = image
        .data
        .chunks_exact(4)
        .flat_map(|p| if least_first { [p[2], p[1], p[0]] } else { [p[1], p[2], p[3]] })
        .collect();
    let mut encoder = png::Encoder::new(std::io::stdout().lock(), width.into(), height.into());
    encoder.set_color(png::ColorType::Rgb);
    encoder.set_depth(png::BitDepth::Eight);
    encoder.write_header()?.write_image_data(&rgb)?;
    Ok(())
}

/// `roam-lab internal settle`: ends once nothing has been drawn for a while. A blinking cursor rests
/// longer than that between its blinks.
pub fn settle() -> Result<()> {
    const QUIET: u16 = 450;
    let (connection, screen) = x11rb::connect(None).context("the X server can't be reached")?;
    let root = connection.setup().roots[screen].root;
    connection.damage_query_version(1, 1)?.reply().context("the X server has no DAMAGE")?;
    let damage = connection.generate_id()?;
    connection.damage_create(damage, root, ReportLevel::NON_EMPTY)?.check()?;
    loop {
        while let Some(event) = connection.poll_for_event()? {
            if matches!(event, Event::DamageNotify(_)) {
                connection.damage_subtract(damage, x11rb::NONE, x11rb::NONE)?;
            }
        }
        connection.flush()?;
        let mut watched = [PollFd::new(connection.stream().as_fd(), PollFlags::POLLIN)];
        if poll(&mut watched, QUIET)? == 0 {
            return Ok(());
        }
    }
}

/// `roam-lab internal wait-wm`: ends once a window manager has announced itself.
pub fn wait_for_manager() -> Result<()> {
    let (connection, screen) = x11rb::connect(None).context("the X server can't be reached")?;
    let root = connection.setup().roots[screen].root;
    let announced = connection.intern_atom(false, b"_NET_SUPPORTING_WM_CHECK")?.reply()?.atom;
    let events = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
    connection.change_window_attributes(root, &events)?.check()?;
    loop {
        let property = connection.get_property(false, root, announced, AtomEnum::WINDOW, 0, 1)?.reply()?;
        if property.value_len > 0 {
            return Ok(());
        }
        while !matches!(connection.wait_for_event()?, Event::PropertyNotify(event) if event.atom == announced)
        {
        }
    }
}

/// Waits until the window in front is one whose title holds these words.
pub fn wait_for_front(words: &str, limit: Duration) -> Result<()> {
    let until = Instant::now() + limit;
    let (connection, screen) = x11rb::connect(None).context("the X server can't be reached")?;
    let root = connection.setup().roots[screen].root;
    let atom = |name: &[u8]| -> Result<u32> { Ok(connection.intern_atom(false, name)?.reply()?.atom) };
    let (active, title) = (atom(b"_NET_ACTIVE_WINDOW")?, atom(b"_NET_WM_NAME")?);
    let events = ChangeWindowAttributesAux::new().event_mask(EventMask::PROPERTY_CHANGE);
    connection.change_window_attributes(root, &events)?.check()?;
    loop {
        let property = connection.get_property(false, root, active, AtomEnum::WINDOW, 0, 1)?.reply()?;
        let front = property.value32().and_then(|mut windows| windows.next()).unwrap_or(x11rb::NONE);
        let name = connection.get_property(false, front, title, AtomEnum::ANY, 0, 256)?.reply();
        let name = name.map_or_else(|_| String::new(), |name| String::from_utf8_lossy(&name.value).into());
        if name.contains(words) {
            return Ok(());
        }
        while connection.poll_for_event()?.is_none() {
            let left = until.saturating_duration_since(Instant::now());
            let mut watched = [PollFd::new(connection.stream().as_fd(), PollFlags::POLLIN)];
            if left.is_zero() || poll(&mut watched, u16::try_from(left.as_millis()).unwrap_or(u16::MAX))? == 0
            {
                bail!("{words:?} does not come to the front within {} s; {name:?} is there", limit.as_secs());
            }
        }
    }
}

/// Where a window is on the screen, without its frame, and how large: left, top, width, height.
pub fn place(window: u32) -> Result<(i16, i16, u16, u16)> {
    let (connection, screen) = x11rb::connect(None).context("the X server can't be reached")?;
    let root = connection.setup().roots[screen].root;
    let size = connection.get_geometry(window)?.reply()?;
    let corner = connection.translate_coordinates(window, root, 0, 0)?.reply()?;
    Ok((corner.dst_x, corner.dst_y, size.width, size.height))
}

#[cfg(test)]
mod tests {
    use super::authority;

    #[test]
    fn an_authority_entry_has_five_fields() {
        let entry = authority("7", [9; 16]);
        assert_eq!(&entry[..7], &[0xff, 0xff, 0, 0, 0, 1, b'7']);
        assert_eq!(entry.len(), 2 + 2 + 3 + 2 + 18 + 2 + 16);
    }
}
