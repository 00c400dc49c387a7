//! Making TCP sockets anew: by real connections inside the pod.
//!
//! A connection is asked for and accepted once more, through a listener made for the moment, between the very
//! addresses that it had; then each side sends what the other had not read. The session's own listeners
//! come after all connections, because nobody may listen at an address while others are being bound to it
//! there. Whoever waited to be accepted connects to them again.

use roam_sys::batch::{Arg, Batch, Data};

use super::build::{Build, PIECE, place};
use super::inet::{Address, Sharing, set_integer, set_seconds};
use super::open_file::{FileId, Kind};
use super::socket_options;
use super::tcp::{Link, State, Waiter, With, pieces};
use crate::error::Error;

/// Connections inside a pod open at once; a call that waits longer has failed.
const PATIENCE: i64 = 10;
/// Up to here the kernel's usual buffers take what was not read.
const SMALL: usize = 32 << 10;

fn damaged(what: &str) -> Error {
    Error::Image(format!("a TCP socket is damaged: {what}"))
}

fn socket<'a>(at: &Build<'a>, id: FileId) -> Result<&'a State, Error> {
    match &at.file(id)?.kind {
        Kind::Tcp(state) => Ok(state),
        _ => Err(damaged("its other side is no TCP socket")),
    }
}

/// One end of a connection to be made.
struct End {
    slot: i32,
    domain: i32,
    sharing: Sharing,
    own: Option<Address>,
}

impl End {
    fn of(state: &State, slot: i32) -> Self {
        Self { slot, domain: state.domain, sharing: state.sharing, own: state.own }
    }

    /// Adds the calls that make a socket in the slot, bound to the end's address.
    fn make(&self, slot: i32, batch: &mut Batch) {
        let args = [self.domain.into(), libc::SOCK_STREAM.into(), 0u32.into()];
        let fd = batch.must("socket", libc::SYS_socket, &args);
        place(batch, fd, slot);
        // All that shares an address must allow it; what the program wanted is set in the end.
        Sharing { address: 1, ..self.sharing }.set(slot, batch);
        if let Some(own) = self.own {
            own.give("binding a TCP socket", libc::SYS_bind, slot, batch);
        }
    }
}

/// Makes it, and whoever it is connected with.
pub(super) fn make(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    if ![libc::AF_INET, libc::AF_INET6].contains(&state.domain) {
        return Err(damaged("its family"));
    }
    let mine = End::of(state, at.slot(id));
    match state.link {
        Link::Connected { peer, with: With::Socket(other) } => {
            let others = socket(at, other)?;
            let back = matches!(others.link, Link::Connected { with: With::Socket(back), .. } if back == id);
            if other == id || !back || !at.mark_made(other) {
                return Err(damaged("its other side"));
            }
            let Link::Connected { peer: back, .. } = others.link else {
                return Err(damaged("its other side"));
            };
            let theirs = End::of(others, at.slot(other));
            let most = state.queue.len().max(others.queue.len());
            // The side that shares its address with a listener was accepted.
            if listens_at(state, at) {
                connect_pair(&theirs, Some(back), &mine, most, at)
            } else {
                connect_pair(&mine, Some(peer), &theirs, most, at)
            }
        }
        Link::Connected { peer, with: With::Gone } => {
            let other = at.extra_slot()?;
            at.set_anchor(id, [mine.slot, other]);
            let theirs = End { slot: other, own: Some(peer), sharing: Sharing::default(), ..mine };
            let theirs = End { domain: family(peer), ..theirs };
            connect_pair(
                &End { slot: at.slot(id), ..End::of(state, 0) },
                Some(peer),
                &theirs,
                state.queue.len(),
                at,
            )
        }
        Link::Over { .. } => {
            let other = at.extra_slot()?;
            at.set_anchor(id, [mine.slot, other]);
            let own = Some(Address::any_on_loop(state.domain));
            let theirs = End { slot: other, own, domain: state.domain, sharing: Sharing::default() };
            connect_pair(&End { own: None, ..mine }, None, &theirs, state.queue.len(), at)
        }
        Link::Connected { with: With::Listener, .. } | Link::Connecting { .. } => {
            mine.make(mine.slot, at.batch(64)?);
            Ok(())
        }
        Link::None | Link::Listening { .. } | Link::Refused => {
            End { own: None, ..mine }.make(at.slot(id), at.batch(64)?);
            Ok(())
        }
    }
}

fn family(address: Address) -> i32 {
    if address.0.is_ipv4() { libc::AF_INET } else { libc::AF_INET6 }
}

