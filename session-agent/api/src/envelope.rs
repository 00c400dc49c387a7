//! The outer form of a parked session: magic, version, sealed pieces, and a tail that says what is inside.
//!
//! ```text
//! file  = "ROAMPARK" | version u16 | 0 u16 | salt [16] | chunk … | tail
//! chunk = length u32 | sealed item      one encoded `migration::Item`; the nonce is the chunk's number
//! tail  = sealed tail | length u32      one encoded `Tail`; the nonce is its own
//! ```
//! The tail stands last because it is known last (the clocks at the freeze), and is read first: whoever
//! wakes a session must know what pod to make before the first page comes.
//!
//! This file is pure; the keeper seals, writes and reads. All integers are little-endian. Every length
//! is checked before anything is allocated; nothing is decoded that was not sealed with the right key.

use serde::{Deserialize, Serialize};

use crate::codec::CodecError;

/// How the file begins.
pub const MAGIC: [u8; 8] = *b"ROAMPARK";
/// The version written; raised whenever anything in a parked session is encoded otherwise.
pub const VERSION: u16 = 10;
/// Bytes of the header.
pub const HEADER_LEN: usize = 8 + 2 + 2 + 16;
/// The longest sealed chunk or tail: a piece is at most 1 MiB, what a session was started with at most 2.
pub const MAX_SEALED: usize = 4 << 20;

/// What stands at a parked file's end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tail {
    /// How many chunks there are: a file that was cut and patched together has another number.
    pub chunks: u64,
    /// What must be known before the first chunk is used, encoded: see [`crate::migration::Part::About`].
    #[serde(with = "serde_bytes")]
    pub about: Vec<u8>,
}

/// Why a file is no parked session.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Another kind of file.
    #[error("it is not a parked session of Roam")]
    Foreign,
    /// A version that this build does not read.
    #[error("it was written by another version of Roam (format {0}; this one reads {VERSION})")]
    Version(u16),
    /// A length is wrong, or what was sealed does not open.
    #[error("it is damaged")]
    Damaged,
    /// It ends too early.
    #[error("it is incomplete")]
    Truncated,
    /// The tail does not open: that is so for damaged files and for those of others.
    #[error("it is incomplete, or was put to sleep by another user or machine")]
    NotOurs,
    /// What was sealed does not decode.
    #[error(transparent)]
    Codec(#[from] CodecError),
}

/// The header with this salt.
#[must_use]
pub fn header(salt: [u8; 16]) -> [u8; HEADER_LEN] {
    let mut bytes = [0; HEADER_LEN];
    bytes[..8].copy_from_slice(&MAGIC);
    bytes[8..10].copy_from_slice(&VERSION.to_le_bytes());
    bytes[12..].copy_from_slice(&salt);
    bytes
}

/// The salt of a header.
///
/// # Errors
/// [`EnvelopeError::Foreign`] or [`EnvelopeError::Version`].
pub fn parse_header(bytes: &[u8; HEADER_LEN]) -> Result<[u8; 16], EnvelopeError> {
    if bytes[..8] != MAGIC || bytes[10..12] != [0, 0] {
        return Err(EnvelopeError::Foreign);
    }
    let version = u16::from_le_bytes([bytes[8], bytes[9]]);
    if version != VERSION {
        return Err(EnvelopeError::Version(version));
    }
    let mut salt = [0; 16];
    salt.copy_from_slice(&bytes[12..]);
    Ok(salt)
}

/// The length that a chunk begins with or the tail ends with.
///
/// # Errors
/// [`EnvelopeError::Damaged`] if that is more than it may be.
pub fn sealed_len(bytes: [u8; 4]) -> Result<usize, EnvelopeError> {
    let len = u32::from_le_bytes(bytes) as usize;
    if len > MAX_SEALED { Err(EnvelopeError::Damaged) } else { Ok(len) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_told_apart() {
        let good = header([9; 16]);
        assert_eq!(parse_header(&good), Ok([9; 16]));
        for version in [0, 1, 77] {
            let mut other = good;
            other[8] = version;
            assert_eq!(parse_header(&other), Err(EnvelopeError::Version(version.into())));
        }
        assert_eq!(parse_header(&[0; HEADER_LEN]), Err(EnvelopeError::Foreign));
    }

    #[test]
    fn lengths_have_a_limit() {
        assert_eq!(sealed_len((MAX_SEALED as u32).to_le_bytes()), Ok(MAX_SEALED));
        assert_eq!(sealed_len([255; 4]), Err(EnvelopeError::Damaged));
    }
}
