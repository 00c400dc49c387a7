//! What the window shows, computed from the agent's snapshot: cards of apps and rows of machines.

use roam_api::agent::{MachineInfo, MoveInfo, Snapshot};
use roam_api::error::Failure;
use roam_api::session::{MachineKey, MoveProgress, MoveStage, SessionInfo, SessionState};

use super::applications;
use super::figures;
use super::{Model, Notice};
use crate::command::{Command, Dismissed};

/// A running app.
#[derive(Debug, Clone, PartialEq)]
pub struct Card {
    /// How the agent is told which one: `NAME` or `NAME@MACHINE`.
    pub session: String,
    /// The window's title, or the session's name.
    pub title: String,
    /// The application's name for people, or the program.
    pub program: String,
    /// The whole program line.
    pub command: String,
    /// The application's id, for its icon.
    pub application: Option<String>,
    /// What it is doing.
    pub state: CardState,
    /// The machine where it runs.
    pub host: String,
    /// That is this machine.
    pub here: bool,
    /// Machines that show its windows.
    pub shown_on: Vec<String>,
    /// It has windows at all.
    pub screen: bool,
    /// Memory, as people read it.
    pub memory: String,
    /// Where it can be sent.
    pub targets: Vec<Target>,
    /// Where its windows can be shown, and whether they are.
    pub screens: Vec<Screen>,
    /// What became of the last thing asked of it.
    pub aftermath: Option<Aftermath>,
}

/// What a card's app is doing.
#[derive(Debug, Clone, PartialEq)]
pub enum CardState {
    /// Being started.
    Starting,
    /// Running.
    Running,
    /// On its way.
    Moving(Moving),
    /// On its way to this machine.
    Arriving(Moving),
    /// Something was asked and is not done yet.
    Busy(Busy),
    /// Asleep in this file.
    Asleep {
        /// Its path.
        file: String,
    },
    /// Its last process has ended.
    Ended {
        /// As the shell shows it.
        status: i32,
    },
}

/// What was asked and is not done yet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Busy {
    /// Stop.
    Stopping,
    /// Park.
    Parking,
    /// Resume.
    Waking,
}

/// A move under way.
#[derive(Debug, Clone, PartialEq)]
pub struct Moving {
    /// The machine at the other end.
    pub machine: String,
    /// The machine that it goes to, which the stages are about.
    pub target: String,
    /// How far.
    pub stage: MoveStage,
    /// For the bar, 0 to 1.
    pub fraction: f32,
    /// Sent and expected, as people read them; none while nothing is known.
    pub bytes: Option<(String, String)>,
    /// What is left, in seconds, while the copy runs and its rate is known.
    pub seconds_left: Option<u64>,
    /// It can still be cancelled.
    pub cancellable: bool,
}

/// A machine that a session can be sent to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Target {
    /// Its name, as a person reads it.
    pub machine: String,
    /// As the agent is told.
    pub to: String,
    /// It is this machine.
    pub here: bool,
    /// It can be reached now.
    pub online: bool,
}

/// A machine whose screen can show a session.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Screen {
    /// Its name.
    pub machine: String,
    /// As the agent is told: none for this machine.
    pub on: Option<String>,
    /// It shows it now.
    pub shown: bool,
    /// It can be reached now.
    pub online: bool,
}

/// What became of the last thing asked of a session.
#[derive(Debug, Clone, PartialEq)]
pub enum Aftermath {
    /// It moved.
    Moved {
        /// To this machine.
        to: String,
        /// It paused this long.
        paused: String,
        /// The command that brings it back.
        undo: Option<Command>,
        /// To take the message away.
        dismiss: Dismissed,
    },
    /// The person cancelled it, and it stayed.
    Cancelled {
        /// To take the message away.
        dismiss: Dismissed,
    },
    /// It did not work.
    Failed {
        /// Why, and what to do.
        failure: Failure,
        /// The command to try again.
        retry: Option<Command>,
        /// To take the message away.
        dismiss: Dismissed,
    },
}

