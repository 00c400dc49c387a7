//! Lanes: TLS streams over TCP between two keepers, for memory and other bulk.
//!
//! ```text
//! source keeper                 target agent             target keeper
//!   | TCP connect ----------------> |                         |
//!   | 16-byte routing token ------> | -- the socket itself -> |
//!   | <============ TLS 1.3, both sides with one-time keys ==> |
//! ```
//! The agents exchange a [`LaneSecret`] over the link. Both sides derive both one-time Ed25519 key
//! pairs from it and accept exactly the other's, so that only the two keepers that hold the secret
//! can speak. The token is not secret: it only says which keeper is meant. The same secret may
//! serve several lanes of one move.
//!
//! Refused: every other key; a handshake that takes longer than [`HANDSHAKE_TIME`].

use std::sync::Arc;
use std::time::Duration;

use roam_api::keeper::LaneSecret;
use rustls::pki_types::ServerName;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::{TlsAcceptor, TlsConnector};

pub use tokio_rustls::TlsStream;

use crate::raw_key::{Expect, RawKey, client_config, server_config};

/// How long one address may take to answer a TCP connect.
pub const CONNECT_TIME: Duration = Duration::from_secs(3);
/// How long a TLS handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(10);

/// An authenticated lane.
pub type LaneStream = TlsStream<TcpStream>;

/// Why there is no lane.
#[derive(Debug, thiserror::Error)]
pub enum LaneError {
    /// No address took the connection; the last one's reason.
    #[error("no address of the machine takes a data connection ({0})")]
    NoAddress(String),
    /// The other side did not prove itself, or stopped speaking.
    #[error("the data connection's handshake failed: {0}")]
    Handshake(String),
}

/// Opens a lane from the source: tries the addresses (`HOST:PORT`) in their order.
///
/// # Errors
/// [`LaneError::NoAddress`] if none could be connected, [`LaneError::Handshake`] if one could and
/// the keeper behind it is not the one that holds the secret.
pub async fn connect(addresses: &[String], secret: &LaneSecret) -> Result<LaneStream, LaneError> {
    let mut last = LaneError::NoAddress("none is known".into());
    for address in addresses {
        match connect_one(address, secret).await {
            Ok(stream) => return Ok(stream),
            Err(error) => last = error,
        }
    }
    Err(last)
}

async fn connect_one(address: &str, secret: &LaneSecret) -> Result<LaneStream, LaneError> {
    let unreachable = |why: String| LaneError::NoAddress(format!("{address}: {why}"));
    let mut stream = timeout(CONNECT_TIME, TcpStream::connect(address))
        .await
        .map_err(|_| unreachable("no answer".into()))?
        .map_err(|error| unreachable(error.to_string()))?;
    let handshake = |error: std::io::Error| LaneError::Handshake(error.to_string());
    stream.set_nodelay(true).map_err(handshake)?;
    let keys = Keys::of(secret);
    let config = client_config(&keys.source, Expect::Only(keys.target.public()))
        .map_err(|error| LaneError::Handshake(error.to_string()))?;
    let name = ServerName::try_from("lane").map_err(|error| LaneError::Handshake(error.to_string()))?;
    timeout(HANDSHAKE_TIME, async {
        stream.write_all(&secret.token).await?;
        TlsConnector::from(Arc::new(config)).connect(name, stream).await
    })
    .await
    .map_err(|_| LaneError::Handshake("the machine does not answer".into()))?
    .map(TlsStream::Client)
    .map_err(handshake)
}

/// Accepts a lane at the target, on a socket whose routing token has been read already.
///
/// # Errors
/// [`LaneError::Handshake`] if the other side does not hold the secret.
pub async fn accept(stream: TcpStream, secret: &LaneSecret) -> Result<LaneStream, LaneError> {
    let handshake = |error: std::io::Error| LaneError::Handshake(error.to_string());
    stream.set_nodelay(true).map_err(handshake)?;
    let keys = Keys::of(secret);
    let config = server_config(&keys.target, Expect::Only(keys.source.public()))
        .map_err(|error| LaneError::Handshake(error.to_string()))?;
    timeout(HANDSHAKE_TIME, TlsAcceptor::from(Arc::new(config)).accept(stream))
        .await
        .map_err(|_| LaneError::Handshake("the machine does not answer".into()))?
        .map(TlsStream::Server)
        .map_err(handshake)
}

