//! Session names: which are allowed, which is free, and which session a person means. Pure.
//!
//! A name is unique at the session's home; `NAME@MACHINE` says it from anywhere, where MACHINE is
//! the home or, if that is clear, the machine where the session runs now. A bare name means the
//! session of that name whose home is here; else the only one of that name anywhere. What is not
//! clear is refused, with the choices.

use roam_api::error::Failure;
use roam_api::session::{MachineKey, SessionId};

/// The longest name of a session or machine.
pub const MAX_NAME: usize = 64;

/// What must be known of a session to find it by name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Known<'a> {
    /// Its identity.
    pub id: SessionId,
    /// Its name at home.
    pub name: &'a str,
    /// The home machine's name, as it is said here.
    pub home: &'a str,
    /// The host's name, as it is said here.
    pub host: &'a str,
}

/// Checks a name that a person chose, for a session or machine.
///
/// # Errors
/// With the rule that it breaks.
pub fn check(name: &str, of_what: &str) -> Result<(), Failure> {
    let bad = |c: char| !(c.is_alphanumeric() || "-_.+".contains(c));
    if name.is_empty() || name.len() > MAX_NAME || name.contains(bad) || name.starts_with(['-', '.']) {
        return Err(Failure::wrong_use(format!(
            "“{}” can't be the name of a {of_what}.",
            name.chars().take(MAX_NAME).collect::<String>()
        ))
        .next(
            "A name has up to 64 letters, digits, or any of - _ . + and begins with neither - nor a dot.",
        ));
    }
    Ok(())
}

/// A name made from a program's path: `/usr/bin/xterm` gives `xterm`, then `xterm-2`, and so on.
#[must_use]
pub fn choose(program: &[u8], taken: impl Fn(&str) -> bool) -> String {
    let program = String::from_utf8_lossy(program);
    let base: String = program
        .rsplit('/')
        .next()
        .unwrap_or_default()
        .chars()
        .filter(|c| c.is_alphanumeric() || "-_.+".contains(*c))
        .take(MAX_NAME / 2)
        .collect();
    let base = base.trim_start_matches(['-', '.']);
    let base = if base.is_empty() { "session" } else { base };
    free(base, taken)
}

/// The wish itself if it is free, else the first free `wish-N`.
#[must_use]
pub fn free(wish: &str, taken: impl Fn(&str) -> bool) -> String {
    if !taken(wish) {
        return wish.to_owned();
    }
    (2u64..).map(|n| format!("{wish}-{n}")).find(|name| !taken(name)).unwrap_or_else(|| wish.to_owned())
}

/// Finds the session that a person means by `NAME` or `NAME@MACHINE`.
///
/// # Errors
/// Wrong use, if there is none or more than one.
pub fn resolve(text: &str, here: MachineKey, known: &[Known<'_>]) -> Result<SessionId, Failure> {
    let (name, machine) = match text.split_once('@') {
        Some((name, machine)) => (name, Some(machine)),
        None => (text, None),
    };
    let named = || known.iter().filter(|k| k.name == name);
    let candidates: Vec<&Known<'_>> = match machine {
        Some(machine) => {
            let at_home: Vec<_> = named().filter(|k| k.home == machine).collect();
            if at_home.is_empty() { named().filter(|k| k.host == machine).collect() } else { at_home }
        }
        None => {
            let at_home: Vec<_> = named().filter(|k| k.id.home == here).collect();
            if at_home.is_empty() { named().collect() } else { at_home }
        }
    };
    match candidates.as_slice() {
        [one] => Ok(one.id),
        [] => Err(Failure::wrong_use(format!(
            "There is no session called {text} here or on a machine that can be reached."
        ))
        .next("`roam list` shows the sessions.")),
        several => {
            let choices: Vec<String> = several.iter().map(|k| format!("{}@{}", k.name, k.home)).collect();
            Err(Failure::wrong_use(format!("{text} could be any of {}.", choices.join(", ")))
                .next("Say which one, with its machine."))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const DESK: MachineKey = MachineKey([1; 32]);
    const LAPTOP: MachineKey = MachineKey([2; 32]);
    const TABLET: MachineKey = MachineKey([3; 32]);

    fn known(home: MachineKey, number: u64, name: &'static str, host: &'static str) -> Known<'static> {
        let home_name = match home {
            DESK => "desk",
            LAPTOP => "laptop",
            _ => "tablet",
        };
        Known { id: SessionId { home, number }, name, home: home_name, host }
    }

    #[test]
    fn a_name_means_one_session_or_none() {
        let all = [
            known(DESK, 1, "xterm", "laptop"),
            known(LAPTOP, 2, "xterm", "laptop"),
            known(LAPTOP, 3, "vim", "desk"),
            known(TABLET, 4, "vim", "laptop"),
            known(TABLET, 5, "calc", "laptop"),
        ];
        let table: &[(&str, Option<u64>)] = &[
            ("xterm", Some(1)),
            ("xterm@desk", Some(1)),
            ("xterm@laptop", Some(2)),
            ("vim", None),
            ("vim@desk", Some(3)),
            ("vim@tablet", Some(4)),
            ("calc", Some(5)),
            ("calc@laptop", Some(5)),
            ("calc@desk", None),
            ("nothing", None),
            ("@", None),
            ("", None),
        ];
        for (text, want) in table {
            assert_eq!(resolve(text, DESK, &all).ok().map(|id| id.number), *want, "{text}");
        }
    }

    #[test]
    fn names_are_chosen_from_programs() {
        let table: &[(&[u8], &[&str], &str)] = &[
            (b"/usr/bin/xterm", &[], "xterm"),
            (b"xterm", &["xterm", "xterm-2"], "xterm-3"),
            (b"/", &[], "session"),
            (b"./-x y@z", &[], "xyz"),
            (b"\xff\xff", &[], "session"),
        ];
        for (program, taken, want) in table {
            assert_eq!(choose(program, |name| taken.contains(&name)), *want);
        }
    }

    #[test]
    fn bad_names_are_refused() {
        for bad in ["", "-x", ".x", "a b", "a@b", "a/b", "a\nb", &"x".repeat(65)] {
            assert!(check(bad, "session").is_err(), "{bad:?}");
        }
        for good in ["Editor", "g++", "büro", "a.b-c_d"] {
            check(good, "session").unwrap();
        }
    }

    proptest! {
        #[test]
        fn a_chosen_name_is_always_allowed(program in proptest::collection::vec(any::<u8>(), 0..100)) {
            check(&choose(&program, |_| false), "session").unwrap();
        }

        #[test]
        fn any_text_resolves_or_is_refused(text in ".{0,40}") {
            let _ = resolve(&text, DESK, &[known(DESK, 1, "xterm", "laptop")]);
        }
    }
}