/// The values that a permission can take, as the agent is told; none where it can't be changed.
#[must_use]
pub fn choices(permission: &str) -> &'static [&'static str] {
    match permission {
        "send" => &["ask", "always", "never"],
        "list" | "show" | "cpu" => &["yes", "no"],
        "memory" => &["any", "1G", "2G", "4G", "8G", "16G"],
        _ => &[],
    }
}

/// A machine in the side list.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// To tell two machines of one name apart.
    pub key: Option<MachineKey>,
    /// Its name.
    pub name: String,
    /// It is paired.
    pub paired: bool,
    /// It can be reached now.
    pub online: bool,
    /// How many sessions run there.
    pub apps: usize,
    /// Seconds since the epoch when it was last heard.
    pub last_seen_unix: u64,
}

impl Model {
    /// The cards, in the order in which the apps were started.
    #[must_use]
    pub fn cards(&self) -> Vec<Card> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let mut sessions: Vec<&SessionInfo> = snapshot.sessions.iter().collect();
        sessions.sort_by_key(|s| (matches!(s.state, SessionState::Ended { .. }), s.started_unix, s.id));
        sessions.into_iter().map(|session| self.card(snapshot, session)).collect()
    }

    /// The machines but this one: paired first, then found, by name.
    #[must_use]
    pub fn rows(&self) -> Vec<Row> {
        let Some(snapshot) = &self.snapshot else { return Vec::new() };
        let mut rows: Vec<Row> = snapshot
            .machines
            .iter()
            .map(|machine| Row {
                key: machine.key,
                name: machine.name.clone(),
                paired: machine.paired,
                online: machine.online,
                apps: running_on(snapshot, &machine.name),
                last_seen_unix: machine.last_seen_unix,
            })
            .collect();
        rows.sort_by(|a, b| (!a.paired, &a.name, a.key).cmp(&(!b.paired, &b.name, b.key)));
        rows
    }

    /// How many sessions run on this machine.
    #[must_use]
    pub fn apps_here(&self) -> usize {
        self.snapshot.as_ref().map_or(0, |s| running_on(s, &s.machine))
    }

    fn card(&self, snapshot: &Snapshot, session: &SessionInfo) -> Card {
        let reference = reference(snapshot, session);
        let application = applications::of_command(&self.applications, &session.command);
        let program = application.map_or_else(
            || {
                let words = super::words::split(&session.command).unwrap_or_default();
                applications::program(&words).to_owned()
            },
            |app| app.name.clone(),
        );
        let title = session.titles.iter().find(|title| !title.trim().is_empty());
        Card {
            title: title.unwrap_or(&session.name).clone(),
            program: if program.is_empty() { session.name.clone() } else { program },
            command: session.command.clone(),
            application: application.map(|app| app.id.clone()),
            state: self.card_state(snapshot, session, &reference),
            host: session.host.clone(),
            here: session.host == snapshot.machine,
            shown_on: session.shown_on.iter().map(|shown| shown.machine.clone()).collect(),
            screen: session.screen,
            memory: figures::bytes(session.memory_bytes),
            targets: targets(snapshot, session),
            screens: if session.screen { screens(snapshot, session) } else { Vec::new() },
            aftermath: self.aftermath(snapshot, session, &reference),
            session: reference,
        }
    }

    fn card_state(&self, snapshot: &Snapshot, session: &SessionInfo, reference: &str) -> CardState {
        let under_way = moves_of(snapshot, session, reference).find(|m| m.end.is_none());
        match &session.state {
            SessionState::Receiving { from } => {
                on_its_way(snapshot, from, &snapshot.machine, under_way, MoveStage::Reserve)
            }
            SessionState::Sending { to, stage } => on_its_way(snapshot, &session.host, to, under_way, *stage),
            SessionState::Ended { status } => CardState::Ended { status: *status },
            state => {
                if let Some(m) = under_way {
                    return on_its_way(snapshot, &m.from, &m.to, under_way, m.progress.stage);
                }
                let asked = self.pending.values().find_map(|command| match command {
                    Command::Send { session: asked, machine } if asked == reference => {
                        let to = if machine == "." { &snapshot.machine } else { machine };
                        Some(on_its_way(snapshot, &session.host, to, None, MoveStage::Offer))
                    }
                    Command::Stop { session } if session == reference => {
                        Some(CardState::Busy(Busy::Stopping))
                    }
                    Command::Park { session } if session == reference => Some(CardState::Busy(Busy::Parking)),
                    Command::Resume { session } if session == reference => {
                        Some(CardState::Busy(Busy::Waking))
                    }
                    _ => None,
                });
                asked.unwrap_or_else(|| match state {
                    SessionState::Starting => CardState::Starting,
                    SessionState::Parked { file } => CardState::Asleep { file: file.clone() },
                    _ => CardState::Running,
                })
            }
        }
    }

    /// The newest word on this session: a failure that this app was told, else the end of a move.
    fn aftermath(&self, snapshot: &Snapshot, session: &SessionInfo, reference: &str) -> Option<Aftermath> {
        let busy = self.pending.values().any(|command| command.session() == Some(reference));
        if busy || moves_of(snapshot, session, reference).any(|m| m.end.is_none()) {
            return None;
        }
        let notice = self.notices.iter().rev().find(|n| n.command.session() == Some(reference));
        if let Some(Notice { number, failure, command }) = notice {
            return Some(Aftermath::Failed {
                failure: failure.clone(),
                retry: command.can_retry().then(|| command.clone()),
                dismiss: Dismissed::Notice(*number),
            });
        }
        let ended = moves_of(snapshot, session, reference).filter(|m| m.end.is_some()).last()?;
        let dismiss = dismissed(ended);
        if self.dismissed.contains(&dismiss) {
            return None;
        }
        match ended.end.as_ref()? {
            // It has gone on from there since.
            Ok(_) if session.host != ended.to => None,
            Ok(report) => Some(Aftermath::Moved {
                to: ended.to.clone(),
                paused: figures::duration_ms(report.downtime_ms),
                undo: (session.state == SessionState::Running).then(|| Command::Send {
                    session: reference.to_owned(),
                    machine: told(snapshot, &ended.from),
                }),
                dismiss,
            }),
            Err(_) if self.cancelled.contains(reference) => Some(Aftermath::Cancelled { dismiss }),
            Err(failure) => Some(Aftermath::Failed {
                failure: failure.clone(),
                retry: (session.host == ended.from).then(|| Command::Send {
                    session: reference.to_owned(),
                    machine: told(snapshot, &ended.to),
                }),
                dismiss,
            }),
        }
    }
}

