//! Starting keepers so that they belong to no one.
//!
//! A keeper must outlive its agent: killed, restarted or upgraded, an agent takes nothing with it.
//! So a keeper gets a session (`setsid`) and a parent of its own, and where systemd runs a scope of
//! its own, because stopping the agent's service would else end everything in its control group.
//! The way there is this program itself, started as `roam-agent --detach PROGRAM ARG…`: it leaves
//! the agent's session, starts the program, and ends.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::Duration;

use roam_api::error::Failure;
use tokio::net::UnixStream;

use crate::paths::{private_folder, program};

/// The argument that turns `roam-agent` into the starter.
pub const DETACH: &str = "--detach";
/// How long a keeper may take until its socket listens.
const START_TIME: Duration = Duration::from_secs(20);

/// The starter: leaves the agent's session, starts the program, ends.
pub fn detach(mut arguments: impl Iterator<Item = OsString>) -> ExitCode {
    let Some(program) = arguments.next() else {
        eprintln!("{DETACH} needs a program");
        return ExitCode::from(2);
    };
    // Fails only for a group leader, which a freshly started child never is.
    if let Err(error) = nix::unistd::setsid() {
        eprintln!("a session of its own can't be made: {error}");
        return ExitCode::FAILURE;
    }
    match Command::new(&program).args(arguments).spawn() {
        Ok(_) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{} can't be started: {error}", program.to_string_lossy());
            ExitCode::FAILURE
        }
    }
}

/// Starts a keeper for the session of these folders and connects to it.
///
/// # Errors
/// If it can't be started or does not listen in time; nothing is left then but its log.
pub async fn keeper(runtime: &Path, state: &Path) -> Result<UnixStream, Failure> {
    private_folder(runtime)?;
    private_folder(state)?;
    let log_path = state.join("keeper.log");
    let failed = |why: String| {
        Failure::undone(format!("The session's keeper can't be started: {why}."))
            .next(format!("Its log is {}.", log_path.display()))
    };
    let log = OpenOptions::new()
        .append(true)
        .create(true)
        .mode(0o600)
        .open(&log_path)
        .map_err(|error| failed(error.to_string()))?;
    let mut command = tokio::process::Command::new(program("roam-agent"));
    command.arg(DETACH);
    if let Some(scope) = scope(runtime) {
        command.args(scope);
    }
    let status = command
        .arg(program("roam-keeper"))
        .arg("--dir")
        .arg(runtime)
        .arg("--state")
        .arg(state)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(log)
        .current_dir("/")
        .status()
        .await
        .map_err(|error| failed(error.to_string()))?;
    if !status.success() {
        return Err(failed(last_line(&log_path)));
    }
    let socket = runtime.join("keeper.sock");
    // Nothing tells when a socket begins to listen; this asks only while a keeper starts.
    tokio::time::timeout(START_TIME, async {
        let mut pause = Duration::from_millis(1);
        loop {
            if let Ok(stream) = UnixStream::connect(&socket).await {
                return stream;
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_millis(100));
        }
    })
    .await
    .map_err(|_| failed(last_line(&log_path)))
}

fn last_line(log: &Path) -> String {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    text.lines().last().unwrap_or("it said nothing").trim_end_matches('.').to_owned()
}

/// The words that put a program into a scope of its own, where a systemd of the user runs.
fn scope(runtime: &Path) -> Option<Vec<OsString>> {
    let manager = Path::new(&std::env::var_os("XDG_RUNTIME_DIR")?).join("systemd/private");
    if !manager.exists() || !Path::new("/usr/bin/systemd-run").exists() {
        return None;
    }
    let id = runtime.file_name()?.to_string_lossy().into_owned();
    let unit = format!("--unit=roam-{id}-{:08x}", rand::random::<u32>());
    let words = ["/usr/bin/systemd-run", "--user", "--scope", "--quiet", "--collect", &unit, "--"];
    Some(words.iter().map(OsString::from).collect())
}
