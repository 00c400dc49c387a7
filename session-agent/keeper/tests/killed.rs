//! Keepers killed with -9 in the middle of a move. Whatever happens, the session is in exactly one place.

mod common;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use common::keeper::{Running, identity, spec};
use common::lane::{Toward, Way};
use common::{Folders, as_ordinary_user};
use roam_api::error::{Failure, Outcome};
use roam_api::keeper::{Answer, Identity, LaneSecret, Reply, Request};
use roam_api::session::{MachineKey, MoveStage, SessionState};
use roam_keeper::journal::{Entry, Journal};
use roam_keeper::pod::handle::Pod;
use roam_keeper::wire;

/// Counts what it hears, and holds a lock on a file that both machines see.
const COUNTER: &str = "exec 9>lock; flock 9; \
    cd /tmp; mkfifo go; exec 3<>go; echo ready; n=0; while read x <&3; do n=$((n+1)); echo $n $x; done";

struct Machine {
    session: PathBuf,
    state: PathBuf,
}

impl Machine {
    fn pair(folders: &Folders) -> [Self; 2] {
        ["a", "b"].map(|name| {
            let base = folders.path(name);
            Self { session: base.join("session"), state: base.join("state/sessions/x") }
        })
    }

    /// Impatient: that a move is not confirmed is said at once, and what is tried begins then.
    fn keeper(&self) -> Running {
        Running::start_with(&self.session, &self.state, &["--unconfirmed-after", "100"])
    }
}

fn at(generation: u64) -> Identity {
    Identity { generation, ..identity() }
}

fn secret(number: u8) -> LaneSecret {
    LaneSecret { token: [number; 16], key: [number ^ 0x55; 32] }
}

/// The key of the machine that is called "there".
const THERE: MachineKey = MachineKey([9; 32]);

fn send(way: &Way, number: u8) -> Request {
    send_to("there", THERE, way, number)
}

fn send_to(to: &str, to_key: MachineKey, way: &Way, number: u8) -> Request {
    let addresses = vec![way.address.clone()];
    Request::Send { to: to.into(), to_key, addresses, lane: secret(number), cold: true }
}

fn receive(keeper: &Running, generation: u64, number: u8) {
    let request = Request::Receive {
        identity: at(generation),
        from: "here".into(),
        lane: secret(number),
        most_memory: None,
    };
    assert_eq!(keeper.ask(&request), Ok(Answer::Listening));
}

fn tell(keeper: &Running, folders: &Folders, word: &str, answer: &str) {
    let script = format!("echo {word} >/tmp/go");
    let argv = ["/bin/sh", "-c", &script].map(|s| s.as_bytes().to_vec()).to_vec();
    assert_eq!(keeper.ask(&Request::Exec { argv }), Ok(Answer::Ended { status: 0 }));
    keeper.follow(answer);
    assert!(is_locked(folders), "it runs without its lock");
}

fn is_locked(folders: &Folders) -> bool {
    let lock = std::fs::File::open(folders.path("home").join("lock")).unwrap();
    lock.try_lock().is_err()
}

fn start(machine: &Machine, folders: &Folders) -> Running {
    let keeper = machine.keeper();
    keeper.ask(&Request::Start { identity: at(1), spec: spec(folders, COUNTER) }).unwrap();
    keeper.follow("ready\n");
    keeper
}

fn adopt(keeper: &Running) -> Result<SessionState, Failure> {
    match keeper.ask(&Request::Adopt { host: "here".into() }) {
        Ok(Answer::Info(info)) => Ok(info.state),
        Ok(other) => panic!("{other:?}"),
        Err(failure) => Err(failure),
    }
}

fn generation(keeper: &Running) -> u64 {
    match keeper.ask(&Request::Info) {
        Ok(Answer::Info(info)) => info.generation,
        other => panic!("{other:?}"),
    }
}