/// What the agent is to be told for a machine.
pub(super) fn told(snapshot: &Snapshot, machine: &str) -> String {
    if machine == snapshot.machine { ".".to_owned() } else { machine.to_owned() }
}

/// The key under which a person takes a move's end away.
fn dismissed(m: &MoveInfo) -> Dismissed {
    Dismissed::Move(m.session.clone(), m.from.clone(), m.to.clone(), m.progress.elapsed_ms)
}

/// How the agent is told which session.
#[must_use]
pub fn reference(snapshot: &Snapshot, session: &SessionInfo) -> String {
    if session.home == snapshot.machine || session.home.is_empty() {
        session.name.clone()
    } else {
        format!("{}@{}", session.name, session.home)
    }
}

/// The session's moves. The agent may name it with or without its home.
fn moves_of<'a>(
    snapshot: &'a Snapshot,
    session: &'a SessionInfo,
    reference: &'a str,
) -> impl Iterator<Item = &'a MoveInfo> {
    let long = format!("{}@{}", session.name, session.home);
    snapshot.moves.iter().filter(move |m| m.session == reference || m.session == long)
}

/// The ends of a session's moves that the agent tells.
pub(super) fn ends_of(snapshot: &Snapshot, wanted: &str) -> Vec<Dismissed> {
    let session = snapshot.sessions.iter().find(|s| reference(snapshot, s) == wanted);
    let moves = session.into_iter().flat_map(|session| moves_of(snapshot, session, wanted));
    moves.filter(|m| m.end.is_some()).map(dismissed).collect()
}

