//! What the tray's menu says, computed from the agent's snapshot.

use roam_api::agent::Snapshot;
use roam_api::session::SessionState;

use super::view::{reference, targets};
use crate::command::Command;
use crate::text::Text;

/// A title longer than this is cut, so that the menu stays narrow.
const LONGEST: usize = 40;

/// A line of the menu.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Line {
    /// Words alone.
    Words(String),
    /// Does something.
    Act(String, Command),
    /// Opens more lines.
    More(String, Vec<Line>),
    /// Between groups.
    Gap,
    /// Opens the window.
    Open,
    /// Ends the tray icon.
    Quit,
}

/// The menu: questions, apps with their sends, the window.
#[must_use]
pub fn lines(snapshot: Option<&Snapshot>) -> Vec<Line> {
    let mut lines = Vec::new();
    match snapshot {
        None => lines.push(Line::Words(Text::NotConnected.say())),
        Some(snapshot) => {
            questions(snapshot, &mut lines);
            sessions(snapshot, &mut lines);
        }
    }
    lines.extend([Line::Gap, Line::Open, Line::Quit]);
    lines
}

fn questions(snapshot: &Snapshot, lines: &mut Vec<Line>) {
    for question in &snapshot.questions {
        let number = question.number;
        let answer = |yes| Command::Answer { question: number, yes };
        lines.extend([
            Line::Words(question.text.clone()),
            Line::Act(Text::Accept.say(), answer(true)),
            Line::Act(Text::Decline.say(), answer(false)),
            Line::Gap,
        ]);
    }
    if let Some((code, machine)) = &snapshot.pairing_code {
        lines.extend([Line::Words(Text::TrayCode(machine, code).say()), Line::Gap]);
    }
}

fn sessions(snapshot: &Snapshot, lines: &mut Vec<Line>) {
    let before = lines.len();
    let mut all: Vec<_> = snapshot.sessions.iter().collect();
    all.sort_by_key(|s| (s.started_unix, s.id));
    for session in all {
        let name = reference(snapshot, session);
        let title = session.titles.iter().find(|title| !title.trim().is_empty()).unwrap_or(&session.name);
        let title = shortened(title);
        match &session.state {
            SessionState::Running => {
                let sends: Vec<Line> = targets(snapshot, session)
                    .into_iter()
                    .map(|target| match (target.here, target.online) {
                        (_, false) => Line::Words(Text::IsOffline(&target.machine).say()),
                        (here, true) => {
                            let words = if here { Text::BringHere } else { Text::SendTo(&target.machine) };
                            let command = Command::Send { session: name.clone(), machine: target.to.clone() };
                            Line::Act(words.say(), command)
                        }
                    })
                    .collect();
                let sends = if sends.is_empty() { vec![Line::Words(Text::NoTargets.say())] } else { sends };
                lines.push(Line::More(title, sends));
            }
            SessionState::Sending { to, .. } => {
                let words = if *to == snapshot.machine {
                    arriving(&title, &session.host)
                } else {
                    Text::SendingTo(&title, to).say()
                };
                lines.push(Line::More(words, vec![cancel(name)]));
            }
            SessionState::Receiving { from } => {
                lines.push(Line::More(arriving(&title, from), vec![cancel(name)]));
            }
            SessionState::Parked { .. } => {
                let wake = Line::Act(Text::Wake.say(), Command::Resume { session: name });
                lines.push(Line::More(format!("{title} ({})", Text::AsleepShort), vec![wake]));
            }
            SessionState::Starting | SessionState::Ended { .. } => {}
        }
    }
    if lines.len() == before {
        lines.push(Line::Words(Text::NoAppsRunning.say()));
    }
}

fn arriving(title: &str, from: &str) -> String {
    format!("{title}: {}", Text::ArrivingFrom(from))
}

fn cancel(session: String) -> Line {
    Line::Act(Text::Cancel.say(), Command::CancelSend { session })
}

fn shortened(title: &str) -> String {
    if title.chars().count() <= LONGEST {
        return title.to_owned();
    }
    let head: String = title.chars().take(LONGEST - 1).collect();
    format!("{}…", head.trim_end())
}
