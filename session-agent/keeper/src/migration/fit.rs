//! Whether this machine can take a session: CPU, memory, folders. Asked before anything is made.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use roam_api::error::Failure;
use roam_api::migration::Offer;

use crate::bundle::About;
use crate::pod::mounts;

/// What this machine's CPU can do, as programs see it.
#[must_use]
pub fn cpu_features() -> Vec<String> {
    let text = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let flags = text.lines().find_map(|line| line.strip_prefix("flags"));
    flags
        .and_then(|line| line.split_once(':'))
        .map(|(_, flags)| flags.split_ascii_whitespace().map(str::to_owned).collect())
        .unwrap_or_default()
}

/// Memory that can be had, in bytes.
fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok().map(|kib| kib << 10)
}

/// Refuses what can't work here, naming the reason.
///
/// # Errors
/// The refusal.
pub fn check(offer: &Offer, about: &About) -> Result<(), Failure> {
    let here: HashSet<String> = cpu_features().into_iter().collect();
    judge(offer, &here, memory_available())?;
    let home = Path::new(OsStr::from_bytes(&about.facts.home));
    if !home.is_dir() {
        return Err(Failure::refused(format!(
            "The target has no folder {}, the session's home.",
            home.display()
        ))
        .next("Make the same home folder available there."));
    }
    let cwd = Path::new(OsStr::from_bytes(&about.spec.cwd));
    if !mounts::is_private(cwd) && !cwd.is_dir() {
        return Err(Failure::refused(format!("The target has no folder {}.", cwd.display())));
    }
    if nix::unistd::getuid().is_root() {
        return Err(Failure::refused("Roam does not run sessions as root."));
    }
    Ok(())
}

fn judge(offer: &Offer, here: &HashSet<String>, available: Option<u64>) -> Result<(), Failure> {
    let missing: Vec<&str> =
        offer.cpu_features.iter().filter(|f| !here.contains(*f)).map(String::as_str).take(8).collect();
    if !missing.is_empty() {
        return Err(Failure::refused(format!(
            "The target's processor lacks {} that {} may be using.",
            missing.join(", "),
            offer.name
        )));
    }
    let needed = offer.memory_bytes.saturating_add(offer.memory_bytes / 8);
    match available {
        Some(available) if available < needed => Err(Failure::refused(format!(
            "The target has {} MiB of memory left; {} needs {} MiB.",
            available >> 20,
            offer.name,
            needed >> 20
        ))
        .next("Close something there.")),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use roam_api::keeper::Identity;
    use roam_api::session::{MachineKey, SessionId};

    #[test]
    fn a_lack_is_named() {
        let id = SessionId { home: MachineKey([1; 32]), number: 2 };
        let offer = Offer {
            identity: Identity { id, generation: 2, home: "a".into(), host: "b".into() },
            number: 5,
            name: "editor".into(),
            about: vec![],
            memory_bytes: 800 << 20,
            cpu_features: vec!["sse2".into(), "avx512f".into()],
            clocks_ns: (0, 0),
        };
        let both: HashSet<String> = offer.cpu_features.iter().cloned().collect();
        assert_eq!(judge(&offer, &both, Some(901 << 20)), Ok(()));
        assert!(judge(&offer, &both, Some(899 << 20)).unwrap_err().sentence.contains("900 MiB"));
        let less = HashSet::from(["sse2".to_owned()]);
        assert!(judge(&offer, &less, None).unwrap_err().sentence.contains("avx512f"));
    }
}
