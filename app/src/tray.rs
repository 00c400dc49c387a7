//! The tray icon, by the StatusNotifierItem specification. A process of its own: it has no window
//! that could be hidden, and is up while the window is closed. Where no tray exists it waits for
//! one without a sound; nothing depends on it.

use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

use ksni::blocking::{Handle, TrayMethods};
use ksni::menu::{StandardItem, SubMenu};
use ksni::{Icon, MenuItem, OfflineReason, Status, ToolTip};
use roam_api::agent::Snapshot;

use crate::agent_client::{AgentClient, Events, start_agent};
use crate::command::Command;
use crate::instance;
use crate::model::news;
use crate::model::tray_menu::{self, Line};
use crate::model::{Effect, Event, Model};
use crate::notify::Notifier;
use crate::paths;
use crate::settings::ThemeChoice;
use crate::text::Text;

/// The icon in the sizes that panels use.
const ICONS: [&[u8]; 4] = [
    include_bytes!("../../assets/icons/roam-tray-16.png"),
    include_bytes!("../../assets/icons/roam-tray-22.png"),
    include_bytes!("../../assets/icons/roam-tray-32.png"),
    include_bytes!("../../assets/icons/roam-tray-48.png"),
];

/// What the menu's lines ask for.
enum Wish {
    Do(Command),
    Open,
    Quit,
}

/// What the panel shows.
struct Tray {
    snapshot: Option<Snapshot>,
    wishes: Sender<Wish>,
}

impl Tray {
    fn wish(&self, wish: Wish) {
        // Without a reader the process is ending.
        let _ = self.wishes.send(wish);
    }
}

impl ksni::Tray for Tray {
    fn id(&self) -> String {
        "roam".to_owned()
    }

    fn title(&self) -> String {
        Text::Roam.say()
    }

    fn status(&self) -> Status {
        let asks =
            self.snapshot.as_ref().is_some_and(|s| !s.questions.is_empty() || s.pairing_code.is_some());
        if asks { Status::NeedsAttention } else { Status::Active }
    }

    fn icon_pixmap(&self) -> Vec<Icon> {
        ICONS.iter().filter_map(|png| icon(png)).collect()
    }

    fn attention_icon_pixmap(&self) -> Vec<Icon> {
        self.icon_pixmap()
    }

    fn tool_tip(&self) -> ToolTip {
        let count = self.snapshot.as_ref().map_or(0, |s| s.sessions.len());
        ToolTip { title: Text::Roam.say(), description: Text::TrayHint(count).say(), ..Default::default() }
    }

    fn activate(&mut self, _x: i32, _y: i32) {
        self.wish(Wish::Open);
    }

    fn menu(&self) -> Vec<MenuItem<Self>> {
        tray_menu::lines(self.snapshot.as_ref()).into_iter().map(item).collect()
    }

    fn watcher_offline(&self, _reason: OfflineReason) -> bool {
        // A panel may come later, or come back.
        true
    }
}

/// A menu's underscore would mark the next letter as its key.
fn label(words: &str) -> String {
    words.replace('_', "__")
}

fn item(line: Line) -> MenuItem<Tray> {
    match line {
        Line::Gap => MenuItem::Separator,
        Line::Words(words) => {
            StandardItem { label: label(&words), enabled: false, ..Default::default() }.into()
        }
        Line::Act(words, command) => action(&words, move || Wish::Do(command.clone())),
        Line::More(words, lines) => SubMenu {
            label: label(&words),
            submenu: lines.into_iter().map(item).collect(),
            ..Default::default()
        }
        .into(),
        Line::Open => action(&Text::OpenRoam.say(), || Wish::Open),
        Line::Quit => action(&Text::Quit.say(), || Wish::Quit),
    }
}

fn action(words: &str, wish: impl Fn() -> Wish + Send + 'static) -> MenuItem<Tray> {
    StandardItem {
        label: label(words),
        activate: Box::new(move |tray: &mut Tray| tray.wish(wish())),
        ..Default::default()
    }
    .into()
}

