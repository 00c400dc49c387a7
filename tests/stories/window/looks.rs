//! Pictures for people: several apps and machines, the dialogs, dark, small, and a fine screen.

use anyhow::Result;

use super::Window;
use crate::desktop::Key::{Named, Text};
use crate::kinds::roam;

/// Takes them, and makes sure that what they are of can be found.
pub fn looks(window: &Window) -> Result<()> {
    let desk = window.desk();
    roam(&window.lab, &["run", "--name", "notes", "--", "xterm", "-e", "vim.tiny notes.txt"])?;
    roam(&window.lab, &["send", "notes", "laptop"])?;
    roam(&window.lab, &["show", "notes", "--on", "desk"])?;
    roam(&window.lab, &["run", "galculator"])?;
    // While it starts it speaks with programs that come and go.
    desk.focus("galculator.*@")?;
    roam(&window.lab, &["park", "galculator"])?;
    window.open("desk", &[])?;
    desk.see("Wake")?;
    window.picture("desk", "sessions")?;

    desk.click("laptop, *")?;
    desk.see("What laptop may do here")?;
    window.picture("desk", "machine")?;
    desk.press(&[Named("Escape")])?;
    desk.gone("What laptop may do here")?;
    desk.click("Check this machine")?;
    desk.see("*user namespaces*")?;
    window.picture("desk", "checks")?;
    desk.press(&[Named("Escape")])?;
    desk.gone("*user namespaces*")?;
    desk.click("Send *Mousepad to")?;
    desk.see("Send to studio")?;
    window.picture("desk", "send")?;
    desk.press(&[Named("Escape")])?;
    desk.gone("Send to studio")?;
    desk.click("More for *Mousepad")?;
    desk.click("Stop…")?;
    desk.see("Stop it")?;
    window.picture("desk", "stop")?;
    desk.press(&[Named("Escape")])?;
    desk.gone("Stop it")?;
    desk.press(&[Named("ctrl+n")])?;
    desk.press(&[Text("xterm -e 'vim")])?;
    window.picture("desk", "unfinished")?;
    desk.press(&[Named("Escape"), Named("Escape")])?;

    // As the desktop, light, dark.
    desk.click("Colours: as the desktop")?;
    desk.click("Colours: light")?;
    desk.see("Colours: dark")?;
    window.picture("desk", "dark")?;
    desk.click("Colours: dark")?;
    let small = "xdotool windowsize --sync $(xdotool search --onlyvisible --name '^Roam$' | tail -1) 600 420";
    window.lab.run("desk", &["sh", "-c", small], 20)?;
    window.picture("desk", "small")?;
    window.close("desk")?;
    window.open("desk", &[("WINIT_X11_SCALE_FACTOR", "2")])?;
    desk.see("Wake")?;
    window.picture("desk", "fine")?;
    window.close("desk")
}
