//! Two agents on loopback: paired, sessions moving between them, each reached from the other.

mod common;

use std::process::Stdio;
use std::time::Duration;

use common::{Machine, pair};
use roam_agent::client::Client;
use roam_api::agent::{Reply, Request, Snapshot};
use roam_api::session::{MoveStage, SessionState};

fn runs_on(snapshot: &Snapshot, session: &str, host: &str) -> bool {
    snapshot.sessions.iter().any(|s| s.name == session && s.host == host && s.state == SessionState::Running)
}

#[test]
fn pairing_takes_the_right_code_and_unpairing_ends_it() {
    let (mut desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    let address = laptop.address();
    desk.fails(3, &["pair", &address, "--code", "123456"]);
    desk.ok(&["pair", &address]);
    desk.fails(2, &["pair", &address, "--code", "12345"]);
    let code = laptop.until("a code", |s| s.pairing_code.is_some()).pairing_code.unwrap().0;
    let wrong = if code == "000000" { "000001" } else { "000000" };
    for _ in 0..3 {
        desk.fails(3, &["pair", &address, "--code", wrong]);
    }
    desk.fails(3, &["pair", &address, "--code", &code]);
    assert!(desk.fails(3, &["pair", &address]).contains("wrong codes"));
    assert!(laptop.json(&["machines", "--json"])["pairing_code"].is_null());

    let tablet = Machine::on("tablet");
    pair(&desk, &tablet);
    desk.fails(2, &["allow", "tablet", "fly=yes"]);
    desk.fails(3, &["allow", "tablet", "network=no"]);
    desk.ok(&["allow", "tablet", "send=ask", "memory=1G"]);
    // Pairing and permissions outlive the agent, and the machines find each other again.
    desk.kill_agent();
    desk.start();
    let online = |s: &Snapshot| s.machines.iter().any(|m| m.paired && m.online);
    desk.until("online", online);
    tablet.until("online", online);
    let machines = desk.json(&["machines", "--json"]);
    let peer = machines["machines"].as_array().unwrap().iter().find(|m| m["name"] == "tablet").unwrap();
    assert_eq!(peer["permissions"]["send"], "ask");
    assert_eq!(peer["permissions"]["memory"], "1G");

    desk.ok(&["unpair", "tablet"]);
    tablet.until("unpaired", |s| s.machines.iter().all(|m| !m.paired));
    let mut addresses = vec![tablet.address()];
    addresses.push("tablet".into());
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    for address in addresses {
        let output = desk.roam(&["send", "s", &address]);
        assert!(matches!(output.status.code(), Some(2 | 3)), "{output:?}");
    }
}

#[test]
fn machines_find_each_other_and_pair_by_name() {
    // Names that no other test uses: mDNS is shared by all of them.
    let (ash, elm) = (Machine::on("ash-tree"), Machine::on("elm-tree"));
    ash.until("found", |s| s.machines.iter().any(|m| m.name == "elm-tree" && !m.addresses.is_empty()));
    ash.ok(&["pair", "elm-tree"]);
    let code = elm.until("a code", |s| s.pairing_code.is_some()).pairing_code.unwrap().0;
    ash.ok(&["pair", "elm-tree", "--code", &code]);
    ash.until("paired", |s| s.machines.iter().any(|m| m.name == "elm-tree" && m.paired && m.online));
}

#[test]
fn a_session_travels_and_is_reached_from_everywhere() {
    let (mut desk, mut laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    laptop.until("listed", |s| runs_on(s, "s", "desk"));
    assert_eq!(laptop.ok(&["exec", "s@desk", "echo", "far"]), "far");
    assert_eq!(laptop.ok(&["log", "s"]), "hello from the session");

    let lines = desk.ok(&["send", "s", "laptop", "--json"]);
    let last: serde_json::Value = serde_json::from_str(lines.lines().last().unwrap()).unwrap();
    assert_eq!(
        (&last["event"], &last["from"], &last["to"]),
        (&"done".into(), &"desk".into(), &"laptop".into())
    );
    assert_eq!(last["downtime_ms"], 1.5);
    laptop.until("arrived", |s| runs_on(s, "s", "laptop"));
    desk.until("gone", |s| runs_on(s, "s", "laptop"));
    assert_eq!(desk.ok(&["exec", "s", "echo", "there"]), "there");
    assert_eq!(desk.json(&["send", "s", "laptop", "--json"])["already_there"], true);
    assert_eq!(desk.json(&["list", "--json"])["sessions"][0]["generation"], 2);
    // Its name stays taken at home.
    desk.fails(3, &["run", "--no-screen", "--name", "s", "true"]);

    // Agents killed at both ends; who is where is still known.
    desk.kill_agent();
    laptop.kill_agent();
    desk.start();
    laptop.start();
    desk.until("known again", |s| {
        runs_on(s, "s", "laptop") && s.machines.iter().any(|m| m.paired && m.online)
    });
    let output = desk.roam_with_input(&["exec", "s", "sh", "-c", "cat; exit 3"], b"through the link");
    assert_eq!((output.status.code(), &output.stdout[..]), (Some(3), &b"through the link"[..]), "{output:?}");

    // Fetched home, sent on from home, and fetched by the other side.
    desk.ok(&["send", "s", "."]);
    desk.until("home", |s| runs_on(s, "s", "desk"));
    laptop.ok(&["send", "s@desk", "laptop"]);
    laptop.until("back", |s| runs_on(s, "s", "laptop"));
    let waiting = desk.command("roam", &["wait", "s"]).stdout(Stdio::piped()).spawn().unwrap();
    desk.ok(&["stop", "s"]);
    assert_eq!(waiting.wait_with_output().unwrap().stdout, b"143\n");
    desk.until("ended", |s| s.sessions.is_empty());
    laptop.until("ended", |s| s.sessions.is_empty());
    desk.until_empty();
    laptop.until_empty();
}

#[test]
fn permissions_are_kept() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    laptop.until("listed", |s| runs_on(s, "s", "desk"));

    laptop.ok(&["allow", "desk", "send=never"]);
    assert!(desk.fails(3, &["send", "s", "laptop"]).contains("send=never"));
    laptop.ok(&["allow", "desk", "send=always", "memory=1K"]);
    assert!(desk.fails(3, &["send", "s", "laptop"]).contains("memory=1K"));
    assert!(laptop.folders().is_empty());

    // Asked, and answered with yes.
    laptop.ok(&["allow", "desk", "send=ask", "memory=any"]);
    let mut sending = desk.command("roam", &["send", "s", "laptop"]).spawn().unwrap();
    let question = laptop.until("asked", |s| !s.questions.is_empty()).questions.pop().unwrap();
    assert_eq!(question.text, "May desk send you s?");
    answer(&laptop, question.number, true);
    assert!(sending.wait().unwrap().success());
    laptop.until("arrived", |s| runs_on(s, "s", "laptop"));
    // Home it may always go, and its home may always use it.
    desk.ok(&["allow", "laptop", "send=never"]);
    laptop.ok(&["allow", "desk", "show=no", "list=no"]);
    assert_eq!(desk.ok(&["exec", "s", "echo", "mine"]), "mine");
    desk.ok(&["send", "s", "."]);
    desk.until("home", |s| runs_on(s, "s", "desk"));

    desk.ok(&["allow", "laptop", "show=no"]);
    laptop.fails(125, &["exec", "s@desk", "true"]);
    laptop.fails(3, &["stop", "s@desk"]);
    laptop.fails(3, &["send", "s@desk", "."]);
    desk.ok(&["run", "--no-screen", "--name", "t", "sleep", "100"]);
    laptop.until("listed", |s| runs_on(s, "t", "desk"));
    desk.ok(&["allow", "laptop", "list=no"]);
    laptop.until("hidden", |s| !runs_on(s, "t", "desk"));
    assert_eq!(desk.ok(&["exec", "s", "echo", "still"]), "still");
}

fn answer(machine: &Machine, question: u64, yes: bool) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut client = Client::connect(&machine.paths()).await.unwrap();
        client.say(&Request::Answer { question, yes }).await.unwrap();
        assert!(matches!(client.hear().await.unwrap(), Reply::Done(_)));
    });
}

