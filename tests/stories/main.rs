//! Everything that runs in a lab. `roam-stories NAME…` runs stories and ends with `N passed, N failed`.
//!
//! A story is one file: what a person does, and what must be so afterwards. It is run as root, which
//! builds the machines; everything of Roam runs in them without privileges.

mod lab;
mod steps;

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
        Story::Step { step } => return steps::run(&step),
    };
    print!("{}", report.text());
    if report.counts().1 == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
