//! Editors with unsaved text.

use super::{APP, App, Proof, RETURN};
use crate::desktop::Key::{Click, Named, Text};

pub(super) const APPS: &[App] = &[
    App {
        name: "vim",
        command: &["xterm", "-e", "vim.tiny", "-u", "NONE", "-c", "set title titlestring=ready"],
        title: "^ready",
        before: &[Text("iunsaved text"), Named("Escape")],
        after: &[Text("A #"), Named("Escape"), Text(":w! apps/vim"), RETURN],
        proof: Proof::File("unsaved text", " #"),
        ..APP
    },
    App {
        name: "nano",
        command: &["xterm", "-e", "nano", "apps/nano"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+o"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "micro",
        command: &["xterm", "-e", "micro", "apps/micro"],

        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "neovim",
        command: &["xterm", "-e", "nvim", "-u", "NONE", "-c", "set title titlestring=ready"],
        title: "^ready",
        before: &[Text("iunsaved"), Named("Escape")],
        after: &[Text("A #"), Named("Escape"), Text(":w! apps/neovim"), RETURN],
        proof: Proof::File("unsaved", " #"),
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
        name: "geany",
        command: &["geany", "-i", "apps/geany"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "gedit",
        command: &["gedit", "-s", "apps/gedit"],

        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "kate",
        command: &["kate", "-n", "apps/kate"],

        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
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
];