#[test]
fn a_move_can_be_cancelled_until_its_commit() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    // The fake keeper never comes beyond pre-copy with a session of this name.
    desk.ok(&["run", "--no-screen", "--name", "slow", "sleep", "100"]);
    let mut sending =
        desk.command("roam", &["send", "slow", "laptop"]).stderr(Stdio::piped()).spawn().unwrap();
    let on_its_way = |s: &Snapshot| {
        s.sessions.iter().any(|s| matches!(s.state, SessionState::Sending { .. }))
            && s.moves.iter().any(|m| m.end.is_none() && m.progress.bytes_sent == 1)
    };
    desk.until("on its way", on_its_way);
    let pid = nix::unistd::Pid::from_raw(i32::try_from(sending.id()).unwrap());
    nix::sys::signal::kill(pid, nix::sys::signal::Signal::SIGINT).unwrap();
    assert_eq!(sending.wait().unwrap().code(), Some(4));
    let after = desk.until("undone", |s| runs_on(s, "slow", "desk"));
    assert!(after.moves.iter().any(|m| matches!(m.end, Some(Err(_)))));
    laptop.until("withdrawn", |s| s.sessions.iter().all(|s| s.host == "desk"));

    // Asked for from the other side, and the one who asked is killed.
    laptop.until("listed", |s| runs_on(s, "slow", "desk"));
    let mut sending =
        laptop.command("roam", &["send", "slow@desk", "."]).stderr(Stdio::piped()).spawn().unwrap();
    desk.until("on its way", on_its_way);
    laptop.until("shown there, too", |s| s.moves.iter().any(|m| m.progress.bytes_sent == 1));
    sending.kill().unwrap();
    sending.wait().unwrap();
    desk.until("undone", |s| runs_on(s, "slow", "desk"));
}

