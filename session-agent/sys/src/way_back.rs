//! The way back of a borrowed thread: code, and the registers it had, in the traced process itself.
//!
//! When a tracer dies, whatever it stopped runs on from where it stands. A thread in the middle of
//! an injection therefore always stands in front of this code: it puts the signal mask and every register
//! back, and the thread goes on as if it had never been borrowed. While the tracer lives, it never gets
//! there.
//!
//! Two things stop the thread for the tracer without harming it if there is none: a lone call is
//! run from its entry to its exit (PTRACE_SYSCALL), and at the end of a batch a pending signal that programs
//! ignore is unblocked. A breakpoint or a single step would be a SIGTRAP, which kills.
//!
//! The code lies in the padding behind a program's own code, in the last page of its text: that is
//! there before anything is injected, executable, and nobody's ([`padding`]).

use std::io;

use crate::memory::{self, MemFile};
use crate::procfs::maps;
use crate::ptrace::{Registers, is_other_code};

// rsp is the program's own whenever a signal can be delivered. After `back`, flags must not change but
// by what is restored; a system call keeps them.
std::arch::global_asm!(
    ".pushsection .rodata.roam_back,\"a\",@progbits",
    ".globl roam_back_begin, roam_back_end, roam_back_now, roam_back_finish, roam_back_words",
    ".globl roam_back_limit, roam_back_jump",
    ".hidden roam_back_begin",
    ".hidden roam_back_end",
    ".hidden roam_back_now",
    ".hidden roam_back_finish",
    ".hidden roam_back_words",
    ".hidden roam_back_limit",
    ".hidden roam_back_jump",
    // A lone call. Whoever comes further than this has no tracer: what was made is taken back.
    "roam_back_begin: syscall",
    "  mov rdi, rax",
    "  mov rax, [rip + roam_back_words + 32]",
    "  test rax, rax",
    "  js roam_back_now",
    "  test rdi, rdi",
    "  js roam_back_now",
    "  mov r9, [rip + roam_back_words + 168]",
    "  syscall",
    "  jmp roam_back_now",
    // The end of a batch: unblocks the signal that tells the tracer.
    "roam_back_end: mov eax, 14",
    "  mov edi, 2",
    "  lea rsi, [rip + roam_back_words + 24]",
    "  xor edx, edx",
    "  mov r10d, 8",
    "  mov r9, [rip + roam_back_words + 168]",
    "  syscall",
    "roam_back_now: lea rsp, [rip + roam_back_words]",
    "  popfq",
    "  mov rsp, [rip + roam_back_words + 8]",
    // From here on the mask may be the program's already or not yet.
    "roam_back_finish: mov eax, 14",
    "  mov edi, 2",
    "  lea rsi, [rip + roam_back_words + 16]",
    "  mov edx, 0",
    "  mov r10d, 8",
    "  mov r9, [rip + roam_back_words + 168]",
    "  syscall",
    "  mov rax, [rip + roam_back_words + 48]",
    "  mov rbx, [rip + roam_back_words + 56]",
    "  mov rcx, [rip + roam_back_words + 64]",
    "  mov rdx, [rip + roam_back_words + 72]",
    "  mov rsi, [rip + roam_back_words + 80]",
    "  mov rdi, [rip + roam_back_words + 88]",
    "  mov rbp, [rip + roam_back_words + 96]",
    "  mov r8, [rip + roam_back_words + 104]",
    "  mov r9, [rip + roam_back_words + 112]",
    "  mov r10, [rip + roam_back_words + 120]",
    "  mov r11, [rip + roam_back_words + 128]",
    "  mov r12, [rip + roam_back_words + 136]",
    "  mov r13, [rip + roam_back_words + 144]",
    "  mov r14, [rip + roam_back_words + 152]",
    "  mov r15, [rip + roam_back_words + 160]",
    "roam_back_jump: jmp [rip + roam_back_words + 40]",
    "  .balign 8",
    // flags, rsp, mask, mask at the end of a batch, call that takes back, rip, the other registers, pass
    "roam_back_words: .fill 22, 8, 0",
    "roam_back_limit:",
    ".popsection",
);

