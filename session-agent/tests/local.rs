//! One agent and its sessions: started, listed, entered, found again after every kind of death.

mod common;

use std::process::Stdio;

use common::{Machine, kill_by_file};
use roam_api::session::SessionState;

#[test]
fn a_session_lives_and_ends() {
    let desk = Machine::on("desk");
    assert_eq!(desk.ok(&["run", "--no-screen", "--", "/bin/sleep", "100"]), "sleep");
    assert_eq!(desk.ok(&["run", "--no-screen", "sleep", "100"]), "sleep-2");
    assert_eq!(desk.ok(&["run", "--no-screen", "--name", "Editor", "sleep", "1"]), "Editor");
    desk.fails(3, &["run", "--no-screen", "--name", "Editor", "sleep", "1"]);
    desk.fails(2, &["run", "--no-screen", "--name", "a b", "sleep", "1"]);
    desk.fails(3, &["run", "--no-screen", "/nonexistent"]);
    let list = desk.json(&["list", "--json"]);
    let names: Vec<&str> =
        list["sessions"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert_eq!(names.len(), 3, "{names:?}");
    assert_eq!(list["sessions"][0]["home"], "desk");
    assert_eq!(list["sessions"][0]["host"], "desk");
    assert_eq!(desk.ok(&["log", "Editor"]), "hello from the session");
    desk.ok(&["stop", "Editor@desk"]);
    assert_eq!(desk.ok(&["wait", "Editor"]), "143");
    assert_eq!(desk.json(&["list", "--json"])["sessions"].as_array().unwrap().len(), 2);
    desk.fails(2, &["stop", "nothing"]);
    desk.fails(2, &["send", "sleep", "nowhere"]);
    assert_eq!(desk.json(&["send", "sleep", "desk", "--json"])["already_there"], true);
    // The name is free again.
    assert_eq!(desk.ok(&["run", "--no-screen", "--name", "Editor", "sleep", "1"]), "Editor");
}

#[test]
fn exec_carries_streams_signals_and_the_exit_code() {
    let desk = Machine::on("desk");
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    let output =
        desk.roam_with_input(&["exec", "s", "--", "sh", "-c", "cat; echo oops >&2; exit 7"], b"to and fro");
    assert_eq!(output.status.code(), Some(7));
    assert_eq!(output.stdout, b"to and fro");
    assert_eq!(output.stderr, b"oops\n");
    // More than any buffer holds.
    let big = vec![b'x'; 3 << 20];
    let output = desk.roam_with_input(&["exec", "s", "cat"], &big);
    assert!(output.stdout == big);
    desk.fails(125, &["exec", "nothing", "true"]);

    let mut child = desk
        .command("roam", &["exec", "s", "sh", "-c", "trap 'exit 9' TERM; echo up; while :; do read x; done"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut line = String::new();
    std::io::BufRead::read_line(&mut std::io::BufReader::new(child.stdout.as_mut().unwrap()), &mut line)
        .unwrap();
    assert_eq!(line, "up\n");
    let pid = nix::unistd::Pid::from_raw(i32::try_from(child.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGTERM).unwrap();
    // The shell runs its trap once `read` returns.
    std::io::Write::write_all(child.stdin.as_mut().unwrap(), b"\n").unwrap();
    assert_eq!(child.wait().unwrap().code(), Some(9));
}

#[test]
fn sessions_outlive_agents_and_keepers() {
    let mut desk = Machine::on("desk");
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    desk.kill_agent();
    desk.start();
    assert_eq!(desk.ok(&["exec", "s", "echo", "alive"]), "alive");
    let folder = desk.folders().pop().unwrap();
    let before = std::fs::read_to_string(folder.join("keeper.pid")).unwrap();
    kill_by_file(&folder.join("keeper.pid"));
    desk.until_other(&folder.join("keeper.pid"), &before);
    // Dead with the agent off, too; and killed before it could say what the new keeper is for.
    desk.kill_agent();
    kill_by_file(&folder.join("keeper.pid"));
    desk.start();
    desk.until("taken over again", |s| s.sessions.iter().any(|s| s.state == SessionState::Running));
    assert_eq!(desk.ok(&["exec", "s", "echo", "alive"]), "alive");
    // Without its init a session is over, and its folder goes.
    kill_by_file(&folder.join("init.pid"));
    kill_by_file(&folder.join("keeper.pid"));
    desk.until("gone", |s| s.sessions.is_empty());
    assert!(desk.folders().is_empty());
}

/// A `roam wait` under way, known to be heard: the agent says so in its log.
fn waiting(machine: &Machine, session: &str) -> std::process::Child {
    let before = machine.log().matches("somebody waits").count();
    let mut command = machine.command("roam", &["wait", session]);
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    machine.until_logged("somebody waits", before + 1);
    child
}

/// How it ended: exit code and both outputs.
fn told(child: std::process::Child) -> (Option<i32>, String, String) {
    let output = child.wait_with_output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code(), text(output.stdout), text(output.stderr))
}

#[test]
fn every_wait_has_a_true_end() {
    let mut desk = Machine::on("desk");
    let run = |desk: &Machine| desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    // Its keeper dies and another takes over, its agent dies and another is there: it is waited for on.
    run(&desk);
    let wait = waiting(&desk, "s");
    let pid = desk.folders()[0].join("keeper.pid");
    let before = std::fs::read_to_string(&pid).unwrap();
    kill_by_file(&pid);
    desk.until_other(&pid, &before);
    let heard = desk.log().matches("somebody waits").count();
    desk.kill_agent();
    desk.start();
    desk.until_logged("somebody waits", heard + 1);
    desk.ok(&["stop", "s"]);
    let (code, out, err) = told(wait);
    assert_eq!((code, &out[..]), (Some(0), "143\n"), "{err}");
    // Put to sleep.
    run(&desk);
    let wait = waiting(&desk, "s");
    desk.ok(&["park", "s"]);
    let (code, _, err) = told(wait);
    assert!(code == Some(3) && err.contains("s sleeps in"), "{code:?} {err}");
    desk.ok(&["resume", "s"]);
    // Keeper and pod killed at once: nobody knows how it ended.
    let wait = waiting(&desk, "s");
    let folder = desk.folders().pop().unwrap();
    kill_by_file(&folder.join("init.pid"));
    kill_by_file(&folder.join("keeper.pid"));
    let (code, _, err) = told(wait);
    assert!(code == Some(4) && err.contains("how it ended is not known"), "{code:?} {err}");
}

#[test]
fn a_session_sleeps_and_wakes() {
    let mut desk = Machine::on("desk");
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    let file = desk.ok(&["park", "s"]);
    assert!(std::path::Path::new(&file).is_file());
    desk.fails(3, &["stop", "s"]);
    desk.fails(125, &["exec", "s", "true"]);
    desk.fails(3, &["run", "--no-screen", "--name", "s", "true"]);
    desk.kill_agent();
    desk.start();
    assert_eq!(desk.json(&["list", "--json"])["sessions"][0]["state"], "parked");
    assert_eq!(desk.ok(&["resume", "s"]), "s");
    // Who is told that it woke finds it so, though its keeper says it later.
    let woken = &desk.json(&["list", "--json"])["sessions"][0];
    assert_eq!((&woken["state"], &woken["generation"]), (&"running".into(), &2.into()));
    desk.fails(3, &["resume", "s"]);
    let other = desk.path("file.roam");
    let other = other.to_str().unwrap();
    desk.ok(&["park", "s", "--to", other]);
    assert_eq!(desk.ok(&["resume", other]), "s");
    desk.fails(2, &["resume", "/nonexistent"]);
    assert_eq!(desk.ok(&["exec", "s", "echo", "awake"]), "awake");
}

/// A keeper that is killed when the session lives and before it could say so: the session is not abandoned, and nobody
/// is led to start or wake it a second time.
#[test]
fn a_session_whose_keeper_dies_over_its_first_request_is_kept() {
    let desk = Machine::on("desk");
    let lives = |generation: u64| {
        let listed = &desk.json(&["list", "--json"])["sessions"][0];
        assert_eq!((&listed["state"], &listed["generation"]), (&"running".into(), &generation.into()));
        assert_eq!(desk.ok(&["exec", "fragile", "echo", "alive"]), "alive");
    };
    assert_eq!(desk.ok(&["run", "--no-screen", "--name", "fragile", "sleep", "100"]), "fragile");
    lives(1);
    desk.ok(&["park", "fragile"]);
    let said = desk.fails(4, &["resume", "fragile"]);
    assert!(said.contains("fragile is awake"), "{said}");
    lives(2);
    assert!(desk.fails(3, &["resume", "fragile"]).contains("awake already"));
    desk.ok(&["stop", "fragile"]);
    desk.until_empty();
}

#[test]
fn many_starters_start_one_agent() {
    let desk = Machine::off("desk");
    let children: Vec<_> = (0..8)
        .map(|_| {
            desk.command("roam", &["list", "--json"])
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .unwrap()
        })
        .collect();
    for child in children {
        let output = child.wait_with_output().unwrap();
        assert!(output.status.success(), "{output:?}");
    }
    let log = std::fs::read_to_string(desk.path("state/roam/agent.log")).unwrap();
    assert_eq!(log.matches("the agent runs").count(), 1, "{log}");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = roam_agent::client::Client::connect(&desk.paths()).await.unwrap();
        client.say(&roam_api::agent::Request::Quit).await.unwrap();
        client.hear().await.unwrap();
    });
}

#[test]
fn garbage_closes_only_its_own_connection() {
    use std::io::{Read, Write};
    let desk = Machine::on("desk");
    let socket = desk.paths().agent_socket();
    for garbage in [&b"GET / HTTP/1.0\r\n\r\n"[..], &[0xff; 4096], &[0, 0, 0, 0, 9, 0, 0, 0], b"x"] {
        let mut stream = std::os::unix::net::UnixStream::connect(&socket).unwrap();
        stream.write_all(garbage).unwrap();
        stream.shutdown(std::net::Shutdown::Write).unwrap();
        let _ = stream.read_to_end(&mut Vec::new());
    }
    let address = desk.address();
    let udp = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let mut lane = std::net::TcpStream::connect(&address).unwrap();
    for length in [1, 20, 1200] {
        udp.send_to(&vec![0xff; length], &address).unwrap();
        let _ = lane.write_all(&vec![0xff; length]);
    }
    desk.ok(&["list"]);
}