#[test]
fn a_wait_follows_the_session_to_another_machine() {
    let (desk, mut laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    let wait = || {
        let before = desk.log().matches("somebody waits").count();
        let mut command = desk.command("roam", &["wait", "s"]);
        let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        desk.until_logged("somebody waits", before + 1);
        child
    };
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    let waiting = wait();
    desk.ok(&["send", "s", "laptop"]);
    desk.until("there", |s| runs_on(s, "s", "laptop"));
    // The agent there dies; the session's end is told by the next.
    laptop.kill_agent();
    laptop.start();
    laptop.until("known again", |s| runs_on(s, "s", "laptop"));
    laptop.ok(&["stop", "s"]);
    let told = waiting.wait_with_output().unwrap();
    assert_eq!(told.stdout, b"143\n", "{told:?}");

    // Put to sleep there: a machine's sleeping sessions are in no other's list.
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    desk.ok(&["send", "s", "laptop"]);
    laptop.until("there", |s| runs_on(s, "s", "laptop"));
    let waiting = wait();
    laptop.ok(&["park", "s"]);
    let told = waiting.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(3), "{text}");
    assert!(text.contains("s sleeps in"), "{text}");
}

fn sends(snapshot: &Snapshot, stage: MoveStage) -> bool {
    let at = |state: &SessionState| matches!(state, SessionState::Sending { stage: at, .. } if *at == stage);
    snapshot.sessions.iter().any(|session| at(&session.state))
}

