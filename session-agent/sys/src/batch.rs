//! Arrays of system calls, to be run in one go inside another process.
//!
//! A [`Batch`] collects calls and the bytes they point at. [`Batch::encode`] lays both out for an
//! address in the process that will run it; the interpreter (`INTERPRETER`, plain x86-64 code without
//! libc) then performs the calls one after the other, and [`Batch::decode`] reads what came of
//! them. A call may use what an earlier one returned ([`Arg::Ret`]), so "open this, put it at
//! descriptor 7" is one batch.
//!
//! This file is pure but for the interpreter's code: it runs nothing itself.

use libc::c_long;

use crate::pass;

/// Bytes of one encoded call: number, six arguments, result, flags.
const ENTRY: usize = 72;
const RET: usize = 56;
const FLAGS: usize = 64;
/// The call must succeed, or the batch stops there.
const MUST: u64 = 1 << 16;

/// What a system call returned: its value, or minus the errno.
pub type Ret = i64;

/// The result of the call with this index in its batch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RetOf(usize);

/// Bytes that travel with a batch; calls get their address. Readable after the run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Data {
    offset: usize,
    len: usize,
}

impl Data {
    /// The part that begins `by` bytes further on.
    #[must_use]
    pub fn skip(self, by: usize) -> Self {
        assert!(by <= self.len, "beyond the data");
        Self { offset: self.offset + by, len: self.len - by }
    }

    /// Length in bytes.
    #[must_use]
    pub fn len(self) -> usize {
        self.len
    }

    /// True for no bytes.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self.len == 0
    }
}

/// One argument of a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Arg {
    /// The value itself.
    Value(u64),
    /// What an earlier call of this batch returned.
    Ret(RetOf),
    /// The address of these bytes.
    Address(Data),
    /// The 32-bit number that stands there when the call is made: pipe2 and socketpair answer so.
    Load32(Data),
    /// The 64-bit number that stands there when the call is made.
    Load64(Data),
}

macro_rules! arg_from_unsigned { ($($t:ty),*) => { $(impl From<$t> for Arg { fn from(v: $t) -> Self { Self::Value(v as u64) } })* } }
arg_from_unsigned!(u8, u16, u32, u64, usize);
// Signed values are sign-extended, as the C library would pass them.
macro_rules! arg_from_signed { ($($t:ty),*) => { $(impl From<$t> for Arg { fn from(v: $t) -> Self { Self::Value(i64::from(v) as u64) } })* } }
arg_from_signed!(i8, i16, i32, i64);

impl From<RetOf> for Arg {
    fn from(ret: RetOf) -> Self {
        Self::Ret(ret)
    }
}

impl From<Data> for Arg {
    fn from(data: Data) -> Self {
        Self::Address(data)
    }
}

#[derive(Debug, Clone)]
struct Call {
    nr: c_long,
    args: [Arg; 6],
    /// It has six arguments, so that none is left for the pass.
    full: bool,
    must: bool,
    what: &'static str,
}

/// An array of system calls with their data.
#[derive(Debug, Clone, Default)]
pub struct Batch {
    calls: Vec<Call>,
    data: Vec<u8>,
}

/// What came of a batch.
#[derive(Debug, Clone)]
pub struct Done {
    rets: Vec<Ret>,
    data: Vec<u8>,
}

/// A call of a batch that had to succeed and did not.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{what} failed: {}", std::io::Error::from_raw_os_error(*errno))]
pub struct CallFailed {
    /// What the call was for.
    pub what: &'static str,
    /// Its index.
    pub index: usize,
    /// The error number.
    pub errno: i32,
}

