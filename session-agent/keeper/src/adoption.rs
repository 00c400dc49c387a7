//! Whether a program can live in a session at all, found out before it is started.
//!
//! Refused: programs that raise their privileges by set-user-ID, since a session has none to give; programs for
//! other processors and 32-bit ones, whose system calls a session forbids; programs told to use a device
//! that a session does not have. Programs that only look for such things when they run are refused by
//! name when they are moved.

use std::ffi::OsStr;
use std::fs::File;
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use roam_api::error::Failure;

use crate::pod::mounts;

/// Where programs are looked for if PATH is not set (execvp(3)).
const USUAL_PATH: &[u8] = b"/usr/local/bin:/usr/bin:/bin";
/// How many interpreters of interpreters the kernel follows (execve(2)).
const INTERPRETERS: usize = 4;
const SET_USER_ID: u32 = 0o4000;

/// The file that these words start, if there is one: what execvp(3) would find.
#[must_use]
pub fn find(program: &[u8], cwd: &Path, path: Option<&[u8]>) -> Option<PathBuf> {
    let executable = |file: &PathBuf| {
        file.metadata().is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
    };
    if program.contains(&b'/') {
        return Some(cwd.join(OsStr::from_bytes(program))).filter(executable);
    }
    let folders = path.unwrap_or(USUAL_PATH).split(|b| *b == b':');
    folders.map(|dir| cwd.join(OsStr::from_bytes(dir)).join(OsStr::from_bytes(program))).find(executable)
}

/// Refuses a program, as found, that can't run in a session of this user, or with these arguments.
///
/// # Errors
/// Why, and what to do.
pub fn check(program: &Path, arguments: &[Vec<u8>], uid: u32) -> Result<(), Failure> {
    let mut file = program.to_owned();
    for _ in 0..=INTERPRETERS {
        // What can't be read may still be executed.
        let Ok(mut open) = File::open(&file) else { break };
        let name = file.display();
        if let Ok(meta) = open.metadata()
            && meta.mode() & SET_USER_ID != 0
            && meta.uid() != uid
        {
            return Err(Failure::refused(format!(
                "{name} raises its privileges when it starts (set-user-ID), and a session has none to give."
            ))
            .next("Run it outside of Roam."));
        }
        let mut head = [0; 256];
        let read = open.read(&mut head).unwrap_or(0);
        match what(&head[..read]) {
            What::Script(interpreter) => file = interpreter,
            What::Narrow => {
                return Err(Failure::refused(format!(
                    "{name} is a 32-bit program, and those can't be moved yet."
                ))
                .next("Install its 64-bit version."));
            }
            What::Foreign => {
                return Err(Failure::refused(format!("{name} is made for another kind of processor."))
                    .next("Install its version for x86-64."));
            }
            What::Fitting => break,
        }
    }
    arguments.iter().find_map(|argument| missing_device(Path::new(OsStr::from_bytes(argument)))).map_or(
        Ok(()),
        |device| {
            Err(Failure::refused(format!(
                "{} is a device, and a session has none of the machine's.",
                device.display()
            ))
            .next("Run it outside of Roam, or give it a file instead."))
        },
    )
}

/// What the first bytes of a program say.
#[derive(Debug, PartialEq, Eq)]
enum What {
    Script(PathBuf),
    Narrow,
    Foreign,
    /// Ours, or nothing that is known here: the kernel has the last word.
    Fitting,
}

fn what(head: &[u8]) -> What {
    const X86_64: u16 = 62;
    if let Some(line) = head.strip_prefix(b"#!") {
        let line = line.split(|b| *b == b'\n').next().unwrap_or_default().trim_ascii_start();
        let interpreter = line.split(|b| b" \t".contains(b)).next().unwrap_or_default();
        return What::Script(PathBuf::from(OsStr::from_bytes(interpreter)));
    }
    match head {
        // Class, byte order, …, machine: elf(5).
        [0x7f, b'E', b'L', b'F', 1, ..] => What::Narrow,
        [0x7f, b'E', b'L', b'F', _, order, .., _] if head.len() >= 20 => {
            let machine = [head[18], head[19]];
            let machine = if *order == 2 { u16::from_be_bytes(machine) } else { u16::from_le_bytes(machine) };
            if machine == X86_64 { What::Fitting } else { What::Foreign }
        }
        _ => What::Fitting,
    }
}

/// The device that a word names and that sessions don't have.
fn missing_device(word: &Path) -> Option<&Path> {
    let inside = word.strip_prefix("/dev").ok()?;
    let kind = word.metadata().ok()?.file_type();
    let is_there = mounts::has_device(inside);
    ((kind.is_char_device() || kind.is_block_device()) && !is_there).then_some(word)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOBODY: u32 = 65_534;

    fn refusal(program: &Path, arguments: &[&str]) -> Option<String> {
        let arguments: Vec<Vec<u8>> = arguments.iter().map(|a| a.as_bytes().to_vec()).collect();
        check(program, &arguments, NOBODY).err().map(|failure| failure.sentence)
    }

    fn program(dir: &Path, name: &str, content: &[u8]) -> PathBuf {
        let path = dir.join(name);
        std::fs::write(&path, content).unwrap();
        std::fs::set_permissions(&path, PermissionsExt::from_mode(0o755)).unwrap();
        path
    }

    #[test]
    fn ordinary_programs_pass() {
        for name in ["/bin/sh", "/usr/bin/env", "/proc/self/exe"] {
            assert_eq!(refusal(Path::new(name), &["-x", "/dev/null", "/dev/pts/0", "/dev/no/such"]), None);
        }
    }

    #[test]
    fn a_set_user_id_program_is_refused_also_behind_a_script() {
        let dir = tempfile::tempdir().unwrap();
        // Every Debian, Fedora and Arch has it.
        let su = std::fs::canonicalize("/bin/su").unwrap();
        assert!(refusal(&su, &[]).unwrap().contains("set-user-ID"));
        let script = program(dir.path(), "script", format!("#! {} -x\n", su.display()).as_bytes());
        assert!(refusal(&script, &[]).unwrap().contains("su raises its privileges"));
        let own = check(&su, &[], su.metadata().unwrap().uid());
        assert!(own.is_ok(), "one's own rights are no more than one has");
    }

    #[test]
    fn other_kinds_of_programs_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let mut elf = [0u8; 64];
        elf[..6].copy_from_slice(b"\x7fELF\x01\x01");
        assert!(refusal(&program(dir.path(), "narrow", &elf), &[]).unwrap().contains("32-bit"));
        elf[4] = 2;
        elf[18] = 183;
        assert!(refusal(&program(dir.path(), "arm", &elf), &[]).unwrap().contains("processor"));
        assert_eq!(refusal(&program(dir.path(), "short", &elf[..10]), &[]), None);
        // Scripts of scripts without end are the kernel's to refuse.
        let endless = dir.path().join("endless");
        let line = format!("#!{}\n", endless.display());
        assert_eq!(refusal(&program(dir.path(), "endless", line.as_bytes()), &[]), None);
    }

    #[test]
    fn programs_are_found_as_execvp_does() {
        let dir = tempfile::tempdir().unwrap();
        let own = program(dir.path(), "sh", b"#!/bin/sh\n");
        let path = format!("/no/such:{}:/bin", dir.path().display());
        assert_eq!(find(b"sh", Path::new("/"), Some(path.as_bytes())), Some(own.clone()));
        assert_eq!(find(b"./sh", dir.path(), None), Some(dir.path().join("./sh")));
        assert_eq!(find(b"no-such-program", Path::new("/"), None), None);
    }
}