/// PNG to the ARGB in network order that the specification wants.
fn icon(png: &[u8]) -> Option<Icon> {
    let picture = image::load_from_memory_with_format(png, image::ImageFormat::Png).ok()?.into_rgba8();
    let (width, height) = picture.dimensions();
    let mut data = picture.into_raw();
    data.chunks_exact_mut(4).for_each(|pixel| pixel.rotate_right(1));
    Some(Icon { width: i32::try_from(width).ok()?, height: i32::try_from(height).ok()?, data })
}

/// Shows the icon until the person quits it. The runtime folder tells whether the window is open.
pub fn run(runtime: &Path) {
    let (wishes, wished) = channel();
    let tray = Tray { snapshot: None, wishes: wishes.clone() };
    let Ok(handle) = tray.assume_sni_available(true).spawn() else {
        // No session bus: there is no tray here.
        return;
    };
    let (events, happened) = Events::new(Arc::new(|| {}));
    let client = Arc::new(AgentClient::new(paths::agent_socket(), events, start_agent));
    let notifier = Notifier::connect(move |command| {
        let _ = wishes.send(Wish::Do(command));
    });
    let runtime = runtime.to_owned();
    std::thread::spawn(move || follow(&happened, &handle, notifier.as_ref(), &runtime));
    serve(&wished, &client);
    client.wait_for_sends();
}

/// Keeps the menu as the agent says, and notifies of what a closed window can't show.
fn follow(happened: &Receiver<Event>, handle: &Handle<Tray>, notifier: Option<&Notifier>, runtime: &Path) {
    let mut last: Option<Snapshot> = None;
    while let Ok(event) = happened.recv() {
        let snapshot = match event {
            Event::Snapshot(snapshot) => Some(*snapshot),
            Event::Lost(_) => None,
            Event::Finished { result: Err(failure), .. } => {
                notifier.inspect(|notifier| notifier.show(&news::failed(&failure)));
                continue;
            }
            Event::Finished { .. } | Event::Applications(_) => continue,
        };
        if let (Some(notifier), Some(now)) = (notifier, &snapshot) {
            news::settled(last.as_ref(), now).iter().for_each(|about| notifier.take_back(about));
            let notes = news::news(last.as_ref(), now);
            if !notes.is_empty() && !instance::is_there(runtime, "app") {
                notes.iter().for_each(|note| notifier.show(note));
            }
        }
        // Progress comes many times a second and changes no word of the menu.
        let changed = tray_menu::lines(last.as_ref()) != tray_menu::lines(snapshot.as_ref());
        last = snapshot;
        if changed && handle.update(|tray| tray.snapshot.clone_from(&last)).is_none() {
            return;
        }
    }
}

/// Does what the menu's lines ask for.
fn serve(wished: &Receiver<Wish>, client: &AgentClient) {
    // The menu's requests need nothing of the model but their wording for the agent.
    let mut model = Model::new(ThemeChoice::System);
    while let Ok(wish) = wished.recv() {
        match wish {
            Wish::Do(command) => {
                for effect in model.command(command) {
                    if let Effect::Request { task, request } = effect {
                        client.request(task, request);
                        // Its end shows in the next snapshot, in this menu and in the window.
                        let _ =
                            model.event(Event::Finished { task, result: Ok(roam_api::agent::Answer::Ok) });
                    }
                }
            }
            Wish::Open => open_window(),
            Wish::Quit => return,
        }
    }
}

fn open_window() {
    use std::process::Stdio;
    let child = std::process::Command::new(paths::program("roam-app"))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn();
    if let Ok(mut child) = child {
        std::thread::spawn(move || child.wait());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_icon_is_whole() {
        for png in ICONS {
            let icon = icon(png).unwrap();
            assert_eq!(icon.data.len(), (icon.width * icon.height * 4) as usize);
        }
    }

    #[test]
    fn underscores_are_not_keys() {
        assert_eq!(label("my_file"), "my__file");
    }
}
