//! Which variables of the caller's environment a session does not get.
//!
//! They name things of the caller's own desktop, terminal or service manager that are not in the
//! pod, or that differ after a move. The command line and the app start programs with it, and
//! `session-agent/docs/cli.md` documents it.

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;

/// Removed by name.
pub const NAMES: &[&str] = &[
    // The caller's screen: the pod has one of its own.
    "DISPLAY",
    "XAUTHORITY",
    "WAYLAND_DISPLAY",
    "WAYLAND_SOCKET",
    "WINDOWID",
    "DESKTOP_STARTUP_ID",
    "XDG_ACTIVATION_TOKEN",
    "SESSION_MANAGER",
    "AT_SPI_BUS_ADDRESS",
    "XMODIFIERS",
    "GTK_IM_MODULE",
    "QT_IM_MODULE",
    // The caller's buses and log-in session.
    "DBUS_SESSION_BUS_ADDRESS",
    "DBUS_SESSION_BUS_PID",
    "DBUS_SESSION_BUS_WINDOWID",
    "DBUS_STARTER_ADDRESS",
    "DBUS_STARTER_BUS_TYPE",
    "XDG_RUNTIME_DIR",
    "XDG_SESSION_ID",
    "XDG_SESSION_TYPE",
    "XDG_SESSION_CLASS",
    "XDG_SEAT",
    "XDG_SEAT_PATH",
    "XDG_SESSION_PATH",
    "XDG_VTNR",
    // The caller's service manager.
    "INVOCATION_ID",
    "JOURNAL_STREAM",
    "NOTIFY_SOCKET",
    "WATCHDOG_PID",
    "WATCHDOG_USEC",
    "LISTEN_FDS",
    "LISTEN_FDNAMES",
    "LISTEN_PID",
    "MANAGERPID",
    "MEMORY_PRESSURE_WATCH",
    "MEMORY_PRESSURE_WRITE",
    "SYSTEMD_EXEC_PID",
    // Agents that hold keys.
    "SSH_AUTH_SOCK",
    "SSH_AGENT_PID",
    "GPG_AGENT_INFO",
    "GNOME_KEYRING_CONTROL",
    // The caller's terminal and remote log-in.
    "SSH_CLIENT",
    "SSH_CONNECTION",
    "SSH_TTY",
    "STY",
    "TMUX",
    "TMUX_PANE",
    "GPG_TTY",
    "GNOME_TERMINAL_SCREEN",
    "GNOME_TERMINAL_SERVICE",
    "KONSOLE_DBUS_SERVICE",
    "KONSOLE_DBUS_SESSION",
    "_",
];

/// The environment that a session gets: the caller's, less the list, plus the changes.
#[must_use]
pub fn cleaned(
    caller: impl Iterator<Item = (OsString, OsString)>,
    changes: Vec<(String, String)>,
) -> BTreeMap<Vec<u8>, Vec<u8>> {
    caller
        .filter(|(name, _)| !NAMES.iter().any(|listed| name == listed))
        .map(|(name, value)| (name.into_vec(), value.into_vec()))
        .chain(changes.into_iter().map(|(name, value)| (name.into_bytes(), value.into_bytes())))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_goes_and_changes_win() {
        let caller = [("HOME", "/h"), ("DISPLAY", ":0"), ("LANG", "C")].map(|(n, v)| (n.into(), v.into()));
        let got =
            cleaned(caller.into_iter(), vec![("LANG".into(), "de".into()), ("DISPLAY".into(), "x".into())]);
        let want = [("HOME", "/h"), ("LANG", "de"), ("DISPLAY", "x")]
            .map(|(n, v)| (n.as_bytes().to_vec(), v.as_bytes().to_vec()));
        assert_eq!(got, want.into_iter().collect());
    }

    #[test]
    fn the_documentation_names_every_variable() {
        let page = include_str!("../../docs/cli.md");
        for name in NAMES {
            assert!(page.contains(&format!("`{name}`")), "docs/cli.md does not name {name}");
        }
    }
}
