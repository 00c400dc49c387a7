//! The `roam` command line: what it takes, what it prints, how it exits (docs/cli.md).
//!
//! Every command is one request to the agent. Results go to stdout, everything for people's eyes to
//! stderr. Exit codes are a contract: see `roam_api::error::Outcome`; for `exec`, own failures are
//! 125 and everything else is the command's.

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roam_api::error::Failure;

use crate::paths::Paths;

/// A line on standard output. Nobody may be reading any more (`roam list | head -1`), which is no error.
macro_rules! say {
    ($($what:tt)*) => {{
        use std::io::Write as _;
        let _nobody_reads = writeln!(std::io::stdout(), $($what)*);
    }};
}

mod exec;
pub mod json;
mod pair;
mod run;
mod send;
mod show;
mod simple;

/// The exit code of `roam exec` for failures of its own.
const EXEC_FAILED: u8 = 125;

/// Moves running apps between your machines.
#[derive(Debug, Parser)]
#[command(name = "roam", version, max_term_width = 100)]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Start a program as a session; prints the session's name.
    Run(run::Run),
    /// List the sessions of all machines that can be reached.
    List {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// List the machines, found and paired, and the code that is shown for pairing.
    Machines {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Wait until a session has ended; prints its exit status.
    Wait {
        /// NAME or NAME@MACHINE.
        session: String,
    },
    /// Print what a session's programs wrote to stdout and stderr.
    Log {
        /// NAME or NAME@MACHINE.
        session: String,
        /// Go on until the session ends.
        #[arg(short, long)]
        follow: bool,
    },
    /// End every process of a session.
    Stop {
        /// NAME or NAME@MACHINE.
        session: String,
    },
    /// Move a session to another machine.
    Send(send::Send),
    /// Show a session's windows on a machine; it keeps running where it is.
    Show {
        /// NAME or NAME@MACHINE.
        session: String,
        /// The machine; without it: this one.
        #[arg(long, value_name = "MACHINE")]
        on: Option<String>,
        /// Look only: no input from there.
        #[arg(long)]
        view_only: bool,
    },
    /// Stop showing a session's windows.
    Hide {
        /// NAME or NAME@MACHINE.
        session: String,
        /// The machine; without it: everywhere.
        #[arg(long, value_name = "MACHINE")]
        on: Option<String>,
    },
    /// Run a command inside a session, wherever it runs.
    Exec {
        /// NAME or NAME@MACHINE.
        session: String,
        /// The command and its arguments.
        #[arg(trailing_var_arg = true, allow_hyphen_values = true, required = true, value_name = "CMD")]
        command: Vec<OsString>,
    },
    /// Put a session to sleep in a file; prints the file.
    Park {
        /// NAME or NAME@MACHINE.
        session: String,
        /// The file; without it: Roam's own folder.
        #[arg(long, value_name = "FILE")]
        to: Option<std::path::PathBuf>,
        /// One JSON object: the file and what it took.
        #[arg(long)]
        json: bool,
    },
    /// Wake a parked session; prints its name.
    Resume {
        /// A session's name, or the file it sleeps in.
        #[arg(value_name = "SESSION|FILE")]
        what: String,
        /// One JSON object: the name and what it took.
        #[arg(long)]
        json: bool,
    },
    /// Pair with a machine: it shows a code, you type it here.
    Pair {
        /// A machine that was found, or HOST:PORT.
        machine: String,
        /// The six digits that the machine shows.
        #[arg(long)]
        code: Option<String>,
    },
    /// Forget a paired machine.
    Unpair {
        /// The machine.
        machine: String,
    },
    /// Change what a paired machine may do here.
    Allow {
        /// The machine.
        machine: String,
        /// Such as send=ask, show=no, memory=4G.
        #[arg(required = true, value_name = "PERMISSION=VALUE")]
        permissions: Vec<String>,
    },
    /// Check what this machine can do, and how to mend it.
    Doctor {
        /// Print one JSON object.
        #[arg(long)]
        json: bool,
    },
    /// Open the Roam window.
    App,
    /// Run the agent of this machine in the foreground.
    Agent(crate::agent::Options),
}

/// Runs the command line of this process.
#[must_use]
pub fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let (json, own_failure) = match &arguments.command {
        Command::Exec { .. } => (false, Some(EXEC_FAILED)),
        Command::List { json }
        | Command::Machines { json }
        | Command::Doctor { json }
        | Command::Park { json, .. }
        | Command::Resume { json, .. } => (*json, None),
        Command::Send(send) => (send.json, None),
        _ => (false, None),
    };
    // Never dropped by unwinding: a thread may still hang on stdin, and must not delay the exit.
    let code = match dispatch(arguments.command) {
        Ok(code) => code,
        Err(failure) => {
            report(&failure, json);
            own_failure.unwrap_or_else(|| failure.outcome.exit_code())
        }
    };
    std::process::exit(i32::from(code));
}

