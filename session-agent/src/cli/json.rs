//! What `--json` prints. Fields only ever grow; the schemas are in docs/cli.md.
//!
//! Written out by hand instead of derived, so that a renamed Rust field can't change the contract.

use roam_api::agent::{Check, Snapshot, Verdict};
use roam_api::error::Failure;
use roam_api::session::{
    MoveProgress, MoveReport, MoveStage, ParkReport, Round, SessionInfo, SessionState, WakeReport,
};
use serde_json::{Map, Value, json};

/// The answer of `roam list`.
#[must_use]
pub fn sessions(sessions: &[SessionInfo]) -> Value {
    json!({ "sessions": sessions.iter().map(session).collect::<Vec<_>>() })
}

fn session(session: &SessionInfo) -> Value {
    let mut object = json!({
        "id": session.id.to_string(),
        "generation": session.generation,
        "name": session.name,
        "home": session.home,
        "host": session.host,
        "command": session.command,
        "titles": session.titles,
        "shown_on": session.shown_on.iter()
            .map(|shown| json!({ "machine": shown.machine, "view_only": shown.view_only }))
            .collect::<Vec<_>>(),
        "processes": session.processes,
        "memory_bytes": session.memory_bytes,
        "started_unix": session.started_unix,
        "screen": session.screen,
    });
    let (state, extra) = match &session.state {
        SessionState::Starting => ("starting", None),
        SessionState::Running => ("running", None),
        SessionState::Sending { to, stage: at } => {
            object["stage"] = stage(*at).into();
            ("sending", Some(("to", Value::from(to.as_str()))))
        }
        SessionState::Receiving { from } => ("receiving", Some(("from", from.as_str().into()))),
        SessionState::Parked { file } => ("parked", Some(("file", file.as_str().into()))),
        SessionState::Ended { status } => ("ended", Some(("status", (*status).into()))),
    };
    object["state"] = state.into();
    if let Some((name, value)) = extra {
        object[name] = value;
    }
    object
}

/// The answer of `roam machines`.
#[must_use]
pub fn machines(snapshot: &Snapshot) -> Value {
    let machines: Vec<Value> = snapshot
        .machines
        .iter()
        .map(|machine| {
            let permissions: Map<String, Value> =
                machine.permissions.iter().map(|(n, v)| (n.clone(), v.as_str().into())).collect();
            json!({
                "name": machine.name,
                "key": machine.key.map(|key| key.hex()),
                "paired": machine.paired,
                "online": machine.online,
                "addresses": machine.addresses,
                "permissions": permissions,
                "last_seen_unix": machine.last_seen_unix,
            })
        })
        .collect();
    let code = snapshot.pairing_code.as_ref();
    json!({
        "machine": snapshot.machine,
        "machines": machines,
        "pairing_code": code.map(|(code, machine)| json!({ "code": code, "machine": machine })),
    })
}

/// A stage's name.
#[must_use]
pub fn stage(stage: MoveStage) -> &'static str {
    match stage {
        MoveStage::Offer => "offer",
        MoveStage::Reserve => "reserve",
        MoveStage::PreCopy => "pre_copy",
        MoveStage::StopAndCopy => "stop_and_copy",
        MoveStage::Prepared => "prepared",
        MoveStage::Commit => "commit",
        MoveStage::Activate => "activate",
    }
}

/// What `roam park --json` says.
#[must_use]
pub fn parked(file: &str, report: &ParkReport) -> Value {
    json!({
        "file": file,
        "bytes": report.bytes,
        "frozen_ms": report.frozen_ms,
        "rounds": rounds(&report.rounds),
    })
}

/// What `roam resume --json` says.
#[must_use]
pub fn resumed(session: &str, report: &WakeReport) -> Value {
    json!({ "session": session, "pod_ms": report.pod_ms, "restored_ms": report.restored_ms })
}

fn rounds(rounds: &[Round]) -> Value {
    rounds.iter().map(|r| json!({ "pages": r.pages, "bytes": r.bytes, "ms": r.ms })).collect()
}

/// One line of `roam send --json` on the way.
#[must_use]
pub fn progress(progress: &MoveProgress) -> Value {
    json!({
        "event": "progress",
        "stage": stage(progress.stage),
        "bytes_sent": progress.bytes_sent,
        "bytes_total": progress.bytes_total,
        "elapsed_ms": progress.elapsed_ms,
    })
}

/// The last line of `roam send --json`. Without a report nothing had to be done.
#[must_use]
pub fn moved(session: &str, from: &str, to: &str, report: Option<&MoveReport>) -> Value {
    let phases: Map<String, Value> = report
        .iter()
        .flat_map(|report| &report.phases)
        .map(|(at, ms)| (stage(*at).to_owned(), (*ms).into()))
        .collect();
    json!({
        "event": "done",
        "session": session,
        "from": from,
        "to": to,
        "already_there": report.is_none(),
        "downtime_ms": report.map_or(0.0, |report| report.downtime_ms),
        "downtime_uncertainty_ms": report.map_or(0.0, |report| report.downtime_uncertainty_ms),
        "total_ms": report.map_or(0, |report| report.total_ms),
        "phases": phases,
        "rounds": rounds(report.map_or(&[], |report| &report.rounds)),
        "bytes_sent": report.map_or(0, |report| report.bytes_sent),
        "checkpoint_bytes": report.map_or(0, |report| report.checkpoint_bytes),
        "connections_kept": report.map_or(0, |report| report.connections_kept),
        "connections_lost": report.map_or(0, |report| report.connections_lost),
    })
}

/// A failure, as every command with `--json` prints it.
#[must_use]
pub fn failure(failure: &Failure) -> Value {
    let refusals: Vec<Value> = failure
        .refusals
        .iter()
        .map(|refusal| {
            json!({
                "process": refusal.process,
                "pid": refusal.pid,
                "what": refusal.what,
                "reason": refusal.reason,
                "remedy": refusal.remedy,
            })
        })
        .collect();
    json!({
        "event": "failed",
        "exit": failure.outcome.exit_code(),
        "sentence": failure.sentence,
        "next_step": failure.next_step,
        "refusals": refusals,
    })
}

/// The answer of `roam doctor`.
#[must_use]
pub fn doctor(checks: &[Check]) -> Value {
    let verdict = |verdict| match verdict {
        Verdict::Good => "good",
        Verdict::Limited => "limited",
        Verdict::Bad => "bad",
    };
    let list: Vec<Value> = checks
        .iter()
        .map(|check| {
            json!({
                "name": check.name,
                "verdict": verdict(check.verdict),
                "detail": check.detail,
                "remedy": check.remedy,
            })
        })
        .collect();
    json!({ "usable": !checks.iter().any(|check| check.verdict == Verdict::Bad), "checks": list })
}
