//! roam-lab: several machines on one, for tests, the demo and people. `roam_tests::lab` explains it.

use std::ffi::OsString;
use std::io::Read;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, Result, bail};
use clap::{Parser, Subcommand};
use roam_tests::harness::wait::{self, Limit};
use roam_tests::lab::proc::{Proc, in_namespace_of};
use roam_tests::lab::state::{Folder, machine};
use roam_tests::lab::vm::{Hardware, exec, guest};
use roam_tests::lab::{enter, machine as build, net, roam, screen, verbs};

/// Several machines on one: own processes, files, users, clocks and network, nothing shared but the
/// link and one home folder. Everything lies below $ROAM_LAB_DIR (default /tmp/roam-lab).
#[derive(Debug, Parser)]
#[command(
    name = "roam-lab",
    version,
    after_help = "Needs root to build the machines; what runs in them has no privileges."
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Debug, Subcommand)]
enum Verb {
    /// Bring up machines: screens on, agents running, paired with each other.
    Up {
        /// Their names.
        #[arg(default_values = ["desk", "laptop"])]
        names: Vec<String>,
        /// Only machines and screens: no agents.
        #[arg(long)]
        bare: bool,
        /// Virtual machines (qemu), in turn of these kernels and CPU models.
        #[arg(
            long,
            value_name = "KERNEL:CPU,…",
            value_delimiter = ' ',
            num_args = 0..=1,
            require_equals = true,
            default_missing_value = HARDWARE
        )]
        vm: Vec<Hardware>,
        /// Print "up", then wait for the end of stdin and take the lab down.
        #[arg(long)]
        hold: bool,
        /// The folder of Roam's binaries; without it, the one of roam-lab.
        #[arg(long, env = "ROAM_BIN_DIR")]
        binaries: Option<PathBuf>,
    },
    /// Run a command on a machine, as its user, with its display and folders.
    Exec {
        /// The machine.
        machine: String,
        /// Program and arguments, passed on as they are.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        argv: Vec<OsString>,
    },
    /// Take a picture of a machine's screen.
    Shot {
        /// The machine.
        machine: String,
        /// Where to write it.
        file: PathBuf,
    },
    /// Set the speed of a machine's link.
    Link {
        /// The machine.
        machine: String,
        /// Such as 100mbit or 1gbit; "none" for full speed.
        #[arg(long)]
        rate: String,
    },
    /// Make a machine's packets vanish silently.
    Cut {
        /// The machine.
        machine: String,
    },
    /// Let a cut machine's packets through again.
    Mend {
        /// The machine.
        machine: String,
    },
    /// End a part of Roam on a machine with SIGKILL.
    Kill {
        /// The machine.
        machine: String,
        /// Which part.
        part: roam::Part,
        /// Of this session.
        session: Option<String>,
    },
    /// Show what stands.
    Status,
    /// Take down one machine, or the whole lab: nothing is left.
    Down {
        /// Only this one.
        machine: Option<String>,
    },
    /// How roam-lab starts itself.
    #[command(hide = true)]
    Internal {
        #[command(subcommand)]
        step: Step,
    },
}

#[derive(Debug, Subcommand)]
enum Step {
    Boot,
    Init,
    /// In a virtual machine: takes commands.
    Guest,
    /// On the host: gives one.
    RunInGuest {
        folder: PathBuf,
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true)]
        argv: Vec<OsString>,
    },
    /// In a virtual machine: what runs.
    Processes,
    /// In a virtual machine: ends some of it.
    End {
        processes: String,
    },
    WaitPath {
        path: PathBuf,
    },
    Switch,
    Picture,
    WaitWm,
    Watch,
    Settle,
}

/// What `--vm` alone means: Debian 12's kernels, and the older one on the lesser processor.
const HARDWARE: &str = "6.1:Haswell 6.12:max,-mpx,-la57";

