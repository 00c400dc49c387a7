//! Commands into a guest: one TCP connection each. First what to run, as one line of JSON; then frames in both
//! directions, a byte of kind, four of length, least first, and the content.
//!
//! The command ends when its connection does, as with the other machines it ends with `nsenter`. The
//! connection's end on the host is in the machine's pid namespace, so it goes when the machine does.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::process::ExitStatusExt;
use std::path::Path;
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{SigSet, Signal};
use rustix::process::{Pid, PidfdFlags, pidfd_open, pidfd_send_signal};
use serde::{Deserialize, Serialize};

use super::{CONTROL, PORT};

/// What is to be run. Bytes, because neither words nor variables need be UTF-8.
#[derive(Debug, Serialize, Deserialize)]
struct Order {
    argv: Vec<Vec<u8>>,
    environment: Vec<(Vec<u8>, Vec<u8>)>,
    folder: Vec<u8>,
}

/// To the guest: input, its end (an empty one), signals by number, which kind of output nobody reads any more.
/// From it: output, complaints, the end.
const INPUT: u8 = 0;
const SIGNAL: u8 = 1;
const OUTPUT: u8 = 2;
const COMPLAINT: u8 = 3;
const END: u8 = 4;
const UNREAD: u8 = 5;
const LARGEST: usize = 64 * 1024;

type Shared = Arc<Mutex<TcpStream>>;

fn send(to: &Shared, kind: u8, content: &[u8]) -> std::io::Result<()> {
    let mut frame = vec![kind];
    frame.extend_from_slice(&(content.len() as u32).to_le_bytes());
    frame.extend_from_slice(content);
    to.lock().unwrap_or_else(PoisonError::into_inner).write_all(&frame)
}

fn receive(from: &mut impl Read) -> Result<(u8, Vec<u8>)> {
    let mut header = [0; 5];
    from.read_exact(&mut header)?;
    let length = u32::from_le_bytes([header[1], header[2], header[3], header[4]]) as usize;
    if length > LARGEST {
        bail!("a frame of {length} bytes");
    }
    let mut content = vec![0; length];
    from.read_exact(&mut content)?;
    Ok((header[0], content))
}

/// `internal run-in-guest`: on the host, in the machine's network. Ends as the command does.
pub fn run(folder: &Path, argv: &[OsString]) -> Result<ExitCode> {
    // Taken by a thread below, and before there is any other.
    let signals: SigSet =
        [Signal::SIGINT, Signal::SIGTERM, Signal::SIGHUP, Signal::SIGQUIT].into_iter().collect();
    signals.thread_block()?;
    let mut connection =
        TcpStream::connect((CONTROL.1, PORT)).context("the virtual machine does not answer")?;
    connection.set_nodelay(true)?;
    let order = Order {
        argv: argv.iter().map(|word| word.as_bytes().to_vec()).collect(),
        environment: std::env::vars_os().map(|(name, value)| (name.into_vec(), value.into_vec())).collect(),
        folder: folder.as_os_str().as_bytes().to_vec(),
    };
    serde_json::to_writer(&mut connection, &order)?;
    connection.write_all(b"\n")?;
    let out = Arc::new(Mutex::new(connection.try_clone()?));
    let (input, of_signals) = (Arc::clone(&out), Arc::clone(&out));
    // Both end with the process.
    thread::spawn(move || pass_on(&mut std::io::stdin().lock(), &input));
    thread::spawn(move || {
        while let Ok(signal) = signals.wait() {
            if send(&of_signals, SIGNAL, &[signal as u8]).is_err() {
                break;
            }
        }
    });
    loop {
        match receive(&mut connection).context("the virtual machine has gone")? {
            (kind @ (OUTPUT | COMPLAINT), bytes) => {
                if write_out(kind, &bytes).is_err() {
                    send(&out, UNREAD, &[kind])?;
                }
            }
            (END, bytes) => {
                let status = <[u8; 4]>::try_from(bytes).map_or(1, i32::from_le_bytes);
                return Ok(end_as(ExitStatus::from_raw(status), signals));
            }
            (kind, _) => bail!("a frame of kind {kind} from the guest"),
        }
    }
}

