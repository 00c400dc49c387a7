//! The tray icon as a panel meets it: on a private D-Bus, by `com.canonical.dbusmenu`, told by a
//! fake agent. Needs `dbus-daemon`.
#![cfg(target_os = "linux")]
#![allow(missing_docs, reason = "zbus generates methods without docs")]

mod support;

use std::collections::HashMap;
use std::io::{BufRead, BufReader};
use std::os::unix::fs::DirBuilderExt;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use roam_api::agent::Request;
use support::{FakeAgent, scenes};
use zbus::blocking::{Connection, Proxy, connection};
use zbus::zvariant::{OwnedValue, Structure, Value};

const LIMIT: Duration = Duration::from_secs(20);

/// A child that ends with the test.
struct Ended(Child);

impl Drop for Ended {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Stands in for a panel: it only writes down who registered.
struct Watcher(std::sync::mpsc::Sender<String>);

#[zbus::interface(name = "org.kde.StatusNotifierWatcher")]
impl Watcher {
    fn register_status_notifier_item(&self, service: String) {
        self.0.send(service).unwrap();
    }

    #[zbus(property)]
    fn is_status_notifier_host_registered(&self) -> bool {
        true
    }
}

/// Stands in for the desktop's notifications.
struct Notes(std::sync::mpsc::Sender<(String, Vec<String>)>);

#[zbus::interface(name = "org.freedesktop.Notifications")]
impl Notes {
    #[allow(clippy::too_many_arguments, reason = "the specification's")]
    fn notify(
        &self,
        _app: String,
        _replaces: u32,
        _icon: String,
        _title: String,
        body: String,
        actions: Vec<String>,
        _hints: HashMap<String, OwnedValue>,
        _timeout: i32,
    ) -> u32 {
        self.0.send((body, actions)).unwrap();
        7
    }

    fn close_notification(&self, _id: u32) {}

    #[zbus(signal)]
    async fn action_invoked(
        emitter: &zbus::object_server::SignalEmitter<'_>,
        id: u32,
        action: &str,
    ) -> zbus::Result<()>;
}

struct Desk {
    connection: Connection,
    registered: Receiver<String>,
    notes: Receiver<(String, Vec<String>)>,
    agent: FakeAgent,
    _tray: Ended,
    _bus: Ended,
    _dir: tempfile::TempDir,
}

fn desk() -> Desk {
    let dir = tempfile::tempdir().unwrap();
    let mut bus = Ended(
        Command::new("dbus-daemon")
            .args(["--session", "--nofork", "--print-address"])
            .arg(format!("--address=unix:dir={}", dir.path().display()))
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("dbus-daemon is installed"),
    );
    let mut address = String::new();
    BufReader::new(bus.0.stdout.take().unwrap()).read_line(&mut address).unwrap();
    let (told, registered) = channel();
    let (noted, notes) = channel();
    let connection = connection::Builder::address(address.trim())
        .unwrap()
        .name("org.kde.StatusNotifierWatcher")
        .unwrap()
        .name("org.freedesktop.Notifications")
        .unwrap()
        .serve_at("/StatusNotifierWatcher", Watcher(told))
        .unwrap()
        .serve_at("/org/freedesktop/Notifications", Notes(noted))
        .unwrap()
        .build()
        .unwrap();
    let runtime = dir.path().join("roam");
    std::fs::DirBuilder::new().mode(0o700).create(&runtime).unwrap();
    let agent = FakeAgent::start(&runtime.join("agent.sock"), scenes::sessions(), Arc::new(scenes::willing));
    let tray = Command::new(env!("CARGO_BIN_EXE_roam-app"))
        .arg("--tray")
        .env("XDG_RUNTIME_DIR", dir.path())
        .env("DBUS_SESSION_BUS_ADDRESS", address.trim())
        .spawn()
        .unwrap();
    Desk { connection, registered, notes, agent, _tray: Ended(tray), _bus: bus, _dir: dir }
}

/// The menu's lines, in the order in which they stand: number and words.
fn lines(menu: &Proxy<'_>) -> Vec<(i32, String)> {
    fn walk(item: &Structure<'_>, out: &mut Vec<(i32, String)>) {
        let [Value::I32(id), Value::Dict(properties), Value::Array(children)] = item.fields() else {
            panic!("no menu item: {item:?}")
        };
        if let Ok(Some(label)) = properties.get::<_, String>(&"label") {
            out.push((*id, label));
        }
        for child in children.iter() {
            let Value::Value(child) = child else { panic!("no child: {child:?}") };
            let Value::Structure(child) = &**child else { panic!("no child: {child:?}") };
            walk(child, out);
        }
    }
    let none: Vec<&str> = Vec::new();
    let message = menu.call_method("GetLayout", &(0, -1, none)).unwrap();
    let body = message.body();
    let layout: Structure<'_> = body.deserialize().unwrap();
    let Value::Structure(root) = &layout.fields()[1] else { panic!("no root") };
    let mut out = Vec::new();
    walk(root, &mut out);
    out
}

#[test]
fn the_menu_sends_an_app() {
    let desk = desk();
    let service = desk.registered.recv_timeout(LIMIT).expect("the icon registers");
    let menu = Proxy::new(&desk.connection, service, "/MenuBar", "com.canonical.dbusmenu").unwrap();
    let changes = menu.receive_signal("LayoutUpdated").unwrap();
    let mut told = lines(&menu);
    // The icon may come up before the agent's first word; then the menu tells its change.
    let mut changes = changes.into_iter();
    while !told.iter().any(|(_, words)| words == "Send to laptop") {
        changes.next();
        told = lines(&menu);
    }
    let words: Vec<&str> = told.iter().map(|(_, words)| words.as_str()).collect();
    for wanted in ["*Letter to Grace - Mousepad", "studio (offline)", "Bring here", "Open Roam", "Quit"] {
        assert!(words.contains(&wanted), "{wanted} in {words:?}");
    }
    let (id, _) = told.iter().find(|(_, words)| words == "Send to laptop").unwrap();
    menu.call_method("Event", &(*id, "clicked", Value::from(0), 0_u32)).unwrap();
    assert_eq!(
        desk.agent.requests.recv_timeout(LIMIT).unwrap(),
        Request::Send { session: "mousepad".into(), machine: "laptop".into(), cold: false }
    );
}

#[test]
fn a_question_is_a_notification_that_can_be_answered() {
    let desk = desk();
    desk.registered.recv_timeout(LIMIT).expect("the icon registers");
    // What was there at the first word is no news: the tray has to have heard it.
    desk.agent.wait_for_watcher(LIMIT);
    desk.agent.tell(scenes::question());
    let (body, actions) = desk.notes.recv_timeout(LIMIT).expect("a notification comes");
    assert!(body.contains("Holiday plan"));
    assert_eq!(actions, ["0", "Accept", "1", "Decline"]);
    let notes =
        desk.connection.object_server().interface::<_, Notes>("/org/freedesktop/Notifications").unwrap();
    zbus::block_on(Notes::action_invoked(notes.signal_emitter(), 7, "0")).unwrap();
    assert_eq!(desk.agent.requests.recv_timeout(LIMIT).unwrap(), Request::Answer { question: 3, yes: true });
}
