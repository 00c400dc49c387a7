//! How a message becomes bytes, for every conversation of Roam.
//!
//! A frame is a 4-byte little-endian body length, a 2-byte little-endian protocol version, two zero
//! bytes, then the body. The version stands outside the body, so that a reader can refuse a
//! message by its version without decoding it. This is the only file that names bincode; it is
//! always called with a size limit, because a hostile 11-byte message otherwise makes it allocate
//! without bound.

use serde::{Deserialize, Serialize, de::DeserializeOwned};

/// The version of all local and peer messages spoken by this build.
pub const PROTOCOL_VERSION: u16 = 1;
/// The oldest version that is still understood.
pub const OLDEST_VERSION: u16 = 1;
/// Bytes in a frame header.
pub const HEADER_LEN: usize = 8;
/// The largest body accepted, in bytes. Bulk data travels in chunks below this.
pub const MAX_BODY: usize = 4 << 20;

/// Why bytes were not a message.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    /// The header announces more than [`MAX_BODY`] bytes.
    #[error("a message of {0} bytes was announced; at most {MAX_BODY} are accepted")]
    TooLong(u64),
    /// The other side speaks a version outside [`OLDEST_VERSION`]..=[`PROTOCOL_VERSION`].
    #[error(
        "the other side speaks protocol version {0}; this build speaks {OLDEST_VERSION} to {PROTOCOL_VERSION}. Update the older of the two"
    )]
    Version(u16),
    /// The reserved header bytes are not zero: this is no Roam frame.
    #[error("not a Roam message")]
    NotAFrame,
    /// The body does not decode as the expected message.
    #[error("a malformed message: {0}")]
    Malformed(String),
    /// The value does not fit into [`MAX_BODY`].
    #[error("the message is too large to send")]
    Oversized,
}

/// The parsed head of a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Header {
    /// Length of the body that follows, in bytes.
    pub len: usize,
    /// The sender's protocol version.
    pub version: u16,
}

/// Reads a frame's head.
///
/// # Errors
/// [`CodecError::NotAFrame`], [`CodecError::Version`] or [`CodecError::TooLong`]; the connection
/// should be closed on any of them.
pub fn parse_header(bytes: [u8; HEADER_LEN]) -> Result<Header, CodecError> {
    let len = u32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let version = u16::from_le_bytes([bytes[4], bytes[5]]);
    if bytes[6] != 0 || bytes[7] != 0 {
        return Err(CodecError::NotAFrame);
    }
    if !(OLDEST_VERSION..=PROTOCOL_VERSION).contains(&version) {
        return Err(CodecError::Version(version));
    }
    if len as usize > MAX_BODY {
        return Err(CodecError::TooLong(u64::from(len)));
    }
    Ok(Header { len: len as usize, version })
}

/// Encodes a message as a whole frame, header included.
///
/// # Errors
/// [`CodecError::Oversized`] if the body exceeds [`MAX_BODY`].
pub fn encode_frame<T: Serialize>(message: &T) -> Result<Vec<u8>, CodecError> {
    let mut frame = vec![0u8; HEADER_LEN];
    let body = bincode::serde::encode_into_std_write(message, &mut frame, config())
        .map_err(|_| CodecError::Oversized)?;
    if body > MAX_BODY {
        return Err(CodecError::Oversized);
    }
    frame[..4].copy_from_slice(&(body as u32).to_le_bytes());
    frame[4..6].copy_from_slice(&PROTOCOL_VERSION.to_le_bytes());
    Ok(frame)
}

/// Decodes a frame's body. Trailing bytes are an error.
///
/// # Errors
/// [`CodecError::Malformed`] for anything that is not exactly one `T`.
pub fn decode_body<T: DeserializeOwned>(body: &[u8]) -> Result<T, CodecError> {
    decode_limited::<T, MAX_BODY>(body)
}

/// Encodes a value without a frame, for sections of files. Decode with [`decode_section`].
///
/// # Errors
/// [`CodecError::Oversized`] if the value can't be encoded.
pub fn encode_section<T: Serialize>(value: &T) -> Result<Vec<u8>, CodecError> {
    bincode::serde::encode_to_vec(value, config()).map_err(|_| CodecError::Oversized)
}

/// As [`encode_section`], behind what is in `room` already.
///
/// # Errors
/// [`CodecError::Oversized`] if the value can't be encoded.
pub fn append_section<T: Serialize>(value: &T, room: &mut Vec<u8>) -> Result<(), CodecError> {
    bincode::serde::encode_into_std_write(value, room, config()).map(drop).map_err(|_| CodecError::Oversized)
}

/// Decodes a section of a file or of a checkpoint, of at most 256 MiB. What it has may lie in `bytes`.
///
/// # Errors
/// [`CodecError::Malformed`] for anything that is not exactly one `T`.
pub fn decode_section<'a, T: Deserialize<'a>>(bytes: &'a [u8]) -> Result<T, CodecError> {
    decode_limited::<T, { 256 << 20 }>(bytes)
}

fn config() -> bincode::config::Configuration {
    bincode::config::standard()
}

fn decode_limited<'a, T: Deserialize<'a>, const LIMIT: usize>(bytes: &'a [u8]) -> Result<T, CodecError> {
    let (value, used) =
        bincode::serde::borrow_decode_from_slice::<T, _>(bytes, config().with_limit::<LIMIT>())
            .map_err(|error| CodecError::Malformed(error.to_string()))?;
    if used != bytes.len() {
        return Err(CodecError::Malformed(format!("{} bytes left over", bytes.len() - used)));
    }
    Ok(value)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_frame_comes_back() {
        let frame = encode_frame(&("hello", 7u32)).unwrap();
        let header = parse_header(frame[..HEADER_LEN].try_into().unwrap()).unwrap();
        assert_eq!(header.len, frame.len() - HEADER_LEN);
        assert_eq!(decode_body::<(String, u32)>(&frame[HEADER_LEN..]).unwrap(), ("hello".to_owned(), 7));
    }

    #[test]
    fn a_hostile_length_allocates_nothing() {
        let hostile = [0xfd, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f, 0, 0];
        assert!(decode_body::<Vec<u8>>(&hostile).is_err());
        assert!(decode_body::<String>(&hostile).is_err());
    }

    #[test]
    fn foreign_versions_are_named() {
        let mut frame = encode_frame(&1u8).unwrap();
        frame[4] = 99;
        assert_eq!(parse_header(frame[..HEADER_LEN].try_into().unwrap()), Err(CodecError::Version(99)));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            let _ = decode_body::<crate::agent::Request>(&bytes);
            let _ = decode_body::<crate::keeper::Request>(&bytes);
            let _ = decode_body::<crate::agent::Reply>(&bytes);
            let _ = decode_body::<crate::peer::Request>(&bytes);
            let _ = decode_body::<crate::peer::Reply>(&bytes);
            let _ = decode_body::<crate::init::Request>(&bytes);
            let _ = decode_body::<crate::init::Reply>(&bytes);
            let _ = decode_body::<crate::init::PodSpec>(&bytes);
            let _ = decode_body::<crate::migration::ToTarget>(&bytes);
            let _ = decode_body::<crate::migration::ToSource>(&bytes);
            if let Ok(head) = <[u8; HEADER_LEN]>::try_from(&bytes[..bytes.len().min(HEADER_LEN)]) {
                let _ = parse_header(head);
            }
        }
    }
}
