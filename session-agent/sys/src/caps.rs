//! Capabilities: kept across exec for roam-init, taken away altogether from apps.

use std::io;

const VERSION_3: u32 = 0x2008_0522;

#[repr(C)]
struct Header {
    version: u32,
    pid: i32,
}

#[repr(C)]
#[derive(Default, Clone, Copy)]
struct Data {
    effective: u32,
    permitted: u32,
    inheritable: u32,
}

fn get() -> io::Result<[Data; 2]> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    let mut data = [Data::default(); 2];
    // SAFETY: version 3 reads one header and writes two data structures, which both live here.
    let result = unsafe { libc::syscall(libc::SYS_capget, &raw mut header, data.as_mut_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(data) }
}

fn set(data: [Data; 2]) -> io::Result<()> {
    let mut header = Header { version: VERSION_3, pid: 0 };
    // SAFETY: version 3 reads one header and two data structures, which both live here.
    let result = unsafe { libc::syscall(libc::SYS_capset, &raw mut header, data.as_ptr()) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

fn ambient(operation: libc::c_int, capability: u64) -> io::Result<()> {
    // SAFETY: this prctl takes numbers only.
    let result = unsafe { libc::prctl(libc::PR_CAP_AMBIENT, operation, capability, 0, 0) };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(()) }
}

/// Makes every capability that this process has survive exec: inheritable and ambient.
///
/// # Errors
/// The kernel's.
pub fn keep_across_exec() -> io::Result<()> {
    let mut data = get()?;
    for word in &mut data {
        word.inheritable = word.permitted;
    }
    set(data)?;
    let permitted = u64::from(data[0].permitted) | u64::from(data[1].permitted) << 32;
    for capability in (0..64).filter(|bit| permitted >> bit & 1 == 1) {
        ambient(libc::PR_CAP_AMBIENT_RAISE, capability)?;
    }
    Ok(())
}

/// Gives up every capability: ambient, inheritable, permitted and effective. Async-signal-safe.
///
/// # Errors
/// The kernel's.
pub fn drop_all() -> io::Result<()> {
    ambient(libc::PR_CAP_AMBIENT_CLEAR_ALL, 0)?;
    set([Data::default(); 2])
}
