//! `/proc/PID/fdinfo/N`: what the kernel tells of one descriptor. Pure functions on text.
//!
//! The common head (position, flags, mount) is parsed by [`FdInfo::parse`]; every kind of object adds
//! lines of its own, which the functions below read. Anything malformed is `None`, never a panic.

/// The common part, and the lines that only some kinds have.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FdInfo {
    /// The file position.
    pub pos: i64,
    /// Open flags without O_CLOEXEC.
    pub flags: i32,
    /// Whether this descriptor closes on exec.
    pub cloexec: bool,
    /// The lines after the common ones, without file locks.
    pub rest: String,
    /// The `lock:` lines, which differ between processes that share an open file.
    pub locks: Vec<Lock>,
}

/// One file lock held through an open file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Lock {
    /// Whose lock it is.
    pub kind: LockKind,
    /// An exclusive lock; otherwise a shared one.
    pub write: bool,
    /// First byte.
    pub start: i64,
    /// Last byte; `None` is the end of the file, however long.
    pub end: Option<i64>,
}

/// The owner of a file lock.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LockKind {
    /// flock(2): the open file.
    Flock,
    /// fcntl F_SETLK: the process.
    Posix,
    /// fcntl F_OFD_SETLK: the open file.
    OpenFile,
    /// fcntl F_SETLEASE: the open file.
    Lease,
    /// A lease that its owner has been asked to give up.
    BreakingLease,
    /// Whatever comes later.
    Other,
}

impl FdInfo {
    /// Parses the text of one fdinfo file.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (mut pos, mut flags, mut rest, mut locks) = (None, None, String::new(), Vec::new());
        for line in text.lines() {
            match line.split_once(':') {
                Some(("pos", v)) => pos = v.trim().parse().ok(),
                Some(("flags", v)) => flags = i32::from_str_radix(v.trim(), 8).ok(),
                Some(("mnt_id" | "ino", _)) => {}
                Some(("lock", v)) => locks.extend(lock(v)),
                _ => {
                    rest.push_str(line);
                    rest.push('\n');
                }
            }
        }
        let flags: i32 = flags?;
        Some(Self {
            pos: pos?,
            flags: flags & !libc::O_CLOEXEC,
            cloexec: flags & libc::O_CLOEXEC != 0,
            rest,
            locks,
        })
    }

    /// The value of a line `name: value`, trimmed.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<&str> {
        self.rest.lines().find_map(|l| l.strip_prefix(name)?.strip_prefix(':').map(str::trim))
    }

    /// A decimal value.
    #[must_use]
    pub fn decimal(&self, name: &str) -> Option<i64> {
        self.value(name)?.parse().ok()
    }

    /// A hexadecimal value.
    #[must_use]
    pub fn hex(&self, name: &str) -> Option<u64> {
        u64::from_str_radix(self.value(name)?, 16).ok()
    }

    /// `name: (seconds, nanoseconds)`.
    #[must_use]
    pub fn time(&self, name: &str) -> Option<(i64, i64)> {
        let (s, n) = self.value(name)?.strip_prefix('(')?.strip_suffix(')')?.split_once(',')?;
        Some((s.trim().parse().ok()?, n.trim().parse().ok()?))
    }

    /// The entries of an epoll.
    #[must_use]
    pub fn epoll(&self) -> Vec<EpollEntry> {
        self.rest.lines().filter_map(epoll_entry).collect()
    }

    /// The watches of an inotify instance.
    #[must_use]
    pub fn inotify(&self) -> Vec<InotifyWatch> {
        self.rest.lines().filter_map(inotify_watch).collect()
    }
}

/// One entry of an epoll: `tfd: 5 events: 19 data: 5 pos:0 ino:61af sdev:7`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct EpollEntry {
    /// The descriptor number under which it was added.
    pub number: i32,
    /// Events asked for.
    pub events: u32,
    /// The user's data.
    pub data: u64,
    /// The target's inode.
    pub inode: u64,
    /// Its device, as stat(2) numbers it.
    pub device: u64,
}

/// The kernel writes major << 20 | minor.
fn device(text: &str) -> Option<u64> {
    let raw = u32::from_str_radix(text, 16).ok()?;
    Some(libc::makedev(raw >> 20, raw & 0xf_ffff))
}

fn epoll_entry(line: &str) -> Option<EpollEntry> {
    let field = |name: &str| {
        let at = line.find(name)? + name.len();
        line[at..].split_whitespace().next()
    };
    line.starts_with("tfd:").then_some(())?;
    Some(EpollEntry {
        number: field("tfd:")?.parse().ok()?,
        events: u32::from_str_radix(field("events:")?, 16).ok()?,
        data: u64::from_str_radix(field("data:")?, 16).ok()?,
        inode: u64::from_str_radix(field("ino:")?, 16).ok()?,
        device: device(field("sdev:")?)?,
    })
}