fn write_out(kind: u8, bytes: &[u8]) -> std::io::Result<()> {
    if kind == COMPLAINT {
        return std::io::stderr().write_all(bytes);
    }
    let mut out = std::io::stdout().lock();
    out.write_all(bytes)?;
    out.flush()
}

/// Input up to its end, or for as long as anybody listens.
fn pass_on(from: &mut impl Read, to: &Shared) {
    let mut room = [0; LARGEST];
    loop {
        let length = from.read(&mut room).unwrap_or(0);
        if send(to, INPUT, &room[..length]).is_err() || length == 0 {
            return;
        }
    }
}

/// Ends by the signal that ended the command, as a shell's child would.
fn end_as(status: ExitStatus, blocked: SigSet) -> ExitCode {
    if let Some(number) = status.signal() {
        if let Ok(signal) = Signal::try_from(number) {
            let _unblocked = blocked.thread_unblock();
            let _sent = nix::sys::signal::raise(signal);
        }
        return ExitCode::from(128u8.wrapping_add(number as u8));
    }
    ExitCode::from(status.code().and_then(|code| u8::try_from(code).ok()).unwrap_or(1))
}

/// `internal guest`: in the guest, as root. Takes connections at the listener that is standard input.
pub fn serve() -> Result<()> {
    let listener = TcpListener::from(std::io::stdin().as_fd().try_clone_to_owned()?);
    loop {
        let (connection, _) = listener.accept()?;
        thread::spawn(move || {
            if let Err(error) = serve_one(connection) {
                eprintln!("a command from the host: {error:#}");
            }
        });
    }
}

fn serve_one(connection: TcpStream) -> Result<()> {
    connection.set_nodelay(true)?;
    let out = Arc::new(Mutex::new(connection.try_clone()?));
    let mut from = BufReader::new(connection);
    let mut line = Vec::new();
    from.read_until(b'\n', &mut line)?;
    let order: Order = serde_json::from_slice(&line)?;
    let mut child = match start(&order) {
        Ok(child) => child,
        Err(error) => {
            send(&out, COMPLAINT, format!("{error:#}\n").as_bytes())?;
            send(&out, END, &(127i32 << 8).to_le_bytes())?;
            return Ok(());
        }
    };
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a pid")?;
    let handle = Arc::new(pidfd_open(pid, PidfdFlags::empty())?);
    let stdin = child.stdin.take();
    let unread = Arc::new([AtomicBool::new(false), AtomicBool::new(false)]);
    let of_reader = (Arc::clone(&handle), Arc::clone(&unread));
    thread::spawn(move || follow(from, stdin, &of_reader.0, &of_reader.1));
    relay(&mut child, &handle, &out, &unread)
}

fn start(order: &Order) -> Result<Child> {
    let text = |bytes: &[u8]| OsStr::from_bytes(bytes).to_owned();
    let (program, arguments) = order.argv.split_first().context("a command has a program")?;
    let environment: BTreeMap<OsString, OsString> =
        order.environment.iter().map(|(name, value)| (text(name), text(value))).collect();
    Command::new(text(program))
        .args(arguments.iter().map(|word| text(word)))
        .env_clear()
        .envs(environment)
        .current_dir(text(&order.folder))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| text(program).to_string_lossy().into_owned())
}

/// What the host says while the command runs; the command ends with the connection.
fn follow(mut from: impl Read, mut stdin: Option<impl Write>, command: &OwnedFd, unread: &[AtomicBool; 2]) {
    loop {
        match receive(&mut from) {
            Ok((INPUT, bytes)) if bytes.is_empty() => stdin = None,
            Ok((INPUT, bytes)) => {
                // One that reads no more may still have something to say.
                if stdin.as_mut().is_some_and(|to| to.write_all(&bytes).is_err()) {
                    stdin = None;
                }
            }
            Ok((SIGNAL, bytes)) => {
                let number = bytes.first().copied().unwrap_or_default();
                if let Some(signal) = rustix::process::Signal::from_named_raw(i32::from(number)) {
                    let _gone = pidfd_send_signal(command, signal);
                }
            }
            Ok((UNREAD, bytes)) => {
                unread[usize::from(bytes.first() == Some(&COMPLAINT))].store(true, Ordering::Relaxed);
            }
            Ok(_) => {}
            Err(_) => {
                let _gone = pidfd_send_signal(command, rustix::process::Signal::KILL);
                return;
            }
        }
    }
}

