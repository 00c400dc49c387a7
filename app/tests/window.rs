//! The window as a person and as a screen reader meet it: by names, clicks and keys.

mod support;

use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, SyncSender, channel, sync_channel};

use eframe::egui::accesskit::Role;
use eframe::egui::{Key, Modifiers};
use egui_kittest::kittest::{NodeT, Queryable};
use egui_kittest::{Harness, Node};
use roam_api::agent::{Answer, Reply, Request, Snapshot};
use roam_app::app::{Hands, RoamApp};
use roam_app::model::applications::Application;
use roam_app::model::{Effect, Event};
use roam_app::theme;
use support::scenes;

/// Hands that only write down what they are asked, and let scenes answer.
struct Recorder {
    effects: Sender<Effect>,
    events: SyncSender<Event>,
}

impl Hands for Recorder {
    fn carry_out(&self, effect: Effect) {
        if let Effect::Request { task, request } = &effect
            && let Some(Reply::Done(answer)) = scenes::willing(request).pop()
        {
            self.events.send(Event::Finished { task: *task, result: Ok(answer) }).unwrap();
        }
        let _ = self.effects.send(effect);
    }
}

struct Window {
    harness: Harness<'static, RoamApp<Recorder>>,
    events: SyncSender<Event>,
    effects: Receiver<Effect>,
}

impl Window {
    fn open(snapshot: Snapshot) -> Self {
        let (events, happened) = sync_channel(64);
        let (sender, effects) = channel();
        let app =
            RoamApp::new(happened, Recorder { effects: sender, events: events.clone() }, Arc::default());
        let mut ready = false;
        let harness = Harness::builder().with_size([960.0, 640.0]).build_ui_state(
            move |ui, app: &mut RoamApp<Recorder>| {
                if !ready {
                    theme::install(ui.ctx());
                    ready = true;
                    ui.ctx().request_repaint();
                    return;
                }
                app.update(ui.ctx());
                app.draw(ui);
            },
            app,
        );
        let mut window = Self { harness, events, effects };
        window.tell(Event::Snapshot(Box::new(snapshot)));
        window.requests();
        window
    }

    fn tell(&mut self, event: Event) {
        self.events.send(event).unwrap();
        self.harness.run();
    }

    /// What the agent was asked since the last look.
    fn requests(&mut self) -> Vec<Request> {
        self.harness.run();
        let effects: Vec<Effect> = self.effects.try_iter().collect();
        effects
            .into_iter()
            .filter_map(|effect| match effect {
                Effect::Request { request, .. } => Some(request),
                _ => None,
            })
            .collect()
    }

    fn click(&mut self, label: &str) {
        self.harness.get_by_label(label).click();
        self.harness.run();
    }

    fn sees(&self, label: &str) -> bool {
        self.harness.query_all_by_label_contains(label).next().is_some()
    }

    fn focused(&self) -> Option<Node<'_>> {
        self.harness.query_all(egui_kittest::kittest::by().predicate(|n| n.is_focused())).next()
    }
}

#[test]
fn an_empty_window_says_what_to_do() {
    let mut window = Window::open(scenes::empty());
    for words in ["Move running apps between your machines", "Open Roam on another machine", "Pair the two"] {
        assert!(window.sees(words), "{words}");
    }
    window.click("Start an app");
    assert!(window.sees("Find an app, or type a command") || window.focused().is_some());
}

#[test]
fn sending_is_two_clicks_where_there_is_a_choice() {
    let mut window = Window::open(scenes::sessions());
    window.click("Send budget.org - GNU Emacs to");
    window.click("Send to laptop");
    assert_eq!(
        window.requests(),
        [Request::Send { session: "emacs".into(), machine: "laptop".into(), cold: false }]
    );
}

#[test]
fn sending_is_one_click_where_there_is_none() {
    let mut scene = scenes::sessions();
    scene.machines.retain(|machine| machine.name == "laptop");
    let mut window = Window::open(scene);
    window.click("Send budget.org - GNU Emacs to laptop");
    window.click("Bring vim notes.txt here");
    assert_eq!(
        window.requests(),
        [
            Request::Send { session: "emacs".into(), machine: "laptop".into(), cold: false },
            Request::Send { session: "xterm".into(), machine: ".".into(), cold: false },
        ]
    );
}

