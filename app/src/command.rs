//! What a person can ask for. Screens queue commands; the model acts on them before the next frame
//! is drawn, so that one frame never shows two states.

use crate::settings::ThemeChoice;

/// Everything that a click, key or menu entry can mean. Sessions are named as the agent is to be
/// told: `NAME` or `NAME@MACHINE`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Show the launcher.
    OpenLauncher,
    /// Back to the list of apps.
    GoHome,
    /// Start a program.
    Start {
        /// What people call it.
        label: String,
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Move a session to a machine.
    Send {
        /// Which.
        session: String,
        /// The target's name; `.` is this machine.
        machine: String,
    },
    /// Stop a send that is under way.
    CancelSend {
        /// Which.
        session: String,
    },
    /// Show a session's windows on a machine.
    Show {
        /// Which.
        session: String,
        /// None: this machine.
        on: Option<String>,
    },
    /// Stop showing them there.
    Hide {
        /// Which.
        session: String,
        /// None: everywhere.
        on: Option<String>,
    },
    /// Put a session to sleep in a file.
    Park {
        /// Which.
        session: String,
    },
    /// Wake it.
    Resume {
        /// Which.
        session: String,
    },
    /// Ask whether to stop a session.
    AskStop {
        /// Which.
        session: String,
        /// What people call it.
        title: String,
    },
    /// Stop it now.
    Stop {
        /// Which.
        session: String,
    },
    /// Ask for an address to pair with.
    AskAddress,
    /// Ask a machine to show its code.
    Pair {
        /// Name or `HOST:PORT`.
        machine: String,
    },
    /// Finish pairing with the code that is shown there.
    GiveCode {
        /// Name or `HOST:PORT`.
        machine: String,
        /// Six digits.
        code: String,
    },
    /// Show what a paired machine may do here.
    OpenMachine {
        /// Its name.
        machine: String,
    },
    /// Change one permission.
    Allow {
        /// Its name.
        machine: String,
        /// `send`, `show`, …
        permission: String,
        /// `ask`, `always` or `never`.
        value: String,
    },
    /// Ask whether to forget a machine.
    AskUnpair {
        /// Its name.
        machine: String,
    },
    /// Forget it.
    Unpair {
        /// Its name.
        machine: String,
    },
    /// Answer the agent's question.
    Answer {
        /// Its number.
        question: u64,
        /// Yes or no.
        yes: bool,
    },
    /// Run the checks of `roam doctor` and show them.
    Check,
    /// Run the checks silently; speak only if one is bad.
    CheckQuietly,
    /// Close the open dialog.
    CloseDialog,
    /// Take a message away.
    Dismiss(Dismissed),
    /// Change light and dark.
    SetTheme(ThemeChoice),
}

/// Which message a person took away.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Dismissed {
    /// A notice of this app, by its number.
    Notice(u64),
    /// The end of a move, as the agent tells it: session, from, to and elapsed milliseconds.
    Move(String, String, String, u64),
}

/// Commands of one frame, in the order they were given.
#[derive(Debug, Default)]
pub struct Queue(Vec<Command>);

impl Queue {
    /// Adds a command.
    pub fn push(&mut self, command: Command) {
        self.0.push(command);
    }

    /// Nothing was asked.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes all commands out.
    pub fn take(&mut self) -> Vec<Command> {
        std::mem::take(&mut self.0)
    }
}
