//! A machine: namespaces, a root of its own, and process 1 that holds them.
//!
//! ```text
//! up ── roam-lab internal boot (new session; unshare; clocks) ── roam-lab internal init = process 1
//!           prints the pid of init and ends  <── "ready" ──  builds the root, then only reaps
//! ```
//! The root is an overlay of the host's over memory, so that system files come from the same
//! packages while every machine writes its own. /proc, /sys and /dev are made as a system makes
//! them, with nothing mounted over /proc: only then may the machine's user mount one in a pod.

use std::fs::{self, File, Permissions};
use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::signal::{SigSet, Signal};
use nix::sys::stat::{Mode, SFlag, makedev, mknod, umask};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::{pivot_root, setsid};
use serde::{Deserialize, Serialize};

use super::proc::Proc;
use super::state::{Folder, HOME_OWNER, Machine, USER};
use super::vm::{self, Kernel, VmPlan};

/// All that process 1 needs to know.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Plan {
    /// The machine's name.
    pub name: String,
    /// Uid and gid of its user.
    pub uid: u32,
    /// Monotonic and boot clock, seconds ahead of the host.
    pub clocks: (i64, i64),
    /// Its /etc/machine-id.
    pub machine_id: String,
    /// Names and addresses for /etc/hosts.
    pub hosts: Vec<(String, String)>,
    /// The folders of Roam's binaries.
    pub binaries: Vec<PathBuf>,
    /// The lab's folder on the host, hidden in the machine.
    pub lab: PathBuf,
    /// An empty folder of this machine, to mount on.
    pub mount_point: PathBuf,
    /// The shared home on the host.
    pub home: PathBuf,
    /// The socket of the person's own X server, to be reached from the machine too.
    pub real_screen: Option<PathBuf>,
    /// For a virtual machine, what it is made of.
    pub vm: Option<VmPlan>,
}

/// Where a machine's root comes from.
#[derive(Debug)]
pub struct Origin {
    /// The system whose files lie below its own.
    pub system: PathBuf,
    /// The shared home, if it shows this machine's owner already.
    pub owned_home: Option<PathBuf>,
}

