//! The model alone: events and commands in, views and effects out.

use proptest::prelude::*;
use roam_api::agent::{Answer, MoveInfo, Reply};
use roam_api::session::{MoveReport, MoveStage, SessionState};

use super::view::{Aftermath, CardState};
use super::*;
use scenes::*;

#[path = "../../tests/support/scenes.rs"]
#[allow(dead_code, reason = "the scenes serve integration tests too")]
pub(crate) mod scenes;

fn model(snapshot: Snapshot) -> Model {
    let mut model = Model::new(ThemeChoice::System);
    let effects = model.event(Event::Snapshot(Box::new(snapshot)));
    assert!(matches!(effects.as_slice(), [Effect::Request { request: Request::Doctor, .. }]));
    model
}

/// Gives a command and returns the task number of the request it made.
fn ask(model: &mut Model, command: Command) -> u64 {
    match model.command(command).as_slice() {
        [Effect::Request { task, .. } | Effect::Start { task, .. }] => *task,
        other => panic!("one request, not {other:?}"),
    }
}

#[test]
fn an_end_is_old_once_the_app_has_gone_on() {
    let mut scene = moved();
    assert!(matches!(card(&model(scene.clone()), "emacs").aftermath, Some(Aftermath::Moved { .. })));
    scene.sessions[1].host = "desk".to_owned();
    assert_eq!(card(&model(scene), "emacs").aftermath, None);
}

fn send(session: &str, machine: &str) -> Command {
    Command::Send { session: session.to_owned(), machine: machine.to_owned() }
}

fn card(model: &Model, session: &str) -> view::Card {
    model.cards().into_iter().find(|card| card.session == session).expect("the session has a card")
}

#[test]
fn machines_are_paired_first_then_by_name() {
    let model = model(machines());
    let names: Vec<String> = model.rows().into_iter().map(|row| row.name).collect();
    assert_eq!(names, ["laptop", "studio", "kitchen-pc"]);
}

#[test]
fn a_session_of_another_home_is_named_with_it() {
    let mut scene = sessions();
    scene.machine = "laptop".to_owned();
    let model = model(scene);
    assert_eq!(model.cards()[0].session, "mousepad@desk");
    assert!(!model.cards()[0].here);
}

#[test]
fn a_session_can_go_anywhere_but_where_it_is() {
    let model = model(sessions());
    let to = |session| card(&model, session).targets.iter().map(|t| t.to.clone()).collect::<Vec<_>>();
    assert_eq!(to("mousepad"), ["laptop", "studio"]);
    assert_eq!(to("xterm"), [".", "studio"]);
}

