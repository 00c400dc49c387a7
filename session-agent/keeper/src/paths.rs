//! Where the keeper's files are, and where its companions are found.

use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The two folders of a session.
#[derive(Debug, Clone)]
pub struct Dirs {
    /// `RUNTIME/sessions/ID`: sockets, gone after a reboot.
    pub runtime: PathBuf,
    /// `STATE/sessions/ID`: journal and log.
    pub state: PathBuf,
}

impl Dirs {
    /// A file that all keepers of this user share: STATE lies two above `STATE/sessions/ID`.
    #[must_use]
    pub fn shared(&self, name: &str) -> PathBuf {
        self.state.parent().and_then(Path::parent).unwrap_or(&self.state).join(name)
    }

    /// Makes both folders, or checks that they are this user's alone.
    ///
    /// # Errors
    /// The file system's, or a folder that belongs to somebody else.
    pub fn prepare(&self) -> io::Result<()> {
        for dir in [&self.runtime, &self.state] {
            std::fs::DirBuilder::new().recursive(true).mode(0o700).create(dir)?;
            let found = std::fs::symlink_metadata(dir)?;
            if !found.is_dir() || found.uid() != nix::unistd::getuid().as_raw() {
                return Err(io::Error::other(format!("{} belongs to somebody else", dir.display())));
            }
            if found.mode() & 0o077 != 0 {
                std::fs::set_permissions(dir, std::fs::Permissions::from_mode(0o700))?;
            }
        }
        Ok(())
    }

    /// The keeper's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("keeper.sock")
    }

    /// The socket of the pod's roam-init.
    #[must_use]
    pub fn pod_socket(&self) -> PathBuf {
        self.runtime.join("init.sock")
    }

    /// The session's journal.
    #[must_use]
    pub fn journal(&self) -> PathBuf {
        self.state.join("journal")
    }

    /// What the session's programs printed.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("log")
    }

    /// An empty folder on which a pod's root is put together.
    ///
    /// # Errors
    /// The file system's.
    pub fn mount_point(&self) -> io::Result<PathBuf> {
        let path = self.runtime.join("root");
        std::fs::create_dir_all(&path)?;
        Ok(path)
    }
}

/// Finds another of Roam's programs: beside this one, in /usr/libexec/roam, or in PATH.
///
/// # Errors
/// NotFound, naming it.
pub fn companion(name: &str) -> io::Result<PathBuf> {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    let installed = Some(Path::new("/usr/libexec/roam").join(name));
    beside.into_iter().chain(installed).find(|path| path.is_file()).or_else(|| in_path(name)).ok_or_else(
        || io::Error::new(io::ErrorKind::NotFound, format!("{name}, a part of Roam, is not installed")),
    )
}

/// Finds a program of the system in PATH.
#[must_use]
pub fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|dir| dir.join(name)).find(|path| path.is_file())
}
