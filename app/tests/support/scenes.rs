//! What a fake agent tells: one scene for each state of the window.

use roam_api::agent::{Answer, Check, MachineInfo, MoveInfo, Question, Reply, Request, Snapshot, Verdict};
use roam_api::error::{Failure, Refusal};
use roam_api::session::{
    MachineKey, MoveProgress, MoveReport, MoveStage, SessionId, SessionInfo, SessionState, ShownOn,
};

/// A machine.
pub fn machine(name: &str, paired: bool, online: bool) -> MachineInfo {
    MachineInfo {
        key: Some(MachineKey([name.len() as u8 + 0x5a; 32])),
        name: name.to_owned(),
        paired,
        online,
        addresses: vec!["192.168.1.23:7626".to_owned()],
        permissions: [
            ("list", "yes"),
            ("show", "yes"),
            ("send", "ask"),
            ("memory", "4G"),
            ("cpu", "yes"),
            ("files", "yes"),
        ]
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .to_vec(),
        last_seen_unix: 1_700_000_000,
    }
}

/// A running session.
pub fn session(number: u64, command: &str, title: &str, host: &str, shown: &[&str], mib: u64) -> SessionInfo {
    SessionInfo {
        id: SessionId { home: MachineKey([1; 32]), number },
        generation: 1,
        name: command.split(' ').next().unwrap_or_default().to_owned(),
        home: "desk".to_owned(),
        host: host.to_owned(),
        state: SessionState::Running,
        command: command.to_owned(),
        titles: if title.is_empty() { Vec::new() } else { vec![title.to_owned()] },
        shown_on: shown.iter().map(|m| ShownOn { machine: (*m).to_owned(), view_only: false }).collect(),
        processes: 2,
        memory_bytes: mib << 20,
        started_unix: 1_700_000_000 + number,
        screen: true,
    }
}

/// A move of a session of desk to laptop.
pub fn moving(session: &str, stage: MoveStage, sent: u64, total: u64) -> MoveInfo {
    MoveInfo {
        session: session.to_owned(),
        from: "desk".to_owned(),
        to: "laptop".to_owned(),
        progress: MoveProgress { stage, bytes_sent: sent, bytes_total: total, elapsed_ms: 4_000 },
        end: None,
    }
}

/// The figures of a move that went well.
pub fn report() -> MoveReport {
    MoveReport {
        downtime_ms: 84.0,
        downtime_uncertainty_ms: 0.4,
        total_ms: 1_900,
        phases: Vec::new(),
        rounds: Vec::new(),
        bytes_sent: 48_000_000,
        checkpoint_bytes: 52_000_000,
        connections_kept: 1,
        connections_lost: 0,
    }
}

/// Nothing but this machine.
pub fn empty() -> Snapshot {
    Snapshot { machine: "desk".to_owned(), ..Default::default() }
}

/// Some machines, and nothing runs.
pub fn machines() -> Snapshot {
    Snapshot {
        machines: vec![
            machine("laptop", true, true),
            machine("studio", true, false),
            machine("kitchen-pc", false, true),
        ],
        ..empty()
    }
}

/// Several apps.
pub fn sessions() -> Snapshot {
    let mut terminal =
        session(3, "xterm -e vim notes.txt", "vim notes.txt", "laptop", &["desk", "laptop"], 31);
    terminal.name = "xterm".to_owned();
    let mut asleep = session(4, "galculator", "", "desk", &[], 44);
    asleep.state =
        SessionState::Parked { file: "/home/ada/.local/state/roam/parked/galculator.roam".to_owned() };
    Snapshot {
        sessions: vec![
            session(1, "mousepad", "*Letter to Grace - Mousepad", "desk", &["desk"], 46),
            session(2, "emacs budget.org", "budget.org - GNU Emacs", "desk", &["desk"], 118),
            terminal,
            asleep,
        ],
        ..machines()
    }
}

