//! /proc/PID/maps (proc(5)).

use std::io;

/// One line: a virtual memory area.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Area {
    /// First address.
    pub start: u64,
    /// One past the last address.
    pub end: u64,
    /// PROT_READ, PROT_WRITE, PROT_EXEC.
    pub prot: i32,
    /// MAP_SHARED rather than MAP_PRIVATE.
    pub shared: bool,
    /// Offset into the file, in bytes.
    pub offset: u64,
    /// The file's device, major and minor.
    pub device: (u32, u32),
    /// The file's inode; 0 for none.
    pub inode: u64,
    /// Path, `[heap]`, `[stack]`, `[vdso]`… or nothing. Unescaped; ` (deleted)` is still on it.
    pub name: Vec<u8>,
}

impl Area {
    /// Length in bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.end - self.start
    }

    /// Never true: the kernel has no empty areas.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.start == self.end
    }

    /// The kernel's own areas, which a new process gets from its own kernel: vdso and its data.
    #[must_use]
    pub fn is_kernel(&self) -> bool {
        matches!(self.name.as_slice(), b"[vdso]" | b"[vsyscall]") || self.name.starts_with(b"[vvar")
    }
}

/// Parses the whole file. Lines that are no areas are an error.
///
/// # Errors
/// InvalidData with the line.
pub fn parse(text: &[u8]) -> io::Result<Vec<Area>> {
    text.split(|b| *b == b'\n')
        .filter(|line| !line.is_empty())
        .map(|line| {
            parse_line(line).ok_or_else(|| {
                io::Error::new(
                    io::ErrorKind::InvalidData,
                    format!("not a line of maps: {}", String::from_utf8_lossy(line)),
                )
            })
        })
        .collect()
}

fn parse_line(line: &[u8]) -> Option<Area> {
    let mut fields = line.splitn(6, |b| *b == b' ');
    let mut text = || std::str::from_utf8(fields.next()?).ok();
    let (start, end) = text()?.split_once('-')?;
    let permissions = text()?.as_bytes();
    let offset = text()?;
    let (major, minor) = text()?.split_once(':')?;
    let inode = text()?;
    let name = fields.next().unwrap_or(b"").trim_ascii_start();
    let bit = |i: usize, c: u8, v: i32| if permissions.get(i) == Some(&c) { v } else { 0 };
    Some(Area {
        start: u64::from_str_radix(start, 16).ok()?,
        end: u64::from_str_radix(end, 16).ok()?,
        prot: bit(0, b'r', libc::PROT_READ) | bit(1, b'w', libc::PROT_WRITE) | bit(2, b'x', libc::PROT_EXEC),
        shared: permissions.get(3) == Some(&b's'),
        offset: u64::from_str_radix(offset, 16).ok()?,
        device: (u32::from_str_radix(major, 16).ok()?, u32::from_str_radix(minor, 16).ok()?),
        inode: inode.parse().ok()?,
        name: unescape(name),
    })
}

/// The kernel writes a newline in a name as `\012` and nothing else.
fn unescape(name: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(name.len());
    let mut rest = name;
    while let Some((&first, tail)) = rest.split_first() {
        if rest.starts_with(b"\\012") {
            out.push(b'\n');
            rest = &rest[4..];
        } else {
            out.push(first);
            rest = tail;
        }
    }
    out
}

/// Reads the areas of a process.
///
/// # Errors
/// ENOENT or ESRCH if it is gone.
pub fn read(pid: i32) -> io::Result<Vec<Area>> {
    parse(&super::read(&format!("/proc/{pid}/maps"))?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_of_every_sort() {
        let text = b"55d0c0a00000-55d0c0a02000 r--p 00001000 fe:01 1234                       /usr/bin/a b (deleted)\n\
            7f0000000000-7f0000001000 rw-s 00000000 00:01 99 /dev/zero (deleted)\n\
            7ffd00000000-7ffd00021000 rw-p 00000000 00:00 0                          [stack]\n\
            7ffd00022000-7ffd00024000 r-xp 00000000 00:00 0                          [vdso]\n\
            7f0000002000-7f0000003000 ---p 00000000 00:00 0 \n";
        let areas = parse(text).unwrap();
        assert_eq!(areas.len(), 5);
        assert_eq!(areas[0].name, b"/usr/bin/a b (deleted)");
        assert_eq!((areas[0].device, areas[0].inode, areas[0].offset), ((0xfe, 1), 1234, 0x1000));
        assert!(areas[1].shared);
        assert_eq!(areas[2].name, b"[stack]");
        assert!(areas[3].is_kernel() && !areas[2].is_kernel());
        assert_eq!((areas[4].prot, areas[4].len()), (0, 0x1000));
    }

    #[test]
    fn garbage_is_named() {
        assert!(parse(b"hello\n").unwrap_err().to_string().contains("hello"));
        assert_eq!(unescape(b"a\\012b"), b"a\nb");
    }

    #[test]
    fn this_process_parses() {
        assert!(read(std::process::id() as i32).unwrap().iter().any(|a| a.name == b"[vdso]"));
    }
}
