//! The engine on real pods: a program is frozen in one pod, made anew in another, and goes on.

mod common;

use std::fs::File;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::path::Path;

use common::{Folders, as_ordinary_user, bytes};
use roam_api::init::{Clocks, PodSpec, Request, Role};
use roam_checkpoint::pages::{Layout, Space};
use roam_checkpoint::pod::Pod as _;
use roam_checkpoint::{Error, ExternalName, Externals, Image, PageSink, Restorer, Tracker, check, freeze};
use roam_keeper::pod::handle::Pod;

/// What a sink was given, kept in memory.
#[derive(Default)]
struct Kept {
    calls: Vec<Call>,
}

#[derive(Clone)]
enum Call {
    Layout(Layout),
    Pages(Space, u64, Vec<u8>),
    Forget(Space, u64, u64),
    Inherited(i32, i32, u64, u64),
}

impl PageSink for Kept {
    fn layout(&mut self, layout: &Layout) -> Result<(), Error> {
        self.calls.push(Call::Layout(layout.clone()));
        Ok(())
    }

    fn pages(&mut self, space: Space, address: u64, bytes: &[u8]) -> Result<(), Error> {
        self.calls.push(Call::Pages(space, address, bytes.to_vec()));
        Ok(())
    }

    fn forget(&mut self, space: Space, address: u64, len: u64) -> Result<(), Error> {
        self.calls.push(Call::Forget(space, address, len));
        Ok(())
    }

    fn inherited(&mut self, pid: i32, from: i32, address: u64, len: u64) -> Result<(), Error> {
        self.calls.push(Call::Inherited(pid, from, address, len));
        Ok(())
    }
}

impl Kept {
    fn replay(self, into: &mut dyn PageSink) -> Result<(), Error> {
        self.calls.into_iter().try_for_each(|call| match call {
            Call::Layout(layout) => into.layout(&layout),
            Call::Pages(space, address, bytes) => into.pages(space, address, &bytes),
            Call::Forget(space, address, len) => into.forget(space, address, len),
            Call::Inherited(pid, from, address, len) => into.inherited(pid, from, address, len),
        })
    }
}

/// Standard input and output, as a keeper has them.
struct Pipes {
    stdin: File,
    stdout: BufReader<File>,
    theirs: Vec<OwnedFd>,
}

impl Pipes {
    fn new() -> Self {
        let (in_read, in_write) = std::io::pipe().unwrap();
        let (out_read, out_write) = std::io::pipe().unwrap();
        Self {
            stdin: File::from(OwnedFd::from(in_write)),
            stdout: BufReader::new(File::from(OwnedFd::from(out_read))),
            theirs: vec![in_read.into(), out_write.into()],
        }
    }

    fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line.trim_end().to_owned()
    }

    fn ask(&mut self, text: &str) -> String {
        writeln!(self.stdin, "{text}").unwrap();
        self.line()
    }
}

impl Externals for Pipes {
    fn identify(&self, file: BorrowedFd<'_>) -> Option<ExternalName> {
        let inode = |fd: BorrowedFd<'_>| nix::sys::stat::fstat(fd).unwrap().st_ino;
        let index = self.theirs.iter().position(|t| inode(t.as_fd()) == inode(file))?;
        Some(ExternalName(["stdin", "stdout"][index].to_owned()))
    }

    fn provide(&mut self, name: &ExternalName) -> std::io::Result<OwnedFd> {
        self.theirs[usize::from(name.0 == "stdout")].try_clone()
    }
}

fn create(folders: &Folders, name: &str) -> Pod {
    let dir = folders.path(name);
    std::fs::create_dir_all(dir.join("root")).unwrap();
    let spec = PodSpec {
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        hostname: "a-pod".into(),
        mount_point: bytes(&dir.join("root")),
        home: bytes(&folders.path("home")),
        runtime_dir: b"/run/user/77".to_vec(),
        clocks: Clocks { monotonic_ns: 86_400_000_000_000, boottime_ns: 86_400_500_000_000 },
    };
    let mut pod = Pod::create(Path::new(env!("CARGO_BIN_EXE_roam-init")), &dir, &spec).unwrap();
    pod.live().unwrap();
    pod
}

