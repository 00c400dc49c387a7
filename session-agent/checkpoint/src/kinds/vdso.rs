//! The vdso: kernel code that every process has and whose addresses programs remember.
//!
//! The code belongs to the kernel it came from, so the target's processes get their own from the
//! target's kernel, at another place, and what the program remembers becomes a page of jumps: the old
//! bytes stay where they were, and at the entry of each function stands a jump to the same
//! function of the new kernel, or the system call itself if it has none. This is done between equal
//! kernels too, so that the one path is the tested one. The page carries a mark; at the next move
//! it is recognised and its jumps are set anew, so chains don't grow.
//!
//! Threads that are inside the vdso, or such a page, are stepped out of it before they are captured.

use std::collections::HashMap;

use roam_sys::memory;
use roam_sys::procfs::maps::{self, Area};

/// The mark, in the padding of the ELF identification.
const MARK: &[u8; 7] = b"ROAMjmp";
const MARK_AT: usize = 9;
/// `jmp [rip+0]` and its 64-bit address.
const JUMP: usize = 14;

/// A function of a vdso: offset and size.
type Symbols = HashMap<Vec<u8>, (u64, u64)>;

/// True if these bytes begin a page of jumps made by [`redirect`].
fn is_marked(head: &[u8]) -> bool {
    head.starts_with(b"\x7fELF") && head.get(MARK_AT..MARK_AT + MARK.len()) == Some(MARK.as_slice())
}

/// Whether an area of a process is such a page.
#[must_use]
pub fn is_jumps(host: i32, area: &Area) -> bool {
    let may_be = area.name.is_empty()
        && area.inode == 0
        && area.prot == libc::PROT_READ | libc::PROT_EXEC
        && area.len() <= 0x10000;
    let mut head = [0; 64];
    may_be && memory::read(host, area.start, &mut head).is_ok() && is_marked(&head)
}

/// Where a process has its vdso and the pages of jumps: begin and end of each.
///
/// # Errors
/// If its memory map can't be read.
pub fn places(host: i32) -> std::io::Result<Vec<(u64, u64)>> {
    let mut areas = maps::read(host)?;
    areas.retain(|area| area.name == b"[vdso]" || is_jumps(host, area));
    Ok(areas.iter().map(|area| (area.start, area.end)).collect())
}

/// The functions that a vdso exports. None if the bytes are no vdso.
#[must_use]
pub fn symbols(image: &[u8]) -> Option<Symbols> {
    let word = |at: usize| -> Option<u64> {
        Some(u64::from_le_bytes(image.get(at..at.checked_add(8)?)?.try_into().ok()?))
    };
    let half = |at: usize| -> Option<u16> {
        Some(u16::from_le_bytes(image.get(at..at.checked_add(2)?)?.try_into().ok()?))
    };
    if !image.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let headers = word(32)? as usize;
    let count = half(56)? as usize;
    let mut dynamic = None;
    for i in 0..count {
        let at = headers.checked_add(i * 56)?;
        let kind = u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?);
        if kind == 2 {
            dynamic = Some(word(at + 16)? as usize);
        }
    }
    let mut at = dynamic?;
    let (mut table, mut strings) = (None, None);
    loop {
        match word(at)? {
            0 => break,
            5 => strings = Some(word(at + 8)? as usize),
            6 => table = Some(word(at + 8)? as usize),
            _ => {}
        }
        at += 16;
    }
    let (table, strings) = (table?, strings?);
    let mut found = Symbols::new();
    // The string table follows the symbols in every vdso; there is no other count without hashes.
    for at in (table..strings.max(table)).step_by(24) {
        let name = u32::from_le_bytes(image.get(at..at + 4)?.try_into().ok()?) as usize;
        let section = half(at + 6)?;
        let (value, size) = (word(at + 8)?, word(at + 16)?);
        let kind = image.get(at + 4)? & 0xf;
        if section == 0 || value == 0 || kind > 2 || kind == 1 {
            continue;
        }
        let tail = image.get(strings.checked_add(name)?..)?;
        let end = tail.iter().position(|b| *b == 0)?;
        found.insert(tail[..end].to_vec(), (value, size));
    }
    Some(found)
}

/// Turns the bytes of a vdso, or of an earlier page of jumps, into jumps to `target`'s functions.
///
/// # Errors
/// If the bytes are no vdso.
pub fn redirect(page: &mut [u8], target: &Symbols, target_base: u64) -> Result<(), String> {
    let old = symbols(page).ok_or("the saved vdso is damaged")?;
    for (name, (offset, size)) in &old {
        // Several names share one address; one of them may be shorter than a jump only by mistake.
        if (*size as usize) < JUMP && *size != 0 {
            continue;
        }
        let at = *offset as usize;
        let Some(place) = page.get_mut(at..at + JUMP) else {
            return Err("the saved vdso is damaged".to_owned());
        };
        if let Some((to, _)) = target.get(name) {
            place[..6].copy_from_slice(&[0xff, 0x25, 0, 0, 0, 0]);
            place[6..].copy_from_slice(&(target_base + to).to_le_bytes());
            continue;
        }
        let mut code = substitute(name);
        if code.len() > JUMP.max(*size as usize) {
            code = no_such_call();
        }
        let place = page.get_mut(at..at + code.len()).ok_or("the saved vdso is damaged")?;
        place.copy_from_slice(&code);
    }
    page[MARK_AT..MARK_AT + MARK.len()].copy_from_slice(MARK);
    Ok(())
}

