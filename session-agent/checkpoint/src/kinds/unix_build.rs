//! Making unix sockets anew.
//!
//! Pairs come from socketpair(2) in the process that made them, so that SO_PEERCRED stays right. A side
//! with a name was accepted: it is connected and accepted once more, through its listener if that is
//! carried too, else through one made for the moment. A name that is a path is bound to a new
//! file; whatever stale socket lay there makes way.

use std::collections::HashSet;
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::PathBuf;

use roam_sys::batch::{Arg, Batch};

use super::build::{Build, PIECE, WayInto, place};
use super::namespaces::Id;
use super::open_file::{FileId, Kind};
use super::unix::{Link, Message, Name, SO_PASSRIGHTS, SO_PEEK_OFF, State, path_of};
use super::unix_waiting::Waiter;
use crate::error::Error;
use crate::pod::Pod;

fn damaged(what: &str) -> Error {
    Error::Image(format!("a unix socket is damaged: {what}"))
}

fn socket<'a>(at: &Build<'a>, id: FileId) -> Result<&'a State, Error> {
    match &at.file(id)?.kind {
        Kind::Unix(state) => Ok(state),
        _ => Err(damaged("its other side is no unix socket")),
    }
}

/// Makes it, and whoever it is connected with.
pub(super) fn make(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    if ![libc::SOCK_STREAM, libc::SOCK_DGRAM, libc::SOCK_SEQPACKET].contains(&state.kind) {
        return Err(damaged("its type"));
    }
    match &state.link {
        Link::Pair(other) => {
            let peer = socket(at, *other)?;
            if *other == id || peer.kind != state.kind || peer.link != Link::Pair(id) || !at.mark_made(*other)
            {
                return Err(damaged("its other side"));
            }
            let slots = [at.slot(id), at.slot(*other)];
            pair(state, Some(peer), slots, at)?;
            set_options(peer, slots[1], at)?;
        }
        Link::Gone { .. } => {
            let slots = [at.slot(id), at.extra_slot()?];
            at.set_anchor(id, slots);
            pair(state, None, slots, at)?;
        }
        Link::Listening { backlog, .. } => {
            let name = state.name.as_ref().ok_or_else(|| damaged("it listens without a name"))?;
            listener(name, state, *backlog, at.slot(id), at)?;
        }
        Link::None | Link::To(_) | Link::Waiting => {
            new(state.kind, state.net, at.slot(id), at)?;
            if let Some(name) = &state.name {
                bind(name, None, at.slot(id), at)?;
            }
        }
    }
    set_options(state, at.slot(id), at)
}

/// Two that are connected with each other; of the second nothing may be known.
fn pair(a: &State, b: Option<&State>, slots: [i32; 2], at: &mut Build<'_>) -> Result<(), Error> {
    let connected = a.kind != libc::SOCK_DGRAM;
    let a_name = a.name.as_ref().filter(|_| connected);
    let b_name = b.and_then(|b| b.name.as_ref()).filter(|_| connected);
    let b_pid = b.and_then(|b| b.credentials);
    // The accepted side has a name; if both have, it is the one that shares it with a listener.
    match (a_name, b_name) {
        (Some(name), Some(other)) if listening_at(at, name, a).is_some() => {
            accept(a, name, Some(other), [a.credentials, b_pid], slots, at)
        }
        (other, Some(name)) => accept(a, name, other, [b_pid, a.credentials], [slots[1], slots[0]], at),
        (Some(name), None) => accept(a, name, None, [a.credentials, b_pid], slots, at),
        (None, None) => {
            let maker = a.credentials.filter(|&maker| at.has_process(maker));
            let way = maker.map_or(Ok(None), |maker| at.way_of(maker, a.net))?;
            match maker.zip(way) {
                // Nobody who made it could do so again.
                None => {
                    let way = at.way_into(a.net)?;
                    socketpair(at.batch(8)?, a.kind, &way, slots);
                }
                Some((maker, way)) => {
                    let mut batch = Batch::new();
                    socketpair(&mut batch, a.kind, &way, slots);
                    at.run(Some(maker), &batch)?;
                }
            }
            for (state, slot) in [(Some(a), slots[0]), (b, slots[1])] {
                if let Some(name) = state.and_then(|s| s.name.as_ref()) {
                    bind(name, None, slot, at)?;
                }
            }
            Ok(())
        }
    }
}

