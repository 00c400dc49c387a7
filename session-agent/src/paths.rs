//! Where things are: state, sockets, and the other programs of Roam.
//!
//! Everything lies below the XDG folders, so that several agents can live on one machine, each with
//! its own. The runtime folder is refused if it belongs to someone else or others may enter it.

use std::fs::{self, DirBuilder};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use roam_api::error::Failure;
use roam_api::session::SessionId;

/// The folders of one agent.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Paths {
    /// Sockets and locks; empty after a reboot.
    pub runtime: PathBuf,
    /// What must outlive a reboot: identity, peers, logs, parked sessions.
    pub state: PathBuf,
}

impl Paths {
    /// The folders as the environment says.
    ///
    /// # Errors
    /// If neither XDG_STATE_HOME nor HOME is set.
    pub fn from_env() -> Result<Self, Failure> {
        Self::from_vars(|name| std::env::var_os(name).map(PathBuf::from), nix::unistd::getuid().as_raw())
    }

    fn from_vars(var: impl Fn(&str) -> Option<PathBuf>, uid: u32) -> Result<Self, Failure> {
        // The XDG specification: a relative path is as good as none.
        let absolute = |name| var(name).filter(|path| path.is_absolute());
        let runtime = match absolute("XDG_RUNTIME_DIR") {
            Some(folder) => folder.join("roam"),
            None => PathBuf::from(format!("/tmp/roam-{uid}")),
        };
        let state = absolute("XDG_STATE_HOME")
            .or_else(|| Some(absolute("HOME")?.join(".local/state")))
            .ok_or_else(|| {
                Failure::wrong_use(
                    "Neither XDG_STATE_HOME nor HOME is set, so Roam does not know where to keep its state.",
                )
                .next("Set HOME and try again.")
            })?
            .join("roam");
        Ok(Self { runtime, state })
    }

    /// Makes the folders, private to this user.
    ///
    /// # Errors
    /// If one can't be made, belongs to someone else, or is open to others.
    pub fn prepare(&self) -> Result<(), Failure> {
        for folder in [&self.runtime, &self.state] {
            private_folder(folder)?;
        }
        private_folder(&self.runtime.join("sessions"))
    }

    /// The agent's socket.
    #[must_use]
    pub fn agent_socket(&self) -> PathBuf {
        self.runtime.join("agent.sock")
    }

    /// The runtime folder of a session: its sockets.
    #[must_use]
    pub fn session_runtime(&self, id: &SessionId) -> PathBuf {
        self.runtime.join("sessions").join(id.to_string())
    }

    /// The state folder of a session: journal and log.
    #[must_use]
    pub fn session_state(&self, id: &SessionId) -> PathBuf {
        self.state.join("sessions").join(id.to_string())
    }
}

/// Makes a folder of mode 0700, or checks that the one there is ours and private.
///
/// # Errors
/// With a sentence that names the folder.
pub fn private_folder(folder: &Path) -> Result<(), Failure> {
    let wrong = |what: String| {
        Failure::refused(format!("The folder {} {what}.", folder.display()))
            .next("Put that right, or set XDG_RUNTIME_DIR and XDG_STATE_HOME to folders of your own.")
    };
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .map_err(|error| wrong(format!("can't be made ({error})")))?;
    let meta = fs::symlink_metadata(folder).map_err(|error| wrong(format!("can't be read ({error})")))?;
    if !meta.is_dir() {
        return Err(wrong("is not a folder".into()));
    }
    if meta.uid() != nix::unistd::geteuid().as_raw() {
        return Err(wrong("belongs to another user".into()));
    }
    if meta.mode() & 0o077 != 0 {
        fs::set_permissions(folder, fs::Permissions::from_mode(0o700))
            .map_err(|error| wrong(format!("is open to others ({error})")))?;
    }
    Ok(())
}

/// Another program of Roam: beside this one, else in /usr/libexec/roam, else by PATH.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    [beside, Some(Path::new("/usr/libexec/roam").join(name))]
        .into_iter()
        .flatten()
        .find(|path| path.is_file())
        .unwrap_or_else(|| PathBuf::from(name))
}

/// Writes a file so that a crash leaves either the old or the new content.
///
/// # Errors
/// Of the file system; the old content is still there then.
pub fn write_whole(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let fresh = path.with_extension("new");
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&fresh)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    fs::rename(&fresh, path)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Variables, and the two folders they lead to.
    type Row = (&'static [(&'static str, &'static str)], Option<(&'static str, &'static str)>);

    #[test]
    fn the_folders_follow_the_environment() {
        let table: &[Row] = &[
            (&[("HOME", "/h")], Some(("/tmp/roam-7", "/h/.local/state/roam"))),
            (&[("HOME", "/h"), ("XDG_RUNTIME_DIR", "/r")], Some(("/r/roam", "/h/.local/state/roam"))),
            (&[("HOME", "/h"), ("XDG_STATE_HOME", "/s")], Some(("/tmp/roam-7", "/s/roam"))),
            (&[("HOME", "/h"), ("XDG_STATE_HOME", "s")], Some(("/tmp/roam-7", "/h/.local/state/roam"))),
            (&[], None),
        ];
        for (vars, want) in table {
            let var = |name: &str| vars.iter().find(|(n, _)| *n == name).map(|(_, v)| PathBuf::from(v));
            let got = Paths::from_vars(var, 7).ok();
            let want = want.map(|(r, s)| Paths { runtime: r.into(), state: s.into() });
            assert_eq!(got, want, "{vars:?}");
        }
    }

    #[test]
    fn folders_become_private_and_files_are_refused() {
        let temp = tempfile::tempdir().unwrap();
        let folder = temp.path().join("a/b");
        fs::create_dir_all(&folder).unwrap();
        fs::set_permissions(&folder, fs::Permissions::from_mode(0o755)).unwrap();
        private_folder(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().mode() & 0o777, 0o700);
        let file = temp.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(private_folder(&file).is_err());
    }
}
