//! Capabilities of a thread in a user namespace below the pod's: all five sets and the secure bits.
//!
//! Programs have none in the pod's own; who makes a user namespace has all in it, and may give up some. Whoever
//! enters one has all again, so they are cut down at the end. What this kernel has no name for is left out.

use roam_sys::batch::{Batch, Data, RetOf};
use roam_sys::procfs::status;
use serde::{Deserialize, Serialize};

use crate::error::Error;

const PR_GET_SECUREBITS: i32 = 27;
const PR_SET_SECUREBITS: i32 = 28;
const PR_CAPBSET_DROP: i32 = 24;
const PR_CAP_AMBIENT: i32 = 47;
const PR_CAP_AMBIENT_RAISE: i32 = 2;
const PR_CAP_AMBIENT_CLEAR_ALL: i32 = 4;
const VERSION_3: u32 = 0x2008_0522;
/// The kernel's masks have 64 bits.
const MOST: u32 = 64;

/// The sets, a bit for each capability.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Capabilities {
    /// In force.
    pub effective: u64,
    /// What may be put in force.
    pub permitted: u64,
    /// What execve(2) may keep.
    pub inheritable: u64,
    /// What it can give at most.
    pub bounding: u64,
    /// What it keeps.
    pub ambient: u64,
    /// PR_SET_SECUREBITS.
    pub secure_bits: u32,
}

/// Adds the question that only the thread can answer.
pub fn ask(batch: &mut Batch) -> RetOf {
    batch.may("reading its secure bits", libc::SYS_prctl, &[PR_GET_SECUREBITS.into()])
}

/// Those of a thread, given that answer.
///
/// # Errors
/// If the thread is gone.
pub fn of(host: i32, tid: i32, secure_bits: i64) -> Result<Capabilities, Error> {
    let status = status::read_thread(host, tid)
        .map_err(|e| Error::system(format!("reading the capabilities of thread {tid}"), e))?;
    let [inheritable, permitted, effective, bounding, ambient] = status.capabilities;
    let secure_bits = u32::try_from(secure_bits).unwrap_or(0);
    Ok(Capabilities { effective, permitted, inheritable, bounding, ambient, secure_bits })
}

impl Capabilities {
    /// Adds the calls of a thread that has just entered the user namespace and has all of them.
    pub fn restore(&self, batch: &mut Batch) {
        const DOING: &str = "giving up capabilities";
        let prctl = |batch: &mut Batch, option: i32, two: u32, three: u32| {
            batch.may(DOING, libc::SYS_prctl, &[option.into(), two.into(), three.into(), 0.into(), 0.into()]);
        };
        let bits = |mask: u64| (0..MOST).filter(move |bit| mask >> bit & 1 == 1);
        let set = |batch: &mut Batch, effective: u64, permitted: u64| {
            let header = batch.data(&[VERSION_3.to_le_bytes(), [0; 4]].concat());
            let sets = sets(batch, effective, permitted, self.inheritable);
            batch.must(DOING, libc::SYS_capset, &[header.into(), sets.into()]);
        };
        // Those that the rest needs go last.
        set(batch, u64::MAX, u64::MAX);
        for bit in bits(self.ambient) {
            prctl(batch, PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE as u32, bit);
        }
        for bit in bits(!self.bounding) {
            prctl(batch, PR_CAPBSET_DROP, bit, 0);
        }
        prctl(batch, PR_SET_SECUREBITS, self.secure_bits, 0);
        set(batch, self.effective, self.permitted);
    }
}

/// Adds the calls that give all of them up.
pub fn give_up(batch: &mut Batch) {
    let clear = [PR_CAP_AMBIENT.into(), PR_CAP_AMBIENT_CLEAR_ALL.into(), 0.into(), 0.into(), 0.into()];
    batch.must("giving up ambient privileges", libc::SYS_prctl, &clear);
    let header = batch.data(&[VERSION_3.to_le_bytes(), [0; 4]].concat());
    let none = sets(batch, 0, 0, 0);
    batch.must("giving up privileges", libc::SYS_capset, &[header.into(), none.into()]);
}

/// struct __user_cap_data_struct twice: the lower halves, then the upper ones.
fn sets(batch: &mut Batch, effective: u64, permitted: u64, inheritable: u64) -> Data {
    let half =
        |shift: u32| [effective, permitted, inheritable].map(|set| ((set >> shift) as u32).to_le_bytes());
    batch.data(&[half(0).concat(), half(32).concat()].concat())
}
