//! The agent: one per user and machine. It authenticates, routes and lists; it never touches a pod.
//!
//! | module | what it does |
//! |---|---|
//! | [`table`] | which sessions there are and where (pure) |
//! | [`spawn`] | starting keepers that belong to no one |
//! | [`keeper`] | talking to a keeper |
//! | [`watch`] | following every keeper of this machine, starting dead ones again |
//! | [`serve`] | connections of the app and the command line |
//! | [`requests`] | what they can ask that concerns no particular session |
//! | [`actions`] | what can be done to one session, wherever it is |
//! | [`doctor`] | what this machine can do |
//!
//! State is one [`Core`] behind a mutex that is never held across an await; tasks do the waiting,
//! and every change raises a counter that watchers follow.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::FlockArg;
use roam_api::error::Failure;
use roam_api::session::MachineKey;
use roam_link::identity;
use roam_link::raw_key::RawKey;
use tokio::sync::watch as changes;

use crate::client::{READY, lock};
use crate::names;
use crate::paths::{Paths, write_whole};

pub mod actions;
pub mod doctor;
pub mod keeper;
pub mod requests;
pub mod serve;
pub mod spawn;
pub mod table;
pub mod watch;

use table::{Remembered, Table};

/// The agent of this user on this machine.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "roam-agent", version)]
pub struct Options {
    /// What this machine is called; kept for the next start. Without it: the host name.
    #[arg(long)]
    pub name: Option<String>,
    /// Leave the caller's terminal.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Everything the agent knows.
#[derive(Debug)]
pub struct Core {
    /// The sessions.
    pub table: Table,
}

/// The agent.
#[derive(Debug)]
pub struct Agent {
    /// Its folders.
    pub paths: Paths,
    /// This machine's name.
    pub name: String,
    /// This machine's identity.
    pub identity: RawKey,
    core: Mutex<Core>,
    changed: changes::Sender<u64>,
}

impl Agent {
    /// This machine's key.
    #[must_use]
    pub fn key(&self) -> MachineKey {
        self.identity.public()
    }

    /// Looks at the state. Not to be held across an await.
    pub fn core(&self) -> MutexGuard<'_, Core> {
        self.core.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes the state and tells the watchers.
    pub fn change<R>(&self, f: impl FnOnce(&mut Core) -> R) -> R {
        let result = f(&mut self.core());
        self.changed.send_modify(|count| *count += 1);
        result
    }

    /// Follows the changes.
    #[must_use]
    pub fn changes(&self) -> changes::Receiver<u64> {
        self.changed.subscribe()
    }

    /// Writes down which sessions are parked or elsewhere.
    pub fn remember(&self) {
        let remembered = self.core().table.remembered();
        let written = serde_json::to_vec(&remembered)
            .map_err(std::io::Error::other)
            .and_then(|bytes| write_whole(&sessions_file(&self.paths), &bytes));
        if let Err(error) = written {
            tracing::error!(%error, "what became of sessions can't be written down");
        }
    }
}

fn sessions_file(paths: &Paths) -> PathBuf {
    paths.state.join("sessions.json")
}

/// Runs the agent until it is told to end.
#[must_use]
pub fn main(options: &Options) -> ExitCode {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROAM_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(options) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("roam-agent: {failure}");
            ExitCode::from(failure.outcome.exit_code())
        }
    }
}

fn run(options: &Options) -> Result<(), Failure> {
    if options.detached {
        // Without a session of its own it would end with the caller's terminal.
        let _ = nix::unistd::setsid();
    }
    let paths = Paths::from_env()?;
    paths.prepare()?;
    let Ok(_lock) = lock(&paths, "agent.lock", FlockArg::LockExclusiveNonblock) else {
        return Err(Failure::refused("A Roam agent runs already.").next("`roam agent` is needed once only."));
    };
    let name = machine_name(&paths, options.name.as_deref())?;
    let identity = identity::load_or_create(&paths.state.join("identity.key"))
        .map_err(|error| Failure::refused(format!("{error}.")))?;
    let remembered = read_remembered(&paths)?;
    let core = Core { table: Table::new(identity.public(), remembered) };
    let agent =
        Arc::new(Agent { paths, name, identity, core: Mutex::new(core), changed: changes::Sender::new(0) });
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::undone(format!("The runtime can't be started: {error}.")))?;
    runtime.block_on(async {
        let listener = serve::bind(&agent.paths)?;
        watch::find_again(&agent).await;
        tracing::info!(name = agent.name, key = agent.key().short(), "the agent runs");
        println!("{READY}");
        let _ = std::io::stdout().flush();
        serve::run(agent, listener).await
    })
}

/// The name given now, else at an earlier start, else the host's.
fn machine_name(paths: &Paths, given: Option<&str>) -> Result<String, Failure> {
    let file = paths.state.join("name");
    if let Some(name) = given {
        names::check(name, "machine")?;
        write_whole(&file, name.as_bytes())
            .map_err(|error| Failure::refused(format!("{} can't be written: {error}.", file.display())))?;
        return Ok(name.to_owned());
    }
    let kept = std::fs::read_to_string(&file).unwrap_or_default();
    let host = nix::unistd::gethostname().unwrap_or_default().to_string_lossy().into_owned();
    let host = host.split('.').next().unwrap_or_default().to_owned();
    let good = [kept, host].into_iter().find(|name| names::check(name, "machine").is_ok());
    Ok(good.unwrap_or_else(|| "machine".into()))
}

fn read_remembered(paths: &Paths) -> Result<Remembered, Failure> {
    let file = sessions_file(paths);
    match std::fs::read(&file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Failure::refused(format!("{} is damaged: {error}.", file.display()))
                .next("Move it away to start without what it remembers of parked and sent sessions.")
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Remembered::default()),
        Err(error) => Err(Failure::refused(format!("{} can't be read: {error}.", file.display()))),
    }
}
