//! The app's whole state, and the only place where it changes. Pure: events and commands enter,
//! effects leave; there is no socket, no clock and no egui here.

pub mod applications;
pub mod figures;
pub mod news;
pub mod tray_menu;
pub mod view;
pub mod words;

use std::collections::{BTreeMap, BTreeSet};

use roam_api::agent::{Answer, Check, MachineInfo, Request, Snapshot, Verdict};
use roam_api::error::{Failure, Outcome};

use crate::command::{Command, Dismissed};
use crate::settings::ThemeChoice;
use applications::Application;

/// At most this many messages are kept; the oldest goes first.
const MOST_NOTICES: usize = 5;

/// What reaches the model from outside.
#[derive(Debug, Clone, PartialEq)]
pub enum Event {
    /// The agent's newest picture of everything.
    Snapshot(Box<Snapshot>),
    /// The agent can't be reached; the client goes on trying.
    Lost(Failure),
    /// A request is done.
    Finished {
        /// The number that the effect carried.
        task: u64,
        /// Its end.
        result: Result<Answer, Failure>,
    },
    /// The desktop's applications were read.
    Applications(Vec<Application>),
}

/// What leaves the model.
#[derive(Debug, Clone, PartialEq)]
pub enum Effect {
    /// Ask the agent; its end comes back as [`Event::Finished`].
    Request {
        /// To recognise the end by.
        task: u64,
        /// What to ask.
        request: Request,
    },
    /// Start a program with the app's own environment.
    Start {
        /// To recognise the end by.
        task: u64,
        /// Program and arguments.
        argv: Vec<String>,
    },
    /// Read the desktop's applications again.
    ReadApplications,
    /// Use and save this theme.
    SetTheme(ThemeChoice),
}

/// How it stands with the agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Link {
    /// Not yet there.
    Connecting,
    /// Snapshots come.
    Connected,
    /// Gone; what is shown is old.
    Lost(Failure),
}

/// What fills the window.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Screen {
    /// Machines and running apps.
    Home,
    /// Start an app.
    Launcher,
}

/// A window in front of the rest.
#[derive(Debug, Clone, PartialEq)]
pub enum Dialog {
    /// Pairing, on the side that asks.
    Pairing {
        /// Name or address.
        machine: String,
        /// How far.
        stage: Pairing,
    },
    /// An address is being typed.
    Address,
    /// What a paired machine may do here.
    Machine {
        /// Its name.
        name: String,
    },
    /// Really forget it?
    Unpair {
        /// Its name.
        name: String,
    },
    /// Really stop it?
    Stop {
        /// As the agent is told.
        session: String,
        /// What people call it.
        title: String,
    },
    /// The checks of `roam doctor`; none while they run.
    Checks(Option<Vec<Check>>),
}

/// How far pairing is, on the side that asks.
#[derive(Debug, Clone, PartialEq)]
pub enum Pairing {
    /// The other machine is being asked to show a code.
    Asking,
    /// It shows one; the person types it. After a wrong code with the reason.
    Typing(Option<Failure>),
    /// The code is being checked.
    Checking,
    /// It can't be.
    Failed(Failure),
}

/// Something that went wrong, kept until it is taken away.
#[derive(Debug, Clone, PartialEq)]
pub struct Notice {
    /// To take it away by.
    pub number: u64,
    /// What went wrong and what to do.
    pub failure: Failure,
    /// What had been asked.
    pub command: Command,
}

/// The state.
#[derive(Debug)]
pub struct Model {
    /// How it stands with the agent.
    pub link: Link,
    /// The newest snapshot.
    pub snapshot: Option<Snapshot>,
    /// The desktop's applications.
    pub applications: Vec<Application>,
    /// What fills the window.
    pub screen: Screen,
    /// The window in front.
    pub dialog: Option<Dialog>,
    /// What went wrong lately.
    pub notices: Vec<Notice>,
    /// A check that says this machine can't do Roam's work.
    pub bad_checks: Vec<Check>,
    /// Light or dark.
    pub theme: ThemeChoice,
    /// What was asked and is not answered, by task number.
    pub(crate) pending: BTreeMap<u64, Command>,
    /// Ends of moves that the person took away.
    pub(crate) dismissed: BTreeSet<Dismissed>,
    /// Sends that the person cancelled, until the next one of that session.
    pub(crate) cancelled: BTreeSet<String>,
    next: u64,
}

impl Model {
    /// The state before anything is known.
    #[must_use]
    pub fn new(theme: ThemeChoice) -> Self {
        Self {
            link: Link::Connecting,
            snapshot: None,
            applications: Vec::new(),
            screen: Screen::Home,
            dialog: None,
            notices: Vec::new(),
            bad_checks: Vec::new(),
            theme,
            pending: BTreeMap::new(),
            dismissed: BTreeSet::new(),
            cancelled: BTreeSet::new(),
            next: 1,
        }
    }