fn listens_at(state: &State, at: &Build<'_>) -> bool {
    let port = state.own.map(|own| own.0.port());
    let is = |s: &State| matches!(s.link, Link::Listening { .. }) && s.own.map(|own| own.0.port()) == port;
    at.image.files.iter().any(|f| matches!(&f.kind, Kind::Tcp(s) if is(s)))
}

/// Connects the first with the second, which the first knows as `peer`, or by the name that it gets. `most` is
/// how much will be sent.
fn connect_pair(
    asking: &End,
    peer: Option<Address>,
    accepting: &End,
    most: usize,
    at: &mut Build<'_>,
) -> Result<(), Error> {
    at.flush()?;
    let usual = if most > SMALL { Some(make_room(at)?) } else { None };
    let listener = at.scratch_slot()?;
    let mut batch = Batch::new();
    accepting.make(listener, &mut batch);
    set_seconds(listener, libc::SO_RCVTIMEO, PATIENCE, &mut batch);
    batch.must("listening for a moment", libc::SYS_listen, &[listener.into(), 1u32.into()]);
    asking.make(asking.slot, &mut batch);
    set_seconds(asking.slot, libc::SO_SNDTIMEO, PATIENCE, &mut batch);
    match peer {
        Some(peer) => peer.give("connecting anew", libc::SYS_connect, asking.slot, &mut batch),
        None => connect_to_name_of(listener, asking.slot, true, &mut batch),
    }
    let args = [listener.into(), 0u32.into(), 0u32.into(), 0u32.into()];
    let fd = batch.must("accepting anew", libc::SYS_accept4, &args);
    place(&mut batch, fd, accepting.slot);
    batch.must("closing", libc::SYS_close, &[listener.into()]);
    let made = at.run(None, &batch).map(drop);
    if let Some(usual) = usual {
        set_room(usual, at)?;
    }
    made
}

/// Adds the calls that connect a socket to whatever another one is called.
pub(super) fn connect_to_name_of(named: i32, slot: i32, must: bool, batch: &mut Batch) {
    let (name, length) = (batch.room(28), batch.data(&28u32.to_ne_bytes()));
    let ask = [named.into(), name.into(), length.into()];
    batch.must("asking a socket for its name", libc::SYS_getsockname, &ask);
    let args = [slot.into(), name.into(), Arg::Load32(length)];
    if must {
        batch.must("connecting anew", libc::SYS_connect, &args);
    } else {
        batch.may("connecting in vain", libc::SYS_connect, &args);
    }
}

const ROOM: [&[u8]; 2] = [b"/proc/sys/net/ipv4/tcp_rmem", b"/proc/sys/net/ipv4/tcp_wmem"];

/// New sockets of the pod get large buffers; returns what was usual.
fn make_room(at: &mut Build<'_>) -> Result<[Vec<u8>; 2], Error> {
    let large = b"4096 33554432 33554432\n".to_vec();
    set_room([large.clone(), large], at)
}

fn set_room(new: [Vec<u8>; 2], at: &mut Build<'_>) -> Result<[Vec<u8>; 2], Error> {
    let mut batch = Batch::new();
    let mut before: Vec<Data> = Vec::new();
    for (path, new) in ROOM.iter().zip(&new) {
        let path = batch.c_string(path);
        let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDWR | libc::O_CLOEXEC).into(), 0u32.into()];
        let fd = batch.must("opening the size of buffers", libc::SYS_openat, &open);
        let room = batch.room(128);
        batch.must("reading the size of buffers", libc::SYS_read, &[fd.into(), room.into(), 128u32.into()]);
        before.push(room);
        let text = batch.data(new);
        let write = [fd.into(), text.into(), new.len().into(), 0u32.into()];
        batch.must("setting the size of buffers", libc::SYS_pwrite64, &write);
        batch.must("closing", libc::SYS_close, &[fd.into()]);
    }
    let done = at.run(None, &batch)?;
    let text = |room: Data| done.bytes(room).iter().copied().take_while(|&b| b != 0).collect();
    Ok([text(before[0]), text(before[1])])
}