fn start(pod: &Pod, pipes: &Pipes, argv: &[&str]) {
    let request = Request::Start {
        role: Role::Main,
        argv: argv.iter().map(|s| s.as_bytes().to_vec()).collect(),
        env: vec![(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())],
        cwd: b"/".to_vec(),
        umask: 0o022,
    };
    let [stdin, stdout] = [&pipes.theirs[0], &pipes.theirs[1]];
    pod.client().start(&request, &[stdin.as_fd(), stdout.as_fd(), stdout.as_fd()]).unwrap();
}

/// Carries what runs in `from` to a fresh pod, `rounds` of memory ahead of it.
fn carry(from: Pod, to: Pod, pipes: &mut Pipes, rounds: usize) -> Pod {
    assert_eq!(check(&from, pipes).unwrap().refusals, [], "nothing is in the way");
    let mut tracker = (rounds > 0).then(|| Tracker::start(&from).unwrap());
    let mut kept = Kept::default();
    for _ in 0..rounds {
        tracker.as_mut().unwrap().round(&from, &mut kept).unwrap();
    }
    let image = capture_and_end(from, pipes, tracker, &mut kept);
    restore(&image, kept, &to, pipes, false).unwrap();
    to
}

fn capture_and_end(from: Pod, pipes: &Pipes, mut tracker: Option<Tracker>, kept: &mut Kept) -> Image {
    let mut frozen = freeze(&from).unwrap();
    let image = frozen.capture(&from, pipes, tracker.as_mut()).unwrap();
    frozen.send_pages(&image, tracker.as_mut(), kept).unwrap();
    frozen.kill();
    from.end().unwrap();
    let bytes = roam_api::codec::encode_section(&image).unwrap();
    roam_api::codec::decode_section(&bytes).unwrap()
}

fn restore(image: &Image, kept: Kept, to: &Pod, pipes: &mut Pipes, record: bool) -> Result<(), Error> {
    let mut restorer = Restorer::begin(to)?;
    if record {
        restorer.expect_record();
    }
    kept.replay(&mut restorer)?;
    restorer.build(image, to, pipes, &mut || Ok(()))?.activate()?;
    Ok(())
}

const PYTHON: &str = "
import sys, time, threading
n = 0
words = {}
def count():
    global n
    while True:
        time.sleep(0.005)
        n += 1
threading.Thread(target=count, daemon=True).start()
print('ready', flush=True)
last = time.monotonic()
for line in sys.stdin:
    now = time.monotonic()
    assert now >= last, 'time ran backwards'
    last = now
    words[line.strip()] = len(words)
    before = n
    while n == before: time.sleep(0.001)
    print(len(words), flush=True)
";

#[test]
fn a_shell_keeps_its_variables() {
    as_ordinary_user("a_shell_keeps_its_variables", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let first = create(&folders, "one");
        start(
            &first,
            &pipes,
            &["/bin/sh", "-c", "echo ready; n=0; while read w; do n=$((n+1)); echo $n $w; done"],
        );
        assert_eq!(pipes.line(), "ready");
        assert_eq!(pipes.ask("a"), "1 a");
        let second = carry(first, create(&folders, "two"), &mut pipes, 0);
        assert_eq!(pipes.ask("b"), "2 b");
        let third = carry(second, create(&folders, "three"), &mut pipes, 2);
        assert_eq!(pipes.ask("c"), "3 c");
        assert!(third.init().as_raw() > 0);
        third.end().unwrap();
    });
}

#[test]
fn python_with_a_thread_goes_on_three_times() {
    as_ordinary_user("python_with_a_thread_goes_on_three_times", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let mut pod = create(&folders, "p0");
        start(&pod, &pipes, &["/usr/bin/python3", "-c", PYTHON]);
        assert_eq!(pipes.line(), "ready");
        for i in 1..=3 {
            assert_eq!(pipes.ask(&format!("w{i}")), format!("{i}"));
            pod = carry(pod, create(&folders, &format!("p{i}")), &mut pipes, i - 1);
        }
        assert_eq!(pipes.ask("w4"), "4");
        pod.end().unwrap();
    });
}

