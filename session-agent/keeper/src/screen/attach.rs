//! Viewers of the session: a roam-display for each, between the pod's X server and the viewer.
//!
//! A display keeps nothing and may die at any time: the session does not notice, and the viewer
//! attaches again. It ends with its keeper: the next one would not know of it, nor could it move a session
//! whose X server a stranger is connected to.

use std::collections::HashMap;
use std::io;
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use roam_api::error::Failure;
use roam_api::session::ShownOn;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::live::Live;
use crate::paths::companion;

/// The displays that run.
#[derive(Default)]
pub struct Displays {
    running: Mutex<HashMap<u64, Running>>,
    number: std::sync::atomic::AtomicU64,
}

struct Running {
    shown: ShownOn,
    stop: oneshot::Sender<()>,
}

impl Displays {
    fn lock(&self) -> std::sync::MutexGuard<'_, HashMap<u64, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where the session is shown.
    #[must_use]
    pub fn shown_on(&self) -> Vec<ShownOn> {
        let mut list: Vec<_> = self.lock().values().map(|r| r.shown.clone()).collect();
        list.sort_by(|a, b| a.machine.cmp(&b.machine));
        list
    }

    /// Ends the displays of one machine's viewers, or all.
    pub fn stop(&self, machine: Option<&str>) {
        let mut running = self.lock();
        let numbers: Vec<u64> = running
            .iter()
            .filter(|(_, r)| machine.is_none_or(|machine| r.shown.machine == machine))
            .map(|(number, _)| *number)
            .collect();
        for number in numbers {
            if let Some(gone) = running.remove(&number) {
                let _ = gone.stop.send(());
            }
        }
    }

    /// Starts a display on this viewer's stream. The returned future ends with it.
    ///
    /// # Errors
    /// If the session has no screen, or the display can't be started.
    pub fn start(
        &self,
        live: &Live,
        shown: ShownOn,
        viewer: UnixStream,
    ) -> Result<(u64, Child, oneshot::Receiver<()>), Failure> {
        let Some(cookie) = &live.facts.cookie else {
            return Err(Failure::refused(format!("{} has no screen.", live.spec.name))
                .next("It was started with --no-screen; read its output with `roam log`."));
        };
        let program = companion("roam-display").map_err(|e| Failure::refused(format!("{e}.")))?;
        let failed = |e: io::Error| Failure::undone(format!("The session's screen can't be reached: {e}."));
        let socket = roam_checkpoint::pod::Pod::root(&*live.pod).join("tmp/.X11-unix/X0");
        let x = UnixStream::connect(socket).map_err(failed)?;
        viewer.set_nonblocking(false).map_err(failed)?;
        // Both sockets travel as standard descriptors: nothing else can leak into the display that way.
        let mut command = Command::new(program);
        command
            .args(["--fd", "0", "--x-fd", "1", "--keeper", &std::process::id().to_string()])
            .args(shown.view_only.then_some("--view-only"))
            .env("ROAM_X_COOKIE", cookie.iter().map(|b| format!("{b:02x}")).collect::<String>())
            .stdin(Stdio::from(OwnedFd::from(viewer)))
            .stdout(Stdio::from(OwnedFd::from(x)))
            .kill_on_drop(true);
        let child = command.spawn().map_err(failed)?;
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        self.lock().insert(number, Running { shown, stop });
        Ok((number, child, stopped))
    }

    /// A display ended.
    pub fn ended(&self, number: u64) {
        self.lock().remove(&number);
    }
}
