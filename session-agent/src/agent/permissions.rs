//! What a paired machine may do here. Pure.
//!
//! Seven named permissions (docs/cli.md). A value that could not be kept is refused instead of
//! written down: that is why `network` and `files` take only `yes` so far.

use roam_api::error::Failure;
use serde::{Deserialize, Serialize};

/// What a machine may send here.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum MaySend {
    /// A person is asked each time.
    Ask,
    /// Without asking.
    Always,
    /// Nothing.
    Never,
}

/// The permissions of one paired machine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Permissions {
    list: bool,
    show: bool,
    send: MaySend,
    /// The most bytes of one session; none: any.
    memory: Option<u64>,
    cpu: bool,
}

/// What a machine wants to do here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Deed {
    /// See a session in its list.
    List,
    /// Use a session: its windows, commands in it, its end, its way.
    Use,
    /// Open windows on this screen.
    OpenWindows,
    /// Let a session of so many bytes run here.
    Receive {
        /// Its memory.
        memory: u64,
        /// A person here asked for it, or it comes home: nobody needs to be asked.
        wanted: bool,
    },
}

/// The answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Yes,
    /// Ask the person.
    Ask,
    /// No; the permission that says so, as `name=value`.
    No(String),
}

impl Default for Permissions {
    fn default() -> Self {
        Self { list: true, show: true, send: MaySend::Always, memory: None, cpu: true }
    }
}

impl Permissions {
    /// How much memory its sessions may have here, in bytes; none: any.
    #[must_use]
    pub fn most_memory(&self) -> Option<u64> {
        self.memory
    }

    /// Judges a deed. `at_home` says that the session's home is the asking machine.
    #[must_use]
    pub fn judge(&self, deed: Deed, at_home: bool) -> Verdict {
        let switch = |on: bool, name: &str| if on { Verdict::Yes } else { Verdict::No(format!("{name}=no")) };
        match deed {
            Deed::List | Deed::Use if at_home => Verdict::Yes,
            Deed::List => switch(self.list, "list"),
            Deed::Use | Deed::OpenWindows => switch(self.show, "show"),
            Deed::Receive { memory, wanted } => match (self.memory, self.send) {
                _ if !self.cpu => Verdict::No("cpu=no".into()),
                (Some(most), _) if memory > most => Verdict::No(format!("memory={}", size(most))),
                (_, MaySend::Never) if !wanted => Verdict::No("send=never".into()),
                (_, MaySend::Ask) if !wanted => Verdict::Ask,
                _ => Verdict::Yes,
            },
        }
    }

    /// Changes one permission.
    ///
    /// # Errors
    /// If the name or value is none, or can't be kept.
    pub fn set(&mut self, name: &str, value: &str) -> Result<(), Failure> {
        match name {
            "list" => self.list = yes_no(name, value)?,
            "show" => self.show = yes_no(name, value)?,
            "cpu" => self.cpu = yes_no(name, value)?,
            "send" => {
                self.send = match value {
                    "ask" => MaySend::Ask,
                    "always" => MaySend::Always,
                    "never" => MaySend::Never,
                    _ => return Err(bad(name, value, "ask, always or never")),
                }
            }
            "memory" if value == "any" => self.memory = None,
            "memory" => {
                let parsed =
                    parse_size(value).ok_or_else(|| bad(name, value, "any, or a size such as 4G"))?;
                self.memory = Some(parsed);
            }
            "network" | "files" => {
                if !yes_no(name, value)? {
                    return Err(Failure::refused(format!("Roam can't deny {name} to a session yet."))
                        .next("To keep the machine's sessions away altogether: send=never."));
                }
            }
            _ => {
                return Err(Failure::wrong_use(format!("There is no permission called “{name}”."))
                    .next("There are: list, show, send, memory, cpu, network, files."));
            }
        }
        Ok(())
    }

    /// All of them, as people read them.
    #[must_use]
    pub fn list(&self) -> Vec<(String, String)> {
        let yes_no = |on| if on { "yes" } else { "no" }.to_owned();
        let send = match self.send {
            MaySend::Ask => "ask",
            MaySend::Always => "always",
            MaySend::Never => "never",
        };
        [
            ("list", yes_no(self.list)),
            ("show", yes_no(self.show)),
            ("send", send.to_owned()),
            ("memory", self.memory.map_or("any".into(), size)),
            ("cpu", yes_no(self.cpu)),
            ("network", yes_no(true)),
            ("files", yes_no(true)),
        ]
        .map(|(name, value)| (name.to_owned(), value))
        .into()
    }
}

