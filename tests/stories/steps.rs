//! Small things that stories run inside a machine, where no program at hand does just that.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Result;
use clap::Subcommand;
use roam_api::codec;
use roam_api::keeper::Request;

/// The group of mDNS, on a port of our own.
const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 251);
const PORT: u16 = 15353;

/// What can be run.
#[derive(Debug, Subcommand)]
pub enum Step {
    /// Print "listening", then the first words that are said to the group.
    Hear,
    /// Say words to the group.
    Say {
        /// The words.
        words: String,
    },
    /// Print "listening", then answer so many callers with one word each.
    Serve {
        /// Where.
        address: SocketAddr,
        /// How many.
        callers: u32,
    },
    /// Say nonsense to a unix socket, again and again, and be hung up on each time.
    Garbage {
        /// Where.
        socket: std::path::PathBuf,
    },
    /// Say nonsense to a UDP and TCP port of this number, again and again.
    GarbageNet {
        /// Where.
        address: SocketAddr,
    },
    /// Be let in as a viewer of a session, and then say nonsense until hung up on.
    GarbageViewer {
        /// The keeper's socket.
        socket: std::path::PathBuf,
    },
    /// Try to do what takes a right on the machine, with the rights that a process has in its own user
    /// namespace; succeeds if that is refused.
    RenameMachine {
        /// Its pid.
        #[arg(long)]
        with_rights_of: i32,
        /// The new name.
        #[arg(long)]
        to: String,
    },
    /// Switch on what screen readers need.
    Readable,
    /// Wait for an element of Roam's window; print its place, and its name on a second line.
    Look {
        /// How long, in seconds.
        #[arg(long, default_value_t = 20)]
        seconds: u64,
        /// For what.
        #[command(subcommand)]
        wanted: crate::reader::Wanted,
    },
    /// Wait until the window in front is one whose title holds these words.
    Front {
        /// The words.
        words: String,
    },
    /// Print where a window is, without its frame, and how large.
    Place {
        /// Its number.
        window: u32,
    },
    /// Wait until a panel shows an icon in its tray.
    Tray,
    /// Call and print what is answered.
    Call {
        /// Whom.
        address: SocketAddr,
    },
}

/// Runs one.
pub fn run(step: &Step) -> ExitCode {
    match attempt(step) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

fn attempt(step: &Step) -> Result<()> {
    match step {
        Step::Hear => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, PORT))?;
            socket.join_multicast_v4(&GROUP, &Ipv4Addr::UNSPECIFIED)?;
            socket.set_read_timeout(Some(Duration::from_secs(20)))?;
            println!("listening");
            std::io::stdout().flush()?;
            let mut bytes = [0; 256];
            let (length, from) = socket.recv_from(&mut bytes)?;
            println!("{} from {}", String::from_utf8_lossy(&bytes[..length]), from.ip());
        }
        Step::Say { words } => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            socket.send_to(words.as_bytes(), (GROUP, PORT))?;
        }
        Step::Serve { address, callers } => {
            let listener = TcpListener::bind(address)?;
            println!("listening");
            std::io::stdout().flush()?;
            for _ in 0..*callers {
                listener.accept()?.0.write_all(b"word")?;
            }
        }
        Step::Garbage { socket } => {
            for round in 0..50_u8 {
                let mut stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(Some(Duration::from_secs(10)))?;
                // Random bytes; a frame's head with a body that is none; a length without end.
                let mut bytes: Vec<u8> = (0..256).map(|_| rand::random()).collect();
                match round % 3 {
                    0 => {}
                    1 => bytes[..8].copy_from_slice(&[248, 0, 0, 0, 1, 0, 0, 0]),
                    _ => bytes[..8].copy_from_slice(&[255, 255, 255, 255, 1, 0, 0, 0]),
                }
                // The other end may hang up while we speak: that is what it should do.
                let _closed = stream.write_all(&bytes);
                let _closed = stream.shutdown(std::net::Shutdown::Write);
                let _closed = std::io::copy(&mut stream, &mut std::io::sink());
            }
        }
        Step::GarbageNet { address } => {
            let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))?;
            for round in 0..50_u8 {
                let mut bytes: Vec<u8> = (0..1200).map(|_| rand::random()).collect();
                if round % 2 == 0 {
                    // The head of a QUIC packet of version 1 that opens a connection.
                    bytes[..6].copy_from_slice(&[0xc3, 0, 0, 0, 1, 8]);
                }
                socket.send_to(&bytes, address)?;
                let mut lane = TcpStream::connect(address)?;
                lane.set_read_timeout(Some(Duration::from_secs(30)))?;
                let _closed = lane.write_all(&bytes[..usize::from(round) * 20]);
                let _closed = lane.shutdown(std::net::Shutdown::Write);
                std::io::copy(&mut lane, &mut std::io::sink()).or_else(|e| match e.kind() {
                    std::io::ErrorKind::ConnectionReset => Ok(0),
                    _ => Err(e),
                })?;
            }
        }
        Step::GarbageViewer { socket } => {
            for _ in 0..10 {
                let mut stream = UnixStream::connect(socket)?;
                stream.set_read_timeout(Some(Duration::from_secs(30)))?;
                let attach = Request::Attach { machine: "nonsense".into(), view_only: false };
                stream.write_all(&codec::encode_frame(&attach).map_err(std::io::Error::other)?)?;
                // Its answer: from here on the stream is a display's.
                stream.read_exact(&mut [0])?;
                let bytes: Vec<u8> = (0..4096).map(|_| rand::random()).collect();
                let _closed = stream.write_all(&bytes);
                std::io::copy(&mut stream, &mut std::io::sink()).or_else(|e| match e.kind() {
                    std::io::ErrorKind::ConnectionReset => Ok(0),
                    _ => Err(e),
                })?;
            }
        }
        Step::RenameMachine { with_rights_of, to } => crate::rights::try_to_rename(*with_rights_of, to)?,
        Step::Readable => crate::reader::switch_on()?,
        Step::Look { seconds, wanted } => {
            let seen = crate::reader::look(wanted, Duration::from_secs(*seconds))?;
            let (left, top, width, height) = seen.place;
            println!("{left} {top} {width} {height}\n{}", seen.name);
        }
        Step::Front { words } => roam_tests::lab::screen::wait_for_front(words, Duration::from_secs(20))?,
        Step::Place { window } => {
            let (left, top, width, height) = roam_tests::lab::screen::place(*window)?;
            println!("{left} {top} {width} {height}");
        }
        Step::Tray => crate::reader::wait_for_tray(Duration::from_secs(20))?,
        Step::Call { address } => {
            let mut answer = String::new();
            TcpStream::connect(address)?.read_to_string(&mut answer)?;
            println!("{answer}");
        }
    }
    Ok(())
}