fn socketpair(batch: &mut Batch, kind: i32, way: &WayInto, slots: [i32; 2]) {
    let both = batch.room(8);
    let kind = kind | libc::SOCK_NONBLOCK;
    let args = [libc::AF_UNIX.into(), kind.into(), 0u32.into(), both.into()];
    way.there(batch, |batch| batch.must("socketpair", libc::SYS_socketpair, &args));
    place(batch, Arg::Load32(both), slots[0]);
    place(batch, Arg::Load32(both.skip(4)), slots[1]);
}

/// Connects the second slot to the name and accepts the first. The credentials are what each side sees:
/// the accepted one the connecting process, the connecting one the listening process. Both are of the type and
/// network of `one`.
fn accept(
    one: &State,
    name: &Name,
    client: Option<&Name>,
    [connecting, listening]: [Option<i32>; 2],
    [accepted, connected]: [i32; 2],
    at: &mut Build<'_>,
) -> Result<(), Error> {
    new(one.kind, one.net, connected, at)?;
    if let Some(client) = client {
        bind(client, None, connected, at)?;
    }
    let exchange = |through: i32, at: &mut Build<'_>| -> Result<(), Error> {
        let mut batch = Batch::new();
        connect_to(&mut batch, connected, &name.bytes);
        at.run(connecting, &batch)?;
        let batch = at.batch(0)?;
        let args = [through.into(), 0u32.into(), 0u32.into(), libc::SOCK_NONBLOCK.into()];
        let new = batch.must("accepting a connection anew", libc::SYS_accept4, &args);
        at.place(new, accepted);
        at.flush()
    };
    if let Some(listener) = listening_at(at, name, one) {
        let state = socket(at, listener)?;
        if at.mark_made(listener) {
            make(state, listener, at)?;
        }
        return exchange(at.slot(listener), at);
    }
    let temporary = at.extra_slot()?;
    new(one.kind, one.net, temporary, at)?;
    let way = MakeWay::for_name(name, at)?;
    bind_only(name, temporary, at)?;
    let mut batch = Batch::new();
    batch.must("listening", libc::SYS_listen, &[temporary.into(), 1u32.into()]);
    at.run(listening, &batch)?;
    exchange(temporary, at)?;
    let close = [temporary.into()];
    at.batch(0)?.must("closing", libc::SYS_close, &close);
    way.done(name)
}

/// The carried listener that a socket like `one` can reach by this name.
fn listening_at(at: &Build<'_>, name: &Name, one: &State) -> Option<FileId> {
    let reachable = |state: &State| {
        state.kind == one.kind
            && (state.net == one.net || path_of(&name.bytes).is_some())
            && matches!(state.link, Link::Listening { .. })
            && state
                .name
                .as_ref()
                .is_some_and(|n| n.bytes == name.bytes && (n.mode.is_some() || path_of(&n.bytes).is_none()))
    };
    let found = at.image.files.iter().position(|f| matches!(&f.kind, Kind::Unix(s) if reachable(s)));
    found.map(|i| FileId(i as u32))
}

fn listener(name: &Name, state: &State, backlog: i32, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let maker = state.credentials;
    new(state.kind, state.net, slot, at)?;
    let mut batch = Batch::new();
    batch.must("listening", libc::SYS_listen, &[slot.into(), backlog.into()]);
    bind(name, Some((maker, &batch)), slot, at)
}

fn new(kind: i32, net: Id, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let kind = kind | libc::SOCK_NONBLOCK;
    let way = at.way_into(net)?;
    let batch = at.batch(0)?;
    let fd = way.there(batch, |batch| {
        batch.must("socket", libc::SYS_socket, &[libc::AF_UNIX.into(), kind.into(), 0u32.into()])
    });
    at.place(fd, slot);
    Ok(())
}

/// Binds, and runs what must follow before the name makes way again.
fn bind(
    name: &Name,
    then: Option<(Option<i32>, &Batch)>,
    slot: i32,
    at: &mut Build<'_>,
) -> Result<(), Error> {
    let way = MakeWay::for_name(name, at)?;
    bind_only(name, slot, at)?;
    if let Some((pid, batch)) = then {
        at.run(pid, batch)?;
    }
    at.flush()?;
    way.done(name)
}

fn address(name: &[u8]) -> Vec<u8> {
    [&(libc::AF_UNIX as u16).to_ne_bytes()[..], name].concat()
}

fn bind_only(name: &Name, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let address = address(&name.bytes);
    let batch = at.batch(address.len())?;
    let data = batch.data(&address);
    let args = [slot.into(), data.into(), address.len().into()];
    batch.must("binding a unix socket to its name", libc::SYS_bind, &args);
    Ok(())
}

