//! A process that Roam starts in the pod of a frozen session, for what the session's own may not do or
//! would leave traces of: attaching memory that nobody has attached, reading queues.
//!
//! It has roam-init's rights over the pod, belongs to nobody in the session, and ends with this value.

use std::path::Path;
use std::time::{Duration, Instant};

use roam_sys::batch::{Batch, Done};

use crate::error::Error;
use crate::pod::Pod;
use crate::restore::stub::Stub;

/// Where its interpreter lies: it has nothing else in its memory.
const PLACE: u64 = 0x6000_0000_0000;
/// How long roam-init may take to reap it.
const REAPED: Duration = Duration::from_secs(2);

/// The process.
#[derive(Debug)]
pub struct Helper(Stub);

impl Helper {
    /// Starts it.
    ///
    /// # Errors
    /// If the pod gives none or it can't be traced.
    pub fn start(pod: &dyn Pod) -> Result<Self, Error> {
        let host = pod.spawn_stub().map_err(|e| Error::system("starting a helper in the pod", e))?;
        Stub::take(host.as_raw(), PLACE).map(|(stub, _)| Self(stub))
    }

    /// Its pid as the keeper sees it.
    #[must_use]
    pub fn host(&self) -> i32 {
        self.0.host
    }

    /// Has it run a batch.
    ///
    /// # Errors
    /// A call that had to succeed and did not.
    pub fn run(&mut self, batch: &Batch) -> Result<Done, Error> {
        self.0.run(batch)
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        self.0.kill();
        crate::freeze::await_ends([self.0.host]);
        // Until roam-init has taken note it would be seen as one of the session's.
        let deadline = Instant::now() + REAPED;
        while Path::new(&format!("/proc/{}", self.0.host)).exists() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_micros(100));
        }
    }
}