/// Reads a send's replies until it says this stage. The end, if that comes first.
fn until(stream: &std::os::unix::net::UnixStream, stage: MoveStage) -> Option<Result<Answer, Failure>> {
    loop {
        match wire::receive::<Reply>(stream).unwrap().0 {
            Reply::Progress(progress) if progress.stage >= stage => return None,
            Reply::Done(answer) => return Some(Ok(answer)),
            Reply::Failed(failure) => return Some(Err(failure)),
            _ => {}
        }
    }
}

#[test]
fn a_target_killed_before_the_commit_undoes_the_move() {
    as_ordinary_user("a_target_killed_before_the_commit_undoes_the_move", || {
        let folders = Folders::new();
        let machines = Machine::pair(&folders);
        let here = start(&machines[0], &folders);
        for (round, stage) in [MoveStage::Offer, MoveStage::StopAndCopy].into_iter().enumerate() {
            let there = machines[1].keeper();
            receive(&there, 2, round as u8);
            let way = Way::to(machines[1].session.join("keeper.sock"));
            let mut stream = here.send(&send(&way, round as u8));
            assert_eq!(until(&stream, stage), None);
            there.kill();
            let failure = Running::collect(&mut stream).1.unwrap_err();
            assert_eq!(failure.outcome, Outcome::FailedAndUndone, "{failure}");
            tell(&here, &folders, "here", &format!("{} here\n", round + 1));
            // A new keeper there finds nothing that it could take over.
            let there = machines[1].keeper();
            assert!(adopt(&there).is_err());
            there.wait();
        }
        here.ask(&Request::Stop).unwrap();
        here.wait();
    });
}

#[test]
fn a_source_killed_before_the_commit_keeps_the_session() {
    as_ordinary_user("a_source_killed_before_the_commit_keeps_the_session", || {
        let folders = Folders::new();
        let machines = Machine::pair(&folders);
        let mut here = start(&machines[0], &folders);
        let there = machines[1].keeper();
        receive(&there, 2, 1);
        let way = Way::to(machines[1].session.join("keeper.sock"));
        let stream = here.send(&send(&way, 1));
        assert_eq!(until(&stream, MoveStage::Offer), None);
        here.kill();
        here = machines[0].keeper();
        assert_eq!(adopt(&here), Ok(SessionState::Running));
        tell(&here, &folders, "here", "1 here\n");
        // The target gave up with the lane.
        there.ask(&Request::Stop).unwrap();
        there.wait();
        here.ask(&Request::Stop).unwrap();
        here.wait();
    });
}

/// True once this machine's journal says that the session is gone.
fn says_gone(machine: &Machine) -> bool {
    matches!(last(machine), Some(Entry::Gone { .. }))
}

/// Writes the journal as a version did that knew its target by name only.
fn forget_the_key(machine: &Machine) {
    let path = machine.state.join("journal");
    let (_, records) = Journal::open(&path).unwrap();
    std::fs::remove_file(&path).unwrap();
    let (mut journal, _) = Journal::open(&path).unwrap();
    for record in records {
        let entry = match record.entry {
            Entry::Gone { number, to, .. } => Entry::GoneByName { number, to },
            other => other,
        };
        journal.write(record.generation, entry).unwrap();
    }
}

