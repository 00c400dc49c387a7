//! What this machine can do: the checks of `roam doctor`, each really tried, each with a remedy.
//!
//! Runs without an agent, as the user who asks, and changes nothing.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use nix::sched::{CloneFlags, unshare};
use roam_api::agent::{Check, Verdict};
use roam_sys::tracking::{self, Method};
use roam_sys::{options, pagemap, soft_dirty, uffd};

use crate::paths::program;

/// The argument that turns `roam-agent` into the process that tries to make namespaces.
pub const PROBE: &str = "--probe-namespaces";

/// The oldest kernel that Roam works on.
const OLDEST_KERNEL: (u32, u32) = (6, 1);

/// Runs all checks.
#[must_use]
pub fn run() -> Vec<Check> {
    vec![
        namespaces(),
        apparmor(),
        yama(),
        kernel(),
        kernel_options(&options::lacking()),
        write_tracking(),
        fuse(),
        x_server(),
        mdns(),
        tray(),
    ]
}

fn check(name: &str, verdict: Verdict, detail: impl Into<String>, remedy: Option<&str>) -> Check {
    Check { name: name.into(), verdict, detail: detail.into(), remedy: remedy.map(Into::into) }
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|text| text.trim().to_owned())
}

fn namespaces() -> Check {
    let name = "user namespaces";
    let tried = Command::new(program("roam-agent"))
        .arg(PROBE)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .output();
    match tried {
        Ok(output) if output.status.success() => {
            check(name, Verdict::Good, "A pod's namespaces can be made without privileges.", None)
        }
        Ok(output) => {
            let why = String::from_utf8_lossy(&output.stderr).trim().to_owned();
            check(
                name,
                Verdict::Bad,
                format!("A pod's namespaces can't be made: {why}."),
                Some(remedy_for_namespaces()),
            )
        }
        Err(error) => {
            check(name, Verdict::Bad, format!("This can't be tried: {error}."), Some("Install Roam again."))
        }
    }
}

fn remedy_for_namespaces() -> &'static str {
    if read("/proc/sys/kernel/unprivileged_userns_clone").as_deref() == Some("0") {
        "Run as root: sysctl -w kernel.unprivileged_userns_clone=1"
    } else if read("/proc/sys/user/max_user_namespaces").as_deref() == Some("0") {
        "Run as root: sysctl -w user.max_user_namespaces=15000"
    } else if read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() == Some("1") {
        "Install Roam's AppArmor profile, which comes with its package."
    } else {
        "Ask who administers this machine to allow user namespaces; inside a container they are often forbidden."
    }
}

/// The child's side of the first check. Ends with 0 if everything a pod needs could be made.
#[must_use]
pub fn probe() -> std::process::ExitCode {
    let uid = nix::unistd::getuid();
    let gid = nix::unistd::getgid();
    let spaces = [
        (CloneFlags::CLONE_NEWUSER, "user"),
        (CloneFlags::CLONE_NEWNS, "mount"),
        (CloneFlags::CLONE_NEWNET, "network"),
        (CloneFlags::CLONE_NEWIPC, "ipc"),
        (CloneFlags::CLONE_NEWUTS, "uts"),
        (CloneFlags::CLONE_NEWPID, "pid"),
        (CloneFlags::from_bits_retain(0x80), "time"),
    ];
    for (flag, name) in spaces {
        if let Err(error) = unshare(flag) {
            eprintln!("{name} namespace: {error}");
            return std::process::ExitCode::FAILURE;
        }
        if name == "user" {
            let maps = [
                ("/proc/self/setgroups", "deny".to_owned()),
                ("/proc/self/uid_map", format!("{uid} {uid} 1")),
                ("/proc/self/gid_map", format!("{gid} {gid} 1")),
            ];
            for (file, text) in maps {
                if let Err(error) = std::fs::write(file, text) {
                    eprintln!("{file}: {error}");
                    return std::process::ExitCode::FAILURE;
                }
            }
        }
    }
    std::process::ExitCode::SUCCESS
}

