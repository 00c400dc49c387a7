//! What a guest boots from: an archive (cpio, "newc"; see initramfs-buffer-format in the kernel's
//! documentation) of roam-lab as /init, the libraries it runs with, the modules that lead to the host's
//! files, and the plan.

use std::collections::BTreeSet;
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use super::VmPlan;
use crate::lab::machine::Plan;

/// Modules that the guest loads itself, before there is a modprobe, and what they need.
const MODULES: [&str; 4] = ["virtio_pci", "virtiofs", "overlay", "virtio_net"];

const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const CONSOLE: u32 = 0o020_600;

/// Writes the archive.
pub fn write(file: &Path, plan: &Plan, vm: &VmPlan) -> Result<()> {
    let mut archive = Archive { out: BufWriter::new(File::create(file)?), entries: 0 };
    for folder in ["dev", "proc", "system", "home", "layers", "lib", "lib64", "modules"] {
        archive.entry(folder, FOLDER, (0, 0), b"")?;
    }
    // Standard output of process 1, until there is a /dev.
    archive.entry("dev/console", CONSOLE, (5, 1), b"")?;
    archive.file("init", &std::env::current_exe()?)?;
    for library in libraries()? {
        let path = Path::new(&library);
        let name = path.file_name().and_then(|name| name.to_str()).context("a library has a name")?;
        // The program names its loader by this path, and the loader looks for the rest in /lib.
        let folder = if name.starts_with("ld-linux") { "lib64" } else { "lib" };
        archive.file(&format!("{folder}/{name}"), path)?;
    }
    for (i, module) in modules(vm)?.iter().enumerate() {
        let name = Path::new(module).file_name().and_then(|name| name.to_str()).context("a name")?;
        archive.file(&format!("modules/{i:02}-{name}"), &vm.kernel.modules().join(module))?;
    }
    archive.entry("plan.json", PROGRAM, (0, 0), &serde_json::to_vec(plan)?)?;
    archive.entry("TRAILER!!!", 0, (0, 0), b"")?;
    archive.out.flush()?;
    Ok(())
}

/// The libraries that this program itself was loaded with.
fn libraries() -> Result<BTreeSet<String>> {
    let maps = fs::read_to_string("/proc/self/maps")?;
    let paths = maps.lines().filter_map(|line| line.find('/').map(|at| &line[at..]));
    Ok(paths.filter(|path| path.contains(".so")).map(str::to_owned).collect())
}

/// The files of [`MODULES`] and of all they need, in the order in which they can be loaded.
fn modules(vm: &VmPlan) -> Result<Vec<String>> {
    let read = |name: &str| {
        let file = vm.kernel.modules().join(name);
        fs::read_to_string(&file).with_context(|| format!("{}; run `tests/setup vm`", file.display()))
    };
    in_order(&MODULES, &read("modules.dep")?, &read("modules.builtin")?)
}

fn in_order(wanted: &[&str], needs: &str, built_in: &str) -> Result<Vec<String>> {
    let is = |path: &str, name: &str| {
        let file = path.rsplit('/').next().unwrap_or_default();
        file.split('.').next().is_some_and(|stem| stem.replace('-', "_") == name)
    };
    let mut order: Vec<String> = Vec::new();
    for name in wanted {
        let line = needs.lines().find(|line| line.split(':').next().is_some_and(|path| is(path, name)));
        let Some((module, needed)) = line.and_then(|line| line.split_once(':')) else {
            ensure!(built_in.lines().any(|path| is(path, name)), "this kernel has no module {name}");
            continue;
        };
        // Each comes after what it needs: modules.dep lists the deepest last.
        for path in needed.split_ascii_whitespace().rev().chain([module]) {
            if !order.iter().any(|known| known == path) {
                order.push(path.to_owned());
            }
        }
    }
    Ok(order)
}

struct Archive {
    out: BufWriter<File>,
    entries: u32,
}

impl Archive {
    fn file(&mut self, name: &str, from: &Path) -> Result<()> {
        let content = fs::read(from).with_context(|| from.display().to_string())?;
        self.entry(name, PROGRAM, (0, 0), &content)
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) -> Result<()> {
        self.entries += 1;
        let (length, name_length) = (u32::try_from(content.len())?, u32::try_from(name.len() + 1)?);
        // inode, mode, uid, gid, links, mtime, size, device, device named, length of the name, checksum
        let fields = [self.entries, mode, 0, 0, 1, 0, length, 0, 0, device.0, device.1, name_length, 0];
        let mut header = b"070701".to_vec();
        for field in fields {
            header.extend_from_slice(format!("{field:08x}").as_bytes());
        }
        header.extend_from_slice(name.as_bytes());
        header.push(0);
        for part in [&header[..], content] {
            self.out.write_all(part)?;
            self.out.write_all(&[0; 3][..part.len().next_multiple_of(4) - part.len()])?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modules_come_after_what_they_need() {
        let needs = "kernel/a/virtio-ring.ko:\nkernel/b/net.ko.xz: kernel/b/fail.ko.xz kernel/a/virtio-ring.ko\n\
            kernel/fs/overlay.ko: \n";
        let order = in_order(&["net", "virtio_ring", "overlay", "fuse"], needs, "kernel/fs/fuse.ko\n");
        assert_eq!(
            order.expect("all there"),
            ["kernel/a/virtio-ring.ko", "kernel/b/fail.ko.xz", "kernel/b/net.ko.xz", "kernel/fs/overlay.ko"]
        );
        assert!(in_order(&["none"], needs, "").is_err());
    }

    #[test]
    fn our_own_libraries_are_known() {
        let libraries = libraries().expect("maps");
        assert!(libraries.iter().any(|path| path.contains("ld-linux")), "{libraries:?}");
    }
}
