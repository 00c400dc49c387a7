//! The agent's part of a lane: a listener that passes connections on to a keeper, through a relay that
//! can cut them.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};

use roam_api::keeper::{Reply, Request};
use roam_keeper::wire;

/// A way to a keeper.
pub struct Way {
    pub address: String,
    /// Bytes that still pass in both directions together; below zero: any number.
    budget: Arc<AtomicI64>,
    /// Cuts before bytes of this direction pass while this is so.
    cut_if: Arc<Mutex<Option<(Toward, Condition)>>>,
}

/// Asked before bytes pass.
pub type Condition = Box<dyn Fn() -> bool + Send>;

/// A direction of a lane.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Toward {
    Target,
    Source,
}

impl Way {
    /// To the keeper with this socket.
    pub fn to(socket: PathBuf) -> Self {
        let direct = TcpListener::bind("127.0.0.1:0").unwrap();
        let direct_address = direct.local_addr().unwrap();
        std::thread::spawn(move || {
            for stream in direct.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut token = [0; 16];
                if stream.read_exact(&mut token).is_err() {
                    continue;
                }
                let Ok(keeper) = UnixStream::connect(&socket) else { continue };
                if wire::send(&keeper, &Request::Lane { token }, &[stream.as_fd()]).is_ok() {
                    let _ = wire::receive::<Reply>(&keeper);
                }
            }
        });
        let relay = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = relay.local_addr().unwrap().to_string();
        let budget = Arc::new(AtomicI64::new(-1));
        let cut_if: Arc<Mutex<Option<(Toward, Condition)>>> = Arc::default();
        let (left, cut) = (budget.clone(), cut_if.clone());
        std::thread::spawn(move || {
            for from in relay.incoming() {
                let Ok(from) = from else { return };
                if left.load(Ordering::SeqCst) == 0 {
                    continue; // cut
                }
                let Ok(to) = TcpStream::connect(direct_address) else { continue };
                from.set_nodelay(true).and_then(|()| to.set_nodelay(true)).unwrap();
                for (toward, a, b) in [(Toward::Target, &from, &to), (Toward::Source, &to, &from)] {
                    let (a, b) = (a.try_clone().unwrap(), b.try_clone().unwrap());
                    let (left, cut) = (left.clone(), cut.clone());
                    std::thread::spawn(move || {
                        relay_bytes(a, b, &left, || {
                            let cut = cut.lock().unwrap();
                            cut.as_ref().is_some_and(|(of, so)| *of == toward && so())
                        })
                    });
                }
            }
        });
        Self { address, budget, cut_if }
    }

    /// Lets so many more bytes pass, then cuts.
    pub fn cut_after(&self, bytes: i64) {
        self.budget.store(bytes, Ordering::SeqCst);
    }

    /// Cuts, until mended, when bytes are about to pass in this direction and it is so.
    pub fn cut_if(&self, toward: Toward, condition: Condition) {
        *self.cut_if.lock().unwrap() = Some((toward, condition));
    }

    /// Lets everything pass again.
    pub fn mend(&self) {
        *self.cut_if.lock().unwrap() = None;
        self.budget.store(-1, Ordering::SeqCst);
    }
}

fn relay_bytes(mut from: TcpStream, mut to: TcpStream, left: &AtomicI64, cut: impl Fn() -> bool) {
    let mut buffer = [0; 16 << 10];
    loop {
        let n = match from.read(&mut buffer) {
            Ok(n) if n > 0 => n,
            _ => break,
        };
        if cut() {
            left.store(0, Ordering::SeqCst);
            break;
        }
        let before = left.load(Ordering::SeqCst);
        if before >= 0 {
            let pass = n.min(before as usize);
            left.store(before - pass as i64, Ordering::SeqCst);
            let _ = to.write_all(&buffer[..pass]);
            if pass < n {
                break;
            }
        } else if to.write_all(&buffer[..n]).is_err() {
            break;
        }
    }
    let _ = to.shutdown(std::net::Shutdown::Both);
    let _ = from.shutdown(std::net::Shutdown::Both);
}
