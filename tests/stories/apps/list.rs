//! The apps: how each is started, what is typed, and how it shows that it has answered.

use crate::desktop::Key::{self, Click, Named, Text};

/// How an app shows that it has answered. In texts, `#` stands for the move's number.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// The file of its name in HOME's `apps` begins with the first, and each move so far has added the second.
    File(&'static str, &'static str),
    /// The picture has changed.
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
    /// What its window's title begins with once it takes keys, as a regular expression.
    pub ready: &'static str,
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
    ready: "",
    before: &[],
    held: &[],
    open: None,
    after: &[],
    proof: Proof::Moving,
};

/// All of them.
pub const APPS: &[App] = &[
    App {
        name: "bash",
        command: &["xterm"],
        before: &[Text("X=held"), RETURN],
        after: &[Text("echo $X # >>apps/bash"), RETURN],
        proof: Proof::File("", "held #\n"),
        ..APP
    },
    App {
        name: "vim",
        command: &["xterm", "-e", "vim.tiny", "-u", "NONE", "-c", "set title"],
        ready: r"\[No Name\] - VIM",
        before: &[Text("iunsaved text"), Named("Escape")],
        after: &[Text("A #"), Named("Escape"), Text(":w! apps/vim"), RETURN],
        proof: Proof::File("unsaved text", " #"),
        ..APP
    },
    App {
        name: "python",
        command: &["xterm", "-e", "python3", "-q"],
        before: &[Text("x = 41"), RETURN],
        after: &[Text("with open('apps/python','a') as f: print(x + 1, #, file=f)"), RETURN, RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "mousepad",
        command: &["mousepad", "apps/mousepad"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "menu-keys",
        command: &["mousepad", "apps/menu-keys"],
        before: &[Text("unsaved")],
        held: &[Text(" #"), Named("alt+f")],
        open: Some("^Mousepad"),
        // Save: in the open menu its letter chooses it.
        after: &[Text("s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "menu-mouse",
        command: &["mousepad", "apps/menu-mouse"],
        before: &[Text("unsaved")],
        held: &[Text(" #"), Named("alt+f")],
        open: Some("^Mousepad"),
        // Save, in the middle of the menu.
        after: &[Click("^Mousepad", 60, 139)],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "featherpad",
        command: &["featherpad", "apps/featherpad"],
        before: &[Text("unsaved")],
        // At saving it ends the text with a new line, in the editor as well, and the cursor stays last.
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #\n"),
        ..APP
    },
    App {
        name: "gnome-text-editor",
        command: &["gnome-text-editor", "-s", "apps/gnome-text-editor"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "emacs",
        command: &["emacs", "-Q", "apps/emacs"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+x"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "two-processes",
        command: &["python3", "apps/two-processes.py", "apps/two-processes"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "xcalc",
        command: &["xcalc"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "galculator",
        command: &["galculator"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
        ..APP
    },
    App { name: "glxgears", command: &["glxgears"], ..APP },
];
