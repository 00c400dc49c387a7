//! The pod's file tree.
//!
//! A small tmpfs is the root. The system's and the user's folders are bound into it at their own
//! paths; /proc, /dev, /tmp, /run and XDG_RUNTIME_DIR are the pod's own. The user's home is there
//! also if it lies below one of those.
//!
//! Refused: a home or XDG_RUNTIME_DIR that is no absolute path.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use roam_api::init::PodSpec;

use super::create::{Doing, Step};

/// Folders that every pod has for itself.
pub const PRIVATE: [&str; 4] = ["/proc", "/dev", "/tmp", "/run"];

/// True if this path of the machine is hidden in a pod by something private.
#[must_use]
pub fn is_private(path: &Path) -> bool {
    PRIVATE.iter().any(|private| path.starts_with(private))
}

const NONE: Option<&str> = None;
const PLAIN: MsFlags = MsFlags::MS_NOSUID.union(MsFlags::MS_NODEV);

/// True if a pod with this home and XDG_RUNTIME_DIR shows the machine's own file at this path.
#[must_use]
pub fn is_the_machines(path: &Path, home: &[u8], runtime_dir: &[u8]) -> bool {
    let [home, runtime_dir] = [home, runtime_dir].map(|path| Path::new(OsStr::from_bytes(path)));
    !path.starts_with(runtime_dir) && (!is_private(path) || is_private(home) && path.starts_with(home))
}

fn tmpfs(at: &Path, options: &str) -> Step<()> {
    mount(Some("tmpfs"), at, Some("tmpfs"), PLAIN, Some(options)).doing(&format!("mounting {}", at.display()))
}

fn bind(from: &Path, to: &Path) -> Step<()> {
    mount(Some(from), to, NONE, MsFlags::MS_BIND | MsFlags::MS_REC, NONE)
        .doing(&format!("binding {}", from.display()))
}

fn folder(path: &Path, mode: u32) -> Step<()> {
    match fs::DirBuilder::new().mode(mode).create(path) {
        Err(e) if e.kind() != io::ErrorKind::AlreadyExists => Err(e),
        _ => fs::set_permissions(path, fs::Permissions::from_mode(mode)),
    }
    .doing(&format!("making {}", path.display()))
}

fn folders(path: &Path) -> Step<()> {
    fs::create_dir_all(path).doing(&format!("making {}", path.display()))
}

fn file(path: &Path) -> Step<()> {
    fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(false)
        .mode(0o644)
        .open(path)
        .map(drop)
        .doing(&format!("making {}", path.display()))
}

fn absolute(path: &[u8], what: &str) -> Step<PathBuf> {
    let path = Path::new(OsStr::from_bytes(path));
    if path.is_absolute() { Ok(path.into()) } else { Err(format!("{what} is no absolute path")) }
}

/// Puts the tree together and returns where. The process is in the pod's namespaces, but still in the
/// machine's tree.
///
/// # Errors
/// What could not be mounted, and why.
pub fn build(spec: &PodSpec) -> Step<PathBuf> {
    let root = absolute(&spec.mount_point, "the mount point")?;
    let home = absolute(&spec.home, "HOME")?;
    let runtime = absolute(&spec.runtime_dir, "XDG_RUNTIME_DIR")?;
    nix::sys::stat::umask(nix::sys::stat::Mode::from_bits_truncate(0o022));
    mount(NONE, "/", NONE, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NONE).doing("making mounts private")?;
    tmpfs(&root, "mode=755,size=16m")?;
    bind_system(&root)?;
    folder(&root.join("proc"), 0o555)?;
    mount(Some("proc"), &root.join("proc"), Some("proc"), PLAIN | MsFlags::MS_NOEXEC, NONE)
        .doing("mounting /proc")?;
    devices(&root)?;
    folder(&root.join("tmp"), 0o755)?;
    tmpfs(&root.join("tmp"), "mode=1777")?;
    folder(&root.join("tmp/.X11-unix"), 0o1777)?;
    folder(&root.join("tmp/.ICE-unix"), 0o1777)?;
    folder(&root.join("run"), 0o755)?;
    tmpfs(&root.join("run"), "mode=755")?;
    folder(&root.join("run/lock"), 0o1777)?;
    if is_private(&home) && home.is_dir() && !PRIVATE.iter().any(|private| home == Path::new(private)) {
        let inside = root.join(home.strip_prefix("/").unwrap_or(&home));
        folders(&inside)?;
        bind(&home, &inside)?;
    }
    let inside = root.join(runtime.strip_prefix("/").unwrap_or(&runtime));
    folders(&inside)?;
    // Its own mount, so that it is private also where the path lies in a bound folder.
    tmpfs(&inside, "mode=700")?;
    Ok(root)
}