unsafe extern "C" {
    static roam_back_begin: u8;
    static roam_back_end: u8;
    static roam_back_now: u8;
    static roam_back_finish: u8;
    static roam_back_jump: u8;
    static roam_back_words: u8;
    static roam_back_limit: u8;
}

/// Offsets in the code.
#[derive(Debug, Clone, Copy)]
struct Offsets {
    end: u64,
    now: u64,
    finish: u64,
    jump: u64,
    words: u64,
    length: u64,
}

fn offsets() -> Offsets {
    // SAFETY: all symbols lie in the one constant block above; only their distances are taken.
    unsafe {
        let begin = &raw const roam_back_begin;
        let of = |symbol: *const u8| symbol.offset_from(begin) as u64;
        Offsets {
            end: of(&raw const roam_back_end),
            now: of(&raw const roam_back_now),
            finish: of(&raw const roam_back_finish),
            jump: of(&raw const roam_back_jump),
            words: of(&raw const roam_back_words),
            length: of(&raw const roam_back_limit),
        }
    }
}

fn code() -> &'static [u8] {
    // SAFETY: the first and the last symbol delimit one constant block.
    unsafe { std::slice::from_raw_parts(&raw const roam_back_begin, offsets().length as usize) }
}

/// How many bytes it takes.
#[must_use]
pub fn length() -> u64 {
    offsets().length
}

/// Code that lies in a traced process.
#[derive(Debug)]
pub struct WayBack {
    pid: i32,
    at: u64,
    before: Vec<u8>,
}

impl WayBack {
    /// Writes it there, for a thread with these registers and this mask that waits with `marked` as mask
    /// for the end of a batch.
    ///
    /// # Errors
    /// If nothing can be written there.
    pub fn lay(pid: i32, at: u64, registers: &Registers, mask: u64, marked: u64) -> io::Result<Self> {
        let mut before = vec![0; code().len()];
        let file = MemFile::open(pid)?;
        file.read(at, &mut before)?;
        let mut bytes = code()[..offsets().words as usize].to_vec();
        if is_other_code(registers) {
            // jmp m64 is FF /4, jmp m16:32 is FF /5.
            bytes[offsets().jump as usize + 1] |= 5 << 3;
        }
        for word in words(registers, mask, marked) {
            bytes.extend_from_slice(&word.to_le_bytes());
        }
        file.write(at, &bytes)?;
        Ok(Self { pid, at, before })
    }

    /// What was there before is there again.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn lift(self) -> io::Result<()> {
        MemFile::open(self.pid)?.write(self.at, &self.before)
    }

    /// Says by which call the next lone call is taken back if nobody sees its result, which becomes
    /// the first argument; the others stay.
    ///
    /// # Errors
    /// If it can't be written.
    pub fn take_back_by(&self, nr: Option<i64>) -> io::Result<()> {
        let nr = nr.unwrap_or(-1);
        MemFile::open(self.pid)?.write(self.at + offsets().words + 32, &nr.to_le_bytes())
    }

    /// Where a lone call is made.
    #[must_use]
    pub fn call(&self) -> u64 {
        self.at
    }

    /// Where a batch goes at its end.
    #[must_use]
    pub fn end(&self) -> u64 {
        self.at + offsets().end
    }

    /// From here the thread goes back, mask and all.
    #[must_use]
    pub fn now(&self) -> u64 {
        self.at + offsets().now
    }

    /// From here it does once flags and stack pointer are as they were, whatever the mask.
    #[must_use]
    pub fn finish(&self) -> u64 {
        self.at + offsets().finish
    }
}

fn words(registers: &Registers, mask: u64, marked: u64) -> [u64; 22] {
    let r = as_restarted(registers);
    let none = u64::MAX;
    [
        r.eflags,
        r.rsp,
        mask,
        marked,
        none,
        // Of a far jump: the address, 32 bits, and the selector behind it.
        if is_other_code(&r) { r.cs << 32 | r.rip & 0xffff_ffff } else { r.rip },
        r.rax,
        r.rbx,
        r.rcx,
        r.rdx,
        r.rsi,
        r.rdi,
        r.rbp,
        r.r8,
        r.r9,
        r.r10,
        r.r11,
        r.r12,
        r.r13,
        r.r14,
        r.r15,
        crate::pass::get(),
    ]
}

