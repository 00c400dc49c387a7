//! One connection between the two keepers of a move, as two bounded queues.
//!
//! Works on any byte stream; the product gives it a TLS lane of `roam_link`. Dropping the lane closes it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use roam_api::codec::encode_frame;
use roam_link::frames;
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncWrite, AsyncWriteExt};
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Messages that wait in each direction: at most so many MiB of memory.
const QUEUED: usize = 8;

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

    /// Sends the queue out and closes, waiting at most so long.
    pub async fn finish(self, patience: std::time::Duration) {
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