impl Batch {
    /// An empty batch.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// True if there is nothing to run.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.calls.is_empty()
    }

    /// Number of calls.
    #[must_use]
    pub fn len(&self) -> usize {
        self.calls.len()
    }

    /// Adds a call that must succeed; the batch stops there otherwise. `what` names it in errors.
    ///
    /// # Panics
    /// If there are more than six arguments.
    pub fn must(&mut self, what: &'static str, nr: c_long, args: &[Arg]) -> RetOf {
        self.push(what, nr, args, true)
    }

    /// Adds a call that may fail; look at its result with [`Done::ret`].
    ///
    /// # Panics
    /// If there are more than six arguments.
    pub fn may(&mut self, what: &'static str, nr: c_long, args: &[Arg]) -> RetOf {
        self.push(what, nr, args, false)
    }

    fn push(&mut self, what: &'static str, nr: c_long, args: &[Arg], must: bool) -> RetOf {
        assert!(args.len() <= 6, "a system call has at most six arguments");
        let mut six = [Arg::Value(0); 6];
        six[..args.len()].copy_from_slice(args);
        let full = args.len() == 6 && nr != libc::SYS_mmap;
        self.calls.push(Call { nr, args: six, full, must, what });
        RetOf(self.calls.len() - 1)
    }

    /// Adds bytes, 16-byte aligned.
    pub fn data(&mut self, bytes: &[u8]) -> Data {
        let offset = self.data.len();
        self.data.extend_from_slice(bytes);
        self.data.resize(self.data.len().next_multiple_of(16), 0);
        Data { offset, len: bytes.len() }
    }

    /// Adds zeroed room for results, 16-byte aligned.
    pub fn room(&mut self, len: usize) -> Data {
        let offset = self.data.len();
        self.data.resize((offset + len).next_multiple_of(16), 0);
        Data { offset, len }
    }

    /// Adds a path or other string with its terminating zero. Bytes after an inner zero are lost.
    pub fn c_string(&mut self, bytes: &[u8]) -> Data {
        let mut owned = bytes.to_vec();
        owned.push(0);
        self.data(&owned)
    }

    /// Writes bytes into data that was added before.
    pub fn fill(&mut self, data: Data, at: usize, bytes: &[u8]) {
        assert!(at + bytes.len() <= data.len, "beyond the data");
        self.data[data.offset + at..data.offset + at + bytes.len()].copy_from_slice(bytes);
    }

    /// Makes the 64-bit word at `place` (inside `holder`) be the address of `target`, for
    /// structures that hold pointers. Takes effect in [`Batch::encode`]; call it before.
    pub fn pointer(&mut self, holder: Data, at: usize, target: Data) {
        assert!(at + 8 <= holder.len, "beyond the data");
        // An entry that does no more than getpid(2) stands for the relocation until the batch is laid out.
        let place = holder.offset + at;
        self.data[place..place + 8].copy_from_slice(&(target.offset as u64).to_le_bytes());
        let args = [Arg::Value(place as u64); 6];
        self.calls.push(Call { nr: -1, args, full: false, must: false, what: RELOCATION });
    }

    /// Makes the 64-bit word at `at` inside `holder` this value, for structures put together in parts.
    ///
    /// # Panics
    /// If it lies beyond the data.
    pub fn set_u64(&mut self, holder: Data, at: usize, value: u64) {
        assert!(at + 8 <= holder.len, "beyond the data");
        let place = holder.offset + at;
        self.data[place..place + 8].copy_from_slice(&value.to_le_bytes());
    }

    /// How many bytes the encoded batch takes.
    #[must_use]
    pub fn encoded_len(&self) -> usize {
        self.calls.len() * ENTRY + self.data.len()
    }

    /// Lays the batch out for running at `base`.
    #[must_use]
    pub fn encode(&self, base: u64) -> Vec<u8> {
        let data_base = base + (self.calls.len() * ENTRY) as u64;
        let mut out = Vec::with_capacity(self.encoded_len());
        let mut data = self.data.clone();
        for call in &self.calls {
            let mut flags = if call.must { MUST } else { 0 };
            let mut nr = call.nr as u64;
            let mut args = [0u64; 6];
            if call.what == RELOCATION {
                let Arg::Value(place) = call.args[0] else { unreachable!("made by pointer()") };
                let place = place as usize;
                let offset = u64::from_le_bytes(data[place..place + 8].try_into().expect("eight bytes"));
                data[place..place + 8].copy_from_slice(&(data_base + offset).to_le_bytes());
                nr = libc::SYS_getpid as u64; // harmless: the entry must be some call
            } else {
                for (i, arg) in call.args.iter().enumerate() {
                    args[i] = match *arg {
                        Arg::Value(v) => v,
                        Arg::Ret(RetOf(index)) => {
                            flags |= 1 << i;
                            base + (index * ENTRY + RET) as u64
                        }
                        Arg::Address(d) => data_base + d.offset as u64,
                        Arg::Load64(d) => {
                            flags |= 1 << i;
                            data_base + d.offset as u64
                        }
                        Arg::Load32(d) => {
                            flags |= 1 << (8 + i);
                            data_base + d.offset as u64
                        }
                    };
                }
            }
            // An argument that is loaded when the call is made is not to be written over.
            if !call.full && flags & (1 << 5 | 1 << 13) == 0 {
                pass::show(nr as i64, &mut args);
            }
            out.extend_from_slice(&nr.to_le_bytes());
            for a in args {
                out.extend_from_slice(&a.to_le_bytes());
            }
            // A call that is never reached must not look as if it had succeeded.
            out.extend_from_slice(&i64::from(-libc::ECANCELED).to_le_bytes());
            debug_assert_eq!(out.len() % ENTRY, FLAGS);
            out.extend_from_slice(&flags.to_le_bytes());
        }
        out.extend_from_slice(&data);
        out
    }

    /// Reads what a run left behind in the encoded bytes.
    ///
    /// # Errors
    /// The first call that had to succeed and did not.
    pub fn decode(&self, bytes: &[u8]) -> Result<Done, CallFailed> {
        let mut rets = Vec::with_capacity(self.calls.len());
        for (index, call) in self.calls.iter().enumerate() {
            let at = index * ENTRY + RET;
            let ret = Ret::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
            if call.must && (-4095..0).contains(&ret) {
                return Err(CallFailed { what: call.what, index, errno: -ret as i32 });
            }
            rets.push(ret);
        }
        Ok(Done { rets, data: bytes[self.calls.len() * ENTRY..].to_vec() })
    }
}