/// One watch of an inotify instance.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct InotifyWatch {
    /// The watch descriptor.
    pub wd: i32,
    /// The watched inode.
    pub inode: u64,
    /// Its file system's device, in stat(2)'s form.
    pub device: u64,
    /// The mask.
    pub mask: u32,
    /// Its handle, type and bytes as they are written; empty if the file system makes none.
    pub handle: Vec<u8>,
}

fn inotify_watch(line: &str) -> Option<InotifyWatch> {
    let rest = line.strip_prefix("inotify ")?;
    let field = |name: &str| rest.split_whitespace().find_map(|f| f.strip_prefix(name)?.strip_prefix(':'));
    Some(InotifyWatch {
        wd: i32::from_str_radix(field("wd")?, 16).ok()?,
        inode: u64::from_str_radix(field("ino")?, 16).ok()?,
        device: device(field("sdev")?)?,
        mask: u32::from_str_radix(field("mask")?, 16).ok()?,
        handle: [field("fhandle-type"), field("f_handle")]
            .into_iter()
            .flatten()
            .collect::<Vec<_>>()
            .join(":")
            .into(),
    })
}

/// `\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF`
fn lock(value: &str) -> Option<Lock> {
    let mut fields = value.split_whitespace().skip(1);
    let kind = match (fields.next()?, fields.next()?) {
        ("FLOCK", _) => LockKind::Flock,
        ("POSIX", _) => LockKind::Posix,
        ("OFDLCK", _) => LockKind::OpenFile,
        ("LEASE", "ACTIVE") => LockKind::Lease,
        ("LEASE", _) => LockKind::BreakingLease,
        _ => LockKind::Other,
    };
    let write = fields.next()? == "WRITE";
    let start = fields.nth(2)?.parse().ok()?;
    let end = fields.next()?;
    Some(Lock { kind, write, start, end: if end == "EOF" { None } else { Some(end.parse().ok()?) } })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_common_head() {
        let info = FdInfo::parse("pos:\t7\nflags:\t02100001\nmnt_id:\t9\nino:\t61\n").unwrap();
        assert_eq!((info.pos, info.cloexec, info.rest.as_str()), (7, true, ""));
        assert_eq!(info.flags, libc::O_WRONLY | 0o100_000);
        assert_eq!(FdInfo::parse("pos:\tx\n"), None);
    }

    #[test]
    fn kinds_of_their_own() {
        let head = "pos:\t0\nflags:\t02\n";
        let timer = FdInfo::parse(&format!(
            "{head}clockid: 1\nticks: 3\nsettime flags: 01\nit_value: (0, 49406829)\nit_interval: (1, 0)\n"
        ))
        .unwrap();
        assert_eq!((timer.decimal("ticks"), timer.time("it_value")), (Some(3), Some((0, 49_406_829))));
        let event =
            FdInfo::parse(&format!("{head}eventfd-count:               5a\neventfd-id: 1\n")).unwrap();
        assert_eq!(event.hex("eventfd-count"), Some(0x5a));
        let epoll = FdInfo::parse(&format!(
            "{head}tfd:        5 events:       1d data: ffffffffffffffff  pos:0 ino:61af sdev:7\n"
        ))
        .unwrap();
        assert_eq!(
            epoll.epoll(),
            [EpollEntry { number: 5, events: 0x1d, data: u64::MAX, inode: 0x61af, device: 7 }]
        );
        let inotify = FdInfo::parse(&format!(
            "{head}inotify wd:a ino:9e7e sdev:800013 mask:800afce ignored_mask:0 fhandle-bytes:8 fhandle-type:1 f_handle:7e\n"
        ))
        .unwrap();
        assert_eq!(
            inotify.inotify(),
            [InotifyWatch {
                wd: 10,
                inode: 0x9e7e,
                device: libc::makedev(8, 0x13),
                mask: 0x0800_afce,
                handle: b"1:7e".to_vec()
            }]
        );
    }

    #[test]
    fn locks_are_told_apart() {
        let info = FdInfo::parse(
            "pos:\t0\nflags:\t02\nlock:\t1: FLOCK  ADVISORY  WRITE 359 00:13:11691 0 EOF\n\
             lock:\t2: POSIX  ADVISORY  READ  359 00:13:11691 10 19\n\
             lock:\t3: LEASE  ACTIVE    WRITE 359 00:13:11691 0 EOF\n\
             lock:\t4: LEASE  BREAKING  UNLCK 359 00:13:11691 0 EOF\n",
        )
        .unwrap();
        assert_eq!(
            info.locks,
            [
                Lock { kind: LockKind::Flock, write: true, start: 0, end: None },
                Lock { kind: LockKind::Posix, write: false, start: 10, end: Some(19) },
                Lock { kind: LockKind::Lease, write: true, start: 0, end: None },
                Lock { kind: LockKind::BreakingLease, write: false, start: 0, end: None },
            ]
        );
    }
}
