//! Whether this machine can take a session: CPU, memory, folders, open files. Asked before anything is made.

use std::collections::HashSet;
use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use roam_api::error::{Failure, Refusal};
use roam_api::migration::Offer;
use roam_checkpoint::Want;

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

/// Flags of /proc/cpuinfo that say nothing about what a program may execute: they are about interrupts,
/// page tables, virtualization, power, monitoring, faults that the kernel works around, or speed alone, and
/// two kernels show different ones on the same processor (arch/x86/include/asm/cpufeatures.h). What is not
/// listed is compared: a name that is new here refuses a move rather than a program end with SIGILL.
#[rustfmt::skip]
const NOT_FOR_PROGRAMS: &[&str] = &[
    // The kernel's own page tables, interrupts and registers.
    "vme", "de", "pse", "msr", "pae", "mce", "apic", "sep", "mtrr", "pge", "mca", "pat", "pse36", "pn", "mp",
    "nx", "pdpe1gb", "lm", "syscall", "smep", "smap", "umip", "la57", "pcid", "x2apic", "invpcid", "xsaves",
    "extapic", "tsc_deadline_timer", "osxsave", "tce", "lam", "fred", "lkgs", "lass", "bus_lock_detect",
    "split_lock_detect", "ring3mwait", "wbnoinvd", "pconfig", "enqcmd", "sgx", "sgx_lc", "skinit", "smx",
    "wrmsrns", "monitor", "user_shstk", "ibt", "mpx",
    // How clocks behave, and what the kernel has made up for itself.
    "constant_tsc", "nonstop_tsc", "nonstop_tsc_s3", "tsc_reliable", "tsc_known_freq", "tsc_adjust", "up", "art",
    "rep_good", "nopl", "xtopology", "topoext", "cpuid", "cpuid_fault", "extd_apicid", "nodeid_msr", "amd_dcm",
    "hypervisor", "k8", "hybrid_cpu", "amd_lbr_v2", "always", "mce_recovery",
    // Power and heat.
    "acpi", "tm", "tm2", "est", "dts", "dtherm", "ida", "arat", "pln", "pts", "hwp", "hwp_notify",
    "hwp_act_window", "hwp_epp", "hwp_pkg_req", "hfi", "epb", "cpb", "hw_pstate", "cppc", "proc_feedback",
    "acc_power", "aperfmperf", "rapl",
    // Counters and traces.
    "arch_perfmon", "pebs", "bts", "dtes64", "ds_cpl", "cid", "sdbg", "xtpr", "pdcm", "dca", "ibs", "wdt", "lwp",
    "bpext", "ptsc", "perfctr_core", "perfctr_nb", "perfctr_llc", "perfmon_v2", "brs", "arch_lbr", "intel_pt",
    "cqm", "cqm_llc", "cqm_occup_llc", "cqm_mbm_total", "cqm_mbm_local", "rdt_a", "cat_l3", "cat_l2", "cdp_l3",
    "cdp_l2", "mba", "smba", "bmec", "per_thread_mba", "irperf", "overflow_recov", "succor", "smca", "pbe", "ia64",
    // Virtual machines.
    "vmx", "svm", "vmcall", "vmmcall", "tpr_shadow", "vnmi", "flexpriority", "ept", "vpid", "ept_ad", "npt",
    "lbrv", "svm_lock", "nrip_save", "tsc_scale", "vmcb_clean", "flushbyasid", "decodeassists", "pausefilter",
    "pfthreshold", "avic", "x2avic", "v_vmsave_vmload", "vgif", "v_spec_ctrl", "svme_addr_chk", "cr8_legacy",
    "cmp_legacy", "osvw", "sme", "sev", "sev_es", "sev_snp", "debug_swap", "xenpv", "tdx_guest",
    // Faults of processors and how they are worked around.
    "pti", "ibrs", "ibpb", "stibp", "ibrs_enhanced", "ssbd", "virt_ssbd", "amd_ssbd", "retpoline", "md_clear",
    "flush_l1d", "arch_capabilities", "core_capabilities", "tsx_force_abort", "rtm_always_abort", "srbds_ctrl",
    "xsaveerptr", "amd_ppin", "intel_ppin", "amd_psfd", "btc_no", "ibpb_brtype", "invpcid_single", "ss", "ht",
    // What makes an instruction fast and adds none.
    "erms", "fsrm", "fzrm", "fsrs", "fsrc",
];

