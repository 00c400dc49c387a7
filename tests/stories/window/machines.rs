//! Other machines from the window: an app is shown there, a send is asked about, a third machine is
//! paired by its code; and all of it by the keyboard alone.

use anyhow::{Result, bail, ensure};
use roam_api::agent::Snapshot;

use super::{EDITOR, ROAM, SLOW, Window};
use crate::desktop::Key::{Named, Text};
use crate::desktop::Screen;

/// Where the editor's windows are.
fn shown_on(snapshot: &Snapshot) -> Vec<&str> {
    let editor = snapshot.sessions.iter().filter(|session| session.name == "mousepad");
    editor.flat_map(|session| &session.shown_on).map(|shown| shown.machine.as_str()).collect()
}

/// Its windows are shown on laptop too, while it stays; and hidden there again.
pub fn shown(window: &Window) -> Result<()> {
    let desk = window.desk();
    window.open("desk", &[])?;
    desk.click("Show * on")?;
    desk.click("Show on laptop")?;
    window.agent("desk", "it is shown on both", |s| shown_on(s) == ["desk", "laptop"])?;
    window.laptop().focus(EDITOR)?;
    window.answers("laptop", " Typed from afar.")?;
    desk.focus(ROAM)?;
    desk.see("On this machine*Also shown on laptop*")?;
    desk.click("Show * on")?;
    desk.see("Hide on laptop")?;
    window.picture("desk", "shown")?;
    desk.click("Hide on laptop")?;
    window.agent("desk", "it is shown on desk alone", |s| shown_on(s) == ["desk"]).map(drop)
}

/// A target that wants to be asked: declined, then accepted, in laptop's own window.
pub fn asked(window: &Window) -> Result<()> {
    let (desk, laptop) = (window.desk(), window.laptop());
    window.lab.run("laptop", &["roam", "allow", "desk", "send=ask"], 30)?;
    laptop.readable()?;
    window.open("laptop", &[])?;
    window.open("desk", &[])?;
    desk.click("Send * to laptop")?;
    laptop.see("May desk send you mousepad?")?;
    laptop.see("Accept")?;
    window.picture("laptop", "question")?;
    window.picture("desk", "waiting")?;
    laptop.click("Decline")?;
    window.runs_on("mousepad", "desk")?;
    desk.see("Try again")?;
    window.picture("desk", "declined")?;
    desk.click("Try again")?;
    laptop.click("Accept")?;
    window.lab.run("laptop", &["roam", "allow", "desk", "send=always"], 30)?;
    window.runs_on("mousepad", "laptop")?;
    desk.see("Moved to laptop. It paused for *")?;
    // From where it is, it is sent back with one click.
    window.open("laptop", &[])?;
    laptop.see("laptop, 1 app")?;
    window.picture("laptop", "arrived")?;
    laptop.click("Send * to desk")?;
    window.runs_on("mousepad", "desk")?;
    window.close("laptop")
}

/// What arrives is told at the target, which may refuse it; and who gets the keyboard when its window comes.
pub fn arriving(window: &Window) -> Result<()> {
    let (desk, laptop) = (window.desk(), window.laptop());
    laptop.readable()?;
    window.open("laptop", &[])?;
    window.open("desk", &[])?;
    window.tell_lab(&["link", "laptop", "--rate", SLOW])?;
    desk.click("Send * to laptop")?;
    laptop.see("Arriving from desk")?;
    laptop.see("Copying while it runs*MB of*")?;
    window.picture_now("laptop", "arriving")?;
    laptop.click("Cancel moving *")?;
    desk.see("The move was cancelled.*")?;
    laptop.gone("Arriving from desk")?;
    window.runs_on("mousepad", "desk")?;
    // Nobody asked for it on laptop: it comes, and whoever types there goes on.
    window.tell_lab(&["link", "laptop", "--rate", "none"])?;
    desk.click("Try again")?;
    window.runs_on("mousepad", "laptop")?;
    laptop.comes(EDITOR)?;
    laptop.settle()?;
    laptop.in_front("Roam")?;
    // Asked for on desk: the person goes on in it.
    desk.click("Undo")?;
    window.runs_on("mousepad", "desk")?;
    desk.in_front("Mousepad")?;
    // Asked for here, but the person has gone on with something else meanwhile.
    desk.focus(ROAM)?;
    desk.click("Send * to laptop")?;
    window.runs_on("mousepad", "laptop")?;
    window.tell_lab(&["link", "laptop", "--rate", SLOW])?;
    desk.focus(ROAM)?;
    desk.click("Undo")?;
    desk.see("Copying while it runs*MB of*")?;
    desk.press(&[Named("Tab")])?;
    window.tell_lab(&["link", "laptop", "--rate", "none"])?;
    window.runs_on("mousepad", "desk")?;
    desk.comes(EDITOR)?;
    desk.settle()?;
    desk.in_front("Roam")?;
    window.close("laptop")
}

