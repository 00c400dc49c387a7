//! A virtual machine: a machine whose process 1, instead of building a root, switches on qemu (by
//! software emulation). The guest builds the same root for itself, under a kernel and a CPU of its own.
//!
//! ```text
//! namespaces of the machine (process 1, `internal init`)
//!   eth0 (the cable) ─ br0 ─ tap0 ═ eth0 of the guest      what Roam sees
//!                            tap1 ═ control of the guest   commands; the guest's programs don't see it
//!   virtiofsd system: the host's root, read-only           lower layer of the guest's root
//!   virtiofsd home:   the shared home, already with the owner of this machine
//! ```
//! Ending process 1 ends all of it. The guest boots from a file system in memory that holds roam-lab,
//! its libraries and the few modules it takes to reach the host's files ([`initramfs`]).

pub mod exec;
pub mod guest;
mod initramfs;

use std::fmt;
use std::fs;
use std::io::{BufRead, BufReader};
use std::os::fd::AsRawFd;
use std::os::unix::fs::MetadataExt;
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::str::FromStr;

use anyhow::{Context, Result, bail, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use nix::mount::{MsFlags, mount};
use serde::{Deserialize, Serialize};

use super::enter::output;
use super::machine::{self, Plan};

/// The host's and the guest's address on the cable that carries commands.
pub const CONTROL: (&str, &str) = ("10.78.0.1", "10.78.0.2");
/// Where the guest takes commands.
pub const PORT: u16 = 77;
/// What is shared with the guest: the host's root, and the home of its user.
const SHARES: [&str; 2] = ["system", "home"];
/// C's virtiofsd, which Debian 12 has in qemu-system-common.
const VIRTIOFSD: &str = "/usr/lib/qemu/virtiofsd";

/// What a virtual machine is made of; written `6.1:Haswell`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hardware {
    /// The kernel, by the first two numbers of its version.
    pub kernel: String,
    /// The processor, as qemu calls it.
    pub cpu: String,
}

impl FromStr for Hardware {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        let (kernel, cpu) =
            text.split_once(':').context("a virtual machine is written KERNEL:CPU, like 6.1:Haswell")?;
        let numbers = |c: char| c.is_ascii_digit() || c == '.';
        ensure!(
            !kernel.is_empty() && kernel.chars().all(numbers),
            "{kernel:?} is no kernel; write it like 6.1"
        );
        let name = |c: char| c.is_ascii_alphanumeric() || "-_.,+=".contains(c);
        ensure!(!cpu.is_empty() && cpu.chars().all(name), "{cpu:?} is no CPU model of qemu");
        Ok(Self { kernel: kernel.to_owned(), cpu: cpu.to_owned() })
    }
}

impl fmt::Display for Hardware {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Linux {} on {}", self.kernel, self.cpu)
    }
}

/// An unpacked kernel package.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Kernel {
    folder: PathBuf,
    /// As `uname -r` says.
    release: String,
}

impl Kernel {
    /// The kernel of this version that `tests/setup vm` has fetched, below `$ROAM_VM_DIR`, else in
    /// `vm` beside the folder of the programs.
    pub fn find(version: &str) -> Result<Self> {
        let all = match std::env::var_os("ROAM_VM_DIR") {
            Some(folder) => folder.into(),
            None => std::env::current_exe()?.ancestors().nth(2).context("a program has a folder")?.join("vm"),
        };
        let folder = all.join(version);
        let remedy = || format!("there is no kernel {version} in {}; run `tests/setup vm`", all.display());
        let modules = fs::read_dir(folder.join("lib/modules")).with_context(remedy)?;
        let entry = modules.into_iter().next().with_context(remedy)??;
        let release = entry.file_name().into_string().ok().context("a version in UTF-8")?;
        Ok(Self { folder: folder.canonicalize()?, release })
    }

    fn image(&self) -> PathBuf {
        self.folder.join("boot").join(format!("vmlinuz-{}", self.release))
    }

    /// Where the modules lie.
    fn modules(&self) -> PathBuf {
        self.folder.join("lib/modules").join(&self.release)
    }
}

/// What process 1 of a virtual machine needs to know beyond the plan of every machine.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct VmPlan {
    /// The CPU.
    pub cpu: String,
    /// The kernel.
    pub kernel: Kernel,
    /// The machine's number: its addresses.
    pub number: u8,
}

