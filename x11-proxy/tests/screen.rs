//! The screen end to end, on real X servers with real apps: what a person does at the viewer's
//! windows reaches the app, and what the app shows is there pixel for pixel.

mod harness;

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::process::Command;
use std::sync::mpsc;

use harness::{LIMIT, Pair, Process};
use roam_api::charge::Told;
use roam_api::codec::{HEADER_LEN, decode_body, parse_header};
use roam_api::display::ToViewer;

/// A terminal whose shell passes one line on, and what it passed on.
fn terminal(pair: &Pair) -> (Process, mpsc::Receiver<String>) {
    let fifo = pair.folder.path().join("line");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let script = r#"printf 'type: '; IFS= read -r line; printf '%s' "$line" > "$0"; exec cat"#;
    let mut command = Command::new("xterm");
    command.args(["-T", "terminal", "-e", "sh", "-c", script]).arg(&fifo);
    let process = pair.app.run(&mut command);
    let (sender, receiver) = mpsc::channel();
    std::thread::spawn(move || sender.send(std::fs::read_to_string(fifo).unwrap()));
    (process, receiver)
}

fn same_pixels(pair: &Pair) {
    let app = pair.app.find("terminal").unwrap();
    pair.user.until("the app's own pixels", |user| {
        let window = user.find("terminal")?;
        (pair.app.pixels(app, true)? == user.pixels(window, false)?).then_some(())
    });
}

#[test]
fn what_is_typed_reaches_the_app_and_pixels_are_equal() {
    for window_manager in [true, false] {
        let pair = Pair::start(window_manager);
        let (_terminal, line) = terminal(&pair);
        let _attached = pair.attach();
        let window = pair.user.painted("terminal");
        assert_eq!(pair.user.title(window).unwrap(), "terminal — pad@desk");
        pair.user.click(window, 100, 100);
        pair.user.until("the app's cursor", |user| (user.cursor() == pair.app.cursor()).then_some(()));
        pair.user.until("the keyboard", |user| user.has_keyboard(window).then_some(()));
        pair.user.type_text("Hello, World! ~{}[]<>|\\\n");
        assert_eq!(line.recv_timeout(LIMIT).unwrap(), "Hello, World! ~{}[]<>|\\");
        same_pixels(&pair);
    }
}

#[test]
fn sizes_follow_both_ways_and_close_ends_the_app() {
    let pair = Pair::start(true);
    let (mut terminal, _line) = terminal(&pair);
    let mut attached = pair.attach();
    let window = pair.user.painted("terminal");
    let app = pair.app.find("terminal").unwrap();
    for (desk, resized) in [(&pair.user, window), (&pair.app, app)] {
        let (_, _, width, height) = desk.place(resized);
        desk.resize(resized, u32::from(width) + 120, u32::from(height) + 130);
        pair.user.until("equal sizes", |user| {
            let (here, there) = (user.place(window), pair.app.place(app));
            (here.2 > width && (here.2, here.3) == (there.2, there.3)).then_some(())
        });
        same_pixels(&pair);
    }
    pair.user.ask(window, "_NET_CLOSE_WINDOW", [0, 2, 0, 0, 0]);
    pair.user.until("no window", |user| user.find("terminal").is_none().then_some(()));
    terminal.ended_well();
    // The session may open windows again: the viewer stays until its stream ends.
    assert!(attached.viewer.0.try_wait().unwrap().is_none());
    attached.display.0.kill().unwrap();
    assert!(attached.viewer.ended_well());
}

#[test]
fn an_open_menu_outlives_display_and_viewer() {
    let pair = Pair::start(true);
    let _calculator = pair.app.run(Command::new("galculator").env("HOME", pair.folder.path()));
    let attached = pair.attach();
    let window = pair.user.painted("galculator");
    pair.user.click(window, 20, 12);
    pair.user.until("the menu", |user| (!user.popups().is_empty()).then_some(()));
    drop(attached);
    pair.user.until("no window", |user| user.find("galculator").is_none().then_some(()));
    assert_eq!(pair.app.popups().len(), 1);

    let _attached = pair.attach();
    let window = pair.user.painted("galculator");
    // The menu is there again, as far from its window as the app put it.
    let app = pair.app.find("galculator").unwrap();
    let offset = |desk: &harness::Desk, window| {
        let (popup, parent) = (desk.place(*desk.popups().first()?), desk.place(window));
        Some((popup.0 - parent.0, popup.1 - parent.1, popup.2, popup.3))
    };
    let wanted = offset(&pair.app, app);
    assert!(wanted.is_some());
    pair.user.until("the menu in its place", |user| (offset(user, window) == wanted).then_some(()));
    // It still has the keyboard.
    pair.user.type_text("\u{1b}");
    pair.user.until("no menu", |user| user.popups().is_empty().then_some(()));
}

#[test]
fn garbage_ends_that_display_only_and_every_attach_is_told_everything() {
    let pair = Pair::start(true);
    let (_terminal, _line) = terminal(&pair);
    let _attached = pair.attach();
    pair.user.painted("terminal");

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    let (mut display, _keeper) = pair.display(theirs.into());
    ours.write_all(b"GET / HTTP/1.1\r\n\r\n").unwrap();
    assert!(!display.ended_well());

    let (mut ours, theirs) = UnixStream::pair().unwrap();
    ours.set_read_timeout(Some(LIMIT)).unwrap();
    let (_second, mut keeper) = pair.display(theirs.into());
    let mut titles = Vec::new();
    loop {
        let message: ToViewer = hear(&mut ours);
        message.check().unwrap();
        match message {
            ToViewer::Window(info) => titles.push(info.title),
            ToViewer::Frame { last: true, .. } => break,
            _ => {}
        }
    }
    assert_eq!(titles, ["terminal"]);
    assert_eq!(hear::<Told>(&mut keeper), Told::Titles(titles));
    same_pixels(&pair);
}

/// The next message of a stream.
fn hear<T: serde::de::DeserializeOwned>(stream: &mut UnixStream) -> T {
    let mut header = [0; HEADER_LEN];
    stream.read_exact(&mut header).unwrap();
    let mut body = vec![0; parse_header(header).unwrap().len];
    stream.read_exact(&mut body).unwrap();
    decode_body(&body).unwrap()
}

#[test]
fn a_display_ends_with_its_keeper() {
    let pair = Pair::start(true);
    let (_viewer, theirs) = UnixStream::pair().unwrap();
    let (mut display, keeper) = pair.display(theirs.into());
    drop(keeper);
    assert!(display.ended_well());
}
