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
//! | [`machines`] | paired and found machines (pure) |
//! | [`permissions`] | what a paired machine may do here (pure) |
//! | [`network`] | connections to other machines, and lanes for keepers |
//! | [`peer_serve`] | what other machines ask |
//! | [`pair`] | pairing, unpairing, permissions |
//! | [`moves`], [`offers`] | a move's source and target side |
//! | [`outcome`] | how a move came out whose answer was lost |
//! | [`viewers`] | windows of sessions on this screen |
//! | [`waiting`] | waiting for a session's end |
//! | [`doctor`] | what this machine can do |
//!
//! State is one [`Core`] behind a mutex that is never held across an await; tasks do the waiting,
//! and every change raises a counter that watchers follow.

use std::collections::{BTreeMap, BTreeSet};
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use nix::fcntl::FlockArg;
use roam_api::agent::Question;
use roam_api::error::Failure;
use roam_api::session::{MachineKey, SessionId, SessionInfo, SessionState};
use roam_link::endpoint::{DEFAULT_PORT, Link};
use roam_link::identity;
use roam_link::pairing::Asked;
use roam_link::raw_key::RawKey;
use tokio::sync::{Notify, oneshot, watch as changes};

use crate::client::{READY, lock};
use crate::names;
use crate::paths::{Paths, write_whole};

pub mod actions;
pub mod doctor;
pub mod keeper;
pub mod machines;
pub mod moves;
pub mod network;
pub mod offers;
pub mod outcome;
pub mod pair;
pub mod peer_serve;
pub mod permissions;
pub mod requests;
pub mod serve;
pub mod spawn;
pub mod table;
pub mod viewers;
pub mod waiting;
pub mod watch;

use machines::{Machines, Peer};
use network::Network;
use permissions::{Deed, Verdict};
use table::{Remembered, Table};

/// The agent of this user on this machine.
#[derive(Debug, Clone, clap::Parser)]
#[command(name = "roam-agent", version)]
pub struct Options {
    /// What this machine is called; kept for the next start. Without it: the host name.
    #[arg(long)]
    pub name: Option<String>,
    /// The UDP and TCP port to take if it is free. Without it: the one of the last start.
    #[arg(long)]
    pub port: Option<u16>,
    /// Leave the caller's terminal.
    #[arg(long, hide = true)]
    pub detached: bool,
}

/// Everything the agent knows.
#[derive(Debug)]
pub struct Core {
    /// The sessions.
    pub table: Table,
    /// The machines.
    pub machines: Machines,
    /// The code shown here, if another machine asks to be paired.
    pub pairing: Asked,
    /// Machines that proved the code, but have not shown yet that they took this machine's proof:
    /// until then they may say that they are not paired, and it means nothing.
    pub unconfirmed: BTreeSet<MachineKey>,
    /// The machine that shows a code for this one.
    pub attempt: Option<pair::Attempt>,
    /// Moves under way and lately ended.
    pub moves: moves::Moves,
    /// Sessions that are shown on this screen.
    pub viewers: BTreeMap<SessionId, viewers::Viewer>,
    /// Sessions that a person here asked to come, and when.
    pub fetched: BTreeMap<SessionId, Instant>,
    /// The offers of the sessions that a keeper here was told to receive.
    pub offered: BTreeMap<SessionId, offers::Offered>,
    /// The folders of sessions whose keepers are followed.
    pub followed: BTreeSet<PathBuf>,
    questions: Vec<(Question, oneshot::Sender<bool>)>,
    next_question: u64,
}

impl Core {
    /// What is asked of the person.
    #[must_use]
    pub fn questions(&self) -> Vec<Question> {
        self.questions.iter().map(|(question, _)| question.clone()).collect()
    }

    /// The person's answer. False if the question is not asked any more.
    pub fn answer(&mut self, number: u64, yes: bool) -> bool {
        let Some(at) = self.questions.iter().position(|(question, _)| question.number == number) else {
            return false;
        };
        self.questions.remove(at).1.send(yes).is_ok()
    }

