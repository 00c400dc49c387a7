//! What a screen reader sees on a machine's screen: the elements of Roam's window by their names, and
//! where they are. So a story finds a button as a person who reads does, wherever it was drawn, and
//! every story is a test of the window's names too.
//!
//! It speaks AT-SPI on the machine's accessibility bus, and runs inside the machine as its user. It
//! waits for the window's own word that something has changed, and never looks twice for nothing.

use std::collections::HashMap;
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::Duration;

use anyhow::{Context, Result, bail};
use zbus::blocking::connection::Builder;
use zbus::blocking::{Connection, MessageIterator, Proxy};
use zbus::zvariant::OwnedObjectPath;

const ACCESSIBLE: &str = "org.a11y.atspi.Accessible";
const COMPONENT: &str = "org.a11y.atspi.Component";
/// The program whose windows are read.
const PROGRAM: &str = "roam-app";
/// AT-SPI's number for "from the screen's corner".
const ON_SCREEN: u32 = 0;
/// AT-SPI's number of the state "has the keyboard".
const FOCUSED: u32 = 12;

/// An element: who tells of it, and as what.
type Reference = (String, OwnedObjectPath);

/// An element that was found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Seen {
    /// Its words.
    pub name: String,
    /// Left, top, width and height, in pixels of the screen.
    pub place: (i32, i32, i32, i32),
}

/// What is waited for.
#[derive(Debug, Clone, clap::Subcommand)]
pub enum Wanted {
    /// An element of this name; `*` stands for any words, `?` for one character.
    Name {
        /// The name.
        name: String,
    },
    /// No element of this name.
    Gone {
        /// The name.
        name: String,
    },
    /// Another element than the one of this name, that has the keyboard.
    Focus {
        /// The name of the one that had it.
        not: String,
    },
    /// The window itself; without waiting.
    Window,
}

/// Makes programs on this machine tell screen readers what they show.
pub fn switch_on() -> Result<()> {
    let bus = Connection::session()?;
    let status = Proxy::new(&bus, "org.a11y.Bus", "/org/a11y/bus", "org.a11y.Status")?;
    status.set_property("IsEnabled", true).context("at-spi2-core is not installed")?;
    Ok(())
}

/// Waits for what is wanted and returns it; for what is to be gone, an empty place.
pub fn look(wanted: &Wanted, limit: Duration) -> Result<Seen> {
    let until = std::time::Instant::now() + limit;
    let reader = Reader::connect()?;
    if matches!(wanted, Wanted::Window) {
        let window = reader.windows()?.pop().context("there is no window")?;
        return Ok(Seen { name: String::new(), place: reader.place(&window)? });
    }
    loop {
        // What changed so far is in what is looked at now.
        while reader.changes.try_recv().is_ok() {}
        let all = reader.all()?;
        let by_name = |name: &str| all.iter().find(|(_, seen)| matches(name, seen));
        let found = match wanted {
            Wanted::Name { name } => by_name(name),
            Wanted::Gone { name } if by_name(name).is_none() => {
                return Ok(Seen { name: String::new(), place: (0, 0, 0, 0) });
            }
            Wanted::Gone { .. } => None,
            Wanted::Window => None,
            Wanted::Focus { not } => {
                all.iter().find(|(reference, name)| name != not && reader.has_keyboard(reference))
            }
        };
        if let Some((reference, name)) = found {
            return Ok(Seen { name: name.clone(), place: reader.place(reference)? });
        }
        let names: Vec<&str> = all.iter().map(|(_, name)| name.as_str()).collect();
        let left = until.saturating_duration_since(std::time::Instant::now());
        match reader.changes.recv_timeout(left) {
            Ok(()) => {}
            Err(RecvTimeoutError::Timeout) => {
                bail!("{wanted:?}: not within {} s; the window says {names:?}", limit.as_secs())
            }
            Err(RecvTimeoutError::Disconnected) => bail!("the accessibility bus has gone"),
        }
    }
}

/// Waits until a panel has taken an icon into its tray.
pub fn wait_for_tray(limit: Duration) -> Result<()> {
    let until = std::time::Instant::now() + limit;
    let bus = Connection::session()?;
    let changes = signals(&bus, &["org.freedesktop.DBus", "org.kde.StatusNotifierWatcher"])?;
    let watcher = "org.kde.StatusNotifierWatcher";
    let panel = zbus::blocking::proxy::Builder::<Proxy<'_>>::new(&bus)
        .destination(watcher)?
        .path("/StatusNotifierWatcher")?
        .interface(watcher)?
        .cache_properties(zbus::proxy::CacheProperties::No)
        .build()?;
    loop {
        let items: Vec<String> = panel.get_property("RegisteredStatusNotifierItems").unwrap_or_default();
        if !items.is_empty() {
            return Ok(());
        }
        let left = until.saturating_duration_since(std::time::Instant::now());
        changes.recv_timeout(left).context("no icon came into the tray")?;
    }
}