fn connect_to(batch: &mut Batch, slot: i32, name: &[u8]) {
    let address = address(name);
    let data = batch.data(&address);
    let args = [slot.into(), data.into(), address.len().into()];
    batch.must("connecting a unix socket anew", libc::SYS_connect, &args);
}

/// The place of a name in the file tree, emptied for it.
struct MakeWay {
    path: Option<PathBuf>,
    aside: Option<PathBuf>,
    /// Where the new file has to go in the end.
    renamed: Option<PathBuf>,
}

impl MakeWay {
    fn for_name(name: &Name, at: &mut Build<'_>) -> Result<Self, Error> {
        let nowhere = Self { path: None, aside: None, renamed: None };
        let Some(path) = path_of(&name.bytes) else { return Ok(nowhere) };
        let shown = String::from_utf8_lossy(path).into_owned();
        at.flush()?;
        let path = outside(path, at.pod)?;
        let renamed = name.renamed.as_deref().map(|path| outside(path, at.pod)).transpose()?;
        let failed = |e| Error::system(format!("making place for the socket {shown}"), e);
        let mut aside = None;
        match std::fs::symlink_metadata(&path) {
            Ok(there) if there.file_type().is_socket() => {
                let mut other = path.clone().into_os_string();
                other.push(".roam-aside");
                std::fs::rename(&path, &other).map_err(failed)?;
                aside = Some(other.into());
            }
            Ok(_) => return Err(Error::Image(format!("{shown} is taken by a file that is no socket"))),
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                if let Some(folder) = path.parent().filter(|f| !f.exists()) {
                    let mut builder = std::fs::DirBuilder::new();
                    builder.recursive(true).mode(0o700).create(folder).map_err(failed)?;
                }
            }
            Err(e) => return Err(failed(e)),
        }
        Ok(Self { path: Some(path), aside, renamed })
    }

    fn done(self, name: &Name) -> Result<(), Error> {
        let Some(path) = self.path else { return Ok(()) };
        let failed = |e| Error::system(format!("putting the socket {} in place", path.display()), e);
        if let Some(mode) = name.mode {
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).map_err(failed)?;
            if let Some(renamed) = &self.renamed {
                std::fs::rename(&path, renamed).map_err(failed)?;
                return match self.aside {
                    Some(aside) => std::fs::rename(aside, &path).map_err(failed),
                    None => Ok(()),
                };
            }
            if let Some(aside) = self.aside {
                std::fs::remove_file(aside).map_err(failed)?;
            }
            return Ok(());
        }
        // Its file was gone at the source, or another's.
        match self.aside {
            Some(aside) => std::fs::rename(aside, &path).map_err(failed),
            None => std::fs::remove_file(&path).map_err(failed),
        }
    }
}

/// A path of the pod as this process reaches it; it must lead straight there.
fn outside(path: &[u8], pod: &dyn Pod) -> Result<PathBuf, Error> {
    use std::os::unix::ffi::OsStrExt;
    let inside = std::path::Path::new(std::ffi::OsStr::from_bytes(path));
    let relative = inside.strip_prefix("/").map_err(|_| damaged("its name is a relative path"))?;
    if relative.components().any(|c| !matches!(c, std::path::Component::Normal(_))) {
        return Err(damaged("its name leads elsewhere"));
    }
    Ok(pod.root().join(relative))
}

/// Options that would change what is put into its queue, or where that is looked at.
const LATE: [i32; 2] = [SO_PEEK_OFF, SO_PASSRIGHTS];

fn set_options(state: &State, slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    for (option, value) in &state.options {
        if !LATE.contains(option) {
            set_option(*option, value, slot, at)?;
        }
    }
    Ok(())
}

fn set_option(option: i32, value: &[u8], slot: i32, at: &mut Build<'_>) -> Result<(), Error> {
    let mut value = value.to_vec();
    if [libc::SO_SNDBUF, libc::SO_RCVBUF].contains(&option) {
        // The kernel doubles what it is told.
        let size: [u8; 4] = value.try_into().map_err(|_| damaged("its options"))?;
        value = (i32::from_ne_bytes(size) / 2).to_ne_bytes().to_vec();
    }
    let batch = at.batch(value.len())?;
    let data = batch.data(&value);
    let args = [slot.into(), libc::SOL_SOCKET.into(), option.into(), data.into(), value.len().into()];
    batch.may("setting a socket option", libc::SYS_setsockopt, &args);
    Ok(())
}

