//! Moves between two real keepers over a real lane: there and back, cut at any point, keepers killed.
//! Whatever happens, the session is in exactly one place and answers.

mod common;

use std::path::PathBuf;

use common::keeper::{Running, identity, spec};
use common::lane::Way;
use common::{Folders, as_ordinary_user};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer, Identity, LaneSecret, Request};
use roam_api::session::{MachineKey, MoveReport, MoveStage, SessionState};

/// Counts the lines it is told, and holds some memory.
const COUNTER: &str = "cd /tmp; mkfifo go; exec 3<>go; big=$(head -c 300000 /dev/zero | tr '\\0' x); echo ready; \
                       n=0; while read x <&3; do n=$((n+1)); echo $n $x ${#big}; done";

struct Machine {
    session: PathBuf,
    state: PathBuf,
}

impl Machine {
    fn new(folders: &Folders, name: &str) -> Self {
        let base = folders.path(name);
        Self { session: base.join("session"), state: base.join("state/sessions/x") }
    }

    fn keeper(&self) -> Running {
        Running::start_in(&self.session, &self.state)
    }

    fn way(&self) -> Way {
        Way::to(self.session.join("keeper.sock"))
    }
}

fn at(generation: u64, host: &str) -> Identity {
    Identity { generation, host: host.into(), ..identity() }
}

fn secret(number: u8) -> LaneSecret {
    LaneSecret { token: [number; 16], key: [number ^ 0x55; 32] }
}

fn send_request(way: &Way, number: u8, cold: bool) -> Request {
    Request::Send {
        to: "there".into(),
        to_key: MachineKey([9; 32]),
        addresses: vec![way.address.clone()],
        lane: secret(number),
        cold,
    }
}

fn receive(keeper: &Running, generation: u64, number: u8) {
    receive_at_most(keeper, generation, number, None);
}

fn receive_at_most(keeper: &Running, generation: u64, number: u8, most_memory: Option<u64>) {
    let (identity, lane) = (at(generation, "there"), secret(number));
    let request = Request::Receive { identity, from: "here".into(), lane, most_memory };
    assert_eq!(keeper.ask(&request), Ok(Answer::Listening));
}

fn tell(keeper: &Running, word: &str) -> Result<Answer, Failure> {
    let script = format!("echo {word} >/tmp/go");
    let argv = ["/bin/sh", "-c", &script].map(|s| s.as_bytes().to_vec()).to_vec();
    keeper.ask(&Request::Exec { argv })
}

fn start(machine: &Machine, folders: &Folders) -> Running {
    let keeper = machine.keeper();
    keeper.ask(&Request::Start { identity: at(1, "here"), spec: spec(folders, COUNTER) }).unwrap();
    keeper.follow("ready\n");
    assert_eq!(tell(&keeper, "begin"), Ok(Answer::Ended { status: 0 }));
    keeper.follow("1 begin 300000\n");
    keeper
}

fn moved(result: Result<Answer, Failure>) -> MoveReport {
    match result {
        Ok(Answer::Moved(report)) => report,
        other => panic!("{other:?}"),
    }
}

fn state(keeper: &Running) -> Option<SessionState> {
    match keeper.ask(&Request::Info) {
        Ok(Answer::Info(info)) => Some(info.state),
        _ => None,
    }
}