/// Passes on what the command prints until it has ended. Services that it left behind may hold its
/// pipes; what they print after that goes to the console.
fn relay(child: &mut Child, handle: &OwnedFd, out: &Shared, unread: &[AtomicBool; 2]) -> Result<()> {
    let mut pipes: [(u8, Option<OwnedFd>); 2] = [
        (OUTPUT, child.stdout.take().map(OwnedFd::from)),
        (COMPLAINT, child.stderr.take().map(OwnedFd::from)),
    ];
    let mut ended = false;
    loop {
        let open: Vec<usize> = (0..2).filter(|&i| pipes[i].1.is_some()).collect();
        if ended && open.is_empty() {
            return Ok(());
        }
        let mut watched: Vec<PollFd<'_>> = open
            .iter()
            .filter_map(|&i| pipes[i].1.as_ref())
            .map(|pipe| PollFd::new(pipe.as_fd(), PollFlags::POLLIN))
            .collect();
        if !ended {
            watched.push(PollFd::new(handle.as_fd(), PollFlags::POLLIN));
        }
        poll(&mut watched, PollTimeout::NONE)?;
        let ready: Vec<bool> = watched.iter().map(|fd| fd.any().unwrap_or(true)).collect();
        let speaks: Vec<usize> =
            open.iter().zip(&ready).filter(|&(_, &ready)| ready).map(|(&i, _)| i).collect();
        for i in &speaks {
            let (kind, pipe) = &mut pipes[*i];
            let mut room = [0; LARGEST];
            let length = pipe.as_ref().map_or(0, |pipe| nix::unistd::read(pipe, &mut room).unwrap_or(0));
            match &room[..length] {
                [] => *pipe = None,
                // With the pipe closed it is told what it would be told anywhere.
                _ if unread[*i].load(Ordering::Relaxed) => *pipe = None,
                said if ended => std::io::stderr().write_all(said)?,
                said => {
                    // The host may have gone: the command's end is the other thread's doing.
                    let _gone = send(out, *kind, said);
                }
            }
        }
        // What it printed before its end has all been read.
        if !ended && speaks.is_empty() && ready.last() == Some(&true) {
            ended = true;
            let status = child.wait()?.into_raw();
            let _gone = send(out, END, &status.to_le_bytes());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guest's side at one end of a connection, a command's output at the other.
    fn run_here(script: &str, input: &[u8]) -> (Vec<u8>, Vec<u8>, ExitStatus) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("loopback");
        let mut host = TcpStream::connect(listener.local_addr().expect("address")).expect("connected");
        let (guest, _) = listener.accept().expect("accepted");
        thread::spawn(move || serve_one(guest));
        let order = Order {
            argv: vec![b"/bin/sh".to_vec(), b"-c".to_vec(), script.into()],
            environment: vec![(b"WORD".to_vec(), b"\xff".to_vec())],
            folder: b"/".to_vec(),
        };
        host.write_all(&serde_json::to_vec(&order).expect("json")).expect("sent");
        host.write_all(b"\n").expect("sent");
        let shared = Arc::new(Mutex::new(host.try_clone().expect("cloned")));
        pass_on(&mut &input[..], &shared);
        let (mut out, mut err) = (Vec::new(), Vec::new());
        loop {
            match receive(&mut host).expect("a frame") {
                (OUTPUT, bytes) => out.extend(bytes),
                (COMPLAINT, bytes) => err.extend(bytes),
                (_, bytes) => {
                    let status = i32::from_le_bytes(bytes.try_into().expect("four bytes"));
                    return (out, err, ExitStatus::from_raw(status));
                }
            }
        }
    }

    #[test]
    fn streams_variables_and_ends_pass_through() {
        let (out, err, status) = run_here("cat; printf \"$WORD\"; pwd >&2; exit 41", b"through ");
        assert_eq!((&out[..], &err[..], status.code()), (&b"through \xff"[..], &b"/\n"[..], Some(41)));
        assert_eq!(run_here("kill -TERM $$", b"").2.signal(), Some(15));
    }

    #[test]
    fn a_service_left_behind_does_not_hold_the_end_back() {
        let (out, _, status) = run_here("(exec sleep 20) & echo started", b"");
        assert_eq!((&out[..], status.code()), (&b"started\n"[..], Some(0)));
    }
}