/// Listens; has those that waited connect again; sends what was not read.
pub(super) fn connect(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    let slot = at.slot(id);
    match &state.link {
        Link::None | Link::Refused => {
            if let Some(own) = state.own {
                own.give("binding a TCP socket", libc::SYS_bind, slot, at.batch(64)?);
            }
        }
        Link::Listening { backlog, waiting } => {
            let own = state.own.ok_or_else(|| damaged("it listens nowhere"))?;
            own.give("binding a TCP socket", libc::SYS_bind, slot, at.batch(64)?);
            // Those that are accepted inherit its options.
            socket_options::set(&state.options, slot, at)?;
            // Room for all of them, some of whom may have found none.
            let room = if waiting.is_empty() { *backlog } else { i32::MAX };
            at.batch(0)?.must("listening", libc::SYS_listen, &[slot.into(), room.into()]);
            for waiter in waiting {
                wait_again(waiter, at)?;
            }
            if !waiting.is_empty() {
                at.batch(0)?.must("listening", libc::SYS_listen, &[slot.into(), (*backlog).into()]);
            }
        }
        Link::Connected { with: With::Socket(other), .. } => {
            let other = at.slot(*other);
            fill(state, slot, other, at)?;
        }
        Link::Connected { with: With::Gone, .. } | Link::Over { .. } => {
            let other = at.anchor(id)?[1];
            fill(state, slot, other, at)?;
        }
        Link::Connected { with: With::Listener, .. } | Link::Connecting { .. } => {}
    }
    Ok(())
}

/// Has somebody who waited to be accepted ask again, and send what he had sent.
fn wait_again(waiter: &Waiter, at: &mut Build<'_>) -> Result<(), Error> {
    if waiter.sent.len() > PIECE {
        return Err(damaged("who waits has sent too much"));
    }
    let (client, asked) = match waiter.client {
        Some(client) => {
            let Link::Connected { peer, with: With::Listener } = socket(at, client)?.link else {
                return Err(damaged("who waits for it does not"));
            };
            (at.slot(client), peer)
        }
        // In the place of one that was closed.
        None => {
            let stand_in = at.scratch_slot()?;
            let own = waiter.own.as_plain();
            let one =
                End { slot: stand_in, domain: family(own), sharing: Sharing::default(), own: Some(own) };
            one.make(stand_in, at.batch(64)?);
            (stand_in, waiter.asked.as_plain())
        }
    };
    let batch = at.batch(128)?;
    set_seconds(client, libc::SO_SNDTIMEO, PATIENCE, batch);
    asked.give("connecting anew", libc::SYS_connect, client, batch);
    for (bytes, flags) in pieces(&waiter.sent, waiter.urgent) {
        send(bytes, flags, client, at)?;
    }
    if waiter.client.is_none() {
        at.batch(0)?.must("closing", libc::SYS_close, &[client.into()]);
    }
    Ok(())
}

/// Has the other side send what a socket had not read.
fn fill(state: &State, slot: i32, from: i32, at: &mut Build<'_>) -> Result<(), Error> {
    for (bytes, flags) in pieces(&state.queue, state.urgent.map(|urgent| urgent.at)) {
        bytes.chunks(PIECE).try_for_each(|piece| send(piece, flags, from, at))?;
    }
    if state.urgent.is_some_and(|urgent| urgent.read) {
        let batch = at.batch(24)?;
        // struct pollfd: the socket and what is waited for.
        let poll = batch.data(&[slot.to_ne_bytes(), i32::from(libc::POLLPRI).to_ne_bytes()].concat());
        let patience = PATIENCE * 1000;
        batch.must("awaiting urgent data", libc::SYS_poll, &[poll.into(), 1u32.into(), patience.into()]);
        let room = batch.room(1);
        let args = [slot.into(), room.into(), 1u32.into(), libc::MSG_OOB.into(), 0u32.into(), 0u32.into()];
        batch.must("reading urgent data again", libc::SYS_recvfrom, &args);
    }
    Ok(())
}

fn send(bytes: &[u8], flags: i32, from: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let mut batch = Batch::new();
    let data = batch.data(bytes);
    let flags = flags | libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let args = [from.into(), data.into(), bytes.len().into(), flags.into(), 0u32.into(), 0u32.into()];
    let sent = batch.must("sending what was not read", libc::SYS_sendto, &args);
    if at.run(None, &batch)?.ret(sent) == bytes.len() as i64 {
        Ok(())
    } else {
        Err(Error::Image("what was not read from a TCP connection does not fit".into()))
    }
}