/// In the middle of a move.
pub fn during() -> Snapshot {
    let mut scene = sessions();
    scene.sessions[1].state = SessionState::Sending { to: "laptop".to_owned(), stage: MoveStage::PreCopy };
    scene.moves = vec![moving("emacs", MoveStage::PreCopy, 74_000_000, 121_000_000)];
    scene
}

/// After a move.
pub fn moved() -> Snapshot {
    let mut scene = sessions();
    scene.sessions[1].host = "laptop".to_owned();
    scene.sessions[1].shown_on = vec![ShownOn { machine: "laptop".to_owned(), view_only: false }];
    let mut ended = moving("emacs", MoveStage::Activate, 121_000_000, 121_000_000);
    ended.end = Some(Ok(report()));
    scene.moves = vec![ended];
    scene
}

/// The reason why a move was refused.
pub fn refusal() -> Failure {
    let mut failure = Failure::refused("laptop can't take budget.org - GNU Emacs. It still runs on desk.");
    failure.refusals = vec![Refusal {
        process: "emacs".to_owned(),
        pid: 7,
        what: "mapping /usr/lib/x86_64-linux-gnu/libgccjit.so.0".to_owned(),
        reason: "the file on laptop has other content".to_owned(),
        remedy: "Bring both machines to the same version of libgccjit0.".to_owned(),
    }];
    failure.next("Update laptop, then try again.")
}

/// After a refused move.
pub fn failed() -> Snapshot {
    let mut scene = sessions();
    let mut ended = moving("emacs", MoveStage::Reserve, 0, 0);
    ended.end = Some(Err(refusal()));
    scene.moves = vec![ended];
    scene
}

/// Another machine pairs with this one.
pub fn code() -> Snapshot {
    let mut scene = machines();
    scene.machines[0].paired = false;
    scene.machines.truncate(1);
    Snapshot { pairing_code: Some(("482913".to_owned(), "laptop".to_owned())), ..scene }
}

/// A question.
pub fn question() -> Snapshot {
    let text = "laptop wants to send you “Holiday plan” (LibreOffice Writer, 212 MB).".to_owned();
    Snapshot { questions: vec![Question { number: 3, text }], ..sessions() }
}

/// A scene by its name.
pub fn by_name(name: &str) -> Option<Snapshot> {
    Some(match name {
        "empty" => empty(),
        "machines" => machines(),
        "sessions" => sessions(),
        "during" => during(),
        "moved" => moved(),
        "failed" => failed(),
        "code" => code(),
        "question" => question(),
        _ => return None,
    })
}

/// The checks of a machine that is nearly well.
pub fn checks() -> Vec<Check> {
    let check = |name: &str, verdict, detail: &str, remedy: Option<&str>| Check {
        name: name.to_owned(),
        verdict,
        detail: detail.to_owned(),
        remedy: remedy.map(str::to_owned),
    };
    vec![
        check("user namespaces", Verdict::Good, "Unprivileged user namespaces can be made.", None),
        check(
            "written pages",
            Verdict::Limited,
            "This kernel lacks PAGEMAP_SCAN; Roam uses soft-dirty bits, which is slower.",
            Some("Linux 6.7 or newer makes moves faster."),
        ),
        check("X server", Verdict::Good, "Xvfb is installed.", None),
        check("mDNS", Verdict::Good, "Port 5353 is open.", None),
    ]
}

/// Answers as an agent would whose requests all go well.
pub fn willing(request: &Request) -> Vec<Reply> {
    vec![Reply::Done(match request {
        Request::Doctor => Answer::Doctor(checks()),
        Request::Pair { machine, code: None } => Answer::CodeShownThere { machine: machine.clone() },
        Request::Pair { machine, code: Some(code) } if code == "482913" => {
            Answer::Paired { machine: machine.clone() }
        }
        Request::Pair { .. } => {
            return vec![Reply::Failed(
                Failure::refused("That code is wrong.")
                    .next("Two tries are left. Look at the other screen again."),
            )];
        }
        Request::Run(spec) => Answer::Started { name: spec.name.clone() },
        _ => Answer::Ok,
    })]
}
