//! Sleep and waking: what a session held is there again, a failed sleep changes nothing, and damaged
//! files are refused.

mod common;

use std::path::PathBuf;

use common::fault::Fault;
use common::keeper::{Running, identity, spec};
use common::{Folders, as_ordinary_user};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer, Request};
use roam_api::session::SessionState;
use roam_keeper::journal::{Entry, Journal};
use roam_keeper::pod::handle::Pod;

/// Counts the lines it is told.
const COUNTER: &str = "cd /tmp; mkfifo go; exec 3<>go; echo kept >file; echo ready; n=0; \
                       while read x <&3; do n=$((n+1)); echo $n $x $(cat /tmp/file); done";

fn tell(keeper: &Running, word: &str) {
    let script = format!("echo {word} >/tmp/go");
    let argv = ["/bin/sh", "-c", &script].map(|s| s.as_bytes().to_vec()).to_vec();
    assert_eq!(keeper.ask(&Request::Exec { argv }), Ok(Answer::Ended { status: 0 }));
}

fn start(folders: &Folders) -> Running {
    let keeper = Running::start(folders);
    keeper.ask(&Request::Start { identity: identity(), spec: spec(folders, COUNTER) }).unwrap();
    keeper.follow("ready\n");
    tell(&keeper, "one");
    keeper.follow("1 one kept\n");
    keeper
}

fn park(keeper: &Running, file: &std::path::Path) -> Result<Answer, Failure> {
    keeper.ask(&Request::Park { file: file.display().to_string() })
}

fn resume(keeper: &Running, file: &std::path::Path) -> Result<Answer, Failure> {
    let mut identity = identity();
    identity.generation = 2;
    keeper.ask(&Request::Resume { identity, file: file.display().to_string() })
}