fn main() -> ExitCode {
    if guest::is_guest() {
        return match guest::init() {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("roam-lab: {error:#}");
                ExitCode::FAILURE
            }
        };
    }
    match run(Cli::parse().verb) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("roam-lab: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> Result<ExitCode> {
    if let Verb::Internal { step } = verb {
        match step {
            Step::Boot => build::boot(),
            Step::Init => build::init(),
            Step::Guest => exec::serve(),
            Step::RunInGuest { folder, argv } => return exec::run(&folder, &argv),
            Step::Processes => processes(),
            Step::End { processes } => end(&processes),
            Step::WaitPath { path } => wait::for_path(&path, Limit::seconds(20)),
            Step::Switch => net::switch(),
            Step::Picture => screen::print_picture(),
            Step::WaitWm => screen::wait_for_manager(),
            Step::Watch => roam::watch(),
            Step::Settle => screen::settle(),
        }?;
        return Ok(ExitCode::SUCCESS);
    }
    let folder = Folder::from_env()?;
    if !nix::unistd::geteuid().is_root() {
        bail!("building machines needs root; run it with sudo");
    }
    match verb {
        Verb::Up { names, bare, vm, hold, binaries } => up(&folder, names, bare, vm, hold, binaries)?,
        Verb::Exec { machine, argv } => return run_on(&folder, &machine, &argv),
        Verb::Shot { machine: name, file } => {
            let picture = screen::picture(machine(&folder.read()?, &name)?)?;
            std::fs::write(&file, picture).with_context(|| format!("{} can't be written", file.display()))?;
        }
        Verb::Link { machine, rate } => {
            verbs::link(&folder, &machine, Some(rate).filter(|rate| rate != "none"))?
        }
        Verb::Cut { machine } => verbs::cut(&folder, &machine, true)?,
        Verb::Mend { machine } => verbs::cut(&folder, &machine, false)?,
        Verb::Kill { machine: name, part, session } => {
            roam::kill(machine(&folder.read()?, &name)?, part, session.as_deref())?;
        }
        Verb::Status => print!("{}", verbs::status(&folder)?),
        Verb::Down { machine } => verbs::down(&folder, machine.as_deref())?,
        Verb::Internal { .. } => {}
    }
    Ok(ExitCode::SUCCESS)
}

fn up(
    folder: &Folder,
    names: Vec<String>,
    bare: bool,
    hardware: Vec<Hardware>,
    hold: bool,
    binaries: Option<PathBuf>,
) -> Result<()> {
    let own = std::env::current_exe()?;
    let binaries = match binaries {
        Some(folder) => {
            folder.canonicalize().with_context(|| format!("{} is not there", folder.display()))?
        }
        None => own.parent().unwrap_or(Path::new("/")).to_owned(),
    };
    let ask = verbs::Up { names, bare, hardware, binaries };
    let came = verbs::up(folder, &ask);
    if !hold {
        return came;
    }
    if came.is_ok() {
        println!("up");
        std::io::stdin().read_to_end(&mut Vec::new())?;
    }
    came.and(verbs::down(folder, None))
}

fn processes() -> Result<()> {
    serde_json::to_writer(std::io::stdout(), &in_namespace_of(Proc::of(1)?)?)?;
    Ok(())
}

fn end(processes: &str) -> Result<()> {
    let processes: Vec<Proc> = serde_json::from_str(processes)?;
    processes.iter().try_for_each(Proc::end)
}

fn run_on(folder: &Folder, name: &str, argv: &[OsString]) -> Result<ExitCode> {
    let lab = folder.read()?;
    let (program, arguments) = argv.split_first().context("a command has a program")?;
    let mut command = enter::as_user(machine(&lab, name)?, program);
    command.args(arguments);
    // Nothing of ours is left in between: signals, the terminal and the exit code are the command's.
    let error = command.exec();
    eprintln!("roam-lab: nsenter (of util-linux) can't be run: {error}");
    Ok(ExitCode::from(127))
}