#[test]
fn a_send_whose_agent_dies_says_where_the_session_is() {
    let (mut desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    // Asked for here: the command waits for the next agent, or starts it.
    desk.ok(&["run", "--no-screen", "--name", "slow", "sleep", "100"]);
    let sending = desk.command("roam", &["send", "slow", "laptop"]).stderr(Stdio::piped()).spawn().unwrap();
    desk.until("on its way", |s| sends(s, MoveStage::PreCopy));
    desk.kill_agent();
    desk.start();
    let told = sending.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(4), "{text}");
    assert!(text.contains("slow still runs on desk"), "{text}");

    // Asked for from the other side, whose own agent lives.
    laptop.until("listed", |s| runs_on(s, "slow", "desk"));
    let sending = laptop.command("roam", &["send", "slow@desk", "."]).stderr(Stdio::piped()).spawn().unwrap();
    laptop.until("on its way", |s| sends(s, MoveStage::PreCopy));
    desk.kill_agent();
    desk.start();
    let told = sending.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(4), "{text}");
    assert!(text.contains("slow still runs on desk"), "{text}");
    laptop.until("listed", |s| runs_on(s, "slow", "desk"));
    desk.ok(&["stop", "slow"]);

    // Past the commit: it is there, and the new agent hears it from there.
    desk.ok(&["run", "--no-screen", "--name", "late", "sleep", "100"]);
    let sending = desk.command("roam", &["send", "late", "laptop"]).stderr(Stdio::piped()).spawn().unwrap();
    desk.until("committed", |s| sends(s, MoveStage::Commit));
    desk.kill_agent();
    desk.start();
    let told = sending.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(6), "{text}");
    assert!(text.contains("late runs on laptop now"), "{text}");
    desk.until("there", |s| runs_on(s, "late", "laptop"));
}

#[test]
fn a_send_whose_keeper_dies_says_where_the_session_is() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "slow", "sleep", "100"]);
    let sending = desk.command("roam", &["send", "slow", "laptop"]).stderr(Stdio::piped()).spawn().unwrap();
    desk.until("on its way", |s| sends(s, MoveStage::PreCopy));
    common::kill_by_file(&desk.folders()[0].join("keeper.pid"));
    let told = sending.wait_with_output().unwrap();
    let text = String::from_utf8_lossy(&told.stderr);
    assert_eq!(told.status.code(), Some(4), "{text}");
    assert!(text.contains("slow still runs on desk"), "{text}");
    assert_eq!(desk.ok(&["exec", "slow", "echo", "alive"]), "alive");
}

/// A move is committed and not confirmed. Whatever its target says but what it has of the session: that stays so. And
/// what it has it says also to a machine that may not send it anything any more.
#[test]
fn a_committed_move_is_open_until_its_target_says_what_it_has() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "unheard", "sleep", "100"]);
    desk.fails(6, &["send", "unheard", "laptop"]);
    assert_eq!(laptop.folders().len(), 1, "nothing was withdrawn");
    laptop.ok(&["allow", "desk", "send=never"]);
    // The pod first: it would be taken over.
    let folder = laptop.folders().remove(0);
    for pid in ["init.pid", "keeper.pid"] {
        common::kill_by_file(&folder.join(pid));
    }
    laptop.until_empty();
    // It knows nothing of such a session any more, and takes none.
    let told = desk.fails(6, &["send", "unheard", "laptop"]);
    assert!(told.contains("send=never") && told.contains("not confirmed yet"), "{told}");
    assert!(desk.until("listed", |_| true).sessions.iter().all(|s| s.state != SessionState::Running));
    assert!(laptop.folders().is_empty());
    // It knows that one was let in once: what is left of that, its keeper says.
    let known = std::fs::read_dir(laptop.path("state/roam/sessions")).unwrap().next().unwrap().unwrap();
    std::fs::write(known.path().join("journal"), "x").unwrap();
    let runs = |s: &Snapshot| s.sessions.iter().any(|s| s.state == SessionState::Running);
    desk.until("taken back", runs);
    laptop.until_empty();
}

