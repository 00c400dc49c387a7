//! The lab's folder and what stands in it. One `roam-lab` at a time changes it, by a lock; readers
//! see the last whole file.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize};

use super::proc::Proc;
use super::vm::Hardware;

/// The user of every machine, by name.
pub const USER: &str = "ada";
/// Owner of the shared home on disk; each machine sees its own user's uid instead.
pub const HOME_OWNER: u32 = 1000;

/// What stands.
#[derive(Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Lab {
    /// The process that holds the network namespace with the bridge.
    pub switch: Option<Proc>,
    /// The machines by name.
    pub machines: BTreeMap<String, Machine>,
}

/// One machine that was brought up.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Machine {
    /// Its name, which is its host name too.
    pub name: String,
    /// 1, 2, …: decides address, uid, display and clock.
    pub number: u8,
    /// Its process 1; of a virtual machine, the one that holds qemu.
    pub init: Proc,
    /// What a virtual machine is made of; none for one that shares kernel and processor with the host.
    #[serde(default)]
    pub hardware: Option<Hardware>,
    /// Folders of Roam's binaries, mounted at the same paths; the first holds `roam`.
    pub binaries: Vec<PathBuf>,
    /// Its speed, as given to `roam-lab link`.
    pub rate: Option<String>,
    /// True while its packets vanish.
    pub cut: bool,
}

impl Machine {
    /// The uid and gid of its user.
    #[must_use]
    pub fn uid(&self) -> u32 {
        2000 + 111 * u32::from(self.number)
    }

    /// Its IPv4 address.
    #[must_use]
    pub fn address(&self) -> String {
        address(self.number)
    }

    /// Its X display.
    #[must_use]
    pub fn display(&self) -> String {
        format!(":{}", self.number)
    }

    /// XDG_RUNTIME_DIR of its user.
    #[must_use]
    pub fn runtime(&self) -> PathBuf {
        PathBuf::from(format!("/run/user/{}", self.uid()))
    }

    /// HOME of its user.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        Path::new("/home").join(USER)
    }

    /// Seconds that its monotonic and boot clocks are ahead of the host's: days, and not the same.
    #[must_use]
    pub fn clock_offsets(&self) -> (i64, i64) {
        let days = i64::from(self.number) * 3 * 86_400;
        (days + 7_321, days + 40_000)
    }
}

/// The IPv4 address of the machine with this number.
#[must_use]
pub fn address(number: u8) -> String {
    format!("10.77.0.{number}")
}

/// The lab's folder.
#[derive(Debug, Clone)]
pub struct Folder(PathBuf);

impl Folder {
    /// `$ROAM_LAB_DIR`, else `/tmp/roam-lab`.
    pub fn from_env() -> Result<Self> {
        let path = std::env::var_os("ROAM_LAB_DIR").map_or_else(|| "/tmp/roam-lab".into(), PathBuf::from);
        Self::at(&path)
    }

    /// A lab at this place, which need not exist yet.
    pub fn at(path: &Path) -> Result<Self> {
        if !path.is_absolute() {
            bail!("the lab's folder must be an absolute path, not {}. Set ROAM_LAB_DIR.", path.display());
        }
        Ok(Self(path.to_owned()))
    }

    /// The folder itself.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The one shared folder, HOME of every machine.
    #[must_use]
    pub fn home(&self) -> PathBuf {
        self.0.join("home")
    }

    /// A machine's own folder on the host.
    #[must_use]
    pub fn of(&self, machine: &str) -> PathBuf {
        self.0.join("machines").join(machine)
    }

    /// A file for what a service of a machine prints; opened for appending.
    pub fn log(&self, machine: &str, service: &str) -> Result<File> {
        let folder = self.of(machine).join("log");
        fs::create_dir_all(&folder)?;
        Ok(OpenOptions::new().append(true).create(true).open(folder.join(format!("{service}.log")))?)
    }

    /// What stands, for reading. Machines whose process 1 has gone are left out.
    pub fn read(&self) -> Result<Lab> {
        let mut lab: Lab = match fs::read(self.0.join("lab.json")) {
            Ok(bytes) => serde_json::from_slice(&bytes)
                .with_context(|| format!("{} is damaged", self.0.join("lab.json").display()))?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Lab::default(),
            Err(error) => return Err(error).context("the lab's state can't be read"),
        };
        lab.machines.retain(|_, machine| machine.init.alive());
        lab.switch = lab.switch.filter(Proc::alive);
        Ok(lab)
    }