#[test]
fn a_frozen_session_that_is_let_go_notices_nothing() {
    as_ordinary_user("a_frozen_session_that_is_let_go_notices_nothing", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let pod = create(&folders, "one");
        start(&pod, &pipes, &["/usr/bin/python3", "-c", PYTHON]);
        assert_eq!(pipes.line(), "ready");
        for i in 1..=20 {
            let mut frozen = freeze(&pod).unwrap();
            let image = frozen.capture(&pod, &pipes, None).unwrap();
            assert_eq!(image.processes.len(), 1);
            drop(frozen);
            assert_eq!(pipes.ask(&format!("w{i}")), format!("{i}"));
        }
        pod.end().unwrap();
    });
}

/// Waits in calls that the kernel ends with EINTR for a mere stop (65 is semop), each in a thread of its own and without
/// Python's repetition. Answers how many still wait; then wakes them and tells what came of each.
const WAITER: &str = "
import ctypes, os, socket, struct, sys, threading
libc = ctypes.CDLL(None, use_errno=True)
sets = [libc.semget(0, 1, 0o600) for _ in range(2)]
pair = socket.socketpair()
pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_RCVTIMEO, struct.pack('qq', 1000, 0))
reader, writer = os.pipe()
one = struct.pack('Hhh', 0, -1, 0)
span = struct.pack('qq', 1000, 0)
entry = struct.pack('ihh', reader, 1, 0)
room = ctypes.create_string_buffer(8)
polled = ctypes.create_string_buffer(entry)
calls = [lambda: libc.syscall(65, sets[0], one, 1), lambda: libc.semtimedop(sets[1], one, 1, span),
         lambda: libc.recv(pair[0].fileno(), room, 1, 0), lambda: libc.poll(polled, 1, 1000000)]
results = [None] * len(calls)
def run(i):
    answer = calls[i]()
    results[i] = (answer, ctypes.get_errno() if answer < 0 else 0)
threads = [threading.Thread(target=run, args=(i,)) for i in range(len(calls))]
for thread in threads: thread.start()
def asleep(thread):
    path = f'/proc/self/task/{thread.native_id}/stat'
    return open(path).read().rpartition(')')[2].split()[0] == 'S'
while not all(asleep(thread) for thread in threads): pass
print('ready', flush=True)
for line in sys.stdin:
    if line.strip() == 'wake':
        for s in sets: libc.semop(s, struct.pack('Hhh', 0, 1, 0), 1)
        pair[1].send(b'x')
        os.write(writer, b'x')
        for thread in threads: thread.join()
        for s in sets: libc.semctl(s, 0, 0)
        print(results, flush=True)
    else:
        print(sum(result is None for result in results), flush=True)
";

#[test]
fn waits_of_a_session_that_is_let_go_are_not_interrupted() {
    as_ordinary_user("waits_of_a_session_that_is_let_go_are_not_interrupted", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let pod = create(&folders, "one");
        start(&pod, &pipes, &["/usr/bin/python3", "-c", WAITER]);
        assert_eq!(pipes.line(), "ready");
        for _ in 0..5 {
            drop(freeze(&pod).unwrap());
            assert_eq!(pipes.ask("how many"), "4");
        }
        assert_eq!(pipes.ask("wake"), "[(0, 0), (0, 0), (1, 0), (1, 0)]");
        pod.end().unwrap();
    });
}

/// Maps a file by path, as settings are mapped, and answers with the first byte of what it sees.
const MAPPER: &str = "
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
libc.munmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t]
at = None
def see():
    global at, size
    if at: libc.munmap(at, size)
    fd = os.open(sys.argv[1], os.O_RDONLY)
    size = os.fstat(fd).st_size
    at = libc.mmap(None, size, 1, 2, fd, 0)
    os.close(fd)
see()
print('ready', flush=True)
for line in sys.stdin:
    if line.strip() == 'again': see()
    print(ctypes.string_at(at + size - 1, 1).decode(), flush=True)
";

/// As programs replace their settings: written beside, and renamed.
fn replace(path: &Path, size: usize, last: u8) {
    let beside = path.with_extension("new");
    let mut content = vec![b'.'; size];
    content[size - 1] = last;
    std::fs::write(&beside, content).unwrap();
    std::fs::rename(&beside, path).unwrap();
}

