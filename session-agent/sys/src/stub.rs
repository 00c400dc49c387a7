//! The stub: the smallest program there is, which a restore turns into a process of the session.
//!
//! It has no libc, no thread-local storage, no rseq and no robust list, so nothing of its own
//! must be undone. It waits in pause(2) until it is traced; everything after that is injected.

const LOAD_ADDRESS: u64 = 0x1000_0000;
const HEADERS: usize = 64 + 2 * 56;

/// `mov eax, 34 (pause); syscall; jmp back`.
const CODE: [u8; 9] = [0xb8, 0x22, 0x00, 0x00, 0x00, 0x0f, 0x05, 0xeb, 0xf7];

/// A static x86-64 executable, for execveat(2) of a memfd.
#[must_use]
pub fn elf_image() -> Vec<u8> {
    let entry = LOAD_ADDRESS + HEADERS as u64;
    let size = (HEADERS + CODE.len()) as u64;
    let mut image = Vec::with_capacity(size as usize);
    image.extend_from_slice(&[0x7f, b'E', b'L', b'F', 2, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    image.extend_from_slice(&2u16.to_le_bytes()); // ET_EXEC
    image.extend_from_slice(&62u16.to_le_bytes()); // x86-64
    image.extend_from_slice(&1u32.to_le_bytes());
    image.extend_from_slice(&entry.to_le_bytes());
    image.extend_from_slice(&64u64.to_le_bytes()); // program headers follow this header
    image.extend_from_slice(&0u64.to_le_bytes()); // no sections
    image.extend_from_slice(&0u32.to_le_bytes());
    for half in [64u16, 56, 2, 0, 0, 0] {
        image.extend_from_slice(&half.to_le_bytes());
    }
    // PT_LOAD read + execute of the whole file, PT_GNU_STACK read + write.
    program_header(&mut image, 1, 5, LOAD_ADDRESS, size);
    program_header(&mut image, 0x6474_e551, 6, 0, 0);
    image.extend_from_slice(&CODE);
    image
}

fn program_header(image: &mut Vec<u8>, kind: u32, flags: u32, address: u64, size: u64) {
    image.extend_from_slice(&kind.to_le_bytes());
    image.extend_from_slice(&flags.to_le_bytes());
    for word in [0, address, address, size, size, 4096] {
        image.extend_from_slice(&word.to_le_bytes());
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::process::ExitStatusExt;

    #[test]
    fn it_runs_and_waits_to_be_traced() {
        let dir = tempdir();
        let path = dir.join("stub");
        std::fs::write(&path, elf_image()).unwrap();
        std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o700)).unwrap();
        let mut child = std::process::Command::new(&path).spawn().unwrap();
        let tracee = crate::ptrace::Tracee::seize(child.id() as i32, crate::ptrace::EXITKILL).unwrap();
        tracee.interrupt().unwrap();
        assert!(matches!(tracee.wait().unwrap(), crate::ptrace::Stop::Event { .. }));
        tracee.detach(0).unwrap();
        child.kill().unwrap();
        assert_eq!(child.wait().unwrap().signal(), Some(9));
        std::fs::remove_dir_all(dir).unwrap();
    }

    fn tempdir() -> std::path::PathBuf {
        let dir = std::env::temp_dir().join(format!("roam-stub-{}", std::process::id()));
        std::fs::create_dir_all(&dir).unwrap();
        dir
    }
}