/// The lane breaks after the frozen session gave its lock back: it has it again before it goes on, also if its keeper
/// is killed at that moment, and also if somebody took it in between: then it waits for it.
#[test]
fn a_lock_that_was_given_back_is_taken_again() {
    as_ordinary_user("a_lock_that_was_given_back_is_taken_again", || {
        for (kill, taken) in [(false, false), (true, false), (false, true), (true, true)] {
            eprintln!("keeper killed: {kill}, lock taken: {taken}");
            let folders = Folders::new();
            let machines = Arc::new(Machine::pair(&folders));
            let here = start(&machines[0], &folders);
            let there = machines[1].keeper();
            receive(&there, 2, 1);
            let way = Way::to(machines[1].session.join("keeper.sock"));
            let (journal, pid) = (machines.clone(), here.pid());
            let lock = std::fs::File::open(folders.path("home").join("lock")).unwrap();
            let thief = Arc::new(lock);
            let take = thief.clone();
            way.cut_if(
                Toward::Target,
                Box::new(move || {
                    let given = matches!(last(&journal[0]), Some(Entry::LocksGiven { .. }));
                    if given && taken {
                        take.try_lock().unwrap();
                    }
                    if given && kill {
                        let pid = nix::unistd::Pid::from_raw(pid as i32);
                        nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGKILL).unwrap();
                    }
                    given
                }),
            );
            let mut stream = here.send(&send(&way, 1));
            let here = if kill {
                assert_eq!(until_end(&mut stream), None);
                here.kill();
                let here = machines[0].keeper();
                let state = adopt(&here).unwrap();
                assert_ne!(state, SessionState::Running, "without its lock");
                here
            } else {
                let failure = until_end(&mut stream).unwrap().unwrap_err();
                assert_eq!(failure.outcome, Outcome::FailedAndUndone, "{failure}");
                assert_eq!(failure.to_string().contains("stands still"), taken, "{failure}");
                here
            };
            if taken {
                let Ok(Answer::Info(info)) = here.ask(&Request::Info) else { panic!() };
                assert_ne!(info.state, SessionState::Running, "somebody else has its lock");
                thief.unlock().unwrap();
            }
            let watch = here.send(&Request::Watch);
            loop {
                let (reply, _) = wire::receive::<Reply>(&watch).unwrap();
                if matches!(reply, Reply::Info(info) if info.state == SessionState::Running) {
                    break;
                }
            }
            tell(&here, &folders, "here", "1 here\n");
            here.ask(&Request::Stop).unwrap();
            here.wait();
            there.kill();
        }
    });
}

/// The end of a request; none if the keeper is gone before.
fn until_end(stream: &mut std::os::unix::net::UnixStream) -> Option<Result<Answer, Failure>> {
    loop {
        match wire::receive::<Reply>(&mut *stream).ok()?.0 {
            Reply::Done(answer) => return Some(Ok(answer)),
            Reply::Failed(failure) => return Some(Err(failure)),
            _ => {}
        }
    }
}

fn last(machine: &Machine) -> Option<Entry> {
    let copy = machine.state.join("journal-copy");
    std::fs::copy(machine.state.join("journal"), &copy).unwrap();
    let (_, records) = Journal::open(&copy).unwrap();
    records.last().map(|r| r.entry.clone())
}

