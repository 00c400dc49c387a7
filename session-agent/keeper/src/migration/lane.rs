//! One connection between the two keepers of a move, as two bounded queues.
//!
//! Works on any byte stream; the product gives it a TLS lane of `roam_link`. Dropping the lane closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use roam_api::codec::encode_frame;
use roam_link::frames;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages that wait in each direction: at most so many MiB of memory.
const QUEUED: usize = 8;

/// How long a full queue may stay full: as long as the silences that undo a move.
pub const STUCK: Duration = Duration::from_secs(60);

/// Why a message is not in a lane's queue.
#[derive(Debug, PartialEq, Eq)]
pub enum NotSaid {
    /// The lane broke, or nothing has left its queue for so long that it might as well have.
    Lost,
    /// The message is not wanted any more.
    GivenUp,
}

/// A stream that a lane can run over.
pub trait Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send + 'static> Stream for T {}

/// A lane that sends `Out` and hears `In`.
pub struct Lane<Out, In> {
    /// Takes what is to be sent, in order.
    pub say: mpsc::Sender<Out>,
    /// What came; ends when the lane broke.
    pub hear: mpsc::Receiver<In>,
    /// Bytes written so far.
    pub sent: Arc<AtomicU64>,
    _tasks: JoinSet<()>,
}

impl<Out, In> Lane<Out, In>
where
    Out: Serialize + Send + Sync + 'static,
    In: DeserializeOwned + Send + 'static,
{
    /// Over this stream.
    pub fn over(stream: impl Stream) -> Self {
        let (mut read, mut write) = tokio::io::split(stream);
        let (say, mut to_send) = mpsc::channel::<Out>(QUEUED);
        let (came, hear) = mpsc::channel::<In>(QUEUED);
        let sent = Arc::new(AtomicU64::new(0));
        let mut tasks = JoinSet::new();
        let counter = sent.clone();
        tasks.spawn(async move {
            while let Some(message) = to_send.recv().await {
                let Ok(frame) = encode_frame(&message) else { return };
                if write.write_all(&frame).await.is_err() || write.flush().await.is_err() {
                    return;
                }
                counter.fetch_add(frame.len() as u64, Ordering::Relaxed);
            }
            let _ = write.shutdown().await;
        });
        tasks.spawn(async move {
            while let Ok(Some(message)) = frames::read::<In>(&mut read).await {
                if came.send(message).await.is_err() {
                    return;
                }
            }
        });
        Self { say, hear, sent, _tasks: tasks }
    }

    /// Puts a message behind what waits to be sent. A cable that was cut lets a full queue stand for a quarter of an
    /// hour: that is waited for no longer than `patience`, or until `given_up`.
    ///
    /// # Errors
    /// As [`NotSaid`] says.
    pub async fn put(
        &self,
        message: Out,
        patience: Duration,
        given_up: impl Future<Output = ()>,
    ) -> Result<(), NotSaid> {
        tokio::select! {
            biased;
            put = self.say.send(message) => put.map_err(|_| NotSaid::Lost),
            () = given_up => Err(NotSaid::GivenUp),
            () = tokio::time::sleep(patience) => Err(NotSaid::Lost),
        }
    }

    /// Sends the queue out and closes, waiting at most so long.
    pub async fn finish(self, patience: Duration) {
        let Self { say, mut hear, _tasks: mut tasks, .. } = self;
        drop(say);
        let _ = tokio::time::timeout(patience, async {
            tokio::select! {
                _ = tasks.join_next() => {}
                () = async { while hear.recv().await.is_some() {} } => {}
            }
        })
        .await;
    }
}

#[cfg(test)]
mod tests {
    use std::future::{pending, ready};

    use super::*;

    #[tokio::test]
    async fn a_lane_that_does_not_move_holds_nobody() {
        let (stream, nobody_reads) = tokio::io::duplex(16);
        let lane = Lane::<Vec<u8>, ()>::over(stream);
        let short = Duration::from_millis(20);
        let mut put = 0;
        while lane.put(vec![0; 64], short, pending()).await.is_ok() {
            put += 1;
            assert!(put <= QUEUED + 1, "its queue has no end");
        }
        assert_eq!(lane.put(vec![], short, pending()).await, Err(NotSaid::Lost));
        let long = Duration::from_secs(3600);
        assert_eq!(lane.put(vec![], long, ready(())).await, Err(NotSaid::GivenUp));
        drop(nobody_reads);
        assert_eq!(lane.put(vec![], long, pending()).await, Err(NotSaid::Lost), "it broke");
    }
}
