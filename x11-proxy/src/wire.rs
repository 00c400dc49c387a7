//! Frames of a byte stream: bytes come in as they arrive, whole messages come out. No I/O.

use roam_api::codec::{CodecError, HEADER_LEN, decode_body, parse_header};
use serde::de::DeserializeOwned;

/// Bytes that have arrived and are not yet a whole message. Holds at most one message and what was
/// read with it.
#[derive(Default)]
pub(crate) struct Incoming {
    bytes: Vec<u8>,
    taken: usize,
}

impl Incoming {
    /// More bytes have arrived.
    pub fn push(&mut self, bytes: &[u8]) {
        if self.taken > 0 {
            self.bytes.drain(..self.taken);
            self.taken = 0;
        }
        self.bytes.extend_from_slice(bytes);
    }

    /// The next whole message, if it has arrived.
    pub fn next<T: DeserializeOwned>(&mut self) -> Result<Option<T>, CodecError> {
        let waiting = &self.bytes[self.taken..];
        let Some(head) = waiting.first_chunk::<HEADER_LEN>() else { return Ok(None) };
        let len = parse_header(*head)?.len;
        let Some(body) = waiting.get(HEADER_LEN..HEADER_LEN + len) else { return Ok(None) };
        let message = decode_body(body)?;
        self.taken += HEADER_LEN + len;
        Ok(Some(message))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use roam_api::codec::encode_frame;
    use roam_api::display::{ToDisplay, ToViewer};

    proptest! {
        #[test]
        fn messages_come_out_however_the_bytes_are_cut(
            numbers in proptest::collection::vec(any::<u64>(), 0..20), step in 1usize..40
        ) {
            let bytes: Vec<u8> =
                numbers.iter().flat_map(|&n| encode_frame(&ToDisplay::Ack(n)).unwrap()).collect();
            let (mut incoming, mut seen) = (Incoming::default(), Vec::new());
            for chunk in bytes.chunks(step) {
                incoming.push(chunk);
                while let Some(ToDisplay::Ack(n)) = incoming.next().unwrap() {
                    seen.push(n);
                }
            }
            prop_assert_eq!(seen, numbers);
        }

        #[test]
        fn garbage_is_an_error_and_never_a_panic(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let mut incoming = Incoming::default();
            incoming.push(&bytes);
            while let Ok(Some(message)) = incoming.next::<ToViewer>() {
                let _ = message.check();
            }
        }
    }
}
