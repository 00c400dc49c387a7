//! A keeper as its agent uses it: start, exec, log, wait, stop, and a keeper killed in the middle.

mod common;

use common::keeper::{Running, identity, spec};
use common::{Folders, as_ordinary_user};
use roam_api::agent::Input;
use roam_api::error::Outcome;
use roam_api::keeper::{Answer, Reply, Request};
use roam_api::session::SessionState;

#[test]
fn a_program_runs_prints_and_ends() {
    as_ordinary_user("a_program_runs_prints_and_ends", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let program =
            spec(&folders, "echo out; echo err >&2; read line </tmp/../proc/1/comm; echo $line; exit 7");
        assert_eq!(keeper.ask(&Request::Start { identity: identity(), spec: program }), Ok(Answer::Ok));
        assert_eq!(keeper.ask(&Request::Wait), Ok(Answer::Ended { status: 7 }));
        let (output, end) = keeper.output(&Request::Log { follow: true });
        assert_eq!(end, Ok(Answer::Ok));
        assert_eq!((output[0].as_str(), output[1].as_str()), ("out\nroam-init\n", "err\n"));
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!("no info") };
        assert_eq!(info.state, SessionState::Ended { status: 7 });
        assert_eq!(keeper.ask(&Request::Stop), Ok(Answer::Ok));
        keeper.wait();
    });
}

#[test]
fn commands_run_in_the_session() {
    as_ordinary_user("commands_run_in_the_session", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let program = spec(&folders, "echo $$ >/tmp/pid; exec sleep 600");
        keeper.ask(&Request::Start { identity: identity(), spec: program }).unwrap();
        let argv = ["/bin/sh", "-c", "cat; echo oops >&2; exit 3"].map(|s| s.as_bytes().to_vec()).to_vec();
        let mut stream = keeper.send(&Request::Exec { argv });
        for input in [Input::Bytes(b"ping".to_vec()), Input::End] {
            roam_keeper::wire::send(&stream, &input, &[]).unwrap();
        }
        let (output, end) = Running::collect(&mut stream);
        assert_eq!((output[0].as_str(), output[1].as_str()), ("ping", "oops\n"));
        assert_eq!(end, Ok(Answer::Ended { status: 3 }));
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!("no info") };
        assert_eq!((info.state, info.processes), (SessionState::Running, 1));
        assert!(info.memory_bytes > 0);
        let failure = keeper.ask(&Request::Exec { argv: vec![b"/no/such".to_vec()] }).unwrap_err();
        assert!(failure.sentence.contains("/no/such could not be started"), "{failure}");
        assert_eq!(keeper.ask(&Request::Stop), Ok(Answer::Ok));
        keeper.wait();
    });
}

#[test]
fn bad_starts_are_refused_and_leave_the_keeper_empty() {
    as_ordinary_user("bad_starts_are_refused_and_leave_the_keeper_empty", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let mut bad = spec(&folders, "true");
        bad.argv = vec![b"/no/such/program".to_vec()];
        let failure = keeper.ask(&Request::Start { identity: identity(), spec: bad.clone() }).unwrap_err();
        assert_eq!(failure.outcome, Outcome::WrongUse);
        bad = spec(&folders, "true");
        bad.cwd = b"/tmp/somewhere".to_vec();
        let failure = keeper.ask(&Request::Start { identity: identity(), spec: bad }).unwrap_err();
        assert_eq!(failure.outcome, Outcome::Refused);
        assert!(failure.sentence.contains("/tmp/somewhere"), "{failure}");
        assert!(keeper.ask(&Request::Info).is_err());
        let good = spec(&folders, "true");
        assert_eq!(keeper.ask(&Request::Start { identity: identity(), spec: good }), Ok(Answer::Ok));
        assert_eq!(keeper.ask(&Request::Wait), Ok(Answer::Ended { status: 0 }));
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn a_keeper_that_finds_nothing_to_take_over_ends() {
    as_ordinary_user("a_keeper_that_finds_nothing_to_take_over_ends", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let _watch = keeper.send(&Request::Watch);
        let failure = keeper.ask(&Request::Adopt { host: "here".into() }).unwrap_err();
        assert_eq!(failure.outcome, Outcome::Refused, "{failure}");
        keeper.wait();
    });
}

#[test]
fn a_killed_keeper_s_session_goes_on_and_is_taken_over() {
    as_ordinary_user("a_killed_keeper_s_session_goes_on_and_is_taken_over", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        // Prints what it is told through a FIFO, so that it also speaks while there is no keeper.
        let home = folders.path("home");
        let program = format!(
            "mkfifo {0}/go; exec 3<>{0}/go; echo ready; while read n <&3; do echo $n; [ $n = end ] && exit 5; done",
            home.display()
        );
        keeper.ask(&Request::Start { identity: identity(), spec: spec(&folders, &program) }).unwrap();
        keeper.follow("ready\n");
        std::fs::write(home.join("go"), "one\n").unwrap();
        keeper.kill();
        std::fs::write(home.join("go"), "two\n").unwrap();

        let keeper = Running::start(&folders);
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Adopt { host: "renamed".into() }) else {
            panic!("not adopted")
        };
        assert_eq!(
            (info.state, info.host.as_str(), info.processes > 0),
            (SessionState::Running, "renamed", true)
        );
        std::fs::write(home.join("go"), "end\n").unwrap();
        assert_eq!(keeper.ask(&Request::Wait), Ok(Answer::Ended { status: 5 }));
        let (output, _) = keeper.output(&Request::Log { follow: true });
        assert_eq!(output[0], "ready\none\ntwo\nend\n");
        keeper.kill();

        let keeper = Running::start(&folders);
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Adopt { host: "here".into() }) else { panic!() };
        assert_eq!(info.state, SessionState::Ended { status: 5 });
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}

#[test]
fn garbage_closes_its_connection_only() {
    as_ordinary_user("garbage_closes_its_connection_only", || {
        use std::io::{Read, Write};
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        keeper.ask(&Request::Start { identity: identity(), spec: spec(&folders, "exec sleep 600") }).unwrap();
        for socket in ["keeper.sock", "init.sock"] {
            let mut stream =
                std::os::unix::net::UnixStream::connect(folders.path("session").join(socket)).unwrap();
            stream.write_all(&[0xfe; 100]).unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest);
            assert!(rest.is_empty());
        }
        let Ok(Answer::Info(info)) = keeper.ask(&Request::Info) else { panic!("no info") };
        assert_eq!(info.state, SessionState::Running);
        let mut watch = keeper.send(&Request::Watch);
        let (first, _) = roam_keeper::wire::receive::<Reply>(&mut watch).unwrap();
        assert!(matches!(first, Reply::Info(_)));
        keeper.ask(&Request::Stop).unwrap();
        let (last, _) = roam_keeper::wire::receive::<Reply>(&mut watch).unwrap();
        assert!(matches!(last, Reply::Info(info) if matches!(info.state, SessionState::Ended { .. })));
        keeper.wait();
    });
}
