//! QUIC connections between agents, for control and for many small streams.
//!
//! Both sides show their machine key (`raw_key`); the connecting side says which key it expects. An
//! idle connection sends a small packet every [`KEEP_ALIVE`], and one that hears nothing for
//! [`SILENCE`] is dead: the agent then dials again. Streams of a dead connection fail; what they
//! carried is asked again by those who need it, so that nothing is done twice behind their backs.
//!
//! An endpoint that was killed and is there again knows nothing of its old connections; whoever still speaks on one of
//! them is told so at once (a stateless reset, RFC 9000 §10.3). The key of these resets is made from the
//! machine's own, so that they are believed across a restart and nobody else can make them.
//!
//! Refused: more than [`MAX_HANDSHAKES`] handshakes at a time, other protocols than ours.

use std::future::Future;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use quinn::crypto::rustls::{QuicClientConfig, QuicServerConfig};
use quinn::{
    Connection, ConnectionId, ConnectionIdGenerator, EndpointConfig, IdleTimeout, RecvStream, SendStream,
    TransportConfig, VarInt,
};
use roam_api::session::MachineKey;
use rustls::pki_types::CertificateDer;
use tokio::task::JoinSet;
use tokio::time::timeout;

use crate::raw_key::{Expect, RawKey, client_config, key_of, server_config};

/// The port that an agent takes if it is free, for UDP and TCP.
pub const DEFAULT_PORT: u16 = 17626;
/// How often an idle connection says that it lives.
pub const KEEP_ALIVE: Duration = Duration::from_millis(1500);
/// After so long without a word a connection is dead.
pub const SILENCE: Duration = Duration::from_secs(6);
/// How long a handshake may take.
pub const HANDSHAKE_TIME: Duration = Duration::from_secs(5);
/// Handshakes served at a time.
pub const MAX_HANDSHAKES: usize = 64;
/// Streams that the other side may have open on a connection.
const MAX_STREAMS: u32 = 256;
/// Bytes of a connection id.
const ID_LEN: usize = 8;
const ALPN: &[u8] = b"roam/1";

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No address is known.
    #[error("no address of it is known")]
    NoAddress,
    /// None of the addresses answered; what the last one said.
    #[error("{0}")]
    Failed(String),
}

/// A connection to another agent, whose key is proven.
#[derive(Debug, Clone)]
pub struct Link {
    connection: Connection,
    /// The other machine.
    pub key: MachineKey,
}

impl Link {
    fn new(connection: Connection) -> Option<Self> {
        let shown = connection.peer_identity()?.downcast::<Vec<CertificateDer<'static>>>().ok()?;
        let key = key_of(shown.first()?)?;
        Some(Self { connection, key })
    }

    /// Opens a stream.
    ///
    /// # Errors
    /// If the connection is dead.
    pub async fn open(&self) -> io::Result<(SendStream, RecvStream)> {
        self.connection.open_bi().await.map_err(io::Error::from)
    }

    /// The next stream that the other side opens; `None` if the connection is dead.
    pub async fn accept(&self) -> Option<(SendStream, RecvStream)> {
        self.connection.accept_bi().await.ok()
    }

    /// Returns when the connection is dead.
    pub async fn closed(&self) {
        let _ = self.connection.closed().await;
    }

    /// Whether it is not known to be dead.
    #[must_use]
    pub fn is_alive(&self) -> bool {
        self.connection.close_reason().is_none()
    }

    /// Where the other side is now.
    #[must_use]
    pub fn remote(&self) -> SocketAddr {
        let address = self.connection.remote_address();
        SocketAddr::new(address.ip().to_canonical(), address.port())
    }

    /// Ends the connection.
    pub fn close(&self, why: &str) {
        self.connection.close(VarInt::from_u32(0), why.as_bytes());
    }
}

/// The agent's UDP socket.
#[derive(Debug, Clone)]
pub struct Endpoint {
    quinn: quinn::Endpoint,
    own: RawKey,
}