#[test]
fn screens_are_shown_and_hidden_by_name() {
    let mut window = Window::open(scenes::sessions());
    window.click("Show vim notes.txt on");
    window.click("Hide on laptop");
    window.click("Show *Letter to Grace - Mousepad on");
    window.click("Show on laptop");
    assert_eq!(
        window.requests(),
        [
            Request::Hide { session: "xterm".into(), on: Some("laptop".into()) },
            Request::Show { session: "mousepad".into(), on: Some("laptop".into()), view_only: false },
        ]
    );
}

#[test]
fn stopping_asks_first() {
    let mut window = Window::open(scenes::sessions());
    window.click("More for budget.org - GNU Emacs");
    window.click("Stop…");
    assert!(window.sees("Unsaved work in it is lost."));
    assert_eq!(window.requests(), []);
    window.click("Stop it");
    assert_eq!(window.requests(), [Request::Stop { session: "emacs".into() }]);
}

#[test]
fn parking_and_waking() {
    let mut window = Window::open(scenes::sessions());
    window.click("More for budget.org - GNU Emacs");
    window.click("Put to sleep");
    window.click("Wake");
    assert_eq!(
        window.requests(),
        [
            Request::Park { session: "emacs".into(), file: None },
            Request::Resume { what: "galculator".into() },
        ]
    );
}

#[test]
fn a_move_shows_its_stage_and_can_be_cancelled() {
    let mut window = Window::open(scenes::during());
    for words in ["Moving to laptop", "Copying while it runs", "74 MB of 121 MB", "about 3 s left"] {
        assert!(window.sees(words), "{words}");
    }
    window.click("Cancel moving budget.org - GNU Emacs");
    assert_eq!(window.requests(), [Request::CancelSend { session: "emacs".into() }]);
}

#[test]
fn a_failure_has_its_reason_its_remedy_and_a_retry() {
    let mut window = Window::open(scenes::failed());
    for words in ["laptop can't take budget.org", "libgccjit.so.0", "Update laptop, then try again."] {
        assert!(window.sees(words), "{words}");
    }
    window.click("Try again");
    assert_eq!(
        window.requests(),
        [Request::Send { session: "emacs".into(), machine: "laptop".into(), cold: false }]
    );
}

#[test]
fn a_move_can_be_undone() {
    let mut window = Window::open(scenes::moved());
    assert!(window.sees("It paused for 84 ms."));
    window.click("Undo");
    assert_eq!(
        window.requests(),
        [Request::Send { session: "emacs".into(), machine: ".".into(), cold: false }]
    );
}

#[test]
fn questions_are_answered() {
    let mut window = Window::open(scenes::question());
    window.click("Decline");
    assert_eq!(window.requests(), [Request::Answer { question: 3, yes: false }]);
}

#[test]
fn our_code_is_shown_when_asked() {
    let window = Window::open(scenes::code());
    assert!(window.sees("laptop wants to pair with this machine"));
    assert!(window.sees("482 913"));
}

#[test]
fn pairing_by_keys_alone() {
    let mut window = Window::open(scenes::machines());
    window.click("Pair with kitchen-pc");
    assert!(window.sees("kitchen-pc now shows six digits"));
    window.requests();
    // The field has the keyboard by itself, takes digits only, and Enter sends them.
    window.harness.get_by_label("Pairing code").type_text("48x2 913");
    window.harness.run();
    window.harness.key_press(Key::Enter);
    assert_eq!(
        window.requests(),
        [Request::Pair { machine: "kitchen-pc".into(), code: Some("482913".into()) }]
    );
    assert!(!window.sees("six digits"));
}

#[test]
fn pairing_by_address() {
    let mut window = Window::open(scenes::empty());
    window.click("Pair by address…");
    let field = egui_kittest::kittest::by().role(eframe::egui::accesskit::Role::TextInput);
    window.harness.get(field).type_text("laptop.example:7626");
    window.harness.run();
    window.click("Next");
    assert_eq!(window.requests(), [Request::Pair { machine: "laptop.example:7626".into(), code: None }]);
}