fn yes_no(name: &str, value: &str) -> Result<bool, Failure> {
    match value {
        "yes" => Ok(true),
        "no" => Ok(false),
        _ => Err(bad(name, value, "yes or no")),
    }
}

fn bad(name: &str, value: &str, choices: &str) -> Failure {
    Failure::wrong_use(format!("“{value}” is no value of {name}.")).next(format!("Say {choices}."))
}

fn parse_size(text: &str) -> Option<u64> {
    let (digits, shift) = match text.as_bytes().last()?.to_ascii_uppercase() {
        b'K' => (&text[..text.len() - 1], 10),
        b'M' => (&text[..text.len() - 1], 20),
        b'G' => (&text[..text.len() - 1], 30),
        b'T' => (&text[..text.len() - 1], 40),
        _ => (text, 0),
    };
    let number: u64 = digits.parse().ok()?;
    number.checked_mul(1 << shift).filter(|bytes| *bytes > 0)
}

fn size(bytes: u64) -> String {
    let units = [(40, "T"), (30, "G"), (20, "M"), (10, "K")];
    let whole = units.into_iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift));
    whole.map_or(bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(changes: &[(&str, &str)]) -> Permissions {
        let mut permissions = Permissions::default();
        for (name, value) in changes {
            permissions.set(name, value).unwrap();
        }
        permissions
    }

    #[test]
    fn every_deed_has_its_permission() {
        let receive = |memory, wanted| Deed::Receive { memory, wanted };
        type Row = (&'static [(&'static str, &'static str)], Deed, bool, Verdict);
        let table: &[Row] = &[
            (&[], Deed::List, false, Verdict::Yes),
            (&[("list", "no")], Deed::List, false, Verdict::No("list=no".into())),
            (&[("list", "no")], Deed::List, true, Verdict::Yes),
            (&[("show", "no")], Deed::Use, false, Verdict::No("show=no".into())),
            (&[("show", "no")], Deed::Use, true, Verdict::Yes),
            (&[("show", "no")], Deed::OpenWindows, true, Verdict::No("show=no".into())),
            (&[], receive(1, false), false, Verdict::Yes),
            (&[("send", "ask")], receive(1, false), false, Verdict::Ask),
            (&[("send", "ask")], receive(1, true), false, Verdict::Yes),
            (&[("send", "never")], receive(1, false), false, Verdict::No("send=never".into())),
            (&[("send", "never")], receive(1, true), false, Verdict::Yes),
            (&[("cpu", "no")], receive(1, true), true, Verdict::No("cpu=no".into())),
            (&[("memory", "1K")], receive(1025, true), false, Verdict::No("memory=1K".into())),
            (&[("memory", "1K")], receive(1024, false), false, Verdict::Yes),
        ];
        for (changes, deed, at_home, want) in table {
            assert_eq!(with(changes).judge(*deed, *at_home), *want, "{changes:?} {deed:?} {at_home}");
        }
    }

    #[test]
    fn what_can_not_be_kept_is_refused_and_changes_nothing() {
        for (name, value) in [
            ("network", "no"),
            ("files", "no"),
            ("send", "yes"),
            ("memory", "0"),
            ("memory", "G"),
            ("memory", "-1"),
            ("memory", "99999999999T"),
            ("fly", "yes"),
        ] {
            let mut permissions = Permissions::default();
            assert!(permissions.set(name, value).is_err(), "{name}={value}");
            assert_eq!(permissions, Permissions::default());
        }
    }

    proptest! {
        #[test]
        fn a_listed_value_can_be_set_again(memory in 1u64..) {
            let mut permissions = Permissions { memory: Some(memory), ..Permissions::default() };
            let before = permissions.clone();
            for (name, value) in before.list() {
                permissions.set(&name, &value).unwrap();
            }
            prop_assert_eq!(permissions, before);
        }

        #[test]
        fn any_text_is_set_or_refused(name in ".{0,10}", value in ".{0,20}") {
            let _ = Permissions::default().set(&name, &value);
        }
    }
}
