//! The apps: how each is started, what is typed, and how it shows that it has answered.

mod desktop;
mod editors;
mod terminals;

use crate::desktop::Key::{self, Named};

/// How an app shows that it has answered. In texts, `#` stands for the move's number.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// The file of its name in HOME's `apps` begins with the first, and each move so far has added the second.
    File(&'static str, &'static str),
    /// This shell command is at work during the first move, and prints what it prints undisturbed.
    Job(&'static str),
    /// The app copied this to the clipboard: it begins with the first, and each move so far has added the second.
    Copied(&'static str, &'static str),
    /// It came as it had looked, and then the picture has changed.
    Picture,
    /// The picture changes by itself.
    Moving,
}

/// One app on the road.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// The session's name.
    pub name: &'static str,
    /// How it is started, in HOME.
    pub command: &'static [&'static str],
    /// What the title of the window that takes keys begins with, as a regular expression.
    pub title: &'static str,
    /// Pressed once, on desk.
    pub before: &'static [Key<'static>],
    /// Pressed before each move.
    pub held: &'static [Key<'static>],
    /// The title of a window that must look the same at the target: an open menu.
    pub open: Option<&'static str>,
    /// Pressed after each move.
    pub after: &'static [Key<'static>],
    /// How it shows that it has answered.
    pub proof: Proof,
}

const RETURN: Key<'static> = Named("Return");

const APP: App = App {
    name: "",
    command: &[],
    title: "",
    before: &[],
    held: &[],
    open: None,
    after: &[],
    proof: Proof::Moving,
};

/// All of them.
pub fn apps() -> impl Iterator<Item = &'static App> {
    [terminals::APPS, editors::APPS, desktop::APPS].into_iter().flatten()
}