#[test]
fn a_send_shows_at_once_and_a_second_click_does_nothing() {
    let mut model = model(sessions());
    ask(&mut model, send("emacs", "laptop"));
    assert!(model.command(send("emacs", "laptop")).is_empty());
    match card(&model, "emacs").state {
        CardState::Moving(moving) => {
            assert_eq!(moving.stage, MoveStage::Offer);
            assert_eq!(moving.machine, "laptop");
            assert!(moving.cancellable);
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn progress_never_runs_backwards_through_the_stages() {
    let stages = [
        MoveStage::Offer,
        MoveStage::Reserve,
        MoveStage::PreCopy,
        MoveStage::StopAndCopy,
        MoveStage::Prepared,
        MoveStage::Commit,
        MoveStage::Activate,
    ];
    let mut last = 0.0;
    for stage in stages {
        let mut scene = during();
        scene.moves[0].progress.stage = stage;
        scene.sessions[1].state = SessionState::Sending { to: "laptop".to_owned(), stage };
        let state = card(&model(scene), "emacs").state;
        let CardState::Moving(moving) = state else { panic!("{state:?}") };
        assert!(moving.fraction > last, "{stage:?}");
        assert_eq!(moving.cancellable, stage < MoveStage::Commit, "{stage:?}");
        last = moving.fraction;
    }
}

#[test]
fn at_its_target_a_move_arrives_and_can_be_refused() {
    let mut scene = during();
    scene.sessions[1].host = "laptop".to_owned();
    scene.sessions[1].state = SessionState::Sending { to: "desk".to_owned(), stage: MoveStage::PreCopy };
    (scene.moves[0].from, scene.moves[0].to) = ("laptop".to_owned(), "desk".to_owned());
    let state = card(&model(scene), "emacs").state;
    let CardState::Arriving(moving) = state else { panic!("{state:?}") };
    assert_eq!((moving.machine.as_str(), moving.target.as_str()), ("laptop", "desk"));
    assert!(moving.bytes.is_some() && moving.cancellable);
}

#[test]
fn progress_has_bytes_and_time() {
    let state = card(&model(during()), "emacs").state;
    let CardState::Moving(moving) = state else { panic!("{state:?}") };
    assert_eq!(moving.bytes, Some(("74 MB".to_owned(), "121 MB".to_owned())));
    assert_eq!(moving.seconds_left, Some(3));
}

#[test]
fn a_finished_move_can_be_undone_and_taken_away() {
    let mut model = model(moved());
    let after = card(&model, "emacs").aftermath;
    let Some(Aftermath::Moved { paused, undo, dismiss, .. }) = after else { panic!("{after:?}") };
    assert_eq!(paused, "84 ms");
    assert_eq!(undo, Some(send("emacs", ".")));
    model.command(Command::Dismiss(dismiss));
    assert_eq!(card(&model, "emacs").aftermath, None);
    // Still away when the agent tells it again, and forgotten when it does not.
    model.event(Event::Snapshot(Box::new(moved())));
    assert_eq!(card(&model, "emacs").aftermath, None);
    model.event(Event::Snapshot(Box::new(sessions())));
    model.event(Event::Snapshot(Box::new(moved())));
    assert!(card(&model, "emacs").aftermath.is_some());
}

#[test]
fn a_failed_send_is_told_once_with_a_retry() {
    let mut model = model(sessions());
    let task = ask(&mut model, send("emacs", "laptop"));
    model.event(Event::Finished { task, result: Err(refusal()) });
    model.event(Event::Snapshot(Box::new(failed())));
    let after = card(&model, "emacs").aftermath;
    let Some(Aftermath::Failed { failure, retry, .. }) = after else { panic!("{after:?}") };
    assert_eq!(failure, refusal());
    assert_eq!(retry, Some(send("emacs", "laptop")));
    assert_eq!(model.top_notices().count(), 0);
    // Trying again makes the old failure go.
    ask(&mut model, send("emacs", "laptop"));
    assert_eq!(card(&model, "emacs").aftermath, None);
    assert!(model.notices.is_empty());
}

#[test]
fn a_taken_away_failure_does_not_come_back_as_the_agents_word() {
    let mut model = model(sessions());
    let task = ask(&mut model, send("emacs", "laptop"));
    model.event(Event::Finished { task, result: Err(refusal()) });
    model.event(Event::Snapshot(Box::new(failed())));
    let Some(Aftermath::Failed { dismiss, .. }) = card(&model, "emacs").aftermath else { panic!() };
    model.command(Command::Dismiss(dismiss));
    assert_eq!(card(&model, "emacs").aftermath, None);
}

#[test]
fn ones_own_cancel_is_no_failure() {
    let mut model = model(sessions());
    let task = ask(&mut model, send("emacs", "laptop"));
    ask(&mut model, Command::CancelSend { session: "emacs".to_owned() });
    model.event(Event::Finished { task, result: Err(Failure::undone("The send was cancelled.")) });
    assert!(model.notices.is_empty());
    model.event(Event::Snapshot(Box::new(failed())));
    assert!(matches!(card(&model, "emacs").aftermath, Some(Aftermath::Cancelled { .. })));
}

#[test]
fn pairing_goes_from_code_to_paired() {
    let mut model = model(machines());
    let pair = Command::Pair { machine: "kitchen-pc".to_owned() };
    let task = ask(&mut model, pair);
    let machine = "kitchen-pc".to_owned();
    let stage = |model: &Model| match &model.dialog {
        Some(Dialog::Pairing { stage, .. }) => Some(stage.clone()),
        _ => None,
    };
    assert_eq!(stage(&model), Some(Pairing::Asking));
    model.event(Event::Finished { task, result: Ok(Answer::CodeShownThere { machine: machine.clone() }) });
    assert_eq!(stage(&model), Some(Pairing::Typing(None)));

    let wrong = Failure::refused("That code is wrong.");
    let code = |code: &str| Command::GiveCode { machine: machine.clone(), code: code.to_owned() };
    let task = ask(&mut model, code("000000"));
    assert_eq!(stage(&model), Some(Pairing::Checking));
    model.event(Event::Finished { task, result: Err(wrong.clone()) });
    assert_eq!(stage(&model), Some(Pairing::Typing(Some(wrong))));

    let task = ask(&mut model, code("482913"));
    model.event(Event::Finished { task, result: Ok(Answer::Paired { machine: machine.clone() }) });
    assert_eq!(model.dialog, None);
}

#[test]
fn a_pairing_dialog_that_was_closed_stays_closed() {
    let mut model = model(machines());
    let task = ask(&mut model, Command::Pair { machine: "kitchen-pc".to_owned() });
    model.command(Command::CloseDialog);
    model.event(Event::Finished {
        task,
        result: Ok(Answer::CodeShownThere { machine: "kitchen-pc".to_owned() }),
    });
    assert_eq!(model.dialog, None);
}

#[test]
fn an_unpaired_machines_page_closes() {
    let mut model = model(machines());
    model.command(Command::OpenMachine { machine: "laptop".to_owned() });
    assert!(model.dialog.is_some());
    model.event(Event::Snapshot(Box::new(empty())));
    assert_eq!(model.dialog, None);
}

#[test]
fn a_lost_agent_leaves_the_picture_and_a_new_one_mends_it() {
    let mut model = model(sessions());
    let failure = Failure::unreachable("Gone.");
    model.event(Event::Lost(failure.clone()));
    assert_eq!(model.link, Link::Lost(failure));
    assert_eq!(model.cards().len(), 4);
    let effects = model.event(Event::Snapshot(Box::new(sessions())));
    assert_eq!(model.link, Link::Connected);
    assert!(effects.is_empty());
}

#[test]
fn only_a_bad_check_speaks_by_itself() {
    let mut model = Model::new(ThemeChoice::System);
    let effects = model.event(Event::Snapshot(Box::new(empty())));
    let [Effect::Request { task, .. }] = effects.as_slice() else { panic!("{effects:?}") };
    let mut found = checks();
    found[0].verdict = Verdict::Bad;
    model.event(Event::Finished { task: *task, result: Ok(Answer::Doctor(found)) });
    assert_eq!(model.bad_checks.len(), 1);
    assert_eq!(model.dialog, None);
}

#[test]
fn a_start_that_fails_says_so_at_the_top() {
    let mut model = model(empty());
    model.command(Command::OpenLauncher);
    let task = ask(&mut model, Command::Start { label: "vim".to_owned(), argv: vec!["vim".to_owned()] });
    assert_eq!((model.screen, model.starting()), (Screen::Home, Some("vim")));
    model.event(Event::Finished { task, result: Err(Failure::refused("No program is called vim.")) });
    assert_eq!(model.starting(), None);
    assert_eq!(model.top_notices().count(), 1);
}

#[test]
fn notices_are_few() {
    let mut model = model(sessions());
    for number in 0..20 {
        let task = ask(&mut model, Command::Answer { question: number, yes: true });
        model.event(Event::Finished { task, result: Err(Failure::refused("No.")) });
    }
    assert_eq!(model.notices.len(), MOST_NOTICES);
}

#[test]
fn the_trays_menu_has_every_send() {
    use super::tray_menu::{Line, lines};
    let menu = lines(Some(&question()));
    assert!(matches!(&menu[0], Line::Words(words) if words.contains("Holiday plan")));
    assert!(matches!(&menu[1], Line::Act(_, Command::Answer { yes: true, .. })));
    let sends = menu.iter().find_map(|line| match line {
        Line::More(title, lines) if title == "vim notes.txt" => Some(lines),
        _ => None,
    });
    assert_eq!(
        sends.unwrap(),
        &[Line::Act("Bring here".to_owned(), send("xterm", ".")), Line::Words("studio (offline)".to_owned()),]
    );
    assert_eq!(menu[menu.len() - 2..], [Line::Open, Line::Quit]);
    assert_eq!(lines(None).last(), Some(&Line::Quit));
}

#[test]
fn the_trays_menu_does_not_change_with_progress() {
    use super::tray_menu::lines;
    let mut later = during();
    later.moves[0].progress.bytes_sent += 1_000_000;
    assert_eq!(lines(Some(&during())), lines(Some(&later)));
}

fn any_state() -> impl Strategy<Value = SessionState> {
    prop_oneof![
        Just(SessionState::Starting),
        Just(SessionState::Running),
        Just(SessionState::Sending { to: "laptop".into(), stage: MoveStage::Commit }),
        Just(SessionState::Receiving { from: "laptop".into() }),
        Just(SessionState::Parked { file: "/x".into() }),
        any::<i32>().prop_map(|status| SessionState::Ended { status }),
    ]
}

fn any_move() -> impl Strategy<Value = MoveInfo> {
    let end = prop_oneof![
        Just(None),
        any::<f64>().prop_map(|downtime_ms| Some(Ok(MoveReport { downtime_ms, ..report() }))),
        Just(Some(Err(refusal()))),
    ];
    (any::<u64>(), any::<u64>(), any::<u64>(), end).prop_map(|(sent, total, elapsed, end)| {
        let mut info = moving("emacs", MoveStage::PreCopy, sent, total);
        info.progress.elapsed_ms = elapsed;
        MoveInfo { end, ..info }
    })
}

proptest! {
    #[test]
    fn whatever_the_agent_tells_can_be_shown(
        states in proptest::collection::vec((any_state(), ".{0,12}", ".{0,12}", any::<u64>()), 0..6),
        moves in proptest::collection::vec(any_move(), 0..4),
    ) {
        let mut scene = sessions();
        scene.moves = moves;
        scene.sessions = states.into_iter().enumerate().map(|(number, (state, command, title, memory))| {
            let mut info = session(number as u64, "emacs", &title, "desk", &["desk"], 1);
            info.command = command;
            info.memory_bytes = memory;
            info.state = state;
            info
        }).collect();
        let count = scene.sessions.len();
        let model = model(scene);
        let cards = model.cards();
        prop_assert_eq!(cards.len(), count);
        for card in cards {
            if let CardState::Moving(moving) | CardState::Arriving(moving) = card.state {
                prop_assert!((0.0..=1.0).contains(&moving.fraction));
            }
        }
        let _ = tray_menu::lines(model.snapshot.as_ref());
    }
}

#[test]
fn the_scenes_answer_as_an_agent_does() {
    assert!(matches!(willing(&Request::Doctor).as_slice(), [Reply::Done(Answer::Doctor(_))]));
}
