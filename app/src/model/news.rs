//! What is worth a notification while the window is closed: computed from two snapshots, one after
//! the other.

use roam_api::agent::{MoveInfo, Snapshot};
use roam_api::error::Failure;

use super::figures;
use super::view::{reference, told};
use crate::command::Command;
use crate::text::Text;

/// What a notification is about, so that it can be taken back when it is settled.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum About {
    /// A question of the agent.
    Question(u64),
    /// A code that is shown here.
    Code,
    /// A session that moved.
    Move(String),
    /// A failure, by its sentence: it is told by the one who asked and by the agent.
    Failed(String),
}

/// A notification.
#[derive(Debug, Clone, PartialEq)]
pub struct Note {
    /// What it is about.
    pub about: About,
    /// Its title.
    pub title: String,
    /// Its words.
    pub body: String,
    /// What can be done about it: words and command.
    pub actions: Vec<(String, Command)>,
}

/// What has happened between the two. Nothing is news that was there when the first word came.
#[must_use]
pub fn news(before: Option<&Snapshot>, now: &Snapshot) -> Vec<Note> {
    let Some(before) = before else { return Vec::new() };
    let mut notes = Vec::new();
    for question in now.questions.iter().filter(|question| !before.questions.contains(question)) {
        let answer = |yes| Command::Answer { question: question.number, yes };
        notes.push(Note {
            about: About::Question(question.number),
            title: Text::Question.say(),
            body: question.text.clone(),
            actions: vec![(Text::Accept.say(), answer(true)), (Text::Decline.say(), answer(false))],
        });
    }
    if let Some((code, machine)) = &now.pairing_code
        && before.pairing_code != now.pairing_code
    {
        notes.push(Note {
            about: About::Code,
            title: Text::CodeHere(machine).say(),
            body: Text::TrayCode(machine, code).say(),
            actions: Vec::new(),
        });
    }
    for ended in now.moves.iter().filter(|m| m.end.is_some()) {
        // Only what was seen under way: an end alone may be old.
        let was = before.moves.iter().find(|m| (&m.session, &m.to) == (&ended.session, &ended.to));
        if was.is_some_and(|was| was.end.is_none()) {
            notes.extend(end(now, ended));
        }
    }
    notes
}

/// What is settled between the two, so that its notification has nothing to ask any more.
#[must_use]
pub fn settled(before: Option<&Snapshot>, now: &Snapshot) -> Vec<About> {
    let Some(before) = before else { return Vec::new() };
    let gone = before.questions.iter().filter(|question| !now.questions.contains(question));
    let mut settled: Vec<About> = gone.map(|question| About::Question(question.number)).collect();
    if before.pairing_code.is_some() && now.pairing_code.is_none() {
        settled.push(About::Code);
    }
    settled
}

/// A request of the menu or of a notification failed.
#[must_use]
pub fn failed(failure: &Failure) -> Note {
    Note {
        about: About::Failed(failure.sentence.clone()),
        title: Text::Roam.say(),
        body: failure.to_string(),
        actions: Vec::new(),
    }
}

fn end(now: &Snapshot, ended: &MoveInfo) -> Option<Note> {
    let session = now
        .sessions
        .iter()
        .find(|s| reference(now, s) == ended.session || format!("{}@{}", s.name, s.home) == ended.session);
    let name = session.map_or_else(|| ended.session.clone(), |s| reference(now, s));
    let title = session.and_then(|s| s.titles.first()).unwrap_or(&name).clone();
    let send = |machine: &str| Command::Send { session: name.clone(), machine: told(now, machine) };
    let (about, body, action) = match ended.end.as_ref()? {
        Ok(report) => {
            let paused = figures::duration_ms(report.downtime_ms);
            let body = if ended.to == now.machine {
                Text::MovedHere(&paused).say()
            } else {
                Text::MovedTo(&ended.to, &paused).say()
            };
            (About::Move(ended.session.clone()), body, (Text::BringBack.say(), send(&ended.from)))
        }
        Err(failure) => {
            let about = About::Failed(failure.sentence.clone());
            (about, failure.to_string(), (Text::TryAgain.say(), send(&ended.to)))
        }
    };
    Some(Note { about, title, body, actions: vec![action] })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::tests::scenes;

    #[test]
    fn a_question_is_news_once_and_settled_when_it_goes() {
        let (before, now) = (scenes::sessions(), scenes::question());
        assert_eq!(news(None, &now), []);
        let notes = news(Some(&before), &now);
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].actions[1].1, Command::Answer { question: 3, yes: false });
        assert_eq!(news(Some(&now), &now), []);
        assert_eq!(settled(Some(&now), &before), [About::Question(3)]);
    }

    #[test]
    fn a_moves_end_is_news_with_a_way_back() {
        let notes = news(Some(&scenes::during()), &scenes::moved());
        assert_eq!(notes.len(), 1);
        assert_eq!(notes[0].title, "budget.org - GNU Emacs");
        assert_eq!(notes[0].body, "Moved to laptop. It paused for 84 ms.");
        let back = Command::Send { session: "emacs".to_owned(), machine: ".".to_owned() };
        assert_eq!(notes[0].actions, [("Undo".to_owned(), back)]);
        assert_eq!(news(Some(&scenes::sessions()), &scenes::moved()), []);
    }

    #[test]
    fn a_failed_move_is_news_with_a_retry() {
        let notes = news(Some(&scenes::during()), &scenes::failed());
        assert!(notes[0].body.ends_with("Update laptop, then try again."));
        assert_eq!(notes[0].actions[0].0, "Try again");
    }
}
