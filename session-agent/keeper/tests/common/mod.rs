//! What the keeper's tests share: running as an ordinary user, and folders of their own.
#![allow(dead_code)] // each test file uses a part of it

pub mod fault;
pub mod keeper;
pub mod lane;

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

/// An account that every system has and that owns nothing. (D-Bus refuses users without an account.)
const ORDINARY: &str = "games";

/// Runs the body as an ordinary user: if the test runs as root, it is run again, alone, without
/// privileges. `name` is the test's own name.
pub fn as_ordinary_user(name: &str, body: impl FnOnce()) {
    if !nix::unistd::geteuid().is_root() {
        return body();
    }
    let output = Command::new("setpriv")
        .args(["--reuid", ORDINARY, "--regid", ORDINARY, "--clear-groups", "--inh-caps=-all"])
        .args(["--bounding-set=-all", "timeout", "-k", "5", "120"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", name, "--nocapture", "--test-threads=1"])
        .env("HOME", "/nonexistent")
        .output()
        .expect("setpriv (util-linux) is needed to run tests as root");
    let text = [output.stdout, output.stderr].concat();
    let text = String::from_utf8_lossy(&text);
    assert!(output.status.success() && text.contains("1 passed"), "as an ordinary user:\n{text}");
}

/// Folders of one test: home, runtime and state, gone when dropped.
pub struct Folders {
    dir: tempfile::TempDir,
}

impl Folders {
    pub fn new() -> Self {
        // Not below /tmp, which is private in a pod: home must be a place like a real one.
        let dir = tempfile::Builder::new().prefix("roam-keeper-").tempdir_in("/var/tmp").unwrap();
        for sub in ["home", "runtime", "session", "state"] {
            std::fs::create_dir(dir.path().join(sub)).unwrap();
            std::fs::set_permissions(dir.path().join(sub), PermissionsExt::from_mode(0o700)).unwrap();
        }
        Self { dir }
    }

    pub fn path(&self, sub: &str) -> PathBuf {
        self.dir.path().join(sub)
    }
}

pub fn bytes(path: &Path) -> Vec<u8> {
    path.as_os_str().as_encoded_bytes().to_vec()
}