/// Binds every folder of the machine's root that isn't private.
fn bind_system(root: &Path) -> Step<()> {
    for entry in fs::read_dir("/").doing("reading /")? {
        let entry = entry.doing("reading /")?;
        let path = entry.path();
        if PRIVATE.iter().any(|private| path == Path::new(private)) || path == root {
            continue;
        }
        let kind = entry.file_type().doing(&format!("looking at {}", path.display()))?;
        let inside = root.join(entry.file_name());
        if kind.is_symlink() {
            let to = fs::read_link(&path).doing(&format!("reading {}", path.display()))?;
            symlink(to, &inside).doing(&format!("linking {}", path.display()))?;
        } else if kind.is_dir() {
            folder(&inside, 0o755)?;
            bind(&path, &inside)?;
        } else if kind.is_file() {
            file(&inside)?;
            bind(&path, &inside)?;
        }
    }
    Ok(())
}

/// The devices that a pod has besides terminals.
const NODES: [&str; 6] = ["null", "zero", "full", "random", "urandom", "tty"];

/// Whether a pod has this device; the path is one below /dev.
#[must_use]
pub fn has_device(path: &Path) -> bool {
    // "stdin" and the like are links to what is open.
    let links = ["fd", "stdin", "stdout", "stderr", "ptmx", "pts"];
    let first = path.components().next().and_then(|c| c.as_os_str().to_str());
    first.is_some_and(|first| links.contains(&first) || NODES.iter().any(|node| path == Path::new(node)))
}

/// /dev with what every program may expect, and nothing of the hardware.
fn devices(root: &Path) -> Step<()> {
    let dev = root.join("dev");
    folder(&dev, 0o755)?;
    mount(Some("tmpfs"), &dev, Some("tmpfs"), MsFlags::MS_NOSUID, Some("mode=755,size=1m"))
        .doing("mounting /dev")?;
    for node in NODES {
        file(&dev.join(node))?;
        bind(&Path::new("/dev").join(node), &dev.join(node))?;
    }
    folder(&dev.join("pts"), 0o755)?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        quiet,
        Some("newinstance,ptmxmode=0666,mode=620"),
    )
    .doing("mounting /dev/pts")?;
    file(&dev.join("ptmx"))?;
    bind(&dev.join("pts/ptmx"), &dev.join("ptmx"))?;
    folder(&dev.join("shm"), 0o755)?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    folder(&dev.join("mqueue"), 0o755)?;
    mount(Some("mqueue"), &dev.join("mqueue"), Some("mqueue"), PLAIN | MsFlags::MS_NOEXEC, NONE)
        .doing("mounting /dev/mqueue")?;
    for (name, to) in [("fd", "/proc/self/fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2")] {
        symlink(to, dev.join(name)).doing("making links in /dev")?;
    }
    Ok(())
}

/// Makes the tree this process's root and lets go of the machine's.
///
/// # Errors
/// What did not work, and why.
pub fn enter(root: &Path) -> Step<()> {
    nix::unistd::chdir(root).doing("entering the pod's root")?;
    nix::unistd::pivot_root(".", ".").doing("changing to the pod's root")?;
    umount2(".", MntFlags::MNT_DETACH).doing("letting go of the machine's root")?;
    nix::unistd::chdir("/").doing("entering /")?;
    mount(NONE, "/", NONE, MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY | PLAIN, NONE)
        .doing("making the pod's root read-only")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_the_machines_own_is_told_from_the_pods() {
        let is = |path: &str, home: &str| is_the_machines(Path::new(path), home.as_bytes(), b"/run/user/7");
        assert!(is("/home/me/x", "/home/me") && is("/srv", "/home/me") && is("/", "/home/me"));
        assert!(
            !is("/tmp/x", "/home/me") && !is("/run/user/7/x", "/home/me") && !is("/dev/null", "/home/me")
        );
        assert!(is("/tmp/me/x", "/tmp/me") && !is("/tmp/other", "/tmp/me"));
    }
}