/// `internal init` of a virtual machine: returns its parts, qemu and the servers of files, once the guest
/// takes commands.
pub fn switch_on(plan: &Plan, vm: &VmPlan) -> Result<Vec<Child>> {
    mount(machine::NOTHING, "/", machine::NOTHING, MsFlags::MS_REC | MsFlags::MS_PRIVATE, machine::NOTHING)?;
    let place = &plan.mount_point;
    machine::tmpfs(place, "mode=0700")?;
    for folder in SHARES.iter().chain(&["proc"]) {
        fs::create_dir(place.join(folder))?;
    }
    // The one above is of the host's process ids.
    mount(Some("proc"), &place.join("proc"), Some("proc"), MsFlags::empty(), machine::NOTHING)?;
    share_system(&place.join("system"), plan, vm)?;
    machine::idmapped_home(&plan.home, &place.join("home"), plan.uid, &place.join("proc"))?;
    initramfs::write(&place.join("initramfs"), plan, vm)?;
    for (tap, set_up) in [("tap0", None), ("tap1", Some(CONTROL.0))] {
        ip(&format!("tuntap add dev {tap} mode tap"))?;
        if let Some(address) = set_up {
            ip(&format!("address add {address}/30 dev {tap}"))?;
        }
        ip(&format!("link set {tap} up"))?;
    }
    ip("link add br0 type bridge mcast_snooping 0 forward_delay 0")?;
    ip("link set tap0 master br0")?;
    ip("link set br0 up")?;
    let mut parts = SHARES.iter().map(|share| serve_files(place, share)).collect::<Result<Vec<_>>>()?;
    let mut qemu = qemu(place, plan, vm).spawn().context("qemu can't be started; run `tests/setup vm`")?;
    let mut line = String::new();
    BufReader::new(qemu.stdout.take().context("stdout was piped")?).read_line(&mut line)?;
    match line.trim() {
        "ready" => {
            parts.push(qemu);
            Ok(parts)
        }
        "" => bail!("the virtual machine ended; see its console.log"),
        reason => bail!("in the virtual machine: {reason}"),
    }
}

fn share_system(place: &Path, plan: &Plan, vm: &VmPlan) -> Result<()> {
    // What is mounted elsewhere is not in this view of the root.
    let root = fs::metadata("/")?.dev();
    for folder in plan.binaries.iter().chain([&vm.kernel.folder]) {
        ensure!(
            fs::metadata(folder)?.dev() == root,
            "{} lies on another file system than /, which virtual machines can't see",
            folder.display()
        );
    }
    mount(Some("/"), place, machine::NOTHING, MsFlags::MS_BIND, machine::NOTHING)?;
    let flags = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
    mount(machine::NOTHING, place, machine::NOTHING, flags, machine::NOTHING)?;
    Ok(())
}

/// Serves a folder to the guest by a socket beside it.
fn serve_files(place: &Path, share: &str) -> Result<Child> {
    // The home has another writer, the other machine: what is known of it must be looked at again.
    let cache = if share == "home" { "auto" } else { "always" };
    let socket = UnixListener::bind(place.join(format!("{share}.sock")))?;
    fcntl(&socket, FcntlArg::F_SETFD(FdFlag::empty()))?;
    // Without a pool of threads: GLib's asks for its processors, which virtiofsd's own filter kills it for.
    Command::new(VIRTIOFSD)
        .arg(format!("--fd={}", socket.as_raw_fd()))
        .args([
            "-f",
            "--thread-pool-size=0",
            "-o",
            "sandbox=chroot,log_level=err",
            "-o",
            &format!("cache={cache}"),
        ])
        .arg("-o")
        .arg(format!("source={}", place.join(share).display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .spawn()
        .with_context(|| format!("{VIRTIOFSD} can't be started; run `tests/setup vm`"))
}

fn qemu(place: &Path, plan: &Plan, vm: &VmPlan) -> Command {
    let console = plan.lab.join("machines").join(&plan.name).join("log/console.log");
    let mut qemu = Command::new("qemu-system-x86_64");
    let mut arguments = |line: &str| {
        qemu.args(line.split_ascii_whitespace());
    };
    arguments("-nodefaults -no-user-config -display none -no-reboot");
    arguments("-machine q35,memory-backend=memory -accel tcg,thread=multi -smp 2");
    // The servers of files read and write the guest's memory, so it is shared with them.
    arguments("-m 2048 -object memory-backend-memfd,id=memory,size=2048M,share=on");
    arguments(&format!("-cpu {}", vm.cpu));
    arguments("-device virtio-rng-pci");
    for (tap, kind) in [(0, "77"), (1, "78")] {
        arguments(&format!("-netdev tap,id=n{tap},ifname=tap{tap},script=no,downscript=no"));
        let mac = format!("52:54:00:{kind}:00:{:02x}", vm.number);
        arguments(&format!("-device virtio-net-pci,netdev=n{tap},mac={mac},romfile="));
    }
    for share in SHARES {
        arguments(&format!("-chardev socket,id={share},path={share}.sock"));
        arguments(&format!("-device vhost-user-fs-pci,chardev={share},tag={share}"));
    }
    arguments("-initrd initramfs -kernel");
    qemu.arg(vm.kernel.image());
    qemu.args(["-append", "console=ttyS0 quiet panic=-1 rdinit=/init"]);
    qemu.arg("-serial").arg(format!("file:{}", console.display()));
    // The second line is the guest's one word to us.
    qemu.args(["-serial", "stdio"]).stdin(Stdio::null()).stdout(Stdio::piped()).current_dir(place);
    qemu
}

fn ip(command: &str) -> Result<()> {
    output(Command::new("ip").args(command.split(' '))).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hardware_is_read_and_nonsense_is_refused() {
        let wanted = Hardware { kernel: "6.12".into(), cpu: "max,-avx2".into() };
        assert_eq!("6.12:max,-avx2".parse::<Hardware>().expect("good"), wanted);
        for bad in ["", "6.1", ":max", "6.1:", "../6.1:max", "6.1:max -cpu x"] {
            assert!(bad.parse::<Hardware>().is_err(), "{bad}");
        }
    }
}