fn dispatch(command: Command) -> Result<u8, Failure> {
    match command {
        Command::Agent(options) => return Ok(crate::agent::main(&options)),
        Command::App => return simple::app().map(|()| 0),
        Command::Doctor { json } => return Ok(simple::doctor(json)),
        _ => {}
    }
    let paths = Paths::from_env()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::undone(format!("The runtime can't be started: {error}.")))?;
    let code = runtime.block_on(async {
        match command {
            Command::Run(arguments) => run::run(&paths, arguments).await.map(|()| 0),
            Command::List { json } => simple::list(&paths, json).await.map(|()| 0),
            Command::Machines { json } => simple::machines(&paths, json).await.map(|()| 0),
            Command::Wait { session } => simple::wait(&paths, session).await.map(|()| 0),
            Command::Log { session, follow } => simple::log(&paths, session, follow).await.map(|()| 0),
            Command::Stop { session } => simple::stop(&paths, session).await.map(|()| 0),
            Command::Send(arguments) => send::send(&paths, arguments).await.map(|()| 0),
            Command::Show { session, on, view_only } => {
                show::show(&paths, session, on, view_only).await.map(|()| 0)
            }
            Command::Hide { session, on } => show::hide(&paths, session, on).await.map(|()| 0),
            Command::Exec { session, command } => exec::exec(&paths, session, command).await,
            Command::Park { session, to, json } => simple::park(&paths, session, to, json).await.map(|()| 0),
            Command::Resume { what, json } => simple::resume(&paths, what, json).await.map(|()| 0),
            Command::Pair { machine, code } => pair::pair(&paths, machine, code).await.map(|()| 0),
            Command::Unpair { machine } => pair::unpair(&paths, machine).await.map(|()| 0),
            Command::Allow { machine, permissions } => {
                pair::allow(&paths, machine, &permissions).await.map(|()| 0)
            }
            Command::Agent(_) | Command::App | Command::Doctor { .. } => Ok(0),
        }
    });
    // A thread that reads stdin can't be stopped; the process ends without waiting for it.
    runtime.shutdown_background();
    code
}

fn report(failure: &Failure, as_json: bool) {
    if as_json {
        say!("{}", json::failure(failure));
    }
    eprintln!("roam: {}", failure.sentence);
    for refusal in &failure.refusals {
        eprintln!("  {refusal}");
    }
    if let Some(step) = &failure.next_step {
        eprintln!("{step}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clap::CommandFactory;

    #[test]
    fn the_definition_holds_together() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn commands_parse_as_written_in_the_design() {
        for line in [
            "roam run --name N --no-screen --publish 80:8080 --env K=V -- sh -c true",
            "roam run xterm -e top",
            "roam list --json",
            "roam exec S -- ls -l",
            "roam exec S ls -l",
            "roam send S laptop --cold --json",
            "roam park S --to /tmp/f",
            "roam resume /tmp/f",
            "roam show S --on desk --view-only",
            "roam hide S --on desk",
            "roam pair 10.0.0.2:17626 --code 123456",
            "roam allow desk send=ask memory=4G",
            "roam agent --name desk",
        ] {
            Arguments::try_parse_from(line.split(' ')).unwrap_or_else(|e| panic!("{line}: {e}"));
        }
        for line in ["roam", "roam run", "roam exec S", "roam allow desk", "roam fly"] {
            assert!(Arguments::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
