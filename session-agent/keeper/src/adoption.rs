//! Whether a program can live in a session at all, found out before it is started.
//!
//! Refused: programs that raise their privileges (set-user-ID, set-group-ID, file capabilities), since a session has
//! none to give; programs for other processors and 32-bit ones, whose system calls a session forbids; programs told to use a device
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
/// Without the right to execute the bit means something else (inode(7)).
const SET_GROUP_ID: u32 = 0o2010;

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

/// Refuses a program, as found, that can't run in a session of this user and group, or with these arguments.
///
/// # Errors
/// Why, and what to do.
pub fn check(program: &Path, arguments: &[Vec<u8>], uid: u32, gid: u32) -> Result<(), Failure> {
    let mut file = program.to_owned();
    for _ in 0..=INTERPRETERS {
        let name = file.display();
        if let Some(how) = raises(&file, uid, gid) {
            return Err(Failure::refused(format!(
                "{name} raises its privileges when it starts ({how}), and a session has none to give."
            ))
            .next("Run it outside of Roam."));
        }
        // What can't be read may still be executed.
        let Ok(mut open) = File::open(&file) else { break };
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

/// How a file would raise the privileges of this user and group when it is executed, if it would.
fn raises(file: &Path, uid: u32, gid: u32) -> Option<&'static str> {
    let meta = file.metadata().ok()?;
    if meta.mode() & SET_USER_ID != 0 && meta.uid() != uid {
        return Some("set-user-ID");
    }
    if meta.mode() & SET_GROUP_ID == SET_GROUP_ID && meta.gid() != gid {
        return Some("set-group-ID");
    }
    // What can't be asked for is not there.
    let capabilities = roam_sys::xattr::get(file, c"security.capability").ok().flatten()?;
    gives(&capabilities).then_some("file capabilities")
}

/// Whether an attribute `security.capability` gives any: struct vfs_cap_data of linux/capability.h, pairs of permitted
/// and inheritable ones behind a word for the version. Inheritable ones are nobody's who has not got them already.
fn gives(attribute: &[u8]) -> bool {
    let sets = attribute.get(4..).unwrap_or_default();
    // A third version ends with the owner of the namespace.
    sets.chunks_exact(8).take(2).any(|set| set[..4] != [0; 4])
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
        check(program, &arguments, NOBODY, NOBODY).err().map(|failure| failure.sentence)
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
        let own = check(&su, &[], su.metadata().unwrap().uid(), NOBODY);
        assert!(own.is_ok(), "one's own rights are no more than one has");
    }

    #[test]
    fn a_set_group_id_program_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = program(dir.path(), "game", b"#!/bin/sh\n");
        let gid = path.metadata().unwrap().gid();
        let mode = |mode: u32| std::fs::set_permissions(&path, PermissionsExt::from_mode(mode)).unwrap();
        mode(0o2755);
        assert!(check(&path, &[], NOBODY, gid).is_ok(), "one's own group is no more than one has");
        assert!(check(&path, &[], NOBODY, gid + 1).unwrap_err().sentence.contains("(set-group-ID)"));
        mode(0o2745);
        assert!(check(&path, &[], NOBODY, gid + 1).is_ok(), "without the right to execute it is no such bit");
    }

    #[test]
    fn file_capabilities_are_those_that_are_permitted() {
        // As setcap(8) writes cap_net_raw=ep, cap_net_raw=i, and cap_bpf=p for a namespace.
        let version = |low: [u8; 4]| low.to_vec();
        let word = |n: u32| n.to_le_bytes();
        let raw = 1u32 << 13;
        let permitted = [version([1, 0, 0, 2]), [word(raw), word(0), word(0), word(0)].concat()].concat();
        let inheritable = [version([0, 0, 0, 2]), [word(0), word(raw), word(0), word(0)].concat()].concat();
        let high =
            [version([0, 0, 0, 3]), [word(0), word(0), word(1 << 7), word(0), word(1000)].concat()].concat();
        let of_namespace_only =
            [version([0, 0, 0, 3]), [word(0), word(0), word(0), word(0), word(1000)].concat()].concat();
        assert!(gives(&permitted) && gives(&high));
        assert!(!gives(&inheritable) && !gives(&of_namespace_only) && !gives(&[]) && !gives(&[1, 0, 0]));
        let dir = tempfile::tempdir().unwrap();
        let path = program(dir.path(), "ping", b"#!/bin/sh\n");
        // Who may not give capabilities, as most who run this, has seen the parts of it.
        let given = std::process::Command::new("setcap").arg("cap_net_raw=ep").arg(&path).status();
        if given.is_ok_and(|status| status.success()) {
            assert!(refusal(&path, &[]).unwrap().contains("(file capabilities)"));
        }
        assert_eq!(raises(Path::new("/bin/sh"), NOBODY, NOBODY), None);
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