/// Flags of sets of registers that glibc's loader saves, beyond x87, SSE and AVX.
const WIDE: [&str; 2] = ["mpx", "avx512f"];

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

/// How much is read in order to compare files before the session comes, in bytes.
const READ: u64 = 512 << 20;

/// Refuses what wants folders and files of this machine, or room, that are not here. Those of a pod's own are made with
/// it.
///
/// # Errors
/// The refusal.
pub fn lacks(wants: &[Want], about: &About, here: &str) -> Result<(), Failure> {
    // The source waits: what is more is read when the session stands still, most of it from what is known by then.
    let mut budget = READ;
    let mut cheap = |want: &Want| match budget.checked_sub(want.cost()) {
        Some(rest) => {
            budget = rest;
            want.clone()
        }
        None => want.clone().by_place(),
    };
    let is_the_machines =
        |want: &Want| mounts::is_the_machines(&want.path(), &about.facts.home, &about.facts.runtime_dir);
    let refusals: Vec<Refusal> = wants
        .iter()
        .filter(|want| want.is_room() || want.is_plain() && is_the_machines(want))
        .filter_map(|want| cheap(want).missing(Path::new("/")))
        .collect();
    if refusals.is_empty() {
        return Ok(());
    }
    Err(Failure { refusals, ..Failure::refused(format!("{here} can't take {}.", about.spec.name)) })
}

fn judge(offer: &Offer, here: &HashSet<String>, available: Option<u64>) -> Result<(), Failure> {
    let offered = offer.cpu_features.iter().map(String::as_str);
    let missing: Vec<&str> =
        offered.filter(|f| !here.contains(*f) && !NOT_FOR_PROGRAMS.contains(f)).take(8).collect();
    if !missing.is_empty() {
        return Err(Failure::refused(format!(
            "The target's processor lacks {} that {} may be using.",
            missing.join(", "),
            offer.name
        )));
    }
    let offered = |flag: &str| offer.cpu_features.iter().any(|f| f == flag);
    // Without XSAVEC, glibc's loader saves registers by XSAVE whenever it looks up a function for the first time. It
    // measured the room once, at the program's start; XSAVE writes all that the processor here has, over
    // the end of that room.
    if offered("xsave")
        && !offered("xsavec")
        && let Some(more) = WIDE.iter().find(|set| here.contains(**set) && !offered(set))
    {
        return Err(Failure::refused(format!(
            "The target's processor has more registers ({more}) than {} had room for when it was started.",
            offer.name
        ))
        .next("Start it there, or send it to a machine with a processor more like this one's."));
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
            wants: vec![],
        };
        let both: HashSet<String> = offer.cpu_features.iter().cloned().collect();
        assert_eq!(judge(&offer, &both, Some(901 << 20)), Ok(()));
        assert!(judge(&offer, &both, Some(899 << 20)).unwrap_err().sentence.contains("900 MiB"));
        // Not what the kernel alone can use, or has made up.
        let other_kernel =
            Offer { cpu_features: vec!["pti".into(), "constant_tsc".into(), "sse2".into()], ..offer.clone() };
        assert_eq!(judge(&other_kernel, &both, None), Ok(()));
        // A loader that measured its room for fewer registers; one that writes only those in use.
        let wider = HashSet::from(["sse2", "xsave", "xsavec", "mpx"].map(str::to_owned));
        let features = |all: &[&str]| all.iter().map(|&f| f.to_owned()).collect();
        let old = Offer { cpu_features: features(&["sse2", "xsave"]), ..offer.clone() };
        assert!(judge(&old, &wider, None).unwrap_err().sentence.contains("(mpx)"));
        assert_eq!(judge(&old, &HashSet::from(["sse2", "xsave"].map(str::to_owned)), None), Ok(()));
        let newer = Offer { cpu_features: features(&["sse2", "xsave", "xsavec"]), ..offer.clone() };
        assert_eq!(judge(&newer, &wider, None), Ok(()));
        let less = HashSet::from(["sse2".to_owned()]);
        assert!(judge(&offer, &less, None).unwrap_err().sentence.contains("avx512f"));
        let tiles = Offer { cpu_features: features(&["sse2", "amx_tile"]), ..offer };
        assert!(judge(&tiles, &less, None).unwrap_err().sentence.contains("amx_tile"));
    }
}