fn apparmor() -> Check {
    let name = "AppArmor";
    match read("/proc/sys/kernel/apparmor_restrict_unprivileged_userns").as_deref() {
        Some("1") if Path::new("/etc/apparmor.d/roam").exists() => check(
            name,
            Verdict::Good,
            "User namespaces are restricted, and Roam's profile is installed.",
            None,
        ),
        Some("1") => check(
            name,
            Verdict::Limited,
            "User namespaces are allowed only to programs with a profile, and Roam's is not installed.",
            Some("Install Roam's package, which brings the profile."),
        ),
        _ => check(name, Verdict::Good, "It does not restrict user namespaces.", None),
    }
}

fn yama() -> Check {
    let name = "ptrace (Yama)";
    match read("/proc/sys/kernel/yama/ptrace_scope").as_deref() {
        // A keeper is the ancestor of its pod, and privileged in its pod's user namespace.
        None | Some("0" | "1") => check(name, Verdict::Good, "Keepers may trace their own pods.", None),
        Some("2") => check(
            name,
            Verdict::Limited,
            "Only privileged processes may trace. Keepers are privileged towards their own pods, so this mostly works.",
            Some("If sending fails, run as root: sysctl -w kernel.yama.ptrace_scope=1"),
        ),
        Some(scope) => check(
            name,
            Verdict::Bad,
            format!("Tracing is forbidden to everyone (ptrace_scope is {scope})."),
            Some("Set kernel.yama.ptrace_scope=1 in /etc/sysctl.d and start the machine again."),
        ),
    }
}

fn kernel_version() -> Option<(u32, u32)> {
    parse_version(&read("/proc/sys/kernel/osrelease")?)
}

fn parse_version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit());
    Some((numbers.next()?.parse().ok()?, numbers.next()?.parse().ok()?))
}

fn kernel() -> Check {
    let name = "kernel";
    match kernel_version() {
        Some(version) if version >= OLDEST_KERNEL => {
            check(name, Verdict::Good, format!("Linux {}.{}.", version.0, version.1), None)
        }
        Some(version) => check(
            name,
            Verdict::Bad,
            format!("Linux {}.{} is too old.", version.0, version.1),
            Some("Install a kernel of at least 6.1."),
        ),
        None => check(name, Verdict::Limited, "The kernel's version can't be read.", None),
    }
}

fn kernel_options(lacking: &[&str]) -> Check {
    let name = "kernel options";
    if lacking.is_empty() {
        return check(name, Verdict::Good, "All that programs are read and rebuilt by is there.", None);
    }
    check(
        name,
        Verdict::Bad,
        format!("Missing here: {}. Sessions can't be moved or parked.", lacking.join(", ")),
        Some(
            "Use a kernel of your distribution, or one built with these options; a container may forbid them too.",
        ),
    )
}

fn write_tracking() -> Check {
    let parts = [
        (pagemap::scan_supported(), "PAGEMAP_SCAN"),
        (uffd::async_write_protection_supported(), "asynchronous write protection (userfaultfd)"),
        (soft_dirty::supported(), "soft-dirty bits"),
        (uffd::marks_supported(), "userfaultfd"),
    ];
    let lacking: Vec<&str> = parts.iter().filter(|(works, _)| !works).map(|(_, name)| *name).collect();
    tracking_by(tracking::method(), &lacking)
}

fn tracking_by(method: Option<Method>, lacking: &[&str]) -> Check {
    let name = "tracking of written pages";
    let lacking = lacking.join(", ");
    let newer = Some("Linux 6.7 or newer makes moves faster.");
    match method {
        Some(Method::Asynchronous) => {
            check(name, Verdict::Good, "PAGEMAP_SCAN and asynchronous write protection work.", None)
        }
        Some(Method::SoftDirty) => {
            let detail = format!("This kernel lacks {lacking}; Roam uses soft-dirty bits, which is slower.");
            check(name, Verdict::Limited, detail, newer)
        }
        None => {
            let detail =
                format!("This kernel lacks {lacking}, so all memory moves while a session stands still.");
            check(name, Verdict::Limited, detail, newer)
        }
    }
}

