//! Notifications with actions, by the desktop's `org.freedesktop.Notifications`. Without such a
//! service nothing is shown and nothing fails.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use zbus::blocking::{Connection, Proxy};
use zbus::zvariant::Value;

use crate::command::Command;
use crate::model::news::{About, Note};
use crate::text::Text;

const NAME: &str = "org.freedesktop.Notifications";
const PATH: &str = "/org/freedesktop/Notifications";

/// Shown notifications, by what they are about; few, because moves and questions are.
type Shown = Arc<Mutex<BTreeMap<About, (u32, Vec<Command>)>>>;

/// The desktop's notifications.
pub struct Notifier {
    proxy: Proxy<'static>,
    shown: Shown,
}

impl Notifier {
    /// Connects to the session bus; chosen actions go to `chosen`. None without a bus.
    pub fn connect(chosen: impl Fn(Command) + Send + 'static) -> Option<Self> {
        let connection = Connection::session().ok()?;
        let proxy = Proxy::new(&connection, NAME, PATH, NAME).ok()?;
        let shown = Shown::default();
        let (signals, known) = (proxy.receive_signal("ActionInvoked").ok()?, shown.clone());
        std::thread::spawn(move || {
            for signal in signals {
                let Ok((id, action)) = signal.body().deserialize::<(u32, String)>() else { continue };
                let command = action.parse::<usize>().ok().and_then(|index| {
                    let known = known.lock().ok()?;
                    let (_, commands) = known.values().find(|(shown, _)| *shown == id)?;
                    commands.get(index).cloned()
                });
                if let Some(command) = command {
                    chosen(command);
                }
            }
        });
        Some(Self { proxy, shown })
    }

    /// Shows a notification in place of an older one about the same thing.
    pub fn show(&self, note: &Note) {
        let Ok(mut shown) = self.shown.lock() else { return };
        let old = shown.get(&note.about).map_or(0, |(id, _)| *id);
        // Actions are pairs of a key and words; the key is the action's number.
        let actions: Vec<String> = note
            .actions
            .iter()
            .enumerate()
            .flat_map(|(index, (words, _))| [index.to_string(), words.clone()])
            .collect();
        let hints: HashMap<&str, Value<'_>> = HashMap::from([("desktop-entry", Value::from("roam"))]);
        let body = escaped(&note.body);
        let message = (Text::Roam.say(), old, "roam", &note.title, body, actions, hints, -1_i32);
        if let Ok(id) = self.proxy.call::<_, _, u32>("Notify", &message) {
            let commands = note.actions.iter().map(|(_, command)| command.clone()).collect();
            shown.insert(note.about.clone(), (id, commands));
        }
    }

    /// Takes a notification back that has nothing to ask any more.
    pub fn take_back(&self, about: &About) {
        let old = self.shown.lock().ok().and_then(|mut shown| shown.remove(about));
        if let Some((id, _)) = old {
            let _ = self.proxy.call::<_, _, ()>("CloseNotification", &(id,));
        }
    }
}

/// A notification's body is markup; window titles and machine names are not.
fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_can_not_bring_markup_in() {
        assert_eq!(escaped("<a href=\"x\">R&D</a>"), "&lt;a href=\"x\"&gt;R&amp;D&lt;/a&gt;");
    }
}
