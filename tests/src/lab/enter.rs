//! Commands inside a machine. `nsenter` enters the namespaces (and from there, the network carries a
//! command into a virtual machine), `setpriv` becomes the user and gives up every capability; none looks
//! at the command, so argv arrives as it was given.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use anyhow::{Context, Result, bail};

use super::state::{Machine, USER};

/// A command in the machine as its user, in HOME, with a clean environment and no capabilities.
/// Arguments are to be added.
pub fn as_user(machine: &Machine, program: impl AsRef<OsStr>) -> Command {
    let mut command = enter(machine, &machine.home());
    let uid = machine.uid().to_string();
    command.args(["/usr/bin/setpriv", "--reuid", &uid, "--regid", &uid, "--clear-groups"]);
    command.args(["--inh-caps=-all", "--ambient-caps=-all", "--bounding-set=-all"]);
    // Whoever ends `nsenter` means the command.
    command.args(["--pdeathsig", "KILL", "--"]);
    command.arg(program);
    command.env_clear().envs(environment(machine));
    if let Some(term) = std::env::var_os("TERM") {
        command.env("TERM", term);
    }
    command
}

/// A program that goes on in the machine when whoever started it has gone, in a session of its own.
pub fn service(machine: &Machine, argv: &[&str]) -> Command {
    let mut command = as_user(machine, if machine.hardware.is_none() { "setsid" } else { argv[0] });
    if machine.hardware.is_none() {
        command.arg("--fork").args(argv);
        return command;
    }
    // What carries its output out of the virtual machine has to stay, too.
    command.args(&argv[1..]);
    let mut stays = Command::new("setsid");
    stays.arg("--fork").arg(command.get_program()).args(command.get_args()).env_clear();
    stays.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
    stays
}

/// A command in the machine as root: only for building it, never for anything of Roam.
pub fn as_root(machine: &Machine, program: impl AsRef<OsStr>) -> Command {
    let mut command = enter(machine, Path::new("/"));
    command.arg(program);
    command
}

fn enter(machine: &Machine, folder: &Path) -> Command {
    let mut command = Command::new("nsenter");
    command.arg("--target").arg(machine.init.pid.to_string());
    if machine.hardware.is_some() {
        command.args(["--net", "--pid", "--", "/usr/bin/setpriv", "--pdeathsig", "KILL", "--"]);
        command.arg(roam_lab()).args(["internal", "run-in-guest"]).arg(folder);
        command.arg("--");
        return command;
    }
    command.args(["--mount", "--uts", "--ipc", "--net", "--pid", "--time"]);
    command.arg(format!("--wdns={}", folder.display())).arg("--");
    command
}

/// roam-lab itself, which lies beside whatever asks and is at the same path in every machine.
#[must_use]
pub fn roam_lab() -> PathBuf {
    std::env::current_exe().map_or_else(|_| "roam-lab".into(), |own| own.with_file_name("roam-lab"))
}

/// The environment of the machine's user, as a log-in would set it.
#[must_use]
pub fn environment(machine: &Machine) -> Vec<(String, String)> {
    let runtime = machine.runtime();
    let home = machine.home().display().to_string();
    let path = machine
        .binaries
        .iter()
        .cloned()
        .chain(["/usr/local/bin", "/usr/bin", "/bin", "/usr/games"].map(PathBuf::from))
        .map(|folder| folder.display().to_string())
        .collect::<Vec<_>>()
        .join(":");
    [
        ("HOME", home),
        ("USER", USER.to_owned()),
        ("LOGNAME", USER.to_owned()),
        ("SHELL", "/bin/bash".to_owned()),
        ("PATH", path),
        ("LANG", "C.UTF-8".to_owned()),
        ("DISPLAY", machine.display()),
        ("XAUTHORITY", runtime.join("Xauthority").display().to_string()),
        ("DBUS_SESSION_BUS_ADDRESS", format!("unix:path={}", runtime.join("bus").display())),
        ("XDG_RUNTIME_DIR", runtime.display().to_string()),
        ("XDG_SESSION_TYPE", "x11".to_owned()),
    ]
    .map(|(name, value)| (name.to_owned(), value))
    .to_vec()
}

/// Runs a command to its end and returns what it printed; an error holds what it complained of.
pub fn output(command: &mut Command) -> Result<Output> {
    let output = command.output().with_context(|| format!("{:?} can't be run", command.get_program()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        let args: Vec<_> = command.get_args().map(OsStr::to_string_lossy).collect();
        bail!("`{}` failed ({}): {}", args.join(" "), output.status, said.trim());
    }
    Ok(output)
}