#[test]
fn an_app_is_started_by_keys_alone() {
    let mut window = Window::open(scenes::empty());
    let application = |id: &str, name: &str| Application {
        id: id.to_owned(),
        name: name.to_owned(),
        comment: "Something".to_owned(),
        argv: vec![id.to_owned(), "--new".to_owned()],
        icon: String::new(),
        terminal: false,
        needs: None,
        keywords: String::new(),
    };
    window
        .tell(Event::Applications(vec![application("galculator", "Galculator"), application("vim", "Vim")]));
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::N);
    window.harness.run();
    assert!(window.sees("Galculator"));
    window.harness.event(eframe::egui::Event::Text("vi".into()));
    window.harness.run();
    assert!(!window.sees("Galculator"));
    window.harness.key_press(Key::Enter);
    window.harness.run();
    let started = window.effects.try_iter().find_map(|effect| match effect {
        Effect::Start { argv, .. } => Some(argv),
        _ => None,
    });
    assert_eq!(started.unwrap(), ["vim", "--new"]);
    assert!(window.sees("Starting Vim…"));
}

#[test]
fn a_command_line_is_started_as_it_is() {
    let mut window = Window::open(scenes::empty());
    window.harness.key_press_modifiers(Modifiers::COMMAND, Key::N);
    window.harness.run();
    window.harness.event(eframe::egui::Event::Text("xterm -e 'vim a b'".into()));
    window.harness.run();
    window.click("Run “xterm -e 'vim a b'”");
    let started = window.effects.try_iter().find_map(|effect| match effect {
        Effect::Start { argv, .. } => Some(argv),
        _ => None,
    });
    assert_eq!(started.unwrap(), ["xterm", "-e", "vim a b"]);
}

#[test]
fn permissions_can_be_changed_and_a_machine_forgotten() {
    let mut window = Window::open(scenes::machines());
    window.click("laptop, Online");
    assert!(window.sees("What laptop may do here"));
    window.harness.get_by_role_and_label(Role::ComboBox, "Send apps to this machine").click();
    window.harness.run();
    window.click("Never");
    window.click("Unpair…");
    window.click("Unpair");
    assert_eq!(
        window.requests(),
        [
            Request::Allow { machine: "laptop".into(), changes: vec![("send".into(), "never".into())] },
            Request::Unpair { machine: "laptop".into() },
        ]
    );
}

#[test]
fn the_check_shows_what_to_do() {
    let mut window = Window::open(scenes::empty());
    window.click("Check this machine");
    assert!(window.sees("Linux 6.7 or newer makes moves faster."));
    window.click("Close");
    assert!(!window.sees("Linux 6.7"));
}

#[test]
fn every_button_can_be_reached_by_tab() {
    let mut window = Window::open(scenes::sessions());
    let mut reached = Vec::new();
    for _ in 0..40 {
        window.harness.key_press(Key::Tab);
        window.harness.run();
        reached.extend(window.focused().and_then(|node| node.accesskit_node().label()));
    }
    for label in [
        "laptop, 1 app",
        "Pair with kitchen-pc",
        "Check this machine",
        "Start an app",
        "Send budget.org - GNU Emacs to",
        "Show budget.org - GNU Emacs on",
        "More for budget.org - GNU Emacs",
        "Wake",
    ] {
        assert!(reached.iter().any(|r| r == label), "{label} in {reached:?}");
    }
}

#[test]
fn a_menu_works_by_keys_alone() {
    let mut window = Window::open(scenes::sessions());
    window.harness.get_by_label("Send budget.org - GNU Emacs to").focus();
    window.harness.run();
    window.harness.key_press(Key::Enter);
    window.harness.run();
    window.harness.get_by_label("Send to laptop").focus();
    window.harness.run();
    window.harness.key_press(Key::Enter);
    assert_eq!(
        window.requests(),
        [Request::Send { session: "emacs".into(), machine: "laptop".into(), cold: false }]
    );
}

#[test]
fn an_idle_window_does_not_repaint() {
    for scene in ["empty", "sessions", "during", "failed", "code", "question"] {
        let mut window = Window::open(scenes::by_name(scene).unwrap());
        window.harness.run();
        let output = window.harness.output();
        let delay = output.viewport_output.values().map(|viewport| viewport.repaint_delay).min().unwrap();
        assert!(delay > std::time::Duration::from_secs(3_600), "{scene}: again in {delay:?}");
    }
}

#[test]
fn a_lost_agent_is_said_and_the_picture_stays() {
    let mut window = Window::open(scenes::sessions());
    window.tell(Event::Lost(roam_api::error::Failure::unreachable("Roam's agent is not answering.")));
    assert!(window.sees("Roam's agent is not answering."));
    assert!(window.sees("Your apps go on."));
    assert!(window.sees("budget.org"));
    assert!(matches!(scenes::willing(&Request::Quit).as_slice(), [Reply::Done(Answer::Ok)]));
}