/// Reads the routing token that a lane begins with. For the agent's listener.
///
/// # Errors
/// If the connection ends or says nothing for [`HANDSHAKE_TIME`].
pub async fn read_token(stream: &mut TcpStream) -> Result<[u8; 16], LaneError> {
    let mut token = [0; 16];
    timeout(HANDSHAKE_TIME, stream.read_exact(&mut token))
        .await
        .map_err(|_| LaneError::Handshake("no routing token came".into()))?
        .map_err(|error| LaneError::Handshake(error.to_string()))?;
    Ok(token)
}

/// A fresh secret, from the operating system's random source.
#[must_use]
pub fn new_secret() -> LaneSecret {
    LaneSecret { token: rand::random(), key: rand::random() }
}

/// The two one-time key pairs of a lane.
struct Keys {
    source: RawKey,
    target: RawKey,
}

impl Keys {
    fn of(secret: &LaneSecret) -> Self {
        let mut material = secret.key.to_vec();
        material.extend_from_slice(&secret.token);
        let pair = |context| RawKey::from_seed(&blake3::derive_key(context, &material));
        Self {
            source: pair("roam lane v1: key pair of the source keeper"),
            target: pair("roam lane v1: key pair of the target keeper"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tokio::net::TcpListener;

    async fn lane(
        at_source: LaneSecret,
        at_target: LaneSecret,
    ) -> (Result<LaneStream, LaneError>, Result<LaneStream, LaneError>) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let target = async {
            let (mut stream, _) = listener.accept().await.unwrap();
            assert_eq!(read_token(&mut stream).await.unwrap(), at_source.token);
            accept(stream, &at_target).await
        };
        let addresses = ["127.0.0.1:1".to_owned(), address];
        tokio::join!(
            async {
                let mut stream = connect(&addresses, &at_source).await?;
                // With TLS 1.3 the client learns of a refusal only with the first read.
                stream.write_all(b"ping").await.map_err(|e| LaneError::Handshake(e.to_string()))?;
                let mut answer = [0; 4];
                stream.read_exact(&mut answer).await.map_err(|e| LaneError::Handshake(e.to_string()))?;
                Ok(stream)
            },
            async {
                let mut stream = target.await?;
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).await.map_err(|e| LaneError::Handshake(e.to_string()))?;
                stream.write_all(&bytes).await.map_err(|e| LaneError::Handshake(e.to_string()))?;
                stream.flush().await.map_err(|e| LaneError::Handshake(e.to_string()))?;
                Ok(stream)
            }
        )
    }

    #[tokio::test]
    async fn both_ends_with_the_secret_talk() {
        let secret = new_secret();
        let (source, target) = lane(secret.clone(), secret).await;
        source.unwrap();
        target.unwrap();
    }

    #[tokio::test]
    async fn the_token_alone_opens_nothing() {
        let secret = new_secret();
        let stranger = LaneSecret { key: [0; 32], ..secret.clone() };
        let (source, target) = lane(stranger, secret).await;
        assert!(source.is_err());
        assert!(target.is_err());
    }

    #[tokio::test]
    async fn garbage_instead_of_a_handshake_is_an_error() {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let mut client = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        client.write_all(&[0xff; 300]).await.unwrap();
        let (mut stream, _) = listener.accept().await.unwrap();
        read_token(&mut stream).await.unwrap();
        assert!(accept(stream, &new_secret()).await.is_err());
    }

    #[tokio::test]
    async fn no_address_is_a_clear_error() {
        let error = connect(&["127.0.0.1:1".into()], &new_secret()).await.unwrap_err();
        assert!(matches!(error, LaneError::NoAddress(_)), "{error}");
    }
}
