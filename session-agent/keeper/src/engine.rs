//! The one thread on which the engine works: ptrace knows its tracer by thread.

use std::sync::mpsc;

use tokio::sync::oneshot;

type Work = Box<dyn FnOnce() + Send>;

/// A handle on the engine's thread, which takes one piece of work after the other.
#[derive(Clone)]
pub struct Engine {
    queue: mpsc::SyncSender<Work>,
}

impl Engine {
    /// Starts the thread. It ends when the last handle is dropped.
    ///
    /// # Errors
    /// If there are no more threads to be had.
    pub fn start() -> std::io::Result<Self> {
        let (queue, work) = mpsc::sync_channel::<Work>(4);
        std::thread::Builder::new().name("engine".into()).spawn(move || {
            for piece in work {
                piece();
            }
        })?;
        Ok(Self { queue })
    }

    /// Runs this on the engine's thread. None: the thread died of a panic in it.
    pub async fn run<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let (answer, receive) = oneshot::channel();
        let piece: Work = Box::new(move || {
            let _ = answer.send(work());
        });
        // The queue is as long as operations can overlap; a full one means a bug, not load.
        self.queue.try_send(piece).ok()?;
        receive.await.ok()
    }
}