    /// The machine from which a session is arriving here.
    #[must_use]
    pub fn comes_from(&self, id: &SessionId) -> Option<MachineKey> {
        let arriving = matches!(self.table.here(id)?.state, SessionState::Receiving { .. });
        self.offered.get(id).filter(|_| arriving).map(|offered| offered.from)
    }

    /// What a session's home is called here; `told` is what others call it.
    #[must_use]
    pub fn home_name(&self, id: &SessionId, told: &str) -> String {
        if self.machines.peer(&id.home).is_some() { self.machines.name(&id.home) } else { told.to_owned() }
    }

    /// A session as another machine tells it, in the words that are used here.
    #[must_use]
    pub fn translate(&self, mut info: SessionInfo, host: Option<MachineKey>) -> SessionInfo {
        info.home = self.home_name(&info.id, &info.home);
        if let Some(host) = host {
            info.host = self.machines.name(&host);
        }
        info
    }
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
    /// Its sockets and connections.
    pub network: Network,
    /// Told when the agent is about to end.
    pub ending: Notify,
    /// Told when goodbye has been said.
    pub ended: Notify,
    core: Mutex<Core>,
    /// What `sessions.json` holds; whoever writes a file holds this.
    written: Mutex<Remembered>,
    changed: changes::Sender<u64>,
}

impl Agent {
    /// This machine's key.
    #[must_use]
    pub fn key(&self) -> MachineKey {
        self.identity.public()
    }

