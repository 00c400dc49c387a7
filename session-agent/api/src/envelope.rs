//! The outer form of a parked session: magic, version, sections with length and checksum.
//!
//! ```text
//! file     = "ROAMPARK" | version u16 | 0 u16 | salt [16] | chunk …
//! chunk    = length u32 | encrypted bytes (the nonce counts; the last chunk is marked in it)
//! decrypted chunks, joined = section …
//! section  = length u32 | checksum [8] | one encoded `migration::Item`
//! ```
//! This file is pure: the header and sections; the keeper encrypts and reads. All integers are
//! little-endian. Every length is checked before anything is allocated, every checksum before
//! anything is decoded.

use serde::{Serialize, de::DeserializeOwned};

use crate::codec::{CodecError, decode_section, encode_section};

/// How the file begins.
pub const MAGIC: [u8; 8] = *b"ROAMPARK";
/// The version written.
pub const VERSION: u16 = 1;
/// Bytes of the header.
pub const HEADER_LEN: usize = 8 + 2 + 2 + 16;
/// Bytes of a section's head.
pub const SECTION_HEAD: usize = 4 + 8;
/// The longest section.
pub const MAX_SECTION: usize = 2 << 20;

/// Why a file is no parked session.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum EnvelopeError {
    /// Another kind of file.
    #[error("it is not a parked session of Roam")]
    Foreign,
    /// A version that this build does not read.
    #[error("it was written by another version of Roam (format {0}; this one reads {VERSION})")]
    Version(u16),
    /// A length or a checksum is wrong.
    #[error("it is damaged")]
    Damaged,
    /// It ends too early.
    #[error("it is incomplete")]
    Truncated,
    /// A section does not decode.
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

/// One value as a section.
///
/// # Errors
/// If it is longer than [`MAX_SECTION`].
pub fn section<T: Serialize>(value: &T) -> Result<Vec<u8>, EnvelopeError> {
    let body = encode_section(value)?;
    if body.len() > MAX_SECTION {
        return Err(EnvelopeError::Codec(CodecError::Oversized));
    }
    let mut bytes = Vec::with_capacity(SECTION_HEAD + body.len());
    bytes.extend_from_slice(&(body.len() as u32).to_le_bytes());
    bytes.extend_from_slice(&checksum(&body));
    bytes.extend_from_slice(&body);
    Ok(bytes)
}

/// How long the body after this head is.
///
/// # Errors
/// [`EnvelopeError::Damaged`] if that is more than a section may be.
pub fn section_len(head: &[u8; SECTION_HEAD]) -> Result<usize, EnvelopeError> {
    let len = u32::from_le_bytes([head[0], head[1], head[2], head[3]]) as usize;
    if len > MAX_SECTION { Err(EnvelopeError::Damaged) } else { Ok(len) }
}

/// The value of a section.
///
/// # Errors
/// [`EnvelopeError::Damaged`] for a wrong checksum, [`EnvelopeError::Codec`] for a body that is no `T`.
pub fn parse_section<T: DeserializeOwned>(
    head: &[u8; SECTION_HEAD],
    body: &[u8],
) -> Result<T, EnvelopeError> {
    if section_len(head)? != body.len() || head[4..] != checksum(body) {
        return Err(EnvelopeError::Damaged);
    }
    Ok(decode_section(body)?)
}

fn checksum(body: &[u8]) -> [u8; 8] {
    let mut short = [0; 8];
    short.copy_from_slice(&blake3::hash(body).as_bytes()[..8]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn sections_come_back_and_damage_is_noticed() {
        let bytes = section(&("text", 7u32)).unwrap();
        let (head, body) = bytes.split_first_chunk::<SECTION_HEAD>().unwrap();
        assert_eq!(parse_section::<(String, u32)>(head, body).unwrap(), ("text".into(), 7));
        for at in 0..bytes.len() {
            let mut bad = bytes.clone();
            bad[at] ^= 0x10;
            let (head, body) = bad.split_first_chunk::<SECTION_HEAD>().unwrap();
            assert!(parse_section::<(String, u32)>(head, body).is_err(), "byte {at}");
        }
    }

    #[test]
    fn headers_are_told_apart() {
        let good = header([9; 16]);
        assert_eq!(parse_header(&good), Ok([9; 16]));
        let mut newer = good;
        newer[8] = 77;
        assert_eq!(parse_header(&newer), Err(EnvelopeError::Version(77)));
        assert_eq!(parse_header(&[0; HEADER_LEN]), Err(EnvelopeError::Foreign));
    }

    proptest! {
        #[test]
        fn garbage_is_an_error_and_never_a_panic(head: [u8; SECTION_HEAD], body in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(parse_section::<crate::migration::Item>(&head, &body).is_err());
        }
    }
}
