//! `roam`: the command line. `roam agent` is the agent itself.

fn main() -> std::process::ExitCode {
    roam_agent::cli::main()
}