    /// How a session is named here: alone where this is its home, else with its home.
    #[must_use]
    pub fn says(&self, info: &SessionInfo) -> String {
        if info.id.home == self.key() { info.name.clone() } else { format!("{}@{}", info.name, info.home) }
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

    /// Writes down which sessions are parked or elsewhere, if that has changed.
    pub fn remember(&self) {
        let mut written = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let remembered = self.core().table.remembered();
        if *written != remembered && write_json(&sessions_file(&self.paths), &remembered) {
            *written = remembered;
        }
    }

    /// Writes down which machines are paired.
    pub fn remember_machines(&self) {
        let _turn = self.written.lock().unwrap_or_else(PoisonError::into_inner);
        let peers = self.core().machines.remembered();
        write_json(&peers_file(&self.paths), &peers);
    }

    /// Pairs with the machine at the other end of a connection; returns what it is called here.
    pub fn pair_machine(self: &Arc<Self>, link: &Link, name: &str) -> String {
        let was_paired = self.core().machines.peer(&link.key).is_some();
        let name = self.change(|core| core.machines.pair(link.key, name, link.remote(), network::now_unix()));
        tracing::info!(machine = name, key = link.key.short(), "paired");
        self.remember_machines();
        network::up(self, link);
        if !was_paired {
            tokio::spawn(network::keep_connected(self.clone(), link.key));
        }
        name
    }

    /// Forgets a paired machine and ends its connections.
    pub fn forget_machine(self: &Arc<Self>, key: &MachineKey) {
        self.change(|core| {
            core.machines.unpair(key);
            core.table.forget(*key);
        });
        self.remember_machines();
        self.remember();
        // The answer to the one who asked for it goes out first.
        let (agent, key) = (self.clone(), *key);
        tokio::spawn(async move {
            tokio::time::sleep(Duration::from_millis(300)).await;
            if agent.core().machines.peer(&key).is_none() {
                agent.network.drop_links(&key);
            }
        });
    }

    /// Whether a machine may do something with a session.
    ///
    /// # Errors
    /// Refused, with the permission that says so.
    pub fn may(&self, machine: MachineKey, deed: Deed, session: &SessionId) -> Result<(), Failure> {
        let core = self.core();
        let judged = core.machines.peer(&machine).map(|p| p.permissions.judge(deed, session.home == machine));
        match judged {
            Some(Verdict::Yes) => Ok(()),
            Some(Verdict::No(why)) => Err(Failure::refused(format!(
                "{} does not allow this machine to do that ({why}).",
                self.name
            ))
            .next(format!("A person at {} can change it with `roam allow`.", self.name))),
            Some(Verdict::Ask) | None => {
                Err(Failure::refused(format!("{} does not allow this machine to do that.", self.name)))
            }
        }
    }

    /// Asks the person at this machine. No answer is a no.
    pub async fn ask_person(&self, text: String, limit: Duration) -> bool {
        let (tell, answer) = oneshot::channel();
        let number = self.change(|core| {
            core.next_question += 1;
            let number = core.next_question;
            core.questions.push((Question { number, text }, tell));
            number
        });
        let yes = tokio::time::timeout(limit, answer).await.is_ok_and(|answer| answer.unwrap_or(false));
        self.change(|core| core.questions.retain(|(question, _)| question.number != number));
        yes
    }
}

fn write_json<T: serde::Serialize>(file: &Path, value: &T) -> bool {
    let written = serde_json::to_vec_pretty(value)
        .map_err(std::io::Error::other)
        .and_then(|bytes| write_whole(file, &bytes));
    if let Err(error) = &written {
        tracing::error!(%error, file = %file.display(), "the agent's memory can't be written");
    }
    written.is_ok()
}

fn read_json<T: serde::de::DeserializeOwned + Default>(file: &Path, what: &str) -> Result<T, Failure> {
    match std::fs::read(file) {
        Ok(bytes) => serde_json::from_slice(&bytes).map_err(|error| {
            Failure::refused(format!("{} is damaged: {error}.", file.display()))
                .next(format!("Move it away to start without what it remembers of {what}."))
        }),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(T::default()),
        Err(error) => Err(Failure::refused(format!("{} can't be read: {error}.", file.display()))),
    }
}

fn peers_file(paths: &Paths) -> PathBuf {
    paths.state.join("peers.json")
}

fn sessions_file(paths: &Paths) -> PathBuf {
    paths.state.join("sessions.json")
}

/// Runs the agent until it is told to end. Returns the exit code.
#[must_use]
pub fn main(options: &Options) -> u8 {
    let filter = tracing_subscriber::EnvFilter::try_from_env("ROAM_LOG").unwrap_or_else(|_| "info".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).with_ansi(false).init();
    match run(options) {
        Ok(()) => 0,
        Err(failure) => {
            eprintln!("roam-agent: {failure}");
            failure.outcome.exit_code()
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
    let remembered: Remembered = read_json(&sessions_file(&paths), "parked and sent sessions")?;
    let peers: Vec<Peer> = read_json(&peers_file(&paths), "paired machines")?;
    let core = Core {
        table: Table::new(identity.public(), remembered.clone()),
        machines: Machines::new(&name, peers),
        pairing: Asked::default(),
        unconfirmed: BTreeSet::new(),
        attempt: None,
        moves: moves::Moves::default(),
        viewers: BTreeMap::new(),
        fetched: BTreeMap::new(),
        offered: BTreeMap::new(),
        followed: BTreeSet::new(),
        questions: Vec::new(),
        next_question: 0,
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .map_err(|error| Failure::undone(format!("The runtime can't be started: {error}.")))?;
    runtime.block_on(async {
        let port_file = paths.state.join("port");
        let last = std::fs::read_to_string(&port_file).ok().and_then(|text| text.parse().ok());
        let wish = options.port.or(last).unwrap_or(DEFAULT_PORT);
        let (network, lanes) = Network::bind(&identity, wish)
            .await
            .map_err(|error| Failure::refused(format!("There is no network socket to be had: {error}.")))?;
        let agent = Arc::new(Agent {
            paths,
            name,
            identity,
            network,
            ending: Notify::new(),
            ended: Notify::new(),
            core: Mutex::new(core),
            written: Mutex::new(remembered),
            changed: changes::Sender::new(0),
        });
        let listener = serve::bind(&agent.paths)?;
        watch::find_again(&agent).await;
        network::run(&agent, lanes);
        let port = agent.network.endpoint.port().unwrap_or_default();
        // Others know this machine by its last address, so it keeps its port if it can.
        if let Err(error) = write_whole(&port_file, port.to_string().as_bytes()) {
            tracing::warn!(%error, "the port can't be written down");
        }
        tracing::info!(name = agent.name, key = agent.key().short(), port, "the agent runs");
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