#[test]
fn settings_replaced_while_a_session_sleeps_stay_as_it_saw_them() {
    as_ordinary_user("settings_replaced_while_a_session_sleeps_stay_as_it_saw_them", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let settings = folders.path("home").join("settings");
        replace(&settings, 5000, b'1');
        let first = create(&folders, "one");
        start(&first, &pipes, &["/usr/bin/python3", "-c", MAPPER, settings.to_str().unwrap()]);
        assert_eq!(pipes.line(), "ready");
        let mut kept = Kept::default();
        let image = capture_and_end(first, &pipes, None, &mut kept);
        replace(&settings, 6000, b'2');
        let second = create(&folders, "two");
        restore(&image, kept, &second, &mut pipes, false).unwrap();
        assert_eq!(pipes.ask("what"), "1");
        // What stands in for them travels on.
        let third = carry(second, create(&folders, "three"), &mut pipes, 1);
        assert_eq!(pipes.ask("what"), "1");
        assert_eq!(pipes.ask("again"), "2");
        third.end().unwrap();
    });
}

#[test]
fn a_record_may_tell_of_files_that_were_replaced_before_its_end() {
    as_ordinary_user("a_record_may_tell_of_files_that_were_replaced_before_its_end", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        // Too large to come along.
        let list = folders.path("home").join("list");
        replace(&list, 2 << 20, b'1');
        let first = create(&folders, "one");
        start(&first, &pipes, &["/usr/bin/python3", "-c", MAPPER, list.to_str().unwrap()]);
        assert_eq!(pipes.line(), "ready");
        let mut tracker = Tracker::start(&first).unwrap();
        let mut kept = Kept::default();
        tracker.round(&first, &mut kept).unwrap();
        replace(&list, 2 << 20, b'2');
        assert_eq!(pipes.ask("again"), "2");
        let image = capture_and_end(first, &pipes, Some(tracker), &mut kept);
        let second = create(&folders, "two");
        restore(&image, kept, &second, &mut pipes, true).unwrap();
        assert_eq!(pipes.ask("what"), "2");

        let mut kept = Kept::default();
        let image = capture_and_end(second, &pipes, None, &mut kept);
        replace(&list, 2 << 20, b'3');
        let third = create(&folders, "three");
        let refused = restore(&image, kept, &third, &mut pipes, true).unwrap_err();
        assert!(matches!(refused, Error::Refused(_)), "{refused}");
        third.end().unwrap();
    });
}

/// What Roam itself had in the pod a moment ago is not the session's, also while roam-init has not taken note of its end.
#[test]
fn a_helper_that_has_just_ended_is_nobody_s() {
    as_ordinary_user("a_helper_that_has_just_ended_is_nobody_s", || {
        use nix::sys::signal::{Signal, kill};
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let pod = create(&folders, "one");
        start(&pod, &pipes, &["/bin/sh", "-c", "while read x; do echo $x; done"]);
        assert_eq!(pipes.ask("there"), "there");
        let stub = pod.spawn_stub().unwrap();
        kill(pod.init(), Signal::SIGSTOP).unwrap();
        kill(stub, Signal::SIGKILL).unwrap();
        let stat = format!("/proc/{stub}/stat");
        while !std::fs::read_to_string(&stat).unwrap().contains(") Z ") {
            std::thread::yield_now();
        }
        let seen = freeze(&pod).unwrap().processes.len();
        kill(pod.init(), Signal::SIGCONT).unwrap();
        assert_eq!(seen, 1);
        assert_eq!(pipes.ask("still there"), "still there");
        pod.end().unwrap();
    });
}

/// A parent, a child that answers from what both had before the fork, and one that only looks on.
const FAMILY: &str = "
import hashlib, os, signal, sys
block = bytearray(os.urandom(1 << 20))
what = hashlib.sha256(block).hexdigest()
def answer():
    for line in sys.stdin:
        print(hashlib.sha256(block).hexdigest() == what, flush=True)
if os.fork() == 0: answer()
if os.fork() == 0: signal.pause()
print('ready', flush=True)
signal.pause()
";

