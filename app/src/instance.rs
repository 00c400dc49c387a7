//! One window and one tray icon per person and machine. A lock decides who is the one; a socket
//! beside it lets a second start bring the first one's window to the front. A window that is closing
//! does not answer there: then the second start waits for its end and opens one of its own.

use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};

/// Being the one. Dropping it lets another take over.
pub struct Instance {
    _lock: Flock<File>,
    listener: Option<UnixListener>,
}

impl Instance {
    /// Becomes the one with this name; none if there is one already.
    ///
    /// # Errors
    /// When the lock or the socket can't be made.
    pub fn claim(dir: &Path, name: &str) -> std::io::Result<Option<Self>> {
        Self::lock(dir, name, FlockArg::LockExclusiveNonblock)
    }

    /// Becomes the one with this name once the present one has ended.
    ///
    /// # Errors
    /// When the lock or the socket can't be made.
    pub fn succeed(dir: &Path, name: &str) -> std::io::Result<Option<Self>> {
        Self::lock(dir, name, FlockArg::LockExclusive)
    }

    fn lock(dir: &Path, name: &str, how: FlockArg) -> std::io::Result<Option<Self>> {
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(dir.join(format!("{name}.lock")))?;
        let lock = match Flock::lock(file, how) {
            Ok(lock) => lock,
            Err((_, nix::errno::Errno::EWOULDBLOCK)) => return Ok(None),
            Err((_, error)) => return Err(error.into()),
        };
        let socket = dir.join(format!("{name}.sock"));
        // The lock is ours, so a socket that lies there is a dead one's.
        let _ = std::fs::remove_file(&socket);
        Ok(Some(Self { _lock: lock, listener: Some(UnixListener::bind(socket)?) }))
    }

    /// Calls back whenever another start knocks; the answer is whether the window came to the front.
    pub fn on_knock(&mut self, mut knocked: impl FnMut() -> bool + Send + 'static) {
        let Some(listener) = self.listener.take() else { return };
        std::thread::spawn(move || {
            for mut stream in listener.incoming().flatten() {
                // Who says nothing only looks whether we are here.
                let _ = stream.set_read_timeout(Some(Duration::from_secs(1)));
                if stream.read_exact(&mut [0]).is_ok() && knocked() {
                    let _ = stream.write_all(&[1]);
                }
            }
        });
    }
}

/// Knocks at the one with this name; false if nobody is there, or it is about to end.
#[must_use]
pub fn knock(dir: &Path, name: &str) -> bool {
    let asked = |mut stream: UnixStream| stream.write_all(&[1]).and_then(|()| stream.read_exact(&mut [0]));
    connect(dir, name).is_some_and(|stream| asked(stream).is_ok())
}

/// Looks whether there is one with this name, without a word.
#[must_use]
pub fn is_there(dir: &Path, name: &str) -> bool {
    connect(dir, name).is_some()
}

fn connect(dir: &Path, name: &str) -> Option<UnixStream> {
    UnixStream::connect(dir.join(format!("{name}.sock"))).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_is_one_and_it_hears_the_others() {
        let dir = tempfile::tempdir().unwrap();
        let mut one = Instance::claim(dir.path(), "app").unwrap().unwrap();
        let (sender, receiver) = std::sync::mpsc::channel();
        let mut open = [true, false].into_iter();
        one.on_knock(move || {
            sender.send(()).unwrap();
            open.next().unwrap()
        });
        assert!(Instance::claim(dir.path(), "app").unwrap().is_none());
        assert!(Instance::claim(dir.path(), "tray").unwrap().is_some());
        assert!(is_there(dir.path(), "app"));
        assert!(receiver.try_recv().is_err());
        assert!(knock(dir.path(), "app"));
        receiver.recv_timeout(std::time::Duration::from_secs(10)).unwrap();
        // It is closing: whoever comes now takes over.
        assert!(!knock(dir.path(), "app"));
        drop(one);
        assert!(Instance::succeed(dir.path(), "app").unwrap().is_some());
    }
}