/// Code for a function that the target's kernel lacks: the system call itself, with the same arguments.
fn substitute(name: &[u8]) -> Vec<u8> {
    let nr = match name.strip_prefix(b"__vdso_").unwrap_or(name) {
        b"clock_gettime" => libc::SYS_clock_gettime,
        b"clock_getres" => libc::SYS_clock_getres,
        b"gettimeofday" => libc::SYS_gettimeofday,
        b"time" => libc::SYS_time,
        b"getcpu" => libc::SYS_getcpu,
        b"getrandom" => {
            // Its two further arguments are the program's state. With a length of ~0 for that it is asked what the
            // state must be like; that has no answer here, and whoever asked makes the system call.
            let call = call(libc::SYS_getrandom);
            // cmp r8, -1; je behind the call
            return [&[0x49, 0x83, 0xf8, 0xff, 0x74, call.len() as u8][..], &call, &no_such_call()].concat();
        }
        // Of enclaves (SGX): there is no such call.
        _ => return no_such_call(),
    };
    call(nr)
}

/// `mov eax, nr; syscall; ret`.
fn call(nr: libc::c_long) -> Vec<u8> {
    [&[0xb8][..], &(nr as u32).to_le_bytes(), &[0x0f, 0x05, 0xc3]].concat()
}

/// `mov rax, -ENOSYS; ret`: some return 64 bits.
fn no_such_call() -> Vec<u8> {
    [&[0x48, 0xc7, 0xc0][..], &(-libc::ENOSYS).to_le_bytes(), &[0xc3]].concat()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn own() -> Vec<u8> {
        let pid = std::process::id() as i32;
        let area = maps::read(pid).unwrap().into_iter().find(|a| a.name == b"[vdso]").unwrap();
        memory::read_vec(pid, area.start, area.len() as usize).unwrap()
    }

    #[test]
    fn this_kernels_functions_are_found() {
        let found = symbols(&own()).unwrap();
        assert!(found.contains_key(b"__vdso_clock_gettime".as_slice()), "{found:?}");
    }

    #[test]
    fn jumps_lead_to_the_new_place_and_again_after_the_next_move() {
        let mut page = own();
        let target = symbols(&page).unwrap();
        let (offset, _) = target[b"__vdso_clock_gettime".as_slice()];
        for base in [0x6000_0000_0000u64, 0x6100_0000_0000] {
            redirect(&mut page, &target, base).unwrap();
            assert!(is_marked(&page));
            let at = offset as usize;
            assert_eq!(page[at..at + 6], [0xff, 0x25, 0, 0, 0, 0]);
            assert_eq!(page[at + 6..at + 14], (base + offset).to_le_bytes());
        }
    }

    #[test]
    fn a_missing_function_becomes_its_system_call() {
        let mut page = own();
        let (offset, _) = symbols(&page).unwrap()[b"__vdso_clock_gettime".as_slice()];
        redirect(&mut page, &Symbols::new(), 0).unwrap();
        assert_eq!(page[offset as usize], 0xb8);
        assert_eq!(page[offset as usize + 1..][..4], (libc::SYS_clock_gettime as u32).to_le_bytes());
    }

    #[test]
    fn a_missing_getrandom_is_the_system_call_and_knows_no_state() {
        let code = substitute(b"__vdso_getrandom");
        let (asked, call, answer) = (&code[..6], &code[6..14], &code[14..]);
        assert_eq!(asked, [0x49, 0x83, 0xf8, 0xff, 0x74, 8]);
        assert_eq!(call, [0xb8, 0x3e, 1, 0, 0, 0x0f, 0x05, 0xc3]);
        assert_eq!(answer, [0x48, 0xc7, 0xc0, 0xda, 0xff, 0xff, 0xff, 0xc3]);
        let mut page = own();
        if let Some((offset, _)) = symbols(&page).unwrap().get(b"__vdso_getrandom".as_slice()) {
            redirect(&mut page, &Symbols::new(), 0).unwrap();
            assert_eq!(page[*offset as usize..][..code.len()], code);
        }
    }

    #[test]
    fn every_function_of_this_kernel_has_a_system_call_but_that_of_enclaves() {
        for name in symbols(&own()).unwrap().keys() {
            let enclave = name.ends_with(b"sgx_enter_enclave");
            assert_eq!(substitute(name) == no_such_call(), enclave, "{}", String::from_utf8_lossy(name));
        }
    }

    proptest! {
        #[test]
        fn damaged_bytes_never_panic(at in 0usize..8192, value: u8, cut in 0usize..8192) {
            let mut page = own();
            let len = page.len();
            page[at % len] = value;
            page.truncate(cut.min(len));
            let _ = symbols(&page);
            let _ = redirect(&mut page, &Symbols::new(), 0);
        }
    }
}