/// Hears of the signals of these interfaces, from now on.
fn signals(bus: &Connection, interfaces: &[&'static str]) -> Result<Receiver<()>> {
    let (told, changes) = channel();
    for interface in interfaces {
        let rule = zbus::MatchRule::builder().msg_type(zbus::message::Type::Signal).interface(*interface)?;
        let messages = MessageIterator::for_match_rule(rule.build(), bus, Some(1024))?;
        let told = told.clone();
        std::thread::spawn(move || {
            for _ in messages {
                if told.send(()).is_err() {
                    return;
                }
            }
        });
    }
    Ok(changes)
}

struct Reader {
    bus: Connection,
    changes: Receiver<()>,
}

impl Reader {
    fn connect() -> Result<Self> {
        let session = Connection::session()?;
        let launcher = Proxy::new(&session, "org.a11y.Bus", "/org/a11y/bus", "org.a11y.Bus")?;
        let address: String = launcher.call("GetAddress", &()).context("no accessibility bus")?;
        let bus = Builder::address(address.as_str())?.build()?;
        // Heard from before the first look on: no change falls between the two.
        let changes = signals(&bus, &["org.a11y.atspi.Event.Object", "org.a11y.atspi.Event.Window"])?;
        Ok(Self { bus, changes })
    }

    fn proxy<'a>(&self, reference: &'a Reference, interface: &'static str) -> Result<Proxy<'a>> {
        // Without a cache: reading all properties anew costs less than listening for their changes.
        Ok(zbus::blocking::proxy::Builder::new(&self.bus)
            .destination(reference.0.as_str())?
            .path(reference.1.as_str())?
            .interface(interface)?
            .cache_properties(zbus::proxy::CacheProperties::No)
            .build()?)
    }

    fn children(&self, reference: &Reference) -> Result<Vec<Reference>> {
        Ok(self.proxy(reference, ACCESSIBLE)?.call("GetChildren", &())?)
    }

    fn name(&self, reference: &Reference) -> Result<String> {
        Ok(self.proxy(reference, ACCESSIBLE)?.get_property("Name")?)
    }

    /// The program's windows.
    fn windows(&self) -> Result<Vec<Reference>> {
        let root = ("org.a11y.atspi.Registry".to_owned(), "/org/a11y/atspi/accessible/root".try_into()?);
        let programs = self.children(&root).context("no registry on the accessibility bus")?;
        let ours = programs.iter().filter(|program| self.name(program).is_ok_and(|name| name == PROGRAM));
        Ok(ours.flat_map(|program| self.children(program).unwrap_or_default()).collect())
    }

    /// Every element with a name, in the order in which they are read. One that goes while it is
    /// looked at is left out.
    fn all(&self) -> Result<Vec<(Reference, String)>> {
        let mut open = self.windows()?;
        let mut found = Vec::new();
        while let Some(next) = open.pop() {
            if let Ok(mut children) = self.children(&next) {
                children.reverse();
                open.extend(children);
            }
            match self.name(&next) {
                Ok(name) if !name.is_empty() => found.push((next, name)),
                _ => {}
            }
        }
        Ok(found)
    }

    fn place(&self, reference: &Reference) -> Result<(i32, i32, i32, i32)> {
        Ok(self.proxy(reference, COMPONENT)?.call("GetExtents", &(ON_SCREEN,))?)
    }

    fn has_keyboard(&self, reference: &Reference) -> bool {
        let states = || -> Result<Vec<u32>> { Ok(self.proxy(reference, ACCESSIBLE)?.call("GetState", &())?) };
        states().is_ok_and(|states| states.first().is_some_and(|bits| bits & (1 << FOCUSED) != 0))
    }
}

/// `*` stands for any words, `?` for one character.
fn matches(pattern: &str, name: &str) -> bool {
    fn from(pattern: &[char], name: &[char], known: &mut HashMap<(usize, usize), bool>) -> bool {
        let key = (pattern.len(), name.len());
        if let Some(known) = known.get(&key) {
            return *known;
        }
        let result = match (pattern.split_first(), name.split_first()) {
            (None, None) => true,
            (None, Some(_)) => false,
            (Some((&'*', rest)), _) if from(rest, name, known) => true,
            (Some((&'*', _)), Some((_, later))) => from(pattern, later, known),
            (Some((&'?', rest)), Some((_, later))) => from(rest, later, known),
            (Some((one, rest)), Some((other, later))) => one == other && from(rest, later, known),
            (Some(_), None) => false,
        };
        known.insert(key, result);
        result
    }
    let chars = |text: &str| text.chars().collect::<Vec<_>>();
    from(&chars(pattern), &chars(name), &mut HashMap::new())
}

#[cfg(test)]
mod tests {
    use super::matches;

    #[test]
    fn patterns_stand_for_words() {
        for (pattern, name) in [
            ("Send * to laptop", "Send *Untitled 1 - Mousepad to laptop"),
            ("??? ???", "482 913"),
            ("Cancel", "Cancel"),
            ("*", ""),
        ] {
            assert!(matches(pattern, name), "{pattern} {name}");
        }
        for (pattern, name) in [("Cancel", "Cancel moving x"), ("Send * to laptop", "Send x to"), ("?", "")] {
            assert!(!matches(pattern, name), "{pattern} {name}");
        }
    }
}