/// Fills its queue; connects what goes by name.
pub(super) fn connect(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    match &state.link {
        Link::To(other) => {
            let peer = socket(at, *other)?;
            let name = peer.name.as_ref().ok_or_else(|| damaged("it sends to nowhere"))?;
            let address_len = name.bytes.len();
            let slot = at.slot(id);
            connect_to(at.batch(address_len)?, slot, &name.bytes);
        }
        Link::Listening { waiting, .. } => {
            let name = state.name.as_ref().ok_or_else(|| damaged("it listens without a name"))?;
            for waiter in waiting {
                wait_again(waiter, state, name, at)?;
            }
        }
        // What the other side does not read before it goes away is told as an error.
        Link::Gone { reset: true } => {
            let slot = at.slot(id);
            let batch = at.batch(1)?;
            let byte = batch.data(b"x");
            batch.must("leaving something unread", libc::SYS_write, &[slot.into(), byte.into(), 1u32.into()]);
        }
        _ => {}
    }
    if state.queue.is_empty() {
        return Ok(());
    }
    fill(state, id, at)
}

/// Has somebody who waited to be accepted ask again, and send what he had sent.
fn wait_again(waiter: &Waiter, listener: &State, name: &Name, at: &mut Build<'_>) -> Result<(), Error> {
    let slot = match waiter.client {
        Some(client) if socket(at, client)?.link == Link::Waiting => at.slot(client),
        Some(_) => return Err(damaged("who waits for it does not")),
        // In the place of one that was closed.
        None => {
            let slot = at.scratch_slot()?;
            new(listener.kind, listener.net, slot, at)?;
            slot
        }
    };
    let holder = waiter.client.and_then(|client| at.holder_of(client));
    let who = waiter.credentials.filter(|pid| at.has_process(*pid)).or(holder);
    let mut batch = Batch::new();
    connect_to(&mut batch, slot, &name.bytes);
    at.run(who, &batch)?;
    if !waiter.sent.is_empty() {
        set_option(libc::SO_SNDBUF, &(8i32 << 20).to_ne_bytes(), slot, at)?;
        let user = user_of(at.pod)?;
        for message in &waiter.sent {
            let mut batch = Batch::new();
            let sent = send(&mut batch, slot, None, &message.bytes, &[], message, user);
            if at.run(who, &batch)?.ret(sent) != message.bytes.len() as i64 {
                return Err(Error::Image("what was sent to a unix socket does not fit".into()));
            }
        }
    }
    match waiter.client {
        Some(client) => set_options(socket(at, client)?, slot, at),
        None => {
            at.batch(0)?.must("closing", libc::SYS_close, &[slot.into()]);
            Ok(())
        }
    }
}

/// Sends to it what it had not read, from whoever sent it.
fn fill(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    let peer = match &state.link {
        Link::Pair(other) => Some(at.slot(*other)),
        Link::Gone { .. } => Some(at.anchor(id)?[1]),
        _ => None,
    };
    let user = user_of(at.pod)?;
    let mut senders = HashSet::new();
    if let Link::Pair(other) = state.link {
        senders.insert(other);
    }
    for message in &state.queue {
        let mut to = None;
        let sender = match (peer, message.from.is_empty()) {
            (Some(peer), _) => peer,
            (None, from_nobody) => {
                let name = state.name.as_ref().ok_or_else(|| damaged("nobody could write to it"))?;
                to = Some(address(&name.bytes));
                match named(at, &message.from, state.net).filter(|_| !from_nobody) {
                    Some(sender) => {
                        senders.insert(sender);
                        at.slot(sender)
                    }
                    None => {
                        let sender = at.scratch_slot()?;
                        new(state.kind, state.net, sender, at)?;
                        sender
                    }
                }
            }
        };
        let stream = state.kind == libc::SOCK_STREAM;
        let large = (8i32 << 20).to_ne_bytes();
        set_option(libc::SO_SNDBUF, &large, sender, at)?;
        let mut files = Vec::with_capacity(message.files.len());
        for file in &message.files {
            at.file(*file)?;
            files.push(at.slot(*file));
        }
        let mut rest = &message.bytes[..];
        loop {
            let piece = &rest[..if stream { rest.len().min(PIECE) } else { rest.len() }];
            let mut batch = Batch::new();
            let sent = send(&mut batch, sender, to.as_deref(), piece, &files, message, user);
            let done = at.run(None, &batch)?;
            if done.ret(sent) != piece.len() as i64 {
                return Err(Error::Image("what was queued in a unix socket does not fit".into()));
            }
            rest = &rest[piece.len()..];
            files.clear();
            if rest.is_empty() {
                break;
            }
        }
    }
    // Whoever sent it has its own buffer size back.
    for sender in senders {
        let state = socket(at, sender)?;
        let slot = at.slot(sender);
        set_options(state, slot, at)?;
    }
    Ok(())
}