const RELOCATION: &str = "relocation";

impl Done {
    /// What the call returned, negative errno included.
    #[must_use]
    pub fn ret(&self, of: RetOf) -> Ret {
        self.rets[of.0]
    }

    /// The bytes as the calls left them.
    #[must_use]
    pub fn bytes(&self, data: Data) -> &[u8] {
        &self.data[data.offset..data.offset + data.len]
    }

    /// The 32-bit number at the beginning of the data.
    #[must_use]
    pub fn u32(&self, data: Data) -> u32 {
        u32::from_le_bytes(self.bytes(data)[..4].try_into().expect("four bytes"))
    }

    /// The 64-bit number at the beginning of the data.
    #[must_use]
    pub fn u64(&self, data: Data) -> u64 {
        u64::from_le_bytes(self.bytes(data)[..8].try_into().expect("eight bytes"))
    }
}

// The interpreter: position-independent, no stack, no libc.
//   r12 = first entry, r13 = number of entries
// It ends with int3, which the tracer waits for, and which may be written over (three bytes). `call` is a lone system call for single injections, `load` loads registers.
std::arch::global_asm!(
    ".pushsection .rodata.roam_stub,\"a\",@progbits",
    ".globl roam_stub_begin, roam_stub_last, roam_stub_call, roam_stub_load, roam_stub_end",
    ".hidden roam_stub_begin",
    ".hidden roam_stub_last",
    ".hidden roam_stub_call",
    ".hidden roam_stub_load",
    ".hidden roam_stub_end",
    ".macro roam_load index, reg",
    "  mov rax, [r12 + 8 + 8*\\index]",
    "  bt r14, \\index",
    "  jnc 771f",
    "  mov rax, [rax]",
    "771: bt r14, 8 + \\index",
    "  jnc 772f",
    "  mov eax, [rax]",
    "772: mov \\reg, rax",
    ".endm",
    "roam_stub_begin:",
    "770: test r13, r13",
    "  jz 779f",
    "  mov r14, [r12 + 64]",
    "  roam_load 0, rdi",
    "  roam_load 1, rsi",
    "  roam_load 2, rdx",
    "  roam_load 3, r10",
    "  roam_load 4, r8",
    "  roam_load 5, r9",
    "  mov rax, [r12]",
    "  syscall",
    "  mov [r12 + 56], rax",
    "  bt r14, 16",
    "  jnc 773f",
    "  cmp rax, -4095",
    "  jae 779f",
    "773: add r12, 72",
    "  dec r13",
    "  jmp 770b",
    "779:",
    "roam_stub_last: int3",
    "  nop",
    "  nop",
    "roam_stub_call: syscall",
    "  int3",
    "  nop",
    "roam_stub_load: xrstor64 [r12]",
    "  int3",
    "  nop",
    "roam_stub_end:",
    ".popsection",
);

