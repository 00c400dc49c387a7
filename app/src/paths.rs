//! Where Roam's parts meet on this machine: the agent's socket and the other programs.

use std::path::PathBuf;

/// A folder that the environment names; by the XDG specification a relative one is none.
fn folder(name: &str) -> Option<PathBuf> {
    std::env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

/// The folder of sockets and locks: `$XDG_RUNTIME_DIR/roam`, or `/tmp/roam-UID` without it.
#[must_use]
pub fn runtime() -> PathBuf {
    match folder("XDG_RUNTIME_DIR") {
        Some(dir) => dir.join("roam"),
        None => PathBuf::from(format!("/tmp/roam-{}", nix::unistd::getuid())),
    }
}

/// The agent's socket.
#[must_use]
pub fn agent_socket() -> PathBuf {
    runtime().join("agent.sock")
}

/// The folder of the app's own settings.
#[must_use]
pub fn config() -> Option<PathBuf> {
    folder("XDG_CONFIG_HOME")
        .or_else(|| folder("HOME").map(|home| home.join(".config")))
        .map(|dir| dir.join("roam"))
}

/// Makes the runtime folder for this user alone, and refuses one that belongs to another.
///
/// # Errors
/// When it can't be made, or is not ours alone.
pub fn make_runtime() -> std::io::Result<PathBuf> {
    use std::os::unix::fs::{DirBuilderExt, MetadataExt};
    let dir = runtime();
    std::fs::DirBuilder::new().recursive(true).mode(0o700).create(&dir)?;
    let meta = std::fs::symlink_metadata(&dir)?;
    if !meta.is_dir() || meta.uid() != nix::unistd::getuid().as_raw() || meta.mode() & 0o077 != 0 {
        return Err(std::io::Error::new(
            std::io::ErrorKind::PermissionDenied,
            format!("{} is not a folder of this user alone", dir.display()),
        ));
    }
    Ok(dir)
}

/// Another program of Roam: beside this one, in the library folder, or wherever PATH finds it.
#[must_use]
pub fn program(name: &str) -> PathBuf {
    let beside = std::env::current_exe().ok().and_then(|exe| Some(exe.parent()?.join(name)));
    let library = PathBuf::from("/usr/libexec/roam").join(name);
    beside.into_iter().chain([library]).find(|path| path.is_file()).unwrap_or_else(|| PathBuf::from(name))
}