fn named(at: &Build<'_>, name: &[u8], net: Id) -> Option<FileId> {
    let is = |s: &State| {
        s.kind == libc::SOCK_DGRAM
            && (s.net == net || path_of(name).is_some())
            && s.name.as_ref().is_some_and(|n| n.bytes == name)
    };
    let found = at.image.files.iter().position(|f| matches!(&f.kind, Kind::Unix(s) if is(s)));
    found.map(|i| FileId(i as u32))
}

/// The pod's one user and group, as its processes see them: the first column of the id maps.
fn user_of(pod: &dyn Pod) -> Result<[u32; 2], Error> {
    let first = |which: &str| {
        let text = roam_sys::procfs::read(&format!("/proc/{}/{which}", pod.init()))
            .map_err(|e| Error::system("reading the pod's user", e))?;
        String::from_utf8_lossy(&text)
            .split_ascii_whitespace()
            .next()
            .and_then(|id| id.parse().ok())
            .ok_or_else(|| Error::Image("the pod has no user".into()))
    };
    Ok([first("uid_map")?, first("gid_map")?])
}

/// sendmsg(2) with descriptors and credentials.
fn send(
    batch: &mut Batch,
    from: i32,
    to: Option<&[u8]>,
    bytes: &[u8],
    files: &[i32],
    message: &Message,
    user: [u32; 2],
) -> roam_sys::batch::RetOf {
    let mut control = Vec::new();
    let mut part = |kind: i32, content: &[u8]| {
        control.extend((16 + content.len() as u64).to_ne_bytes());
        control.extend(libc::SOL_SOCKET.to_ne_bytes());
        control.extend(kind.to_ne_bytes());
        control.extend(content);
        control.resize(control.len().next_multiple_of(8), 0);
    };
    if !files.is_empty() {
        let numbers: Vec<u8> = files.iter().flat_map(|n| n.to_ne_bytes()).collect();
        part(libc::SCM_RIGHTS, &numbers);
    }
    if let Some([pid, _, _]) = message.credentials {
        // A session has one user, whatever this machine calls him outside of the pod.
        let credentials = [pid, user[0], user[1]];
        let numbers: Vec<u8> = credentials.iter().flat_map(|n| n.to_ne_bytes()).collect();
        part(libc::SCM_CREDENTIALS, &numbers);
    }
    let data = batch.data(bytes);
    let iov = batch.room(16);
    batch.pointer(iov, 0, data);
    // struct msghdr: name, its length, iov, how many, control, its length, flags.
    let mut header = vec![0; 56];
    header[24..32].copy_from_slice(&1u64.to_ne_bytes());
    header[40..48].copy_from_slice(&(control.len() as u64).to_ne_bytes());
    header[8..12].copy_from_slice(&(to.map_or(0, <[u8]>::len) as u32).to_ne_bytes());
    let header = batch.data(&header);
    batch.pointer(header, 16, iov);
    if let Some(to) = to {
        let to = batch.data(to);
        batch.pointer(header, 0, to);
    }
    if !control.is_empty() {
        let control = batch.data(&control);
        batch.pointer(header, 32, control);
    }
    batch.set_u64(iov, 8, bytes.len() as u64);
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    batch.must("filling a unix socket", libc::SYS_sendmsg, &[from.into(), header.into(), flags.into()])
}

/// Shuts directions down, and sets what a peek changes.
pub(super) fn finish(state: &State, id: FileId, at: &mut Build<'_>) -> Result<(), Error> {
    let slot = at.slot(id);
    let how = match state.shutdown {
        1 => Some(libc::SHUT_RD),
        2 => Some(libc::SHUT_WR),
        3 => Some(libc::SHUT_RDWR),
        _ => None,
    };
    // Of a connection whose other side is gone, that is the doing of the other side.
    if let Some(how) = how.filter(|_| !matches!(state.link, Link::Gone { .. })) {
        at.batch(0)?.may("shutting a socket down", libc::SYS_shutdown, &[slot.into(), how.into()]);
    }
    for (option, value) in state.options.iter().filter(|(option, _)| LATE.contains(option)) {
        set_option(*option, value, slot, at)?;
    }
    Ok(())
}