    /// A paired machine by its name.
    #[must_use]
    pub fn machine(&self, name: &str) -> Option<&MachineInfo> {
        self.snapshot.as_ref()?.machines.iter().find(|m| m.name == name)
    }

    /// True while a program is being started that has no session yet.
    #[must_use]
    pub fn starting(&self) -> Option<&str> {
        self.pending.values().find_map(|command| match command {
            Command::Start { label, .. } => Some(label.as_str()),
            _ => None,
        })
    }

    /// Failures that belong to no session: shown at the top.
    pub fn top_notices(&self) -> impl Iterator<Item = &Notice> {
        let cards: BTreeSet<String> = self.cards().into_iter().map(|card| card.session).collect();
        self.notices.iter().filter(move |n| n.command.session().is_none_or(|s| !cards.contains(s)))
    }

    /// Takes an event in.
    pub fn event(&mut self, event: Event) -> Vec<Effect> {
        match event {
            Event::Snapshot(snapshot) => {
                let first = self.link != Link::Connected && self.snapshot.is_none();
                self.link = Link::Connected;
                self.see(*snapshot);
                if first { self.command(Command::CheckQuietly) } else { Vec::new() }
            }
            Event::Lost(failure) => {
                self.link = Link::Lost(failure);
                Vec::new()
            }
            Event::Finished { task, result } => {
                if let Some(command) = self.pending.remove(&task) {
                    self.finished(command, result);
                }
                Vec::new()
            }
            Event::Applications(applications) => {
                self.applications = applications;
                Vec::new()
            }
        }
    }

    fn see(&mut self, snapshot: Snapshot) {
        // A dialog about a machine that is gone has nothing to say.
        if let Some(Dialog::Machine { name } | Dialog::Unpair { name }) = &self.dialog
            && !snapshot.machines.iter().any(|m| m.paired && m.name == *name)
        {
            self.dialog = None;
        }
        // A new move makes the last one's failure old, whoever began it.
        let under_way = |session: &str| view::is_under_way(&snapshot, session);
        self.notices.retain(|n| !n.command.session().is_some_and(under_way));
        // What was taken away needs remembering only as long as the agent goes on telling it.
        self.dismissed.retain(|d| match d {
            Dismissed::Move(session, ..) => snapshot.moves.iter().any(|m| m.session == *session),
            Dismissed::Notice(_) => false,
        });
        self.snapshot = Some(snapshot);
    }

    /// Acts on a command.
    pub fn command(&mut self, command: Command) -> Vec<Effect> {
        match command {
            Command::OpenLauncher => {
                self.screen = Screen::Launcher;
                return vec![Effect::ReadApplications];
            }
            Command::GoHome => self.screen = Screen::Home,
            Command::CloseDialog => self.dialog = None,
            Command::AskAddress => self.dialog = Some(Dialog::Address),
            Command::OpenMachine { machine } => self.dialog = Some(Dialog::Machine { name: machine }),
            Command::AskUnpair { machine } => self.dialog = Some(Dialog::Unpair { name: machine }),
            Command::AskStop { session, title } => self.dialog = Some(Dialog::Stop { session, title }),
            Command::Dismiss(Dismissed::Notice(number)) => self.take_away(number),
            Command::Dismiss(key) => {
                self.dismissed.insert(key);
            }
            Command::SetTheme(choice) => {
                self.theme = choice;
                return vec![Effect::SetTheme(choice)];
            }
            asks => return self.ask(asks),
        }
        Vec::new()
    }

    /// Takes a notice away, and with it the agent's own word on the same thing.
    fn take_away(&mut self, number: u64) {
        let Some(at) = self.notices.iter().position(|n| n.number == number) else { return };
        let notice = self.notices.remove(at);
        if let (Some(session), Some(snapshot)) = (notice.command.session(), &self.snapshot) {
            self.dismissed.extend(view::ends_of(snapshot, session));
        }
    }

    /// Asks the agent, and says on the screen that it has been asked.
    fn ask(&mut self, command: Command) -> Vec<Effect> {
        if self.pending.values().any(|asked| *asked == command) {
            return Vec::new();
        }
        match &command {
            Command::Start { .. } => self.screen = Screen::Home,
            Command::Stop { .. } | Command::Unpair { .. } => self.dialog = None,
            Command::Pair { machine } => {
                self.dialog = Some(Dialog::Pairing { machine: machine.clone(), stage: Pairing::Asking });
            }
            Command::GiveCode { machine, .. } => {
                self.dialog = Some(Dialog::Pairing { machine: machine.clone(), stage: Pairing::Checking });
            }
            Command::Check => self.dialog = Some(Dialog::Checks(None)),
            Command::CancelSend { session } => {
                self.cancelled.insert(session.clone());
            }
            Command::Send { session, .. } => {
                self.cancelled.remove(session);
            }
            _ => {}
        }
        // A second try makes the first one's failure old.
        if let Some(session) = command.session() {
            let session = session.to_owned();
            self.notices.retain(|n| n.command.session() != Some(&session));
        } else {
            self.notices.retain(|n| n.command != command);
        }
        let task = self.next;
        self.next += 1;
        let effect = match &command {
            Command::Start { argv, .. } => Some(Effect::Start { task, argv: argv.clone() }),
            other => other.request().map(|request| Effect::Request { task, request }),
        };
        self.pending.insert(task, command);
        effect.into_iter().collect()
    }