/// As the kernel would restart a system call that the stop interrupted, had it had the chance.
fn as_restarted(registers: &Registers) -> Registers {
    // ERESTARTSYS, ERESTARTNOINTR, ERESTARTNOHAND; ERESTART_RESTARTBLOCK (linux/errno.h).
    let mut r = *registers;
    if (r.orig_rax as i64) < 0 {
        return r;
    }
    let again = match r.rax as i64 {
        -514..=-512 => r.orig_rax,
        -516 => libc::SYS_restart_syscall as u64,
        _ => return r,
    };
    r.rax = again;
    r.rip -= 2;
    r
}

const PAGE: u64 = 4096;
const ELF_HEAD: usize = 64;
const PROGRAM_HEAD: usize = 56;

/// Finds room behind the code of one of the process's programs or libraries: the rest of the last page
/// of its text, which the file's own headers give to nothing.
///
/// # Errors
/// If the process can't be looked at.
pub fn padding(pid: i32, need: u64) -> io::Result<Option<u64>> {
    let areas = maps::read(pid)?;
    let executable = libc::PROT_READ | libc::PROT_EXEC;
    for text in areas.iter().filter(|a| !a.shared && a.inode != 0 && a.prot == executable) {
        let same = |a: &&maps::Area| (a.device, a.inode, a.offset) == (text.device, text.inode, 0);
        let Some(head) = areas.iter().find(same) else { continue };
        let Ok(head) = memory::read_vec(pid, head.start, head.len().min(PAGE) as usize) else { continue };
        let Some(end) = code_end(&head, text) else { continue };
        let at = end.next_multiple_of(16);
        if text.end.saturating_sub(at) >= need && text.end - at < PAGE {
            return Ok(Some(at));
        }
    }
    Ok(None)
}

/// Where the code of an ELF file ends that is mapped as this area.
fn code_end(head: &[u8], text: &maps::Area) -> Option<u64> {
    let number = |at: usize, len: usize| -> Option<u64> {
        let mut bytes = [0; 8];
        bytes[..len].copy_from_slice(head.get(at..at + len)?);
        Some(u64::from_le_bytes(bytes))
    };
    if head.len() < ELF_HEAD || head[..5] != *b"\x7fELF\x02" || number(54, 2)? != PROGRAM_HEAD as u64 {
        return None;
    }
    let (table, count) = (usize::try_from(number(32, 8)?).ok()?, number(56, 2)? as usize);
    (0..count.min(64)).find_map(|index| {
        let at = table.checked_add(index * PROGRAM_HEAD)?;
        let (kind, flags) = (number(at, 4)?, number(at + 4, 4)?);
        let (offset, in_file) = (number(at + 8, 8)?, number(at + 32, 8)?);
        let code = kind == u64::from(libc::PT_LOAD) && flags & u64::from(libc::PF_X) != 0;
        let here = code && offset / PAGE * PAGE == text.offset;
        let end = text.start.checked_add(offset.checked_sub(text.offset)?)?.checked_add(in_file)?;
        (here && end <= text.end).then_some(end)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_interrupted_call_is_made_again() {
        // SAFETY: plain numbers.
        let blank: Registers = unsafe { std::mem::zeroed() };
        let at = |orig: i64, rax: i64| {
            let r = as_restarted(&Registers { orig_rax: orig as u64, rax: rax as u64, rip: 100, ..blank });
            (r.rax as i64, r.rip)
        };
        assert_eq!(at(7, -514), (7, 98));
        assert_eq!(at(7, -516), (219, 98));
        assert_eq!(at(7, -4), (-4, 100));
        assert_eq!(at(-1, -512), (-512, 100));
    }

    #[test]
    fn this_program_has_padding_and_garbage_has_none() {
        let at = padding(std::process::id() as i32, length()).unwrap();
        assert!(at.is_some());
        let text = maps::read(std::process::id() as i32).unwrap().remove(0);
        assert_eq!(code_end(&[0x7f; 300], &text), None);
        assert_eq!(code_end(b"\x7fELF\x02", &text), None);
    }
}
