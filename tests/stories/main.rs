//! Everything that runs in a lab. `roam-stories NAME…` runs stories and ends with `N passed, N failed`.
//!
//! A story is one file: what a person does, and what must be so afterwards. It is run as root, which
//! builds the machines; everything of Roam runs in them without privileges.

mod apps;
mod bench;
mod demo;
mod desktop;
mod faults;
mod holds;
mod kills;
mod kinds;
mod lab;
mod leaks;
mod reader;
mod refusals;
mod rights;
mod road;
mod shows;
mod steps;
mod vm;
mod window;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use roam_tests::harness::report::Report;

/// Stories, each in a lab of its own.
#[derive(Debug, Parser)]
#[command(name = "roam-stories", version)]
struct Cli {
    #[command(subcommand)]
    story: Story,
}

#[derive(Debug, Subcommand)]
enum Story {
    /// The lab itself: machines that differ, a network that can be cut, nothing left at the end.
    Lab,
    /// The self-checking programs: alone, in a session, parked and resumed, moved, moved three times.
    Kinds {
        /// In which lanes.
        #[arg(
            long,
            value_enum,
            value_delimiter = ',',
            env = "ROAM_LANES",
            default_value = "alone,session,parked,moved,moved3"
        )]
        lanes: Vec<kinds::Lane>,
        /// Only these programs.
        #[arg(env = "ROAM_KINDS", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// One session that holds everything, desk to laptop to desk to laptop.
    Road,
    /// A part of the kinds and the road between two kernels, on virtual machines.
    Vm {
        /// Only these programs.
        #[arg(env = "ROAM_KINDS", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Real apps, desk to laptop to desk to laptop, answering keys after each move.
    Apps {
        /// Only these.
        #[arg(env = "ROAM_APPS", value_delimiter = ',')]
        only: Vec<String>,
    },
    /// Whatever breaks in a move: the session runs at exactly one place.
    Faults,
    /// What targets refuse (some cases of the faults, alone).
    Refusals,
    /// The source goes down, agents and keepers are killed, rights are counted: sessions go on.
    Holds,
    /// A part killed at each of many moments of a move (one case of the faults, alone).
    Kills,
    /// Thirty moves in a row leave nothing behind.
    Leaks,
    /// Only the screen goes to another machine; viewer and display are killed.
    Shows,
    /// Roam's own window and tray, by real keys and clicks, told by real agents.
    Window,
    /// What `make demo` shows.
    Demo,
    /// How long sessions stand still, how long waking takes.
    Bench {
        /// How often each is measured.
        #[arg(long, env = "ROAM_ROUNDS", default_value_t = 20)]
        rounds: usize,
    },
    /// What a story runs inside a machine.
    #[command(hide = true)]
    Step {
        #[command(subcommand)]
        step: steps::Step,
    },
}

fn main() -> ExitCode {
    let report: Report = match Cli::parse().story {
        Story::Lab => lab::tell(),
        Story::Kinds { lanes, only } => kinds::tell(&lanes, &only),
        Story::Road => road::tell(),
        Story::Vm { only } => vm::tell(&only),
        Story::Apps { only } => apps::tell(&only),
        Story::Faults => faults::tell(),
        Story::Refusals => faults::refusals(),
        Story::Holds => holds::tell(),
        Story::Kills => faults::kills(),
        Story::Leaks => leaks::tell(),
        Story::Shows => shows::tell(),
        Story::Window => window::tell(),
        Story::Demo => demo::tell(),
        Story::Bench { rounds } => bench::tell(rounds),
        Story::Step { step } => return steps::run(&step),
    };
    print!("{}", report.text());
    if report.counts().1 == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