/// A move of this session is under way.
pub(super) fn is_under_way(snapshot: &Snapshot, wanted: &str) -> bool {
    let session = snapshot.sessions.iter().find(|s| reference(snapshot, s) == wanted);
    session.is_some_and(|session| moves_of(snapshot, session, wanted).any(|m| m.end.is_none()))
}

fn running_on(snapshot: &Snapshot, machine: &str) -> usize {
    snapshot
        .sessions
        .iter()
        .filter(|s| s.host == machine && !matches!(s.state, SessionState::Ended { .. }))
        .count()
}

fn paired(snapshot: &Snapshot) -> impl Iterator<Item = &MachineInfo> {
    snapshot.machines.iter().filter(|m| m.paired)
}

/// Where a session can go: this machine first, then those within reach, by name.
#[must_use]
pub fn targets(snapshot: &Snapshot, session: &SessionInfo) -> Vec<Target> {
    let here = Target { machine: snapshot.machine.clone(), to: ".".to_owned(), here: true, online: true };
    let others = paired(snapshot).map(|m| Target {
        machine: m.name.clone(),
        to: m.name.clone(),
        here: false,
        online: m.online,
    });
    let mut targets: Vec<Target> =
        std::iter::once(here).chain(others).filter(|t| t.machine != session.host).collect();
    targets.sort_by(|a, b| (!a.here, !a.online, &a.machine).cmp(&(!b.here, !b.online, &b.machine)));
    targets
}

fn screens(snapshot: &Snapshot, session: &SessionInfo) -> Vec<Screen> {
    let shown = |name: &str| session.shown_on.iter().any(|s| s.machine == name);
    let here =
        Screen { machine: snapshot.machine.clone(), on: None, shown: shown(&snapshot.machine), online: true };
    let mut others: Vec<Screen> = paired(snapshot)
        .map(|m| Screen {
            machine: m.name.clone(),
            on: Some(m.name.clone()),
            shown: shown(&m.name),
            online: m.online,
        })
        .collect();
    others.sort_by(|a, b| (!a.online, &a.machine).cmp(&(!b.online, &b.machine)));
    std::iter::once(here).chain(others).collect()
}

/// A move as this machine sees it: away from somewhere, or to here.
fn on_its_way(
    snapshot: &Snapshot,
    from: &str,
    to: &str,
    under_way: Option<&MoveInfo>,
    stage: MoveStage,
) -> CardState {
    let progress = under_way.map(|m| &m.progress);
    if to == snapshot.machine {
        CardState::Arriving(moving(from, to, progress, stage))
    } else {
        CardState::Moving(moving(to, to, progress, stage))
    }
}

fn moving(machine: &str, target: &str, progress: Option<&MoveProgress>, stage: MoveStage) -> Moving {
    // The session's own state may be newer than the figures, never the other way round.
    let stage = progress.map_or(stage, |p| p.stage.max(stage));
    let (sent, total, elapsed) = progress.map_or((0, 0, 0), |p| (p.bytes_sent, p.bytes_total, p.elapsed_ms));
    let share = if total == 0 { 0.0 } else { (sent as f32 / total as f32).min(1.0) };
    let fraction = match stage {
        MoveStage::Offer => 0.03,
        MoveStage::Reserve => 0.08,
        MoveStage::PreCopy => 0.10 + 0.70 * share,
        MoveStage::StopAndCopy => 0.80 + 0.10 * share,
        MoveStage::Prepared => 0.92,
        MoveStage::Commit => 0.95,
        MoveStage::Activate => 0.98,
    };
    Moving {
        machine: machine.to_owned(),
        target: target.to_owned(),
        stage,
        fraction,
        bytes: (sent > 0).then(|| (figures::bytes(sent), figures::bytes(total.max(sent)))),
        seconds_left: (stage == MoveStage::PreCopy)
            .then(|| figures::seconds_left(sent, total, elapsed))
            .flatten(),
        cancellable: stage < MoveStage::Commit,
    }
}
