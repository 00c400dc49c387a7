//! Process 1 of a virtual machine, in the guest: modules, the root, the network; then it hands what
//! takes commands ([`super::exec`]) to a child and only reaps.

use std::fs::{self, File};
use std::io::Write;
use std::net::TcpListener;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use anyhow::{Context, Result};
use nix::kmod::{ModuleInitFlags, finit_module};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::resource::{Resource, setrlimit};
use nix::sys::wait::wait;

use super::{CONTROL, PORT, VmPlan};
use crate::lab::enter::output;
use crate::lab::machine::{self, NOTHING, Origin, Plan};
use crate::lab::net;

/// Whether this process is the first of a guest.
#[must_use]
pub fn is_guest() -> bool {
    std::process::id() == 1 && Path::new("/plan.json").exists()
}

/// Runs as process 1 of a guest; the kernel switches the machine off when this returns.
pub fn init() -> Result<()> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    mount(Some("devtmpfs"), "/dev", Some("devtmpfs"), quiet, NOTHING).context("/dev")?;
    mount(Some("proc"), "/proc", Some("proc"), quiet, NOTHING).context("/proc")?;
    // The host hears one word, or why there will be none.
    let mut word = File::options().write(true).open("/dev/ttyS1").context("/dev/ttyS1")?;
    match start() {
        Ok(()) => writeln!(word, "ready")?,
        Err(error) => {
            writeln!(word, "{error:#}")?;
            return Err(error);
        }
    }
    loop {
        wait()?;
    }
}

fn start() -> Result<()> {
    let plan: Plan = serde_json::from_slice(&fs::read("/plan.json")?)?;
    let vm = plan.vm.clone().context("a plan of a virtual machine")?;
    load_modules()?;
    for share in super::SHARES {
        let place = Path::new("/").join(share);
        mount(Some(share), &place, Some("virtiofs"), MsFlags::empty(), NOTHING)
            .with_context(|| format!("the host's {share}"))?;
    }
    let plan = Plan { mount_point: PathBuf::from("/layers"), ..plan };
    let origin = Origin { system: PathBuf::from("/system"), owned_home: Some(PathBuf::from("/home")) };
    let root = machine::build_root(&plan, &origin)?;
    show_modules(&root, &vm)?;
    switch_root(&root)?;
    nix::unistd::sethostname(&plan.name)?;
    limits()?;
    let listener = network(&vm)?;
    clocks(plan.clocks)?;
    let program = plan.binaries.last().context("a folder of roam-lab")?.join("roam-lab");
    // Its complaints, and what services print later, go to the console.
    Command::new(program)
        .args(["internal", "guest"])
        .stdin(Stdio::from(OwnedFd::from(listener)))
        .stdout(Stdio::null())
        .spawn()
        .context("roam-lab can't be started in the guest")?;
    Ok(())
}

fn load_modules() -> Result<()> {
    let mut files: Vec<PathBuf> =
        fs::read_dir("/modules")?.map(|entry| Ok(entry?.path())).collect::<Result<_>>()?;
    files.sort();
    for file in files {
        let packed = file.extension().is_some_and(|end| end != "ko");
        let flags = if packed {
            // MODULE_INIT_COMPRESSED_FILE, not in nix's list.
            ModuleInitFlags::from_bits_retain(4)
        } else {
            ModuleInitFlags::empty()
        };
        finit_module(File::open(&file)?, c"", flags).with_context(|| file.display().to_string())?;
    }
    Ok(())
}

/// Where modprobe finds the rest: the kernel calls it for programs that ask for something new.
fn show_modules(root: &Path, vm: &VmPlan) -> Result<()> {
    let place = root.join("lib/modules").join(&vm.kernel.release);
    fs::create_dir_all(&place)?;
    let modules = Path::new("/system").join(vm.kernel.modules().strip_prefix("/")?);
    mount(Some(&modules), &place, NOTHING, MsFlags::MS_BIND, NOTHING).context("the modules")
}

/// The first root of a guest can't be left by pivot_root; the new one is moved over it.
fn switch_root(root: &Path) -> Result<()> {
    std::env::set_current_dir(root)?;
    for gone in ["/proc", "/dev"] {
        umount2(gone, MntFlags::MNT_DETACH)?;
    }
    mount(Some("."), "/", NOTHING, MsFlags::MS_MOVE, NOTHING).context("the root can't be moved")?;
    nix::unistd::chroot(".")?;
    std::env::set_current_dir("/")?;
    Ok(())
}

/// As systemd leaves them on Debian: without it a program may open 4096 files at most.
fn limits() -> Result<()> {
    setrlimit(Resource::RLIMIT_NOFILE, 1024, 1 << 20)?;
    fs::write("/proc/sys/kernel/pid_max", "4194304")?;
    Ok(())
}

/// As with other machines: days apart. It holds for all that is started from here.
fn clocks(ahead: (i64, i64)) -> Result<()> {
    let new_time = CloneFlags::from_bits_retain(nix::libc::CLONE_NEWTIME);
    unshare(new_time)?;
    fs::write("/proc/self/timens_offsets", format!("monotonic {} 0\nboottime {} 0\n", ahead.0, ahead.1))
        .context("the clocks can't be set")?;
    // Entered as well: a process that stays outside can't start others as cheaply, or threads.
    nix::sched::setns(File::open("/proc/self/ns/time_for_children")?, new_time).context("the new clocks")
}

/// Sets up what Roam sees, and returns a listener in a network of its own that it does not see.
fn network(vm: &VmPlan) -> Result<TcpListener> {
    let devices = fs::read_dir("/sys/class/net")?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<Result<Vec<_>>>()?;
    let control = devices
        .iter()
        .find(|device| {
            fs::read_to_string(format!("/sys/class/net/{device}/address"))
                .is_ok_and(|mac| mac.starts_with("52:54:00:78:"))
        })
        .context("the cable for commands is not there")?
        .clone();
    let listener = std::thread::spawn(move || listen(&control))
        .join()
        .map_err(|_| anyhow::anyhow!("the network of commands failed"))??;
    net::addresses(vm.number).iter().try_for_each(|command| ip(command))?;
    Ok(listener)
}

/// On a thread of its own, which is all that enters the other network; the socket stays in it.
fn listen(device: &str) -> Result<TcpListener> {
    let before = File::open("/proc/thread-self/ns/net")?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    let own = nix::unistd::gettid();
    // From where the device is, to where this thread is.
    std::thread::scope(|scope| {
        let give = scope.spawn(|| {
            nix::sched::setns(&before, CloneFlags::CLONE_NEWNET)?;
            ip(&format!("link set {device} netns {own}"))
        });
        give.join().map_err(|_| anyhow::anyhow!("the device can't be moved"))?
    })?;
    ip(&format!("address add {}/30 dev {device}", CONTROL.1))?;
    ip(&format!("link set {device} up"))?;
    Ok(TcpListener::bind((CONTROL.1, PORT))?)
}

fn ip(command: &str) -> Result<()> {
    output(Command::new("ip").args(command.split(' '))).map(drop)
}
