//! Viewers of the session: a roam-display for each, between the pod's X server and the viewer.
//!
//! A display keeps nothing and may die at any time: the session does not notice, and the viewer
//! attaches again. It ends with its keeper: the next one would not know of it, nor could it move a session
//! whose X server a stranger is connected to. What the app's windows are called is known from it, and
//! remembered when nobody looks.

use std::collections::HashMap;
use std::io;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::process::Stdio;
use std::sync::{Mutex, PoisonError};

use roam_api::charge::Charge;
use roam_api::codec::encode_frame;
use roam_api::error::Failure;
use roam_api::session::ShownOn;
use tokio::process::{Child, Command};
use tokio::sync::oneshot;

use crate::live::Live;
use crate::paths::companion;

/// A display that was started.
pub struct Started {
    /// Its number among this keeper's.
    pub number: u64,
    /// Its process.
    pub child: Child,
    /// Says that it must go.
    pub stopped: oneshot::Receiver<()>,
    /// Where it tells what it sees, as [`roam_api::charge::Told`].
    pub tells: tokio::net::UnixStream,
}

/// The displays that run.
#[derive(Default)]
pub struct Displays {
    running: Mutex<HashMap<u64, Running>>,
    titles: Mutex<Vec<String>>,
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

    /// What the app's windows are called, as the last display saw them.
    #[must_use]
    pub fn titles(&self) -> Vec<String> {
        self.titles.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// A display says what the windows are called.
    pub fn set_titles(&self, titles: Vec<String>) {
        *self.titles.lock().unwrap_or_else(PoisonError::into_inner) = titles;
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
    pub fn start(&self, live: &Live, shown: ShownOn, viewer: UnixStream) -> Result<Started, Failure> {
        let Some(cookie) = &live.facts.cookie else {
            return Err(Failure::refused(format!("{} has no screen.", live.spec.name))
                .next("It was started with --no-screen; read its output with `roam log`."));
        };
        let program = companion("roam-display").map_err(|e| Failure::refused(format!("{e}.")))?;
        let failed = |e: io::Error| Failure::undone(format!("The session's screen can't be reached: {e}."));
        let socket = roam_checkpoint::pod::Pod::root(&*live.pod).join("tmp/.X11-unix/X0");
        let x = UnixStream::connect(socket).map_err(failed)?;
        viewer.set_nonblocking(false).map_err(failed)?;
        let (ours, theirs) = UnixStream::pair().map_err(failed)?;
        // All that it gets comes through its standard input: nothing else can leak into it that way.
        let child = Command::new(program)
            .stdin(Stdio::from(OwnedFd::from(theirs)))
            .stdout(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(failed)?;
        let charge = Charge { cookie: cookie.to_vec(), view_only: shown.view_only };
        let frame = encode_frame(&charge).map_err(|e| failed(io::Error::other(e)))?;
        // A few dozen bytes into an empty socket go at once.
        roam_sys::fdpass::send(ours.as_fd(), &frame, &[viewer.as_fd(), x.as_fd()]).map_err(failed)?;
        ours.set_nonblocking(true).map_err(failed)?;
        let tells = tokio::net::UnixStream::from_std(ours).map_err(failed)?;
        let number = self.number.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        let (stop, stopped) = oneshot::channel();
        self.lock().insert(number, Running { shown, stop });
        Ok(Started { number, child, stopped, tells })
    }

    /// A display ended.
    pub fn ended(&self, number: u64) {
        self.lock().remove(&number);
    }
}