/// Ends directions, lets the other side go, and sets what the program wanted.
pub(super) fn finish(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    let slot = at.slot(id);
    match state.link {
        Link::Connected { with, .. } => {
            if with == With::Gone {
                let other = at.anchor(id)?[1];
                at.batch(0)?.must("closing", libc::SYS_close, &[other.into()]);
            }
            for (how, wanted) in [(libc::SHUT_RD, state.reads_no_more), (libc::SHUT_WR, state.sends_no_more)]
            {
                if wanted {
                    at.batch(0)?.must("ending a direction", libc::SYS_shutdown, &[slot.into(), how.into()]);
                }
            }
        }
        Link::Over { reset } => {
            let other = at.anchor(id)?[1];
            let batch = at.batch(16)?;
            if reset {
                let at_once = batch.data(&[1i32.to_ne_bytes(), [0; 4]].concat());
                let linger =
                    [other.into(), libc::SOL_SOCKET.into(), libc::SO_LINGER.into(), at_once.into(), 8.into()];
                batch.must("breaking a connection off", libc::SYS_setsockopt, &linger);
            }
            batch.must("closing", libc::SYS_close, &[other.into()]);
            if !reset {
                batch.may("ending a direction", libc::SYS_shutdown, &[slot.into(), libc::SHUT_WR.into()]);
            }
        }
        Link::Refused => {
            // Bound, and nobody listens there.
            let nobody = at.scratch_slot()?;
            let own = Some(Address::any_on_loop(state.domain));
            let batch = at.batch(128)?;
            End { slot: nobody, domain: state.domain, sharing: Sharing::default(), own }.make(nobody, batch);
            at_once(slot, batch);
            connect_to_name_of(nobody, slot, false, batch);
            batch.must("closing", libc::SYS_close, &[nobody.into()]);
        }
        Link::Connecting { peer } => {
            let batch = at.batch(64)?;
            at_once(slot, batch);
            let bytes = peer.bytes();
            let data = batch.data(&bytes);
            batch.may(
                "asking for a connection",
                libc::SYS_connect,
                &[slot.into(), data.into(), bytes.len().into()],
            );
        }
        Link::None | Link::Listening { .. } => {}
    }
    socket_options::set(&state.options, slot, at)?;
    let batch = at.batch(64)?;
    set_integer(slot, (libc::SOL_SOCKET, libc::SO_REUSEADDR), state.sharing.address, batch);
    Ok(())
}

/// Calls on it no longer wait; its flags are set later.
fn at_once(slot: i32, batch: &mut Batch) {
    let args = [slot.into(), libc::F_SETFL.into(), libc::O_NONBLOCK.into()];
    batch.must("setting file flags", libc::SYS_fcntl, &args);
}

#[cfg(test)]
mod tests {
    use super::super::testing::Session;
    use std::io::Write;
    use std::net::{Shutdown, TcpListener, TcpStream};
    use std::os::fd::AsFd;

    fn pair(any: &str) -> (TcpStream, TcpStream) {
        let listener = TcpListener::bind(any).unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_connection_keeps_what_was_not_read_and_its_addresses() {
        // An address of its own: between closing and building nobody else's test may take the port.
        for any in ["127.83.0.1:0", "[::1]:0"] {
            let (mut a, mut b) = pair(any);
            a.write_all(b"to b").unwrap();
            b.write_all(b"to a").unwrap();
            b.shutdown(Shutdown::Write).unwrap();
            let mut session = Session::of(&[a.as_fd(), b.as_fd()]);
            session.end_source();
            // Broken off, so that the addresses are free at once.
            for one in [&a, &b] {
                nix::sys::socket::setsockopt(
                    one,
                    nix::sys::socket::sockopt::Linger,
                    &libc::linger { l_onoff: 1, l_linger: 0 },
                )
                .unwrap();
            }
            drop((a, b));
            session.round_trip();
            assert_eq!(session.read(0, 9), b"to a");
            assert_eq!(session.read(0, 9), b"");
            assert_eq!(session.read(1, 9), b"to b");
            session.write(0, b"on");
            assert_eq!(session.read(1, 9), b"on");
        }
    }

    #[test]
    fn who_waits_is_accepted_later() {
        let listener = TcpListener::bind("127.83.0.2:0").unwrap();
        let address = listener.local_addr().unwrap();
        let waiting = TcpStream::connect(address).unwrap();
        let mut session = Session::of(&[listener.as_fd(), waiting.as_fd()]);
        session.end_source();
        nix::sys::socket::setsockopt(
            &waiting,
            nix::sys::socket::sockopt::Linger,
            &libc::linger { l_onoff: 1, l_linger: 0 },
        )
        .unwrap();
        drop((waiting, listener));
        session.round_trip();
    }
}
