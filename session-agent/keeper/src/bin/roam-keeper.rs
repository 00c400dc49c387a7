//! The keeper of one session. Started by the agent, detached; it outlives the agent.

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use roam_keeper::keeper::Keeper;
use roam_keeper::paths::Dirs;
use roam_keeper::server;

/// Owns one session: its pod, its output, its moves. Started by roam-agent.
#[derive(Parser)]
#[command(version, about)]
struct Arguments {
    /// The session's runtime folder; keeper.sock is made there.
    #[arg(long)]
    dir: PathBuf,
    /// The session's state folder, for its journal and log.
    #[arg(long)]
    state: PathBuf,
    /// Milliseconds after which it is said that a target has not confirmed a move yet.
    #[arg(long, hide = true, default_value_t = 15_000)]
    unconfirmed_after: u64,
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    tracing_subscriber::fmt()
        .with_env_filter(tracing_subscriber::EnvFilter::from_default_env())
        .with_writer(std::io::stderr)
        .init();
    let result = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().and_then(
        |runtime| {
            let unconfirmed_after = Duration::from_millis(arguments.unconfirmed_after);
            let dirs = Dirs { runtime: arguments.dir, state: arguments.state };
            let result =
                runtime.block_on(async { server::serve(Keeper::open(dirs, unconfirmed_after)?).await });
            // Threads that still wait for something (a pod's end) must not hold the process up.
            runtime.shutdown_background();
            result
        },
    );
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("roam-keeper: {error}");
            ExitCode::FAILURE
        }
    }
}
