//! System V message queues: what is queued, in order, with types; the limit, the last sender and receiver.
//!
//! Messages are read as copies (MSG_COPY, in kernels with CONFIG_CHECKPOINT_RESTORE, which kcmp needs too),
//! so that the source is left as it was. Those that wait to send or to receive make their call again.
//!
//! What differs afterwards: the times, last sender or receiver if they have ended.

use roam_sys::batch::{Batch, Data, RetOf};
use serde::{Deserialize, Serialize};

use super::helper::Helper;
use super::ipc::{self, check_id, column, lines, want_id};
use crate::error::Error;
use crate::stubs::Stubs;

const MSG_COPY: i32 = 0o40000;
/// struct msqid64_ds.
const STAT: usize = 120;
const QBYTES: usize = 88;
/// Bytes asked for, or sent, in one batch.
const BYTES: usize = 256 << 10;

/// A queue.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Queue {
    /// Its id.
    pub msqid: i32,
    /// Its key.
    pub key: i32,
    /// Permission bits.
    pub mode: u32,
    /// Bytes that it takes.
    pub limit: u64,
    /// Last sender and last receiver, 0 for none.
    pub last: [i32; 2],
    /// What is queued: type and text.
    pub messages: Vec<(i64, Vec<u8>)>,
}

/// A queue of the list.
#[derive(Debug, PartialEq, Eq)]
pub struct Listed {
    msqid: i32,
    key: i32,
    mode: u32,
    bytes: usize,
    messages: usize,
    last: [i32; 2],
}

/// The queues of the list.
pub fn parse(text: &str) -> Vec<Listed> {
    lines(text)
        .filter_map(|words| {
            Some(Listed {
                key: ipc::key(&words)?,
                msqid: column(&words, 1)?,
                mode: ipc::mode(&words)?,
                bytes: column(&words, 3)?,
                messages: column(&words, 4)?,
                last: [column(&words, 5)?, column(&words, 6)?],
            })
        })
        .collect()
}

/// Copies what is queued.
///
/// # Errors
/// A failed call.
pub fn capture(listed: Vec<Listed>, helper: &mut Helper) -> Result<Vec<Queue>, Error> {
    listed.into_iter().map(|queue| copy(&queue, helper)).collect()
}

fn copy(listed: &Listed, helper: &mut Helper) -> Result<Queue, Error> {
    let mut batch = Batch::new();
    let stat = batch.room(STAT);
    let ask = [listed.msqid.into(), libc::IPC_STAT.into(), stat.into()];
    batch.must("reading a message queue", libc::SYS_msgctl, &ask);
    let done = helper.run(&batch)?;
    let limit = done.u64(stat.skip(QBYTES));
    let mut messages = Vec::with_capacity(listed.messages);
    // No message is longer than all of them.
    let room = 8 + listed.bytes;
    while messages.len() < listed.messages {
        let many = (BYTES / room).clamp(1, listed.messages - messages.len());
        let mut batch = Batch::new();
        let asked: Vec<(Data, RetOf)> = (messages.len()..messages.len() + many)
            .map(|index| {
                let data = batch.room(room);
                let flags = MSG_COPY | libc::IPC_NOWAIT;
                let ask = [listed.msqid.into(), data.into(), listed.bytes.into(), index.into(), flags.into()];
                (data, batch.must("copying a message", libc::SYS_msgrcv, &ask))
            })
            .collect();
        let done = helper.run(&batch)?;
        for (data, ret) in asked {
            let text = done.bytes(data)[8..][..done.ret(ret) as usize].to_vec();
            messages.push((done.u64(data) as i64, text));
        }
    }
    let Listed { msqid, key, mode, last, .. } = *listed;
    Ok(Queue { msqid, key, mode, limit, last, messages })
}

/// Makes the queues anew.
///
/// # Errors
/// A call that had to succeed and did not.
pub fn restore(queues: &[Queue], processes: &[i32], stubs: &mut dyn Stubs) -> Result<(), Error> {
    for queue in queues {
        let mut batch = Batch::new();
        want_id("msg", queue.msqid, &mut batch);
        let flags = libc::IPC_CREAT | libc::IPC_EXCL | (queue.mode & 0o777) as i32;
        let got = batch.must("making a message queue", libc::SYS_msgget, &[queue.key.into(), flags.into()]);
        let stat = batch.room(STAT);
        let ask = [got.into(), libc::IPC_STAT.into(), stat.into()];
        batch.must("reading a message queue", libc::SYS_msgctl, &ask);
        let done = stubs.run(stubs.holder(), &batch)?;
        check_id(&done, got, queue.msqid)?;
        let mut settings = done.bytes(stat).to_vec();
        let by = |pid: i32, stubs: &dyn Stubs| if processes.contains(&pid) { pid } else { stubs.holder() };
        let [sender, receiver] = queue.last.map(|pid| by(pid, stubs));
        if queue.last != [0, 0] {
            // Something goes through, so that both are noted.
            run(sender, stubs, |batch| send(queue.msqid, 1, &[], batch))?;
            run(receiver, stubs, |batch| {
                let data = batch.room(8);
                let take = [queue.msqid.into(), data.into(), 0.into(), 0.into(), libc::IPC_NOWAIT.into()];
                batch.must("emptying a message queue", libc::SYS_msgrcv, &take);
            })?;
        }
        let mut batch = Batch::new();
        for (number, text) in &queue.messages {
            send(queue.msqid, *number, text, &mut batch);
            if batch.encoded_len() > BYTES {
                stubs.run(sender, &std::mem::take(&mut batch))?;
            }
        }
        settings[QBYTES..QBYTES + 8].copy_from_slice(&queue.limit.to_le_bytes());
        let settings = batch.data(&settings);
        let set = [queue.msqid.into(), libc::IPC_SET.into(), settings.into()];
        batch.must("setting a message queue's limit", libc::SYS_msgctl, &set);
        stubs.run(sender, &batch)?;
    }
    Ok(())
}

fn run(pid: i32, stubs: &mut dyn Stubs, calls: impl FnOnce(&mut Batch)) -> Result<(), Error> {
    let mut batch = Batch::new();
    calls(&mut batch);
    stubs.run(pid, &batch).map(drop)
}

fn send(msqid: i32, number: i64, text: &[u8], batch: &mut Batch) {
    let data = batch.data(&[&number.to_le_bytes(), text].concat());
    let args = [msqid.into(), data.into(), text.len().into(), libc::IPC_NOWAIT.into()];
    batch.must("queueing a message", libc::SYS_msgsnd, &args);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_list_parses() {
        let text = "       key      msqid perms      cbytes       qnum lspid lrpid   uid   gid  cuid  cgid\n\
                    0          7   600          12          3    41     0  1000  1000  1000  1000\n";
        let last = [41, 0];
        assert_eq!(parse(text), [Listed { msqid: 7, key: 0, mode: 0o600, bytes: 12, messages: 3, last }]);
    }
}
