//! Frames of `roam_api::codec` on any byte stream.
//!
//! Reads exactly one frame and not a byte more, so that a connection can be handed on (to a viewer,
//! to a relay) after its first messages. Refuses whatever the codec refuses; a stream that failed
//! once must be closed, because where the next frame begins is then unknown.

use roam_api::codec::{CodecError, HEADER_LEN, decode_body, encode_frame, parse_header};
use serde::{Serialize, de::DeserializeOwned};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// Why no message could be read or written.
#[derive(Debug, thiserror::Error)]
pub enum FrameError {
    /// The stream broke.
    #[error("the connection broke: {0}")]
    Io(#[from] std::io::Error),
    /// What came is not the expected message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The other side closed the stream where a message had to come.
    #[error("the other side closed the connection")]
    Closed,
}

/// Reads one message; `None` if the stream ended cleanly between two messages.
///
/// # Errors
/// [`FrameError`]; the stream must be closed then.
pub async fn read<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> Result<Option<T>, FrameError> {
    let mut header = [0; HEADER_LEN];
    let mut have = 0;
    while have < HEADER_LEN {
        match stream.read(&mut header[have..]).await? {
            0 if have == 0 => return Ok(None),
            0 => return Err(FrameError::Closed),
            n => have += n,
        }
    }
    let mut left = parse_header(header)?.len;
    // Grow with what really comes: an announced length alone allocates little.
    let mut body = Vec::with_capacity(left.min(64 << 10));
    while left > 0 {
        let got = (&mut *stream).take(left as u64).read_buf(&mut body).await?;
        if got == 0 {
            return Err(FrameError::Closed);
        }
        left -= got;
    }
    Ok(Some(decode_body(&body)?))
}

/// Reads one message that must come.
///
/// # Errors
/// [`FrameError`], also [`FrameError::Closed`] if the stream ended.
pub async fn expect<T: DeserializeOwned>(
    stream: &mut (impl AsyncRead + Unpin + ?Sized),
) -> Result<T, FrameError> {
    read(stream).await?.ok_or(FrameError::Closed)
}

/// Writes one message and flushes it.
///
/// # Errors
/// [`FrameError`]; the stream must be closed then.
pub async fn write<T: Serialize>(
    stream: &mut (impl AsyncWrite + Unpin + ?Sized),
    message: &T,
) -> Result<(), FrameError> {
    stream.write_all(&encode_frame(message)?).await?;
    stream.flush().await?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[tokio::test]
    async fn messages_come_back_and_nothing_is_read_ahead() {
        let (mut a, mut b) = tokio::io::duplex(1 << 16);
        write(&mut a, &"first").await.unwrap();
        a.write_all(b"raw").await.unwrap();
        assert_eq!(expect::<String>(&mut b).await.unwrap(), "first");
        let mut rest = [0; 3];
        b.read_exact(&mut rest).await.unwrap();
        assert_eq!(&rest, b"raw");
        drop(a);
        assert!(read::<String>(&mut b).await.unwrap().is_none());
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 1..300)) {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(async {
                let mut stream = bytes.as_slice();
                while let Ok(Some(_)) = read::<roam_api::agent::Request>(&mut stream).await {}
            });
        }
    }
}