/// The target's keeper dies after the session was let go and before it wrote that it runs (or could not write
/// it). The pod is the truth: nobody is told "nothing", and the next keeper has the session.
#[test]
fn a_session_that_was_let_go_is_taken_over_without_a_record_that_it_runs() {
    as_ordinary_user("a_session_that_was_let_go_is_taken_over_without_a_record_that_it_runs", || {
        let folders = Folders::new();
        let machine = &Machine::pair(&folders)[0];
        start(machine, &folders).kill();
        let journal = machine.state.join("journal");
        let Some(Entry::Running { spec, facts, .. }) = last(machine) else { panic!() };
        std::fs::remove_file(&journal).unwrap();
        let (mut journal, _) = Journal::open(&journal).unwrap();
        for entry in [
            Entry::ReceiveBegun { identity: at(2), number: 5 },
            Entry::Prepared,
            Entry::Activating { identity: at(2), spec, facts },
        ] {
            journal.write(2, entry).unwrap();
        }
        drop(journal);
        let keeper = machine.keeper();
        let asks =
            Request::Receive { identity: at(2), from: "here".into(), lane: secret(1), most_memory: None };
        assert!(keeper.ask(&asks).is_err(), "a source would be told that there is nothing");
        assert_eq!(adopt(&keeper), Ok(SessionState::Running));
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!() };
        assert_eq!(info.generation, 2);
        assert!(matches!(last(machine), Some(Entry::Running { identity, .. }) if identity.generation == 2));
        tell(&keeper, &folders, "again", "1 again\n");
        receive(&keeper, 2, 1);
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

/// The confirmation is lost, and the session ends at the target before its source asks again. The source must not
/// take its old copy back.
#[test]
fn a_session_that_ended_at_the_target_is_not_taken_back() {
    as_ordinary_user("a_session_that_ended_at_the_target_is_not_taken_back", || {
        let folders = Folders::new();
        let machines = Arc::new(Machine::pair(&folders));
        let here = start(&machines[0], &folders);
        let there = machines[1].keeper();
        receive(&there, 2, 1);
        let way = Way::to(machines[1].session.join("keeper.sock"));
        let journal = machines.clone();
        way.cut_if(Toward::Source, Box::new(move || says_gone(&journal[0])));
        let failure = here.ask(&send(&way, 1)).unwrap_err();
        assert_eq!(failure.outcome, Outcome::Unconfirmed, "{failure}");
        tell(&there, &folders, "there", "1 there\n");
        there.ask(&Request::Stop).unwrap();
        there.wait();
        let there = machines[1].keeper();
        receive(&there, 2, 2);
        way.mend();
        // The move that is under way reports to whoever asked first; what is seen is that its keeper ends.
        let _ = here.ask(&send(&way, 2));
        here.wait();
        assert_eq!(last(&machines[0]), Some(Entry::SendDone));
        assert_eq!(there.ask(&Request::Withdraw), Ok(Answer::Ok));
    });
}

/// An offer that is taken back ends what is arriving, and nothing else: word of it may come when the session runs.
#[test]
fn an_offer_taken_back_never_ends_a_session_that_runs() {
    as_ordinary_user("an_offer_taken_back_never_ends_a_session_that_runs", || {
        let folders = Folders::new();
        let machines = Machine::pair(&folders);
        let runs = start(&machines[0], &folders);
        assert_eq!(runs.ask(&Request::Withdraw), Ok(Answer::Ok));
        tell(&runs, &folders, "still", "1 still\n");
        let waits = machines[1].keeper();
        receive(&waits, 2, 1);
        assert_eq!(waits.ask(&Request::Withdraw), Ok(Answer::Ok));
        waits.wait();
        // So does an offer of what came later, by the same machine only.
        let waits = machines[1].keeper();
        receive(&waits, 2, 1);
        let offered = |from: &str, generation| {
            let (from, identity) = (from.to_owned(), at(generation));
            waits.ask(&Request::Receive { identity, from, lane: secret(2), most_memory: None })
        };
        assert!(offered("a stranger", 3).is_err());
        assert_eq!(offered("here", 2), Ok(Answer::Listening));
        assert!(offered("here", 3).is_err());
        waits.wait();
        runs.ask(&Request::Stop).unwrap();
        runs.wait();
    });
}

/// The lane breaks right after the source wrote "gone": before the commit reaches the target, or before the
/// target's confirmation reaches the source. Then the source's keeper is killed, and the target's too, or not.
/// The session is where it can be, once.
#[test]
fn keepers_killed_past_the_commit_settle_it() {
    as_ordinary_user("keepers_killed_past_the_commit_settle_it", || {
        for (toward, kill_target) in
            [(Toward::Target, true), (Toward::Source, true), (Toward::Source, false), (Toward::Target, false)]
        {
            eprintln!("cut toward {toward:?}, target killed: {kill_target}");
            let folders = Folders::new();
            let machines = Arc::new(Machine::pair(&folders));
            let here = start(&machines[0], &folders);
            let there = machines[1].keeper();
            receive(&there, 2, 1);
            let way = Way::to(machines[1].session.join("keeper.sock"));
            let journal = machines.clone();
            way.cut_if(toward, Box::new(move || says_gone(&journal[0])));
            let mut watch = there.send(&Request::Watch);
            let mut stream = here.send(&send(&way, 1));
            let failure = Running::collect(&mut stream).1.unwrap_err();
            assert_eq!(failure.outcome, Outcome::Unconfirmed, "{failure}");
            here.kill();
            // A target that heard the commit runs it; that is seen before it is killed.
            let mut runs = toward != Toward::Source;
            while !runs {
                let (reply, _) = wire::receive::<Reply>(&mut watch).unwrap();
                runs = matches!(reply, Reply::Info(info) if info.state == SessionState::Running);
            }
            let there = if kill_target {
                there.kill();
                let there = machines[1].keeper();
                if toward == Toward::Source {
                    assert_eq!(adopt(&there), Ok(SessionState::Running));
                    there
                } else {
                    assert!(adopt(&there).is_err());
                    there.wait();
                    machines[1].keeper()
                }
            } else {
                there
            };
            let here = machines[0].keeper();
            let mut watch = here.send(&Request::Watch);
            let committed = SessionState::Sending { to: "there".into(), stage: MoveStage::Commit };
            assert_eq!(adopt(&here), Ok(committed.clone()), "held, and not running");
            // Nor did it say so in passing: that word is taken for the end of the move.
            match wire::receive::<Reply>(&mut watch).unwrap().0 {
                Reply::Info(info) => assert_eq!(info.state, committed),
                other => panic!("{other:?}"),
            }
            way.mend();
            receive(&there, 2, 2);
            let result = here.ask(&send(&way, 2));
            if toward == Toward::Target && kill_target {
                assert_eq!(result.unwrap_err().outcome, Outcome::FailedAndUndone);
                tell(&here, &folders, "here", "1 here\n");
                // Newer than what the target may have been said to run, for the next keeper, too.
                assert_eq!(generation(&here), 3);
                here.kill();
                let here = machines[0].keeper();
                assert_eq!(adopt(&here), Ok(SessionState::Running));
                assert_eq!(generation(&here), 3);
                tell(&here, &folders, "here", "2 here\n");
                here.ask(&Request::Stop).unwrap();
                here.wait();
                there.kill();
            } else {
                assert!(matches!(result, Ok(Answer::Moved(_))), "{result:?}");
                here.wait();
                tell(&there, &folders, "there", "1 there\n");
                there.ask(&Request::Stop).unwrap();
                there.wait();
            }
        }
    });
}

/// What is committed is the target's. Until that answers nothing here takes the copy for the session, and no other
/// machine is asked: one that never heard of the move would say that it has nothing, and the session would run twice.
#[test]
fn a_committed_copy_is_its_target_s() {
    as_ordinary_user("a_committed_copy_is_its_target_s", || {
        for by_name in [false, true] {
            eprintln!("journal without a key: {by_name}");
            let folders = Folders::new();
            let machines = Arc::new(Machine::pair(&folders));
            let here = start(&machines[0], &folders);
            let there = machines[1].keeper();
            receive(&there, 2, 1);
            let base = folders.path("c");
            let third = Machine { session: base.join("session"), state: base.join("state/sessions/x") };
            let elsewhere = third.keeper();
            receive(&elsewhere, 2, 3);
            let way_elsewhere = Way::to(third.session.join("keeper.sock"));
            let way = Way::to(machines[1].session.join("keeper.sock"));
            let journal = machines.clone();
            way.cut_if(Toward::Source, Box::new(move || says_gone(&journal[0])));
            assert_eq!(here.ask(&send(&way, 1)).unwrap_err().outcome, Outcome::Unconfirmed);
            let refused = |here: &Running, request: &Request| {
                let failure = here.ask(request).unwrap_err();
                assert_eq!(failure.outcome, Outcome::Refused, "{request:?}: {failure}");
                assert!(failure.sentence.contains("went to there"), "{request:?}: {failure}");
            };
            let other = MachineKey([8; 32]);
            let all_refused = |here: &Running| {
                refused(here, &send_to("elsewhere", other, &way_elsewhere, 3));
                refused(here, &Request::Stop);
                refused(here, &Request::Exec { argv: vec![b"true".to_vec()] });
                refused(here, &Request::Attach { machine: "here".into(), view_only: false });
            };
            all_refused(&here);
            refused(&here, &send_to("there", other, &way_elsewhere, 3));
            here.kill();
            if by_name {
                forget_the_key(&machines[0]);
            }
            let here = machines[0].keeper();
            let committed = SessionState::Sending { to: "there".into(), stage: MoveStage::Commit };
            assert_eq!(adopt(&here), Ok(committed.clone()));
            all_refused(&here);
            if !by_name {
                refused(&here, &send_to("there", other, &way_elsewhere, 3));
            }
            let file = folders.path("home").join("parked");
            refused(&here, &Request::Park { file: file.to_str().unwrap().into() });
            assert!(!file.exists());
            let Ok(Answer::Info(info)) = here.ask(&Request::Info) else { panic!() };
            assert_eq!(info.state, committed);
            way.mend();
            receive(&there, 2, 2);
            let result = here.ask(&send(&way, 2));
            assert!(matches!(result, Ok(Answer::Moved(_))), "{result:?}");
            here.wait();
            tell(&there, &folders, "there", "1 there\n");
            for keeper in [there, elsewhere] {
                keeper.ask(&Request::Stop).unwrap();
                keeper.wait();
            }
        }
    });
}

/// Ends every program of a machine's pod; roam-init stays.
fn empty(machine: &Machine) {
    let pod = Pod::find(&machine.session).unwrap().unwrap();
    let kill = roam_api::init::Request::Signal { pid: None, signal: nix::libc::SIGKILL };
    pod.client().ok(&kill, &[]).unwrap();
    let limit = Instant::now() + Duration::from_secs(30);
    while !pod.client().state().unwrap().empty {
        assert!(Instant::now() < limit, "its programs don't end");
        std::thread::yield_now();
    }
}

/// The target runs the session, and the source's keeper is killed while it ends its copy: between the last program and
/// roam-init, or right after both. The session has moved, and nobody says that it has ended: unless the target has
/// nothing of it.
#[test]
fn a_copy_that_ended_past_the_commit_is_not_the_session_s_end() {
    as_ordinary_user("a_copy_that_ended_past_the_commit_is_not_the_session_s_end", || {
        for (lost_there, pod_left) in [(false, true), (true, true), (false, false)] {
            eprintln!("lost by the target: {lost_there}, roam-init left: {pod_left}");
            let folders = Folders::new();
            let machines = Arc::new(Machine::pair(&folders));
            let here = start(&machines[0], &folders);
            let mut there = machines[1].keeper();
            receive(&there, 2, 1);
            let way = Way::to(machines[1].session.join("keeper.sock"));
            let journal = machines.clone();
            let toward = if lost_there { Toward::Target } else { Toward::Source };
            way.cut_if(toward, Box::new(move || says_gone(&journal[0])));
            assert_eq!(here.ask(&send(&way, 1)).unwrap_err().outcome, Outcome::Unconfirmed);
            here.kill();
            if lost_there {
                there.kill();
                there = machines[1].keeper();
            }
            if pod_left {
                empty(&machines[0]);
            } else {
                Pod::find(&machines[0].session).unwrap().unwrap().end().unwrap();
            }
            let here = machines[0].keeper();
            let watch = here.send(&Request::Watch);
            let adopted = adopt(&here);
            if pod_left {
                let committed = SessionState::Sending { to: "there".into(), stage: MoveStage::Commit };
                assert_eq!(adopted, Ok(committed));
                let mut wait = here.send(&Request::Wait);
                way.mend();
                receive(&there, 2, 2);
                let result = here.ask(&send(&way, 2));
                if lost_there {
                    assert!(result.unwrap_err().sentence.contains("has ended"));
                    assert_eq!(until_end(&mut wait), Some(Ok(Answer::Ended { status: 137 })));
                    here.ask(&Request::Stop).unwrap();
                    there.kill();
                    here.wait();
                    continue;
                }
                assert!(matches!(result, Ok(Answer::Moved(_))), "{result:?}");
                assert_eq!(until_end(&mut wait), None, "it has not ended");
            } else {
                let failure = adopted.unwrap_err();
                assert!(failure.sentence.contains("went to there"), "{failure}");
                assert!(says_gone(&machines[0]));
                // Also while somebody listens to it.
                assert!(wire::receive::<Reply>(&watch).is_err());
            }
            here.wait();
            tell(&there, &folders, "there", "1 there\n");
            there.ask(&Request::Stop).unwrap();
            there.wait();
        }
    });
}
