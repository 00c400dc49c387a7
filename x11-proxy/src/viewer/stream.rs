//! The stream to the display: one thread reads, one writes, so that drawing never waits for either.
//! The only place of the viewer that knows what the stream is made of.

use std::io::{Read, Write};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::sync::{Arc, Condvar, Mutex, PoisonError};

use anyhow::{Context as _, Result};
use roam_api::codec::encode_frame;
use roam_api::display::{ToDisplay, ToViewer};

use super::outbound::Outbound;
use crate::wire::Incoming;

/// Messages read ahead of drawing. The display sends two frames at most unacknowledged.
const READ_AHEAD: usize = 64;

/// Both directions of a stream.
pub(crate) struct Ends {
    pub reader: Box<dyn Read + Send>,
    pub writer: Box<dyn Write + Send>,
}

/// The inherited descriptor; none: standard input and output.
#[cfg(unix)]
pub(crate) fn open(fd: Option<i32>) -> Result<Ends> {
    use std::os::unix::net::UnixStream;
    let Some(fd) = fd else { return Ok(standard()) };
    let owned =
        roam_sys::inherited::inherited(fd).with_context(|| format!("Descriptor {fd} was not passed on."))?;
    let stream = UnixStream::from(owned);
    stream.set_nonblocking(false)?;
    Ok(Ends { reader: Box::new(stream.try_clone()?), writer: Box::new(stream) })
}

/// Standard input and output; other descriptors can't be inherited here.
#[cfg(not(unix))]
pub(crate) fn open(fd: Option<i32>) -> Result<Ends> {
    anyhow::ensure!(fd.is_none(), "On this system the stream is standard input and output.");
    Ok(standard())
}

fn standard() -> Ends {
    Ends { reader: Box::new(std::io::stdin()), writer: Box::new(std::io::stdout()) }
}

/// What the reader thread has to say.
pub(crate) enum News {
    Message(Box<ToViewer>),
    /// The stream has ended: well, or with a fault.
    Ended(Option<String>),
}

/// Starts to read. `wake` is called after each piece of news.
pub(crate) fn read(
    mut reader: Box<dyn Read + Send>,
    wake: impl Fn() + Send + 'static,
) -> Result<Receiver<News>> {
    let (sender, receiver) = sync_channel(READ_AHEAD);
    std::thread::Builder::new().name("reader".to_owned()).spawn(move || {
        let fault = read_all(&mut reader, &sender, &wake).err().map(|e| format!("{e:#}"));
        let _ = sender.send(News::Ended(fault));
        wake();
    })?;
    Ok(receiver)
}

fn read_all(reader: &mut dyn Read, sender: &SyncSender<News>, wake: &impl Fn()) -> Result<()> {
    let mut incoming = Incoming::default();
    let mut buffer = vec![0u8; 64 << 10];
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => return Ok(()),
            Ok(n) => n,
            Err(e) if e.kind() == std::io::ErrorKind::Interrupted => continue,
            Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => return Ok(()),
            Err(e) => return Err(e.into()),
        };
        incoming.push(&buffer[..n]);
        while let Some(message) = incoming.next::<ToViewer>()? {
            message.check()?;
            if sender.send(News::Message(Box::new(message))).is_err() {
                return Ok(());
            }
            wake();
        }
    }
}

/// Takes messages for the display without ever waiting.
pub(crate) struct Sender {
    shared: Arc<(Mutex<Outbound>, Condvar)>,
}

impl Sender {
    pub fn start(mut writer: Box<dyn Write + Send>) -> Result<Self> {
        let shared: Arc<(Mutex<Outbound>, Condvar)> = Arc::default();
        let for_thread = shared.clone();
        std::thread::Builder::new().name("writer".to_owned()).spawn(move || {
            let (outbound, more) = &*for_thread;
            loop {
                let mut queue = outbound.lock().unwrap_or_else(PoisonError::into_inner);
                let message = loop {
                    match queue.pop() {
                        Some(message) => break message,
                        None => queue = more.wait(queue).unwrap_or_else(PoisonError::into_inner),
                    }
                };
                drop(queue);
                let Ok(frame) = encode_frame(&message) else { continue };
                // A broken stream is seen by the reader too, which ends the viewer.
                if writer.write_all(&frame).and_then(|()| writer.flush()).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { shared })
    }

    pub fn send(&self, message: ToDisplay) {
        let (outbound, more) = &*self.shared;
        outbound.lock().unwrap_or_else(PoisonError::into_inner).push(message);
        more.notify_one();
    }
}