/// Starts the namespaces and process 1 of a machine; returns once its root is ready.
pub fn start(folder: &Folder, plan: &Plan) -> Result<Proc> {
    fs::create_dir_all(&plan.mount_point)?;
    let mut boot = Command::new(std::env::current_exe()?)
        .args(["internal", "boot"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(folder.log(&plan.name, "init")?)
        .spawn()
        .context("process 1 can't be started")?;
    serde_json::to_writer(boot.stdin.take().context("stdin was piped")?, plan)?;
    let mut said = String::new();
    boot.stdout.take().context("stdout was piped")?.read_to_string(&mut said)?;
    boot.wait()?;
    let Ok(pid) = said.trim().parse() else {
        let log = fs::read_to_string(folder.of(&plan.name).join("log/init.log")).unwrap_or_default();
        bail!("{} could not be built: {}", plan.name, log.trim().lines().last().unwrap_or("no reason given"));
    };
    Proc::of(pid)
}

/// `roam-lab internal boot`: reads a [`Plan`] from stdin, prints the pid of process 1.
pub fn boot() -> Result<()> {
    let plan: Plan = serde_json::from_reader(std::io::stdin())?;
    setsid().context("setsid")?;
    // Not in nix's list of flags.
    let new_time = CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME);
    unshare(
        CloneFlags::CLONE_NEWNS
            | CloneFlags::CLONE_NEWPID
            | CloneFlags::CLONE_NEWIPC
            | CloneFlags::CLONE_NEWUTS
            | CloneFlags::CLONE_NEWNET
            | new_time,
    )
    .context("no new namespaces; is this root?")?;
    fs::write(
        "/proc/self/timens_offsets",
        format!("monotonic {} 0\nboottime {} 0\n", plan.clocks.0, plan.clocks.1),
    )
    .context("the clocks can't be set")?;
    let mut init = Command::new(std::env::current_exe()?)
        .args(["internal", "init"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    serde_json::to_writer(init.stdin.take().context("stdin was piped")?, &plan)?;
    let mut line = String::new();
    BufReader::new(init.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
    if line.trim() != "ready" {
        bail!("process 1 ended: {}", init.wait()?);
    }
    println!("{}", init.id());
    Ok(())
}

/// `roam-lab internal init`: process 1 of a machine.
pub fn init() -> Result<()> {
    // Before the first child, so that no end of one is missed.
    let mut signals = SigSet::empty();
    signals.add(Signal::SIGCHLD);
    signals.thread_block()?;

    let plan: Plan = serde_json::from_reader(std::io::stdin())?;
    let parts = match &plan.vm {
        None => {
            mount(NOTHING, "/", NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, NOTHING)?;
            let root = build_root(&plan, &Origin { system: "/".into(), owned_home: None })?;
            enter_root(&root)?;
            Vec::new()
        }
        Some(vm) => vm::switch_on(&plan, vm)?,
    };
    nix::unistd::sethostname(&plan.name)?;
    println!("ready");
    // Whoever waits for the end of our output must not wait for the machine's end.
    let nothing = File::options().read(true).write(true).open("/dev/null")?;
    nix::unistd::dup2_stdin(nothing.as_fd())?;
    nix::unistd::dup2_stdout(nothing.as_fd())?;
    loop {
        while let Ok(status) = waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            if status == WaitStatus::StillAlive {
                break;
            }
            // Without any of its parts a virtual machine is off, and nobody must wait for it.
            if parts
                .iter()
                .any(|part| status.pid().is_some_and(|pid| pid.as_raw().cast_unsigned() == part.id()))
            {
                bail!("a part of the virtual machine ended: {status:?}");
            }
        }
        signals.wait()?;
    }
}

/// For mounts of nothing, or without options.
pub const NOTHING: Option<&str> = None;

/// Puts a machine's root together and returns where; nothing is entered yet.
pub fn build_root(plan: &Plan, from: &Origin) -> Result<PathBuf> {
    umask(Mode::from_bits_truncate(0o022));
    let layers = &plan.mount_point;
    tmpfs(layers, "mode=0755")?;
    for name in ["upper", "work", "root"] {
        fs::create_dir(layers.join(name))?;
    }
    fs::set_permissions(layers.join("upper"), Permissions::from_mode(0o755))?;
    let root = layers.join("root");
    let options = format!(
        "lowerdir={},upperdir={},workdir={}",
        from.system.display(),
        layers.join("upper").display(),
        layers.join("work").display()
    );
    mount(Some("overlay"), &root, Some("overlay"), MsFlags::empty(), Some(options.as_str()))
        .context("no overlay of the host's root")?;

    // The host's own homes, run-time files and this lab are not the machine's.
    for (path, mode) in
        [("run", "0755"), ("tmp", "1777"), ("var/tmp", "1777"), ("home", "0755"), ("root", "0700")]
    {
        let path = root.join(path);
        fs::create_dir_all(&path)?;
        tmpfs(&path, &format!("mode={mode}"))?;
    }
    let lab = below(&root, &plan.lab);
    if lab.exists() {
        tmpfs(&lab, "mode=0755")?;
    }

    devices(&root.join("dev"))?;
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(Some("proc"), &root.join("proc"), Some("proc"), quiet, NOTHING).context("/proc")?;
    mount(Some("sysfs"), &root.join("sys"), Some("sysfs"), quiet, NOTHING).context("/sys")?;

    for folder in &plan.binaries {
        bind_read_only(&root, &from.system, folder)?;
    }
    files_of_etc(&root.join("etc"), plan)?;
    home(&root, plan, from)?;
    let runtime = root.join(format!("run/user/{}", plan.uid));
    owned_folder(&runtime, plan.uid, 0o700)?;
    // X servers make their sockets here and must not own the folder.
    fs::create_dir_all(root.join("tmp/.X11-unix"))?;
    fs::set_permissions(root.join("tmp/.X11-unix"), Permissions::from_mode(0o1777))?;
    if let Some(socket) = &plan.real_screen {
        let place = below(&root, socket);
        File::create(&place)?;
        mount(Some(socket), &place, NOTHING, MsFlags::MS_BIND, NOTHING).context("the real screen")?;
    }

    Ok(root)
}

/// Makes it the root of this mount namespace.
fn enter_root(root: &Path) -> Result<()> {
    // The old root is stacked below the new one and goes with this.
    std::env::set_current_dir(root)?;
    pivot_root(".", ".").context("pivot_root")?;
    umount2(".", MntFlags::MNT_DETACH).context("the host's root stays mounted")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// Mounts a file system in memory.
pub fn tmpfs(path: &Path, options: &str) -> Result<()> {
    let flags = MsFlags::MS_NOSUID;
    mount(Some("tmpfs"), path, Some("tmpfs"), flags, Some(options))
        .with_context(|| format!("no memory file system at {}", path.display()))
}

fn below(root: &Path, absolute: &Path) -> PathBuf {
    root.join(absolute.strip_prefix("/").unwrap_or(absolute))
}

/// /dev as udev leaves it on a desktop: the nodes that any user may open, and a devpts of its own.
fn devices(dev: &Path) -> Result<()> {
    tmpfs(dev, "mode=0755")?;
    let nodes: [(&str, u64, u64); 8] = [
        ("null", 1, 3),
        ("zero", 1, 5),
        ("full", 1, 7),
        ("random", 1, 8),
        ("urandom", 1, 9),
        ("tty", 5, 0),
        ("fuse", 10, 229),
        ("net/tun", 10, 200),
    ];
    fs::create_dir(dev.join("net"))?;
    for (name, major, minor) in nodes {
        let node = dev.join(name);
        mknod(&node, SFlag::S_IFCHR, Mode::empty(), makedev(major, minor))
            .with_context(|| name.to_owned())?;
        fs::set_permissions(node, Permissions::from_mode(0o666))?;
    }
    for (name, target) in [
        ("fd", "/proc/self/fd"),
        ("stdin", "/proc/self/fd/0"),
        ("stdout", "/proc/self/fd/1"),
        ("stderr", "/proc/self/fd/2"),
        ("ptmx", "pts/ptmx"),
    ] {
        symlink(target, dev.join(name))?;
    }
    for name in ["pts", "shm", "mqueue"] {
        fs::create_dir(dev.join(name))?;
    }
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(
        Some("devpts"),
        &dev.join("pts"),
        Some("devpts"),
        quiet,
        Some("newinstance,mode=0620,ptmxmode=0666,gid=5"),
    )
    .context("devpts")?;
    tmpfs(&dev.join("shm"), "mode=1777")?;
    mount(Some("mqueue"), &dev.join("mqueue"), Some("mqueue"), quiet, NOTHING).context("mqueue")?;
    Ok(())
}

/// Shows a folder of the system at the same path, read-only, and lets the user walk down to it.
fn bind_read_only(root: &Path, system: &Path, folder: &Path) -> Result<()> {
    let place = below(root, folder);
    fs::create_dir_all(&place)?;
    for above in place.ancestors().skip(1).take_while(|path| path.starts_with(root) && *path != root) {
        let mode = fs::metadata(above)?.permissions().mode();
        if mode & 0o005 != 0o005 {
            fs::set_permissions(above, Permissions::from_mode(mode | 0o005))?;
        }
    }
    mount(Some(&below(system, folder)), &place, NOTHING, MsFlags::MS_BIND, NOTHING)
        .with_context(|| format!("{} can't be shown in the machine", folder.display()))?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY | MsFlags::MS_NOSUID;
    mount(NOTHING, &place, NOTHING, flags, NOTHING)?;
    Ok(())
}

fn files_of_etc(etc: &Path, plan: &Plan) -> Result<()> {
    let uid = plan.uid;
    add_line(
        &etc.join("passwd"),
        &format!("{USER}:x:{uid}:{uid}:Ada of {}:/home/{USER}:/bin/bash", plan.name),
        uid,
    )?;
    add_line(&etc.join("group"), &format!("{USER}:x:{uid}:"), uid)?;
    replace(&etc.join("hostname"), &format!("{}\n", plan.name))?;
    replace(&etc.join("machine-id"), &format!("{}\n", plan.machine_id))?;
    let mut hosts = String::from("127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n");
    for (name, address) in &plan.hosts {
        hosts.push_str(&format!("{address} {name}\n"));
    }
    replace(&etc.join("hosts"), &hosts)?;
    // A bus that has an id of its own already would show the host's.
    let bus = etc.join("../var/lib/dbus/machine-id");
    if bus.symlink_metadata().is_ok_and(|data| data.is_file()) {
        replace(&bus, &format!("{}\n", plan.machine_id))?;
    }
    Ok(())
}

/// Appends a line of passwd or group, less those of the same name or number.
fn add_line(file: &Path, line: &str, number: u32) -> Result<()> {
    let old = fs::read_to_string(file).with_context(|| file.display().to_string())?;
    replace(file, &with_line(&old, line, number))
}

fn with_line(old: &str, line: &str, number: u32) -> String {
    let number = number.to_string();
    let ours = |old: &&str| {
        let mut fields = old.split(':');
        fields.next() != Some(USER) && fields.nth(1) != Some(number.as_str())
    };
    let mut new: String = old.lines().filter(ours).flat_map(|old| [old, "\n"]).collect();
    new.push_str(line);
    new.push('\n');
    new
}

/// Writes a new file of 0644 in place of the old one, which may be a link out of the tree.
fn replace(file: &Path, text: &str) -> Result<()> {
    if file.symlink_metadata().is_ok() {
        fs::remove_file(file)?;
    }
    fs::write(file, text).with_context(|| file.display().to_string())?;
    fs::set_permissions(file, Permissions::from_mode(0o644))?;
    Ok(())
}

fn owned_folder(path: &Path, uid: u32, mode: u32) -> Result<()> {
    fs::create_dir_all(path)?;
    fs::set_permissions(path, Permissions::from_mode(mode))?;
    chown(path, Some(uid), Some(uid))?;
    Ok(())
}

/// What of HOME belongs to the machine and not to the person: Roam's own keys, state and caches.
const LOCAL: [&str; 3] = [".config/roam", ".local/state/roam", ".cache/roam"];

/// Makes the shared home and, in it, the places for what each machine keeps for itself.
pub fn prepare_home(home: &Path) -> Result<()> {
    owned_folder(home, HOME_OWNER, 0o700)?;
    for local in LOCAL {
        let mut path = home.to_owned();
        for part in Path::new(local) {
            path.push(part);
            owned_folder(&path, HOME_OWNER, 0o700)?;
        }
    }
    Ok(())
}

/// HOME is the one shared folder, whose owner on disk appears as this machine's user; over it lie
/// the folders that a person with a home on a file server keeps on each machine.
fn home(root: &Path, plan: &Plan, from: &Origin) -> Result<()> {
    let home = root.join("home").join(USER);
    fs::create_dir(&home)?;
    match &from.owned_home {
        Some(owned) => mount(Some(owned), &home, NOTHING, MsFlags::MS_BIND, NOTHING).context("the home")?,
        None => idmapped_home(&plan.home, &home, plan.uid, &root.join("proc"))?,
    }
    for local in LOCAL {
        let own = root.join("var/local").join(local);
        owned_folder(&own, plan.uid, 0o700)?;
        mount(Some(&own), &home.join(local), NOTHING, MsFlags::MS_BIND, NOTHING)?;
    }
    Ok(())
}

/// Mounts the shared home so that its owner on disk appears as the machine's user. `proc` is the
/// /proc of this process's own pid namespace.
pub fn idmapped_home(home: &Path, place: &Path, uid: u32, proc: &Path) -> Result<()> {
    // A process that holds a user namespace; it has entered it once it echoes.
    let mut holder = Command::new("unshare")
        .args(["--user", "cat"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .context("unshare (of util-linux) is missing")?;
    let mut stdin = holder.stdin.take().context("stdin was piped")?;
    stdin.write_all(b"x")?;
    holder.stdout.take().context("stdout was piped")?.read_exact(&mut [0])?;
    let of_holder = proc.join(holder.id().to_string());
    let map = format!("0 0 1\n{HOME_OWNER} {uid} 1\n");
    fs::write(of_holder.join("uid_map"), &map)?;
    fs::write(of_holder.join("gid_map"), &map)?;
    let userns = File::open(of_holder.join("ns/user"))?;
    roam_sys::idmap::idmapped_bind(home, place, userns.as_fd())
        .context("the shared home can't be mounted with another owner; its file system must allow that")?;
    drop(stdin);
    holder.wait()?;
    Ok(())
}

/// The X server that `$DISPLAY` means, if `$ROAM_LAB_REAL_SCREEN` asks for it: the demo's, so that
/// a person can see a window of a machine. Machines share nothing otherwise.
fn real_screen() -> Option<PathBuf> {
    std::env::var_os("ROAM_LAB_REAL_SCREEN")?;
    let socket = screen_socket(&std::env::var("DISPLAY").ok()?);
    socket.exists().then_some(socket)
}

/// Where the server of a display like `:0` or `:0.0` listens.
#[must_use]
pub fn screen_socket(display: &str) -> PathBuf {
    let number = display.trim_start_matches(':').split('.').next().unwrap_or_default();
    Path::new("/tmp/.X11-unix").join(format!("X{number}"))
}

/// The plan of a machine in this lab.
pub fn plan(folder: &Folder, machine: &Machine, hosts: Vec<(String, String)>) -> Result<Plan> {
    let vm = match &machine.hardware {
        None => None,
        Some(hardware) => Some(VmPlan {
            cpu: hardware.cpu.clone(),
            kernel: Kernel::find(&hardware.kernel)?,
            number: machine.number,
        }),
    };
    Ok(Plan {
        name: machine.name.clone(),
        uid: machine.uid(),
        clocks: machine.clock_offsets(),
        machine_id: format!("{:032x}", rand::random::<u128>()),
        hosts,
        binaries: machine.binaries.clone(),
        lab: folder.path().to_owned(),
        mount_point: folder.of(&machine.name).join("root"),
        home: folder.home(),
        real_screen: real_screen().filter(|socket| *socket != screen_socket(&machine.display())),
        vm,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_user_of_the_same_name_or_number_gives_way() {
        let old = "root:x:0:0::/root:/bin/sh\nada:x:5:5::/x:/y\nother:x:2111:7::/x:/y\n";
        let new = with_line(old, "ada:x:2111:2111::/home/ada:/bin/bash", 2111);
        assert_eq!(new, "root:x:0:0::/root:/bin/sh\nada:x:2111:2111::/home/ada:/bin/bash\n");
    }

    #[test]
    fn displays_have_sockets() {
        assert_eq!(screen_socket(":1"), Path::new("/tmp/.X11-unix/X1"));
        assert_eq!(screen_socket(":0.0"), Path::new("/tmp/.X11-unix/X0"));
    }

    #[test]
    fn paths_of_the_host_are_found_below_the_new_root() {
        assert_eq!(below(Path::new("/r"), Path::new("/a/b")), Path::new("/r/a/b"));
    }
}