fn fuse() -> Check {
    let name = "/dev/fuse";
    match std::fs::metadata("/dev/fuse") {
        Ok(meta) if meta.mode() & 0o006 == 0o006 => {
            check(name, Verdict::Good, "It is open to everyone.", None)
        }
        Ok(_) => check(
            name,
            Verdict::Limited,
            "It is there, but not open to you.",
            Some("Run as root: chmod 666 /dev/fuse"),
        ),
        Err(_) => check(
            name,
            Verdict::Limited,
            "It is not there. Sessions then need the same files on both machines.",
            Some("Run as root: modprobe fuse"),
        ),
    }
}

fn in_path(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path)
        .chain(["/usr/bin".into()])
        .map(|folder| folder.join(name))
        .find(|p| p.is_file())
}

fn x_server() -> Check {
    let name = "X server for pods";
    match ["Xvfb", "Xtigervnc"].iter().find_map(|server| in_path(server)) {
        Some(server) => check(name, Verdict::Good, format!("{}.", server.display()), None),
        None => check(
            name,
            Verdict::Bad,
            "There is neither Xvfb nor Xtigervnc, so only programs without windows can be sessions.",
            Some("Run as root: apt install xvfb"),
        ),
    }
}

fn mdns() -> Check {
    let name = "mDNS";
    // Joining the group is what finding machines needs; nothing is sent.
    let joined = std::net::UdpSocket::bind("0.0.0.0:0").and_then(|socket| {
        socket.join_multicast_v4(&std::net::Ipv4Addr::new(224, 0, 0, 251), &std::net::Ipv4Addr::UNSPECIFIED)
    });
    match joined {
        Ok(()) => check(name, Verdict::Good, "Machines in the same network are found by themselves.", None),
        Err(error) => check(
            name,
            Verdict::Limited,
            format!("Multicast does not work ({error}), so machines are not found by themselves."),
            Some("Pair by address: roam pair HOST:PORT. Let UDP port 5353 through the firewall."),
        ),
    }
}

fn tray() -> Check {
    let name = "tray";
    let bus = std::env::var_os("DBUS_SESSION_BUS_ADDRESS").is_some()
        || std::env::var_os("XDG_RUNTIME_DIR").is_some_and(|dir| Path::new(&dir).join("bus").exists());
    if bus {
        check(name, Verdict::Good, "There is a D-Bus session bus for the tray icon.", None)
    } else {
        check(
            name,
            Verdict::Limited,
            "There is no D-Bus session bus, so there is no tray icon. Everything works without it.",
            Some("Start Roam from within your desktop session."),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kernel_releases_parse() {
        let table = [
            ("6.1.0-18-amd64", Some((6, 1))),
            ("6.18.5", Some((6, 18))),
            ("7.0-rc1", Some((7, 0))),
            ("", None),
            ("linux", None),
        ];
        for (text, want) in table {
            assert_eq!(parse_version(text), want, "{text}");
        }
    }

    #[test]
    fn what_a_kernel_lacks_is_named() {
        let old = tracking_by(Some(Method::SoftDirty), &["PAGEMAP_SCAN"]);
        assert_eq!(old.verdict, Verdict::Limited);
        assert!(old.detail.contains("PAGEMAP_SCAN") && old.detail.contains("soft-dirty"), "{old:?}");
        let none = tracking_by(None, &["PAGEMAP_SCAN", "soft-dirty bits"]);
        assert!(none.detail.contains("PAGEMAP_SCAN, soft-dirty bits, so all memory"), "{none:?}");
        assert!(old.remedy.is_some() && none.remedy.is_some());
    }

    #[test]
    fn options_that_are_missing_are_named() {
        assert_eq!(kernel_options(&[]).verdict, Verdict::Good);
        let missing = kernel_options(&["kcmp (CONFIG_KCMP)", "another"]);
        assert_eq!(missing.verdict, Verdict::Bad);
        assert!(missing.detail.contains("kcmp (CONFIG_KCMP), another."), "{missing:?}");
    }

    #[test]
    fn whatever_is_not_good_has_a_remedy() {
        for check in [apparmor(), yama(), write_tracking(), fuse(), x_server(), mdns(), tray()] {
            assert!(check.verdict == Verdict::Good || check.remedy.is_some(), "{check:?}");
        }
    }
}