/// There and back without a mouse.
pub fn keys_alone(window: &Window) -> Result<()> {
    let desk = window.desk();
    window.open("desk", &[])?;
    tab_to(desk, "Show ")?;
    desk.press(&[Named("Return")])?;
    desk.see("Show on laptop")?;
    tab_to(desk, "Show on laptop")?;
    window.picture("desk", "keys")?;
    desk.press(&[Named("Escape")])?;
    desk.gone("Show on laptop")?;
    tab_to(desk, "Send ")?;
    desk.press(&[Named("Return")])?;
    window.runs_on("mousepad", "laptop")?;
    desk.see("Undo")?;
    // The window of the app that left may have had the keyboard.
    desk.focus(ROAM)?;
    tab_to(desk, "Undo")?;
    desk.press(&[Named("space")])?;
    window.runs_on("mousepad", "desk")?;
    desk.see("Moved here*")?;
    // It was asked for here, so its window takes the keyboard when it comes.
    desk.in_front("Mousepad")?;
    desk.focus(ROAM)?;
    tab_to(desk, "Dismiss")?;
    desk.press(&[Named("Return")])?;
    desk.gone("Moved here*")
}

/// Presses Tab until an element that begins so has the keyboard.
fn tab_to(screen: Screen<'_>, beginning: &str) -> Result<()> {
    let mut reached = vec![String::new()];
    for _ in 0..40 {
        screen.press(&[Named("Tab")])?;
        let name = screen.focused(reached.last().map_or("", String::as_str))?;
        if name.starts_with(beginning) {
            return Ok(());
        }
        reached.push(name);
    }
    bail!("Tab reaches no {beginning:?}, only {reached:?}");
}

/// A machine without an agent: its window starts one. Found from desk, asked for a code, a wrong one
/// typed and the right one; then it is one more machine to send to.
pub fn paired(window: &Window) -> Result<()> {
    window.tell_lab(&["up", "--bare", "studio"])?;
    let (desk, studio) = (window.desk(), Screen::of(&window.lab, "studio"));
    studio.readable()?;
    window.open("studio", &[])?;
    studio.see("Open Roam on another machine")?;
    studio.see("studio, No apps yet")?;
    window.picture("studio", "welcome")?;
    window.open("desk", &[])?;
    desk.click("Pair with studio")?;
    desk.see("studio now shows six digits. Type them here.")?;
    let code: String = studio.see("??? ???")?.name.replace(' ', "");
    window.picture("studio", "code")?;
    // Another code, whatever this one is.
    let wrong: String = code.chars().map(|digit| if digit == '0' { '1' } else { '0' }).collect();
    desk.press(&[Text(&wrong), Named("Return")])?;
    desk.see("Ask for a new code")?;
    window.picture("desk", "wrong-code")?;
    desk.press(&[Text(&code)])?;
    window.picture("desk", "pairing")?;
    desk.press(&[Named("Return")])?;
    desk.see("studio, Online")?;
    studio.see("desk, *")?;
    let known = window.agent("studio", "it is paired with desk", |snapshot| {
        snapshot.machines.iter().any(|machine| machine.name == "desk" && machine.paired)
    })?;
    ensure!(known.pairing_code.is_none(), "the code is still shown");
    desk.gone("*six digits*")?;
    studio.focus(ROAM)?;
    window.picture("studio", "first-machine")?;
    window.close("studio")
}