/// Its target says already that it runs there: what is left here is its keeper's to end, so another keeper takes it over.
/// Here that one says that it runs, and is believed.
#[test]
fn a_session_whose_keeper_dies_past_the_commit_is_not_abandoned() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "late", "sleep", "100"]);
    let mut sending = desk.command("roam", &["send", "late", "laptop"]).spawn().unwrap();
    desk.until("said to run there", |s| runs_on(s, "late", "laptop"));
    let pid = desk.folders()[0].join("keeper.pid");
    let before = std::fs::read_to_string(&pid).unwrap();
    common::kill_by_file(&pid);
    desk.until_other(&pid, &before);
    desk.until("taken over", |s| runs_on(s, "late", "desk"));
    assert_eq!(desk.ok(&["exec", "late", "echo", "alive"]), "alive");
    // Both say that they have it, so either is told; that it ends is enough.
    assert!(!sending.wait().unwrap().success());
}

/// Waits for the viewer of this number at a machine, and checks what it was told.
fn shows(machine: &Machine, number: usize, want: &str) {
    let told = machine.until_lines("viewer", number);
    // Whether the person here asked, not when.
    let words = told.lines().last().unwrap().split(' ').filter(|word| word.len() < 13);
    let last: Vec<&str> = words.collect();
    assert!(last.join(" ").ends_with(want), "{told}\n{}", machine.log());
}

#[test]
fn the_screen_goes_where_it_is_wanted() {
    let (desk, laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--name", "s", "xterm"]);
    let shown_on = |machines: &[&str]| {
        let mut want: Vec<String> = machines.iter().map(|m| (*m).to_owned()).collect();
        want.sort();
        move |s: &Snapshot| {
            s.sessions.iter().any(|s| {
                let mut shown: Vec<String> = s.shown_on.iter().map(|s| s.machine.clone()).collect();
                shown.sort();
                shown == want && s.state == SessionState::Running
            })
        }
    };
    shows(&desk, 1, "--title s@desk --asked ping!");
    desk.until("shown", shown_on(&["desk"]));

    // On the other machine as well, through the link.
    desk.ok(&["show", "s", "--on", "laptop", "--view-only"]);
    shows(&laptop, 1, "--title s@desk --view-only ping!");
    desk.until("shown twice", shown_on(&["desk", "laptop"]));
    desk.ok(&["hide", "s", "--on", "laptop"]);
    desk.until("hidden there", shown_on(&["desk"]));

    // A move takes the windows along.
    desk.ok(&["send", "s", "laptop"]);
    shows(&laptop, 2, "--title s@laptop ping!");
    laptop.until("shown there", shown_on(&["laptop"]));
    // Back at home it is shown from afar, and that screen stays with it when it comes.
    laptop.ok(&["show", "s", "--on", "desk"]);
    shows(&desk, 2, "--title s@laptop ping!");
    laptop.ok(&["hide", "s", "--on", "laptop"]);
    laptop.until("shown at home", shown_on(&["desk"]));
    desk.ok(&["send", "s", "."]);
    shows(&desk, 3, "--title s@desk --asked ping!");
    desk.until("shown at home", shown_on(&["desk"]));
    desk.ok(&["hide", "s"]);
    desk.until("hidden", shown_on(&[]));
}

#[test]
fn a_machine_that_is_gone_is_named() {
    let (desk, mut laptop) = (Machine::on("desk"), Machine::on("laptop"));
    pair(&desk, &laptop);
    desk.ok(&["run", "--no-screen", "--name", "s", "sleep", "100"]);
    laptop.kill_agent();
    desk.until("offline", |s| s.machines.iter().any(|m| m.name == "laptop" && !m.online));
    let start = std::time::Instant::now();
    assert!(desk.fails(5, &["send", "s", "laptop"]).contains("laptop"));
    assert!(start.elapsed() < Duration::from_secs(20));
    assert_eq!(desk.ok(&["exec", "s", "echo", "here"]), "here");
}