fn family(folders: &Folders, pipes: &mut Pipes) -> (Image, Kept) {
    let first = create(folders, "first");
    start(&first, pipes, &["/usr/bin/python3", "-c", FAMILY]);
    assert_eq!(pipes.line(), "ready");
    let mut kept = Kept::default();
    let image = capture_and_end(first, pipes, None, &mut kept);
    (image, kept)
}

#[test]
fn only_a_new_process_inherits_and_only_what_its_parent_has() {
    as_ordinary_user("only_a_new_process_inherits_and_only_what_its_parent_has", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let (_, kept) = family(&folders, &mut pipes);
        let before = kept.calls.iter().position(|call| matches!(call, Call::Inherited(..))).unwrap();
        let Call::Inherited(child, parent, at, len) = kept.calls[before] else { unreachable!() };
        let own = kept
            .calls
            .iter()
            .find(|call| matches!(call, Call::Pages(Space::Process(pid), ..) if *pid == child));
        let inherited = |pid, from, at, len| vec![Call::Inherited(pid, from, at, len)];
        let cases = [
            ("an unknown process", inherited(9999, parent, at, len)),
            ("an unknown parent", inherited(child, 9999, at, len)),
            ("one's own", inherited(child, child, at, len)),
            ("the parent of its child", inherited(parent, child, at, len)),
            ("a part of a page", inherited(child, parent, at + 1, len)),
            ("a part of a page's length", inherited(child, parent, at, 100)),
            ("where nothing is mapped", inherited(child, parent, 0x20000, 4096)),
            ("more than is mapped", inherited(child, parent, at, 1 << 46)),
            ("nothing", inherited(child, parent, at, 0)),
            ("beyond the end", inherited(child, parent, u64::MAX - 4095, 4096)),
            (
                "the same twice",
                [inherited(child, parent, at, len), inherited(child, parent, at, len)].concat(),
            ),
            ("after own pages", [vec![own.unwrap().clone()], inherited(child, parent, at, len)].concat()),
        ];
        for (number, (what, calls)) in cases.into_iter().enumerate() {
            let pod = create(&folders, &format!("pod-{number}"));
            let mut restorer = Restorer::begin(&pod).unwrap();
            Kept { calls: kept.calls[..before].to_vec() }.replay(&mut restorer).unwrap();
            let refused = Kept { calls }.replay(&mut restorer);
            assert!(matches!(refused, Err(Error::Image(_))), "{what}: {refused:?}");
            drop(restorer);
            pod.end().unwrap();
        }
    });
}

#[test]
fn whose_parent_changed_since_its_birth_gets_copies() {
    as_ordinary_user("whose_parent_changed_since_its_birth_gets_copies", || {
        let folders = Folders::new();
        let mut pipes = Pipes::new();
        let (image, kept) = family(&folders, &mut pipes);
        let mut pids: Vec<i32> = image.processes.iter().map(|process| process.pid).collect();
        pids.sort_unstable();
        let [parent, _, last] = pids[..] else { panic!("three processes") };
        let of = |call: &Call| match call {
            Call::Pages(Space::Process(pid), ..) | Call::Inherited(pid, ..) => *pid,
            _ => 0,
        };
        let first = kept.calls.iter().position(|call| matches!(call, Call::Inherited(..))).unwrap();
        let again = kept.calls[..first].iter().rfind(|call| of(call) == parent).unwrap().clone();
        // The last child never runs again: what it does not get it does not miss.
        let mut calls = kept.calls;
        calls.retain(|call| !matches!(call, Call::Inherited(pid, ..) if *pid == last));
        let moved = calls.iter().position(|call| of(call) == last).unwrap();
        let born_early = calls.remove(moved);
        calls.splice(first..first, [born_early, again]);
        let second = create(&folders, "second");
        restore(&image, Kept { calls }, &second, &mut pipes, false).unwrap();
        assert_eq!(pipes.ask("what"), "True");
        // And so on, by rounds.
        let third = carry(second, create(&folders, "third"), &mut pipes, 2);
        assert_eq!(pipes.ask("what"), "True");
        third.end().unwrap();
    });
}