unsafe extern "C" {
    static roam_stub_begin: u8;
    static roam_stub_last: u8;
    static roam_stub_call: u8;
    static roam_stub_load: u8;
    static roam_stub_end: u8;
}

/// The interpreter's machine code. Entry at offset 0 with `r12` = first entry, `r13` = count.
#[must_use]
pub fn interpreter() -> &'static [u8] {
    // SAFETY: both symbols delimit one constant block emitted by the global_asm above.
    unsafe {
        let begin = &raw const roam_stub_begin;
        let end = &raw const roam_stub_end;
        std::slice::from_raw_parts(begin, end.offset_from(begin) as usize)
    }
}

/// Offset in [`interpreter`] of a lone `syscall` instruction followed by `int3`.
#[must_use]
pub fn lone_call_offset() -> u64 {
    // SAFETY: both symbols lie in the same constant block.
    unsafe { (&raw const roam_stub_call).offset_from(&raw const roam_stub_begin) as u64 }
}

/// Offset in [`interpreter`] of a lone `xrstor64 [r12]` followed by `int3`.
#[must_use]
pub(crate) fn load_offset() -> u64 {
    // SAFETY: both symbols lie in the same constant block.
    unsafe { (&raw const roam_stub_load).offset_from(&raw const roam_stub_begin) as u64 }
}

/// Offset in [`interpreter`] of its end, which has room for another of three bytes.
#[must_use]
pub fn end_offset() -> u64 {
    // SAFETY: both symbols lie in the same constant block.
    unsafe { (&raw const roam_stub_last).offset_from(&raw const roam_stub_begin) as u64 }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_and_data_come_back_by_handle() {
        let mut batch = Batch::new();
        let room = batch.room(8);
        let first = batch.must("pipe", libc::SYS_pipe2, &[room.into(), 0u32.into()]);
        let second = batch.may("close", libc::SYS_close, &[Arg::Load32(room)]);
        let mut bytes = batch.encode(0x1000);
        assert_eq!(bytes.len(), batch.encoded_len());
        bytes[RET..RET + 8].copy_from_slice(&0i64.to_le_bytes());
        bytes[ENTRY + RET..ENTRY + RET + 8].copy_from_slice(&(-9i64).to_le_bytes());
        let done = batch.decode(&bytes).unwrap();
        assert_eq!((done.ret(first), done.ret(second)), (0, -9));
        assert_eq!(done.bytes(room).len(), 8);
    }

    #[test]
    fn a_failed_must_is_named() {
        let mut batch = Batch::new();
        batch.must("opening the log", libc::SYS_openat, &[]);
        let mut bytes = batch.encode(0);
        bytes[RET..RET + 8].copy_from_slice(&(-2i64).to_le_bytes());
        let failed = batch.decode(&bytes).unwrap_err();
        assert_eq!((failed.what, failed.errno), ("opening the log", 2));
        assert_eq!(failed.to_string(), "opening the log failed: No such file or directory (os error 2)");
    }

    #[test]
    fn pointers_inside_structures_become_addresses() {
        let mut batch = Batch::new();
        let target = batch.data(b"hello");
        let holder = batch.room(16);
        batch.pointer(holder, 8, target);
        let bytes = batch.encode(0x10000);
        let data_base = 0x10000 + ENTRY as u64;
        let at = ENTRY + 16 + 8;
        assert_eq!(u64::from_le_bytes(bytes[at..at + 8].try_into().unwrap()), data_base);
    }
}