#[test]
fn a_session_sleeps_and_wakes() {
    as_ordinary_user("a_session_sleeps_and_wakes", || {
        let folders = Folders::new();
        let mut keeper = start(&folders);
        for round in 2..5 {
            let file = folders.path(&format!("home/asleep-{round}"));
            let parked = park(&keeper, &file);
            assert!(matches!(parked, Ok(Answer::Parked(ref report)) if report.bytes > 1000), "{parked:?}");
            keeper.wait();
            keeper = Running::start(&folders);
            assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
            assert!(!file.exists());
            tell(&keeper, "again");
            keeper.follow(&format!("{round} again kept\n"));
        }
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!() };
        assert_eq!((info.state, info.generation), (SessionState::Running, 2));
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn a_failed_sleep_changes_nothing_and_damage_is_refused() {
    as_ordinary_user("a_failed_sleep_changes_nothing_and_damage_is_refused", || {
        let folders = Folders::new();
        let keeper = start(&folders);
        assert!(park(&keeper, &folders.path("home/no/such/folder")).is_err());
        let taken = folders.path("home/taken");
        std::fs::write(&taken, "mine").unwrap();
        assert_eq!(park(&keeper, &taken).unwrap_err().outcome, Outcome::WrongUse);
        assert_eq!(std::fs::read(&taken).unwrap(), b"mine");
        tell(&keeper, "two");
        keeper.follow("2 two kept\n");

        let file = folders.path("home/asleep");
        park(&keeper, &file).unwrap();
        keeper.wait();
        let whole = std::fs::read(&file).unwrap();
        let keeper = Running::start(&folders);
        for bad in [&whole[..whole.len() / 2], b"nonsense", &[]] {
            std::fs::write(&file, bad).unwrap();
            let failure = resume(&keeper, &file).unwrap_err();
            assert!(failure.sentence.contains("can't be read"), "{failure}");
        }
        assert!(resume(&keeper, &PathBuf::from("/no/such/file")).is_err());
        std::fs::write(&file, &whole).unwrap();
        assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
        tell(&keeper, "three");
        keeper.follow("3 three kept\n");
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

/// Positions of a file: all that hold its form, and so many of the rest.
fn sampled(len: usize, of_the_rest: usize) -> Vec<usize> {
    let (head, tail) = (64.min(len), len.saturating_sub(64));
    let rest = (1..of_the_rest).map(|n| head + (tail - head) * n / of_the_rest);
    (0..head).chain(rest).chain(tail..len).collect()
}

#[test]
fn a_damaged_or_cut_file_is_refused_wherever_the_damage_is() {
    as_ordinary_user("a_damaged_or_cut_file_is_refused_wherever_the_damage_is", || {
        let folders = Folders::new();
        let keeper = start(&folders);
        let file = folders.path("home/asleep");
        park(&keeper, &file).unwrap();
        keeper.wait();
        let whole = std::fs::read(&file).unwrap();
        let keeper = Running::start(&folders);
        for at in sampled(whole.len(), 40) {
            let mut damaged = whole.clone();
            damaged[at] ^= 0x10;
            for bad in [&damaged[..], &whole[..at]] {
                std::fs::write(&file, bad).unwrap();
                let failure = resume(&keeper, &file).unwrap_err();
                assert!(failure.sentence.contains("can't be read"), "byte {at}: {failure}");
            }
        }
        std::fs::write(&file, &whole).unwrap();
        assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
        tell(&keeper, "again");
        keeper.follow("2 again kept\n");
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn a_session_with_a_screen_sleeps_and_wakes() {
    as_ordinary_user("a_session_with_a_screen_sleeps_and_wakes", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let mut program = spec(&folders, COUNTER);
        program.screen = true;
        keeper.ask(&Request::Start { identity: identity(), spec: program }).unwrap();
        keeper.follow("ready\n");
        let file = folders.path("home/asleep");
        park(&keeper, &file).unwrap();
        keeper.wait();
        let keeper = Running::start(&folders);
        assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
        tell(&keeper, "awake");
        keeper.follow("1 awake kept\n");
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

fn journal(folders: &Folders) -> PathBuf {
    folders.path("state/sessions/x/journal")
}

fn adopt(keeper: &Running) -> (SessionState, u64) {
    match keeper.ask(&Request::Adopt { host: "desk".into() }) {
        Ok(Answer::Info(info)) => (info.state, info.generation),
        other => panic!("{other:?}"),
    }
}

/// The keeper that takes a dead one's place has the session, which answers and says this.
fn taken_over(folders: &Folders, generation: u64, word: &str, answer: &str) -> Running {
    let keeper = Running::start(folders);
    assert_eq!(adopt(&keeper), (SessionState::Running, generation));
    tell(&keeper, word);
    keeper.follow(answer);
    keeper
}

/// However full the disk is when it wakes: it sleeps on in its file and nothing of it runs, or it runs, the file is
/// gone, and the next keeper knows it. Said is what is.
#[test]
fn a_session_that_wakes_on_a_full_disk_runs_once() {
    as_ordinary_user("a_session_that_wakes_on_a_full_disk_runs_once", || {
        let folders = Folders::new();
        let fault = Fault::new(&folders.path("home"));
        let keeper = start(&folders);
        let file = folders.path("home/asleep");
        park(&keeper, &file).unwrap();
        keeper.wait();
        let before = std::fs::metadata(journal(&folders)).unwrap().len();
        let (_, records) = Journal::open(&journal(&folders)).unwrap();
        assert!(matches!(records[0].entry, Entry::Running { .. }) && records.len() == 2);
        // A record that says all takes nearly as much as the two that are there.
        let full = before;
        for room in [0, full / 2, full * 3 / 2] {
            let keeper = Running::start_faulty(&folders, &fault);
            fault.plan(&format!("full {}", before + room));
            let woken = resume(&keeper, &file);
            fault.over();
            let lives = Pod::find(&folders.path("session")).unwrap().is_some();
            assert_eq!((woken.is_ok(), lives), (room > full, room > full), "room {room}: {woken:?}");
            assert_eq!(file.exists(), !lives, "room {room}");
            keeper.kill();
        }
        let keeper = taken_over(&folders, 2, "two", "2 two kept\n");
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn a_keeper_killed_while_its_session_wakes_leaves_one() {
    as_ordinary_user("a_keeper_killed_while_its_session_wakes_leaves_one", || {
        for wakes in [false, true] {
            let folders = Folders::new();
            let fault = Fault::new(&folders.path("home"));
            let keeper = start(&folders);
            let file = folders.path("home/asleep");
            park(&keeper, &file).unwrap();
            keeper.wait();
            let before = std::fs::metadata(journal(&folders)).unwrap().len();
            // At the record that it wakes, or at the next one, that it runs, each as long as what is there.
            fault.plan(&format!("die {}", if wakes { before * 5 / 2 } else { before }));
            let keeper = Running::start_faulty(&folders, &fault);
            let mut identity = identity();
            identity.generation = 2;
            let request = Request::Resume { identity, file: file.display().to_string() };
            drop(keeper.send(&request));
            keeper.died();
            let keeper = if wakes {
                let keeper = taken_over(&folders, 2, "two", "2 two kept\n");
                assert!(!file.exists(), "it could be woken twice");
                keeper
            } else {
                let keeper = Running::start(&folders);
                assert_eq!(adopt(&keeper).0, SessionState::Parked { file: file.display().to_string() });
                assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
                tell(&keeper, "two");
                keeper.follow("2 two kept\n");
                keeper
            };
            keeper.ask(&Request::Stop).unwrap();
            keeper.wait();
        }
    });
}

/// "Parked" was written and could not be made to last: the session runs, as is said, and its next keeper knows that.
#[test]
fn a_sleep_that_is_not_written_down_is_none() {
    as_ordinary_user("a_sleep_that_is_not_written_down_is_none", || {
        let folders = Folders::new();
        let fault = Fault::new(&folders.path("home"));
        let keeper = Running::start_faulty(&folders, &fault);
        keeper.ask(&Request::Start { identity: identity(), spec: spec(&folders, COUNTER) }).unwrap();
        keeper.follow("ready\n");
        let file = folders.path("home/asleep");
        let full = std::fs::metadata(journal(&folders)).unwrap().len();
        for plan in ["no-sync", &format!("full {full}")] {
            fault.plan(plan);
            assert_eq!(park(&keeper, &file).unwrap_err().outcome, Outcome::FailedAndUndone);
            fault.over();
            assert!(!file.exists());
        }
        tell(&keeper, "one");
        keeper.follow("1 one kept\n");
        keeper.kill();
        let keeper = taken_over(&folders, 1, "two", "2 two kept\n");
        keeper.kill();
        // Should even the journal's word have stayed: without a file it counts for nothing.
        let (mut written, _) = Journal::open(&journal(&folders)).unwrap();
        written.write(1, Entry::Parked { file: file.display().to_string() }).unwrap();
        let keeper = taken_over(&folders, 1, "three", "3 three kept\n");
        let (_, records) = Journal::open(&journal(&folders)).unwrap();
        assert!(matches!(records.last().unwrap().entry, Entry::Running { .. }));
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

/// Killed between the journal's word and the session's end: it stands still until the next keeper ends it, so nothing
/// that it does is lost.
#[test]
fn a_keeper_killed_as_its_session_falls_asleep_leaves_it_asleep() {
    as_ordinary_user("a_keeper_killed_as_its_session_falls_asleep_leaves_it_asleep", || {
        for file_stays in [true, false] {
            let folders = Folders::new();
            let fault = Fault::new(&folders.path("home"));
            let keeper = Running::start_faulty(&folders, &fault);
            keeper.ask(&Request::Start { identity: identity(), spec: spec(&folders, COUNTER) }).unwrap();
            keeper.follow("ready\n");
            tell(&keeper, "one");
            keeper.follow("1 one kept\n");
            let file = folders.path("home/asleep");
            fault.plan("die-at-sync");
            drop(keeper.send(&Request::Park { file: file.display().to_string() }));
            keeper.died();
            let pod = Pod::find(&folders.path("session")).unwrap().unwrap();
            assert!(pod.client().state().unwrap().held, "it runs past what is in the file");
            drop(pod);
            let keeper = if file_stays {
                let keeper = Running::start(&folders);
                assert_eq!(adopt(&keeper).0, SessionState::Parked { file: file.display().to_string() });
                assert!(Pod::find(&folders.path("session")).unwrap().is_none());
                assert!(matches!(resume(&keeper, &file), Ok(Answer::Resumed(_))));
                tell(&keeper, "two");
                keeper.follow("2 two kept\n");
                keeper
            } else {
                // What it was to sleep in can't be read: the copy that stands still is the only one.
                std::fs::write(&file, "something else").unwrap();
                let keeper = taken_over(&folders, 1, "two", "2 two kept\n");
                assert_eq!(std::fs::read(&file).unwrap(), b"something else");
                keeper
            };
            keeper.ask(&Request::Stop).unwrap();
            keeper.wait();
        }
    });
}
