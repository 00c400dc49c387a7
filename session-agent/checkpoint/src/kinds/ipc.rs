//! The System V objects of the pod: shared memory, semaphores, message queues. They belong to the pod's IPC
//! namespace and to no process, so that they are listed once, and those that nobody uses at the moment
//! travel too.
//!
//! Ids are kept by telling the kernel which to give next (`/proc/sys/kernel/*_next_id`). What no call can
//! set differs afterwards: the times of the last operations, and pids of processes that have ended.

use roam_sys::batch::{Batch, Data, Done, RetOf};
use serde::{Deserialize, Serialize};

use super::helper::Helper;
use super::memory::{ObjectViews, View};
use super::sysv::{self, Attached};
use super::{messages, semaphores};
use crate::error::Error;
use crate::freeze::Frozen;
use crate::objects::Objects;
use crate::pages::PAGE;
use crate::pod::Pod;
use crate::stubs::Stubs;

/// What one read of a list gives at most: whole lines in the kernel's buffer of a page.
const PIECE: usize = 4096;
/// Reads of each list in the first batch; twice as many in each further one.
const READS: usize = 8;
const PATHS: [&str; 3] = ["/proc/sysvipc/shm", "/proc/sysvipc/sem", "/proc/sysvipc/msg"];

/// What is carried of them; shared memory is among the layout's objects.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ipc {
    /// Sets of semaphores.
    pub semaphores: Vec<semaphores::Set>,
    /// Message queues.
    pub queues: Vec<messages::Queue>,
}

/// The lists: shared memory, semaphores, message queues. `run` has a process run a batch: they are of its namespace.
///
/// # Errors
/// A list that can't be read.
pub fn lists(run: &mut dyn FnMut(&Batch) -> Result<Done, Error>) -> Result<[String; 3], Error> {
    let mut texts = [const { Vec::new() }; 3];
    let mut ended = [false; 3];
    let mut reads = READS;
    while ended.contains(&false) {
        let mut batch = Batch::new();
        let asked = [0, 1, 2].map(|list: usize| {
            if ended[list] { Vec::new() } else { ask(PATHS[list], texts[list].len(), reads, &mut batch) }
        });
        let done = run(&batch)?;
        for (list, asked) in asked.into_iter().enumerate() {
            for (room, got) in asked {
                let got = usize::try_from(done.ret(got)).unwrap_or(0);
                texts[list].extend_from_slice(&done.bytes(room)[..got]);
                ended[list] = got == 0;
            }
        }
        reads *= 2;
    }
    Ok(texts.map(|text| String::from_utf8_lossy(&text).into_owned()))
}

/// Adds the reading of a list from this byte on, in so many pieces. It ends where one is empty.
fn ask(path: &str, from: usize, reads: usize, batch: &mut Batch) -> Vec<(Data, RetOf)> {
    const DOING: &str = "reading a list of System V objects";
    let path = batch.c_string(path.as_bytes());
    let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_RDONLY | libc::O_CLOEXEC).into()];
    let file = batch.must(DOING, libc::SYS_openat, &open);
    batch.must(DOING, libc::SYS_lseek, &[file.into(), from.into(), libc::SEEK_SET.into()]);
    let piece = |_| {
        let room = batch.room(PIECE);
        (room, batch.must(DOING, libc::SYS_read, &[file.into(), room.into(), PIECE.into()]))
    };
    let pieces = (0..reads).map(piece).collect();
    batch.may("closing it", libc::SYS_close, &[file.into()]);
    pieces
}

/// Takes all of them. Shared memory is registered as objects; what nobody has attached is readable through
/// a helper, which lives as long as the session is frozen.
///
/// # Errors
/// A failed call, or [`Error::Refused`] for what can't be carried.
pub fn capture(
    [segments, sets, queues]: &[String; 3],
    frozen: &Frozen,
    pod: &dyn Pod,
    objects: &mut Objects,
) -> Result<(Ipc, ObjectViews, Attached, Option<Helper>), Error> {
    let (unattached, attached) = sysv::register(segments, objects);
    let (sets, queues) = (semaphores::parse(sets), messages::parse(queues));
    let mut views = ObjectViews::new();
    if unattached.is_empty() && sets.is_empty() && queues.is_empty() {
        return Ok((Ipc::default(), views, attached, None));
    }
    let mut helper = Helper::start(pod)?;
    for segment in &unattached {
        let address = sysv::attach_in_helper(segment, &mut helper)?;
        let len = segment.size.next_multiple_of(PAGE);
        let view = View { host: helper.host(), address, offset: 0, len, prot: libc::PROT_READ, shared: true };
        views.entry(segment.object).or_default().push(view);
    }
    let ipc = Ipc {
        semaphores: semaphores::capture(sets, frozen, &mut helper)?,
        queues: messages::capture(queues, &mut helper)?,
    };
    Ok((ipc, views, attached, (!unattached.is_empty()).then_some(helper)))
}

/// Makes semaphores and queues anew. The processes are there and still have their privileges.
///
/// # Errors
/// A call that had to succeed and did not.
pub fn restore(ipc: &Ipc, processes: &[i32], stubs: &mut dyn Stubs) -> Result<(), Error> {
    semaphores::restore(&ipc.semaphores, processes, stubs)?;
    messages::restore(&ipc.queues, processes, stubs)
}

/// Adds the calls that make the next object of a kind get this id.
pub fn want_id(kind: &str, id: i32, batch: &mut Batch) {
    const DOING: &str = "asking for a System V id";
    let path = batch.c_string(format!("/proc/sys/kernel/{kind}_next_id").as_bytes());
    let open = [libc::AT_FDCWD.into(), path.into(), (libc::O_WRONLY | libc::O_CLOEXEC).into()];
    let file = batch.must(DOING, libc::SYS_openat, &open);
    let text = id.to_string();
    let number = batch.data(text.as_bytes());
    batch.must(DOING, libc::SYS_write, &[file.into(), number.into(), text.len().into()]);
    batch.must(DOING, libc::SYS_close, &[file.into()]);
}

/// Checks that the kernel did.
///
/// # Errors
/// If it gave another one.
pub fn check_id(done: &Done, got: RetOf, wanted: i32) -> Result<(), Error> {
    if done.ret(got) == i64::from(wanted) {
        return Ok(());
    }
    Err(Error::Image(format!(
        "the kernel gave a System V object the id {} instead of {wanted}",
        done.ret(got)
    )))
}

/// The words of each line of such a list but the first, which names the columns.
pub fn lines(text: &str) -> impl Iterator<Item = Vec<&str>> {
    text.lines().skip(1).map(|line| line.split_ascii_whitespace().collect())
}

/// A number in a column.
pub fn column<T: std::str::FromStr>(words: &[&str], at: usize) -> Option<T> {
    words.get(at)?.parse().ok()
}

/// The key, which the lists show as a signed number.
pub fn key(words: &[&str]) -> Option<i32> {
    column::<i64>(words, 0).map(|key| key as i32)
}

/// Permission bits, in octal.
pub fn mode(words: &[&str]) -> Option<u32> {
    u32::from_str_radix(words.get(2)?, 8).ok()
}