    fn finished(&mut self, command: Command, result: Result<Answer, Failure>) {
        match (command, result) {
            (Command::Pair { machine }, result) => self.pairing_step(&machine, result, false),
            (Command::GiveCode { machine, .. }, result) => self.pairing_step(&machine, result, true),
            (Command::Check, Ok(Answer::Doctor(checks))) => {
                if let Some(Dialog::Checks(shown)) = &mut self.dialog {
                    *shown = Some(checks.clone());
                }
                self.bad_checks = bad(checks);
            }
            (Command::CheckQuietly, Ok(Answer::Doctor(checks))) => self.bad_checks = bad(checks),
            (Command::CheckQuietly, _) | (_, Ok(_)) => {}
            // The card says so itself.
            (Command::Send { session, .. }, Err(_)) if self.cancelled.contains(&session) => {}
            (command, Err(failure)) => {
                if command == Command::Check {
                    self.dialog = None;
                }
                self.notice(command, failure);
            }
        }
    }

    /// What pairing's answers mean for the dialog. A dialog that was closed stays closed, but a
    /// failure is then not silent.
    fn pairing_step(&mut self, asked: &str, result: Result<Answer, Failure>, with_code: bool) {
        let open = matches!(&self.dialog, Some(Dialog::Pairing { machine, .. }) if machine == asked);
        let stage = match result {
            Ok(Answer::CodeShownThere { .. }) => Pairing::Typing(None),
            Ok(_) => {
                if open {
                    self.dialog = None;
                }
                return;
            }
            // A wrong code can be typed again; anything else ends the attempt.
            Err(failure) if with_code && failure.outcome == Outcome::Refused && open => {
                Pairing::Typing(Some(failure))
            }
            Err(failure) if open => Pairing::Failed(failure),
            Err(failure) => {
                self.notice(Command::Pair { machine: asked.to_owned() }, failure);
                return;
            }
        };
        if open {
            self.dialog = Some(Dialog::Pairing { machine: asked.to_owned(), stage });
        }
    }

    fn notice(&mut self, command: Command, failure: Failure) {
        self.notices.push(Notice { number: self.next, failure, command });
        self.next += 1;
        let excess = self.notices.len().saturating_sub(MOST_NOTICES);
        self.notices.drain(..excess);
    }
}

fn bad(checks: Vec<Check>) -> Vec<Check> {
    checks.into_iter().filter(|check| check.verdict == Verdict::Bad).collect()
}

impl Command {
    /// The session that it is about.
    #[must_use]
    pub fn session(&self) -> Option<&str> {
        match self {
            Self::Send { session, .. }
            | Self::Show { session, .. }
            | Self::Hide { session, .. }
            | Self::Park { session }
            | Self::Resume { session }
            | Self::Stop { session } => Some(session),
            _ => None,
        }
    }

    /// Doing it again can help.
    #[must_use]
    pub fn can_retry(&self) -> bool {
        !matches!(self, Self::Answer { .. } | Self::CancelSend { .. } | Self::GiveCode { .. })
    }

    /// What the agent is asked for it; none if it is not for the agent.
    #[must_use]
    pub fn request(&self) -> Option<Request> {
        Some(match self.clone() {
            Self::Send { session, machine } => Request::Send { session, machine, cold: false },
            Self::CancelSend { session } => Request::CancelSend { session },
            Self::Show { session, on } => Request::Show { session, on, view_only: false },
            Self::Hide { session, on } => Request::Hide { session, on },
            Self::Park { session } => Request::Park { session, file: None },
            Self::Resume { session } => Request::Resume { what: session },
            Self::Stop { session } => Request::Stop { session },
            Self::Pair { machine } => Request::Pair { machine, code: None },
            Self::GiveCode { machine, code } => Request::Pair { machine, code: Some(code) },
            Self::Unpair { machine } => Request::Unpair { machine },
            Self::Allow { machine, permission, value } => {
                Request::Allow { machine, changes: vec![(permission, value)] }
            }
            Self::Answer { question, yes } => Request::Answer { question, yes },
            Self::Check | Self::CheckQuietly => Request::Doctor,
            Self::OpenLauncher
            | Self::GoHome
            | Self::Start { .. }
            | Self::AskStop { .. }
            | Self::AskAddress
            | Self::OpenMachine { .. }
            | Self::AskUnpair { .. }
            | Self::CloseDialog
            | Self::Dismiss(_)
            | Self::SetTheme(_) => return None,
        })
    }
}

#[cfg(test)]
pub(crate) mod tests;