#[test]
fn a_session_travels_there_and_back() {
    as_ordinary_user("a_session_travels_there_and_back", || {
        let folders = Folders::new();
        let machines = [Machine::new(&folders, "a"), Machine::new(&folders, "b")];
        let mut keeper = start(&machines[0], &folders);
        for round in 1..5u8 {
            let target = &machines[usize::from(round % 2)];
            let there = target.keeper();
            receive(&there, u64::from(round) + 1, round);
            let way = target.way();
            let report = moved(keeper.ask(&send_request(&way, round, round == 3)));
            let most = report.downtime_ms + report.downtime_uncertainty_ms;
            assert!(most > 0.0 && report.bytes_sent > 300_000, "{report:?}");
            assert_eq!(report.phases.first().map(|p| p.0), Some(MoveStage::Offer));
            eprintln!("moved: {report:?}");
            keeper.wait();
            keeper = there;
            assert_eq!(tell(&keeper, "moved"), Ok(Answer::Ended { status: 0 }));
            keeper.follow(&format!("{} moved 300000\n", round + 1));
        }
        let (output, _) = keeper.output(&Request::Log { follow: false });
        assert!(output[0].starts_with("ready\n1 begin"), "the log travels: {}", output[0]);
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!() };
        assert_eq!((info.generation, info.host.as_str()), (5, "there"));
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn a_refusal_changes_nothing() {
    as_ordinary_user("a_refusal_changes_nothing", || {
        let folders = Folders::new();
        let machines = [Machine::new(&folders, "a"), Machine::new(&folders, "b")];
        let keeper = start(&machines[0], &folders);
        let there = machines[1].keeper();
        // Announced with another generation than the source will offer.
        receive(&there, 7, 1);
        let way = machines[1].way();
        let failure = keeper.ask(&send_request(&way, 1, false)).unwrap_err();
        assert_eq!(failure.outcome, Outcome::Refused, "{failure}");
        // The wrong secret.
        let failure = keeper.ask(&send_request(&way, 2, false)).unwrap_err();
        assert_eq!(failure.outcome, Outcome::FailedAndUndone, "{failure}");
        assert_eq!(state(&keeper), Some(SessionState::Running));
        tell(&keeper, "still").unwrap();
        keeper.follow("2 still 300000\n");
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
        there.kill();
    });
}

#[test]
fn more_memory_than_allowed_is_not_taken() {
    as_ordinary_user("more_memory_than_allowed_is_not_taken", || {
        let folders = Folders::new();
        let machines = [Machine::new(&folders, "a"), Machine::new(&folders, "b")];
        let keeper = start(&machines[0], &folders);
        let there = machines[1].keeper();
        receive_at_most(&there, 2, 1, Some(64 << 10));
        let way = machines[1].way();
        let failure = keeper.ask(&send_request(&way, 1, false)).unwrap_err();
        assert!(failure.sentence.contains("larger than it was said to be"), "{failure}");
        assert_eq!(state(&keeper), Some(SessionState::Running));
        tell(&keeper, "still").unwrap();
        keeper.follow("2 still 300000\n");
        there.kill();
        let there = machines[1].keeper();
        receive_at_most(&there, 2, 2, Some(1 << 30));
        moved(keeper.ask(&send_request(&machines[1].way(), 2, false)));
        tell(&there, "there").unwrap();
        there.follow("3 there 300000\n");
        there.ask(&Request::Stop).unwrap();
        there.wait();
    });
}

/// Cuts the lane after every so many bytes; then, with the lane mended, it must come out where the session is.
#[test]
fn a_lane_cut_anywhere_leaves_the_session_in_one_place() {
    as_ordinary_user("a_lane_cut_anywhere_leaves_the_session_in_one_place", || {
        let folders = Folders::new();
        let machines = [Machine::new(&folders, "a"), Machine::new(&folders, "b")];
        let mut here = start(&machines[0], &folders);
        let (mut at_a, mut generation, mut told) = (true, 1u64, 1u32);
        // How long a whole move is, so that the cuts fall everywhere.
        let mut whole: i64 = 0;
        for round in 0..14u8 {
            let target = &machines[usize::from(at_a)];
            let there = target.keeper();
            receive(&there, generation + 1, round);
            let way = target.way();
            if round > 0 {
                way.cut_after(match round {
                    // Near the end: commit and confirmation are small.
                    9 => whole - 60,
                    10 => whole - 120,
                    11 => whole - 200,
                    12 => whole - 400,
                    13 => whole - 900,
                    n => whole * i64::from(n) / 9,
                });
            }
            let mut stream = here.send(&send_request(&way, round, true));
            // Mended only when the cut has been noticed: the source says undone, or the target commits.
            let mend = std::thread::spawn(move || {
                std::thread::park_timeout(std::time::Duration::from_millis(700));
                way.mend();
                way
            });
            let (_, result) = Running::collect(&mut stream);
            let _way = mend.join().unwrap();
            told += 1;
            let went = match result {
                Ok(Answer::Moved(report)) => {
                    whole = whole.max(report.bytes_sent as i64 + 8000);
                    true
                }
                Err(failure) => {
                    assert_eq!(failure.outcome, Outcome::FailedAndUndone, "round {round}: {failure}");
                    false
                }
                other => panic!("{other:?}"),
            };
            if went {
                here.wait();
                here = there;
                at_a = !at_a;
                generation += 1;
            } else {
                // As the source's agent does: what is left there is given up.
                assert_eq!(there.ask(&Request::Stop), Ok(Answer::Ok), "round {round}");
                there.wait();
            }
            tell(&here, "here").unwrap();
            here.follow(&format!("{told} here 300000\n"));
            assert_eq!(state(&here), Some(SessionState::Running));
        }
        assert!(generation > 1);
        here.ask(&Request::Stop).unwrap();
        here.wait();
    });
}