impl Endpoint {
    /// Takes the wished port, or any other if that is taken. Must be called within tokio.
    ///
    /// # Errors
    /// If no socket can be had.
    pub fn bind(own: &RawKey, port: u16) -> io::Result<Self> {
        let mut tls = server_config(own, Expect::Anyone).map_err(io::Error::other)?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = QuicServerConfig::try_from(tls).map_err(io::Error::other)?;
        let mut config = quinn::ServerConfig::with_crypto(Arc::new(crypto));
        config.transport_config(transport());
        let any: [IpAddr; 2] = [Ipv6Addr::UNSPECIFIED.into(), Ipv4Addr::UNSPECIFIED.into()];
        let mut last = io::Error::other("no address");
        for (ip, port) in any.into_iter().flat_map(|ip| [(ip, port), (ip, 0)]) {
            let bound = UdpSocket::bind(SocketAddr::new(ip, port)).and_then(|socket| {
                let runtime = quinn::default_runtime().ok_or_else(|| io::Error::other("no tokio here"))?;
                quinn::Endpoint::new(endpoint_config(own), Some(config.clone()), socket, runtime)
            });
            match bound {
                Ok(quinn) => return Ok(Self { quinn, own: own.clone() }),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    /// The port it has.
    ///
    /// # Errors
    /// Of the operating system.
    pub fn port(&self) -> io::Result<u16> {
        Ok(self.quinn.local_addr()?.port())
    }

    /// Connects to whichever address answers first as the expected machine.
    ///
    /// # Errors
    /// If none does.
    pub async fn connect(&self, addresses: &[SocketAddr], expect: Expect) -> Result<Link, LinkError> {
        let mut tls = client_config(&self.own, expect).map_err(|e| LinkError::Failed(e.to_string()))?;
        tls.alpn_protocols = vec![ALPN.to_vec()];
        let crypto = QuicClientConfig::try_from(tls).map_err(|e| LinkError::Failed(e.to_string()))?;
        let mut config = quinn::ClientConfig::new(Arc::new(crypto));
        config.transport_config(transport());

        let mut tries = JoinSet::new();
        for address in addresses.iter().copied().take(16) {
            let connecting = self.quinn.connect_with(config.clone(), address, "roam");
            tries.spawn(async move {
                let connecting = connecting.map_err(|e| format!("{address}: {e}"))?;
                match timeout(HANDSHAKE_TIME, connecting).await {
                    Ok(Ok(connection)) => Ok(connection),
                    Ok(Err(error)) => Err(format!("{address}: {error}")),
                    Err(_) => Err(format!("{address}: no answer")),
                }
            });
        }
        let mut last = LinkError::NoAddress;
        while let Some(done) = tries.join_next().await {
            match done {
                Ok(Ok(connection)) => match Link::new(connection) {
                    // The other tries end with the set; a second connection is simply dropped.
                    Some(link) if link.key != self.own.public() => return Ok(link),
                    Some(_) => last = LinkError::Failed("this is the machine itself".into()),
                    None => last = LinkError::Failed("it shows no machine key".into()),
                },
                Ok(Err(why)) => last = LinkError::Failed(why),
                Err(error) => last = LinkError::Failed(error.to_string()),
            }
        }
        Err(last)
    }

    /// Accepts connections for ever, and hands each one on.
    pub async fn serve<F>(&self, handle: impl Fn(Link) -> F + Send + Sync + 'static)
    where
        F: Future<Output = ()> + Send + 'static,
    {
        let handle = Arc::new(handle);
        let places = Arc::new(tokio::sync::Semaphore::new(MAX_HANDSHAKES));
        while let Some(incoming) = self.quinn.accept().await {
            let Ok(place) = places.clone().try_acquire_owned() else {
                incoming.refuse();
                continue;
            };
            let handle = handle.clone();
            tokio::spawn(async move {
                let shaken = match incoming.accept() {
                    Ok(connecting) => timeout(HANDSHAKE_TIME, connecting).await,
                    Err(_) => return,
                };
                drop(place);
                if let Ok(Ok(connection)) = shaken
                    && let Some(link) = Link::new(connection)
                {
                    handle(link).await;
                }
            });
        }
    }

    /// Says goodbye to everyone.
    pub async fn close(&self) {
        self.quinn.close(VarInt::from_u32(0), b"the agent ends");
        let _ = timeout(Duration::from_millis(500), self.quinn.wait_idle()).await;
    }
}

/// Connection ids without any form. quinn's own have a checksum with a key of each endpoint, so that those of a
/// predecessor would be dropped as noise and not be reset.
#[derive(Debug)]
struct PlainIds;

impl ConnectionIdGenerator for PlainIds {
    fn generate_cid(&mut self) -> ConnectionId {
        ConnectionId::new(&rand::random::<[u8; ID_LEN]>())
    }

    fn cid_len(&self) -> usize {
        ID_LEN
    }

    fn cid_lifetime(&self) -> Option<Duration> {
        None
    }
}

/// What lets an endpoint reset the connections of the one whose place it takes.
fn endpoint_config(own: &RawKey) -> EndpointConfig {
    let key = own.derived("roam 2026-11 stateless resets of QUIC connections");
    let mut config = EndpointConfig::new(Arc::new(ring::hmac::Key::new(ring::hmac::HMAC_SHA256, &key)));
    config.cid_generator(|| Box::new(PlainIds));
    config
}

fn transport() -> Arc<TransportConfig> {
    let mut transport = TransportConfig::default();
    transport
        .keep_alive_interval(Some(KEEP_ALIVE))
        .max_idle_timeout(IdleTimeout::try_from(SILENCE).ok())
        .max_concurrent_bidi_streams(VarInt::from_u32(MAX_STREAMS))
        .max_concurrent_uni_streams(VarInt::from_u32(0))
        .datagram_receive_buffer_size(None);
    Arc::new(transport)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::frames;

    fn endpoint(seed: u8) -> (Endpoint, SocketAddr, MachineKey) {
        let key = RawKey::from_seed(&[seed; 32]);
        let endpoint = Endpoint::bind(&key, 0).unwrap();
        let address = SocketAddr::new(Ipv4Addr::LOCALHOST.into(), endpoint.port().unwrap());
        (endpoint, address, key.public())
    }

    fn echo(endpoint: Endpoint) -> tokio::sync::mpsc::Receiver<MachineKey> {
        let (seen, keys) = tokio::sync::mpsc::channel(8);
        tokio::spawn(async move {
            endpoint
                .serve(move |link| {
                    let seen = seen.clone();
                    async move {
                        let _ = seen.send(link.key).await;
                        while let Some((mut send, mut receive)) = link.accept().await {
                            let word: String = frames::expect(&mut receive).await.unwrap();
                            frames::write(&mut send, &word).await.unwrap();
                        }
                    }
                })
                .await;
        });
        keys
    }

    #[tokio::test]
    async fn both_sides_learn_the_other_key() {
        let (server, address, server_key) = endpoint(1);
        let (client, _, client_key) = endpoint(2);
        let mut keys = echo(server);
        // One address that refuses, one that answers.
        let dead: SocketAddr = "127.0.0.1:1".parse().unwrap();
        let link = client.connect(&[dead, address], Expect::Only(server_key)).await.unwrap();
        assert_eq!(link.key, server_key);
        assert_eq!(keys.recv().await, Some(client_key));
        assert_eq!(link.remote(), address);
        let (mut send, mut receive) = link.open().await.unwrap();
        frames::write(&mut send, &"hello").await.unwrap();
        assert_eq!(frames::expect::<String>(&mut receive).await.unwrap(), "hello");
    }

    /// What a killed endpoint's successor sees: its packets, and nothing of its connections. Both directions, because
    /// either side may have dialled.
    #[test]
    fn a_successor_resets_the_connections_of_the_one_killed() {
        for killed_dialled in [false, true] {
            let life = || tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
            let (first, rest) = (life(), life());
            let (dies, lives) = (RawKey::from_seed(&[1; 32]), RawKey::from_seed(&[2; 32]));
            let victim = first.block_on(async { Endpoint::bind(&dies, 0).unwrap() });
            let port = victim.port().unwrap();
            let other = rest.block_on(async { Endpoint::bind(&lives, 0).unwrap() });
            let at = |port| SocketAddr::new(Ipv4Addr::LOCALHOST.into(), port);
            let (accepted, mut links) = tokio::sync::mpsc::channel(1);
            let hold = move |link: Link| {
                let accepted = accepted.clone();
                async move {
                    let _ = accepted.send(link.clone()).await;
                    link.closed().await;
                }
            };
            let (from, to) = if killed_dialled { (&victim, &other) } else { (&other, &victim) };
            let (serving, address) = (to.clone(), at(to.port().unwrap()));
            let (on, by) = if killed_dialled { (&rest, &first) } else { (&first, &rest) };
            on.spawn(async move { serving.serve(hold).await });
            let expect = Expect::Only(to.own.public());
            let dialled = by.block_on(from.connect(&[address], expect)).unwrap();
            let taken = on.block_on(links.recv()).unwrap();
            let (survivor, killed) = if killed_dialled { (taken, dialled) } else { (dialled, taken) };
            // Without a word, as a kill is: what would say goodbye goes first, then the socket.
            first.shutdown_timeout(Duration::from_secs(5));
            drop((victim, killed));
            let successor = rest.block_on(async { Endpoint::bind(&dies, port).unwrap() });
            assert_eq!(successor.port().unwrap(), port);
            rest.block_on(survivor.closed());
            let why = survivor.connection.close_reason().unwrap();
            assert!(matches!(why, quinn::ConnectionError::Reset), "{why}");
        }
    }

    #[tokio::test]
    async fn a_machine_with_another_key_is_refused() {
        let (server, address, _) = endpoint(1);
        let (client, _, _) = endpoint(2);
        let _keys = echo(server);
        let error = client.connect(&[address], Expect::Only(MachineKey([9; 32]))).await.unwrap_err();
        assert!(matches!(error, LinkError::Failed(_)), "{error}");
        client.connect(&[address], Expect::Anyone).await.unwrap();
    }

    #[tokio::test]
    async fn a_machine_does_not_connect_to_itself() {
        let (server, address, _) = endpoint(1);
        let _keys = echo(server.clone());
        assert!(server.connect(&[address], Expect::Anyone).await.is_err());
    }

    #[tokio::test]
    async fn no_address_is_a_clear_error() {
        let (client, _, _) = endpoint(2);
        assert!(matches!(client.connect(&[], Expect::Anyone).await, Err(LinkError::NoAddress)));
    }
}