    /// What stands, for changing; waits for another `roam-lab` that is at work.
    pub fn lock(&self) -> Result<Locked> {
        fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.0)?;
        loop {
            let file = OpenOptions::new()
                .write(true)
                .create(true)
                .truncate(false)
                .mode(0o600)
                .open(self.lock_file())?;
            let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, error)| error)?;
            // `down` removes the folder under its lock: what we hold may be no lock any more.
            if same_file(&lock, &self.lock_file()) {
                return Ok(Locked { lab: self.read()?, folder: self.clone(), _lock: lock });
            }
            fs::DirBuilder::new().recursive(true).mode(0o755).create(&self.0)?;
        }
    }

    fn lock_file(&self) -> PathBuf {
        self.0.join("lock")
    }
}

fn same_file(file: &File, path: &Path) -> bool {
    use std::os::unix::fs::MetadataExt;
    match (file.metadata(), fs::metadata(path)) {
        (Ok(a), Ok(b)) => (a.dev(), a.ino()) == (b.dev(), b.ino()),
        _ => false,
    }
}

/// The lab while only we may change it.
#[derive(Debug)]
pub struct Locked {
    /// What stands.
    pub lab: Lab,
    /// Where.
    pub folder: Folder,
    _lock: Flock<File>,
}

impl Locked {
    /// Writes down what stands.
    pub fn save(&self) -> Result<()> {
        let new = self.folder.path().join("lab.json.new");
        fs::write(&new, serde_json::to_vec_pretty(&self.lab)?)?;
        fs::rename(&new, self.folder.path().join("lab.json"))?;
        Ok(())
    }

    /// The smallest number that no machine has.
    pub fn free_number(&self) -> Result<u8> {
        let taken: Vec<u8> = self.lab.machines.values().map(|machine| machine.number).collect();
        (1..=200).find(|n| !taken.contains(n)).context("a lab has at most 200 machines")
    }
}

/// The machine of this name, or an error that says which there are.
pub fn machine<'a>(lab: &'a Lab, name: &str) -> Result<&'a Machine> {
    lab.machines.get(name).with_context(|| {
        let names: Vec<&str> = lab.machines.keys().map(String::as_str).collect();
        match names.as_slice() {
            [] => "the lab is down; `roam-lab up` brings it up".to_owned(),
            names => format!("no machine is called {name}; there are {}", names.join(", ")),
        }
    })
}

/// Names that are host names and file names at once.
pub fn check_name(name: &str) -> Result<()> {
    let good = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    // A network device's name holds 15 bytes, and ours begin with "p-".
    if name.is_empty() || name.len() > 12 || !name.chars().all(good) || name.starts_with('-') {
        bail!("{name:?} can't be a machine's name: 1 to 12 small letters, digits and dashes");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(name: &str, number: u8) -> Machine {
        let init = Proc::of(i32::try_from(std::process::id()).expect("pid")).expect("we run");
        Machine { name: name.into(), number, init, hardware: None, binaries: vec![], rate: None, cut: false }
    }

    #[test]
    fn what_is_saved_is_read_and_numbers_are_reused() {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = Folder::at(temporary.path()).expect("absolute");
        let mut locked = folder.lock().expect("lock");
        locked.lab.machines.insert("desk".into(), sample("desk", 1));
        locked.lab.machines.insert("third".into(), sample("third", 3));
        assert_eq!(locked.free_number().expect("free"), 2);
        locked.save().expect("saved");
        drop(locked);
        assert_eq!(folder.read().expect("read").machines.len(), 2);
    }

    #[test]
    fn a_damaged_file_is_refused_and_a_relative_folder_too() {
        let temporary = tempfile::tempdir().expect("folder");
        let folder = Folder::at(temporary.path()).expect("absolute");
        fs::write(temporary.path().join("lab.json"), b"{\"switch\": 7").expect("written");
        assert!(folder.read().is_err());
        assert!(Folder::at(Path::new("here")).is_err());
    }

    #[test]
    fn machines_differ_in_everything_that_is_theirs() {
        let (a, b) = (sample("desk", 1), sample("laptop", 2));
        assert_ne!(a.uid(), b.uid());
        assert_ne!(a.address(), b.address());
        assert_ne!(a.display(), b.display());
        assert!(b.clock_offsets().0 - a.clock_offsets().0 >= 86_400);
    }

    #[test]
    fn names_are_checked() {
        for good in ["desk", "laptop", "pc-2"] {
            check_name(good).expect(good);
        }
        for bad in ["", "-x", "Desk", "a b", "../x", "averyverylongname"] {
            assert!(check_name(bad).is_err(), "{bad}");
        }
    }
}
