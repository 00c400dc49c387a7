//! Sleep and waking: what a session held is there again, a failed sleep changes nothing, and damaged
//! files are refused.

mod common;

use std::path::PathBuf;

use common::keeper::{Running, identity, spec};
use common::{Folders, as_ordinary_user};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer, Request};
use roam_api::session::SessionState;

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
