//! The owner of one session: what it is doing now, and who may change that.
//!
//! One [`Phase`] at a time. What takes long (start, park, send) holds [`Keeper::turn`], so two of them never
//! overlap; everything else only reads. Every change of the phase is told to the watchers.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use roam_api::error::{Failure, Outcome};
use roam_api::init::Request;
use roam_api::keeper::{Answer, Identity};
use roam_api::session::{MachineKey, MoveStage, SessionInfo, SessionSpec, SessionState};
use roam_checkpoint::{LockPlace, freeze};
use tokio::sync::{OwnedMutexGuard, watch};

use crate::engine::Engine;
use crate::journal::{Entry, Facts, Journal, Record, boot_id};
use crate::live::{Live, Output};
use crate::log::OutputLog;
use crate::migration::receive::Gate;
use crate::migration::send::Target;
use crate::park::forget_file;
use crate::paths::Dirs;
use crate::pod::handle::Pod;
use crate::screen::attach::Displays;

/// How long what is just ending may take.
const SOON: Duration = Duration::from_secs(2);
/// How long programs have between SIGTERM and SIGKILL.
const STOP_PATIENCE: Duration = Duration::from_secs(5);
/// How long a keeper without a session and without connections stays.
pub const LINGER: Duration = Duration::from_secs(60);
/// How long a request waits for the one that says which session this keeper has.
const FIRST_REQUEST: Duration = Duration::from_secs(5);

/// Between two tries to get a file lock back that another program took meanwhile.
pub const LOCK_RETRY: Duration = Duration::from_secs(1);

/// What the session is, as far as this keeper knows.
#[derive(Clone)]
pub enum Phase {
    /// Nothing yet: the first request decides.
    Empty,
    /// It is here; `state` says more.
    Here {
        /// The session.
        live: Arc<Live>,
        /// Running or sending.
        state: SessionState,
    },
    /// It is not here (any more), or not yet.
    Away {
        /// Who it is.
        identity: Identity,
        /// What was started.
        spec: Box<SessionSpec>,
        /// What its keeper knew.
        facts: Box<Facts>,
        /// Starting, receiving, parked or ended.
        state: SessionState,
    },
}

impl Phase {
    /// Whether it belongs to another machine by now, or may.
    #[must_use]
    pub fn is_committed(&self) -> bool {
        matches!(self, Self::Here { state: SessionState::Sending { stage, .. }, .. } if *stage >= MoveStage::Commit)
    }
}

/// A move that is committed and not confirmed.
#[derive(Debug, Clone)]
pub struct Unsettled {
    /// Its number.
    pub number: u64,
    /// The target's name.
    pub to: String,
    /// The target's key, unless an older version of Roam began the move.
    pub key: Option<MachineKey>,
    /// The file locks that the session gave back for it.
    pub locks: Vec<LockPlace>,
}

/// A session's owner.
pub struct Keeper {
    /// Its folders.
    pub dirs: Dirs,
    /// What the session printed.
    pub log: Arc<OutputLog>,
    /// The engine's thread.
    pub engine: Engine,
    /// Held by whatever changes the session.
    pub turn: Arc<tokio::sync::Mutex<()>>,
    /// Becomes true when a move under way is to be cancelled.
    pub cancel: watch::Sender<bool>,
    /// Where lanes of a move to here come in.
    pub gate: Mutex<Option<Gate>>,
    /// Who shows it.
    pub displays: Displays,
    /// Becomes true when the keeper is to end.
    pub quit: watch::Sender<bool>,
    /// The number of the move by which an earlier keeper's session came here, for a source that asks.
    pub arrived: Mutex<Option<u64>>,
    /// Where a target that must confirm a move is reached by now.
    pub reach: watch::Sender<Option<Target>>,
    /// A move that an earlier keeper committed and nobody has settled.
    pub unsettled: Mutex<Option<Unsettled>>,
    /// How long a person waits for a confirmation before it is said that there is none yet.
    pub unconfirmed_after: Duration,
    journal: Mutex<Journal>,
    records: Mutex<Vec<Record>>,
    phase: watch::Sender<Phase>,
}

impl Keeper {
    /// A keeper over these folders.
    ///
    /// # Errors
    /// The files'.
    pub fn open(dirs: Dirs, unconfirmed_after: Duration) -> std::io::Result<Arc<Self>> {
        dirs.prepare()?;
        let (journal, records) = Journal::open(&dirs.journal())?;
        roam_checkpoint::content::keep_in(&dirs.shared("contents"));
        Ok(Arc::new(Self {
            log: Arc::new(OutputLog::open(&dirs.log())?),
            engine: Engine::start()?,
            turn: Arc::default(),
            cancel: watch::channel(false).0,
            gate: Mutex::new(None),
            displays: Displays::default(),
            quit: watch::channel(false).0,
            arrived: Mutex::new(None),
            reach: watch::channel(None).0,
            unsettled: Mutex::new(None),
            unconfirmed_after,
            journal: Mutex::new(journal),
            records: Mutex::new(records),
            phase: watch::channel(Phase::Empty).0,
            dirs,
        }))
    }

    /// What it is doing now.
    #[must_use]
    pub fn phase(&self) -> Phase {
        self.phase.borrow().clone()
    }

    /// To be told of changes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Phase> {
        self.phase.subscribe()
    }

    /// Changes the phase and tells the watchers.
    pub fn set(&self, phase: Phase) {
        self.phase.send_replace(phase);
    }

    /// Tells the watchers of a change that is not one of the phase.
    pub fn touch(&self) {
        self.phase.send_modify(|_| {});
    }

    /// Changes what a session that is here is doing.
    pub fn set_state(&self, new: SessionState) {
        self.phase.send_if_modified(|phase| match phase {
            Phase::Here { state, .. } if *state != new => {
                *state = new;
                true
            }
            _ => false,
        });
    }

    /// Writes to the journal.
    ///
    /// # Errors
    /// As a failure; the entry must not be acted upon then.
    pub fn write(&self, generation: u64, entry: Entry) -> Result<(), Failure> {
        lock(&self.journal).write(generation, entry).map_err(|e| journal_failed(&e))
    }

    /// Writes to the journal what must survive a reboot.
    ///
    /// # Errors
    /// As a failure; the entry must not be acted upon then.
    pub fn write_synced(&self, generation: u64, entry: Entry) -> Result<(), Failure> {
        lock(&self.journal).write_synced(generation, entry).map_err(|e| journal_failed(&e))
    }

    /// The records that an earlier keeper left, taken once.
    #[must_use]
    pub fn take_records(&self) -> Vec<Record> {
        std::mem::take(&mut lock(&self.records))
    }

    /// By which move the session once came here with this generation, if it then ran here, and did not go down with
    /// the machine: its source takes its own copy back in that case.
    #[must_use]
    pub fn stayed(&self, generation: u64) -> Option<u64> {
        let records = lock(&self.records);
        let of = |identity: &Identity| identity.generation == generation;
        let ran = records
            .iter()
            .rposition(|r| matches!(&r.entry, Entry::Running { identity, .. } if of(identity)))?;
        let boot = &records[ran].boot_id;
        let left = records[ran..].iter().any(|r| {
            r.boot_id == *boot
                && matches!(r.entry, Entry::Ended { .. } | Entry::Parked { .. } | Entry::SendDone)
        });
        if !left && boot_id().is_ok_and(|now| now != *boot) {
            return None;
        }
        records[..ran].iter().rev().find_map(|r| match &r.entry {
            Entry::ReceiveBegun { identity, number } if of(identity) => Some(*number),
            _ => None,
        })
    }

    /// The session that is here, for whoever wants to do something with it.
    ///
    /// # Errors
    /// If there is none, saying why; and if it is no longer this machine's.
    pub fn live(&self) -> Result<Arc<Live>, Failure> {
        match self.phase() {
            Phase::Here { live, state: SessionState::Sending { to, stage } }
                if stage >= MoveStage::Commit =>
            {
                Err(went(&live.spec.name, &to))
            }
            Phase::Here { live, .. } => Ok(live),
            Phase::Empty => Err(Failure::wrong_use("This keeper has no session yet.")),
            Phase::Away { spec, state, .. } => Err(not_here(&spec.name, &state)),
        }
    }

    /// Waits until it is known which session this is: whoever asks a keeper that takes a dead one's place
    /// may be faster than the agent that tells it to.
    pub async fn begun(&self) {
        let mut phase = self.watch();
        let known = phase.wait_for(|phase| !matches!(phase, Phase::Empty));
        let _ = tokio::time::timeout(FIRST_REQUEST, known).await;
    }

    /// What this machine is called in a sentence's beginning.
    #[must_use]
    pub fn here(&self) -> String {
        self.info().map_or_else(|_| "This machine".to_owned(), |info| info.host)
    }

    /// What lists show.
    ///
    /// # Errors
    /// If this keeper has no session.
    pub fn info(&self) -> Result<SessionInfo, Failure> {
        let (identity, spec, facts, state, size) = match self.phase() {
            Phase::Empty => return Err(Failure::wrong_use("This keeper has no session yet.")),
            Phase::Here { live, state } => {
                (live.identity(), live.spec.clone(), live.facts.clone(), state, live.size())
            }
            Phase::Away { identity, spec, facts, state } => (identity, *spec, *facts, state, (0, 0)),
        };
        Ok(SessionInfo {
            id: identity.id,
            generation: identity.generation,
            name: spec.name,
            home: identity.home,
            host: identity.host,
            state,
            command: command_line(&spec.argv),
            titles: self.displays.titles(),
            shown_on: self.displays.shown_on(),
            processes: size.0,
            memory_bytes: size.1,
            started_unix: facts.started_unix,
            screen: spec.screen,
        })
    }

    /// Makes a pod's session this keeper's, and watches for its end. `state` is the first that anybody hears of it:
    /// whoever asks how a broken move came out takes "running" for the last word.
    ///
    /// # Errors
    /// The kernel's or roam-init's.
    pub fn take_charge(
        self: &Arc<Self>,
        identity: Identity,
        spec: SessionSpec,
        facts: Facts,
        pod: Pod,
        output: Output,
        state: SessionState,
    ) -> std::io::Result<Arc<Live>> {
        let live = Live::take_charge(identity, spec, facts, pod, output, &self.log)?;
        self.set(Phase::Here { live: live.clone(), state });
        let keeper = self.clone();
        let watched = Arc::downgrade(&live);
        tokio::spawn(async move {
            let Some(live) = watched.upgrade() else { return };
            let status = live.wait_ended().await;
            let mut phase = keeper.watch();
            loop {
                // Past the commit the other machine has the last word: perhaps only the copy here has ended.
                if phase.wait_for(|phase| !phase.is_committed()).await.is_err() {
                    return;
                }
                let _turn = keeper.turn.lock().await;
                let now = keeper.phase();
                if now.is_committed() {
                    continue;
                }
                // Moved or parked meanwhile: then this was not the session's end.
                if matches!(now, Phase::Here { live: ref now, .. } if Arc::ptr_eq(now, &live)) {
                    keeper.end(&live, status).await;
                }
                return;
            }
        });
        Ok(live)
    }

    /// Ends the session: whatever is left of its pod goes.
    pub async fn end(&self, live: &Arc<Live>, status: i32) {
        end_pod(live.pod.clone()).await;
        live.drained().await;
        self.log.close();
        if let Err(failure) = self.write(live.generation(), Entry::Ended { status }) {
            tracing::error!(%failure, "the end was not recorded");
        }
        self.set(away(live, SessionState::Ended { status }));
    }

    /// Stop: everything in the session, then this keeper.
    ///
    /// # Errors
    /// If the session is on its way to another machine and may be there already.
    pub async fn stop(&self) -> Result<Answer, Failure> {
        if self.is_arriving() {
            return self.give_arrival_up().await;
        }
        // A copy that is kept until its target answers is nobody's to end.
        let committed = self.phase().is_committed().then(|| self.live().err()).flatten();
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(committed.unwrap_or_else(|| {
                Failure::refused("The session is being moved or put to sleep.")
                    .next("Cancel that first, or wait until it is done.")
            }));
        };
        if matches!(self.phase(), Phase::Here { .. }) {
            let live = self.live()?;
            live.stop(STOP_PATIENCE).await;
            let status = (*live.ended.borrow()).unwrap_or(128 + libc::SIGKILL);
            self.end(&live, status).await;
        }
        self.quit.send_replace(true);
        Ok(Answer::Ok)
    }

    /// The turn, unless something long is under way. What is just ending, such as the arrival of the session or the
    /// taking over of its pod, is waited for.
    pub async fn turn_soon(&self) -> Option<OwnedMutexGuard<()>> {
        if let Ok(turn) = self.turn.clone().try_lock_owned() {
            return Some(turn);
        }
        match self.phase() {
            Phase::Here { state: SessionState::Sending { .. }, .. } => None,
            _ => tokio::time::timeout(SOON, self.turn.clone().lock_owned()).await.ok(),
        }
    }

    /// What this keeper was to get does not come: it gives up and ends. A session that runs here by now is left
    /// alone: whoever says so may know less than this keeper, because the source's died over the move.
    ///
    /// # Errors
    /// If the session has just arrived.
    pub async fn withdraw(&self) -> Result<Answer, Failure> {
        if self.is_arriving() {
            return self.give_arrival_up().await;
        }
        if let Ok(_turn) = self.turn.try_lock()
            && matches!(self.phase(), Phase::Empty)
        {
            self.quit.send_replace(true);
        }
        Ok(Answer::Ok)
    }

    fn is_arriving(&self) -> bool {
        match self.phase() {
            Phase::Away { state: SessionState::Receiving { .. }, .. } => true,
            Phase::Empty => lock(&self.gate).is_some(),
            _ => false,
        }
    }

    /// Up to the commit; from then on the session is here in a moment.
    async fn give_arrival_up(&self) -> Result<Answer, Failure> {
        self.cancel.send_replace(true);
        let mut quit = self.quit.subscribe();
        let given_up = tokio::time::timeout(STOP_PATIENCE, quit.wait_for(|quit| *quit)).await;
        match given_up {
            Ok(_) => Ok(Answer::Ok),
            Err(_) => Err(Failure::refused("The session has just arrived.").next("Stop it again.")),
        }
    }

    /// Takes over a pod whose keeper died.
    ///
    /// # Errors
    /// If there is nothing to take over, saying why; a keeper for which there never will be ends then.
    pub fn adopt(self: &Arc<Self>, host: String) -> Result<Answer, Failure> {
        let adopted = self.take_over(host);
        if adopted.as_ref().is_err_and(|failure| failure.outcome == Outcome::Refused) {
            self.quit.send_replace(true);
        }
        adopted
    }

    fn take_over(self: &Arc<Self>, host: String) -> Result<Answer, Failure> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(Failure::wrong_use("This keeper has a session already."));
        };
        if !matches!(self.phase(), Phase::Empty) {
            return Err(Failure::wrong_use("This keeper has a session already."));
        }
        let records = self.take_records();
        let Some((identity, spec, facts)) = records.iter().rev().find_map(|r| match &r.entry {
            Entry::Running { identity, spec, facts }
            | Entry::Activating { identity, spec, facts }
            | Entry::Waking { identity, spec, facts, .. } => {
                Some((identity.clone(), SessionSpec::clone(spec), Facts::clone(facts)))
            }
            _ => None,
        }) else {
            return Err(Failure::refused("Nothing is recorded of a session in this folder."));
        };
        // Also raised by being taken back, and by waking as earlier versions wrote that down.
        let last_one = records.len() - 1;
        let raises = |(at, r): (usize, &Record)| match r.entry {
            Entry::Reclaimed => Some(r.generation),
            Entry::Resuming { .. } if at == last_one => Some(r.generation),
            _ => None,
        };
        let raised = records.iter().enumerate().filter_map(raises).max().unwrap_or(0);
        let generation = identity.generation.max(raised);
        let identity = Identity { host, generation, ..identity };
        let last = records.last().map(|r| (r.entry.clone(), r.boot_id.clone()));
        let gone = |state| Phase::Away {
            identity: identity.clone(),
            spec: Box::new(spec.clone()),
            facts: Box::new(facts.clone()),
            state,
        };
        *lock(&self.arrived) = records.iter().rev().find_map(|r| match r.entry {
            Entry::ReceiveBegun { number, .. } => Some(number),
            _ => None,
        });
        let same_boot = last.as_ref().is_some_and(|(_, boot)| boot_id().is_ok_and(|now| now == *boot));
        let pod = if same_boot {
            Pod::find(&self.dirs.runtime).map_err(|e| failed("Asking the session's pod", &e))?
        } else {
            None
        };
        match (last.map(|(entry, _)| entry), pod) {
            (Some(Entry::Ended { status }), pod) => {
                let _ = pod.map(|pod| pod.end());
                self.set(gone(SessionState::Ended { status }));
            }
            (Some(Entry::Parked { file }), None) => self.set(gone(SessionState::Parked { file })),
            // It was about to end when its keeper died.
            (Some(Entry::Parked { file }), Some(pod)) if self.sleeps(&file, &pod)? => {
                let _ = pod.end();
                self.set(gone(SessionState::Parked { file }));
            }
            // The file is taken away only after the session ran.
            (Some(Entry::Resuming { file } | Entry::Waking { file, .. }), None)
                if std::path::Path::new(&file).exists() =>
            {
                self.set(gone(SessionState::Parked { file }));
            }
            // Whether it ran there by then the target knows, and nobody here.
            (Some(Entry::Gone { to, .. } | Entry::GoneByName { to, .. }), None) => {
                let name = &spec.name;
                return Err(Failure::refused(format!("{name} went to {to}; nothing of it is left here."))
                    .next(format!("Look there: `roam list` on {to}.")));
            }
            (Some(Entry::SendDone), pod) => {
                let _ = pod.map(|pod| pod.end());
                return Err(Failure::refused(format!("{} was moved away from here.", spec.name)));
            }
            (
                Some(
                    Entry::ReceiveBegun { .. }
                    | Entry::Prepared
                    | Entry::ReceiveUndone
                    | Entry::Activating { .. },
                ),
                None,
            ) => {
                // Nothing of it ever ran here; the source is told so when it asks.
                self.write(identity.generation, Entry::ReceiveUndone)?;
                return Err(Failure::refused(format!("{} did not arrive here.", spec.name)));
            }
            (_, None) => {
                let status = 128 + libc::SIGKILL;
                self.write(identity.generation, Entry::Ended { status })?;
                self.set(gone(SessionState::Ended { status }));
            }
            (last, Some(pod)) => {
                let committed = match &last {
                    Some(Entry::Gone { number, to, key }) => Some((*number, to.clone(), Some(*key))),
                    Some(Entry::GoneByName { number, to }) => Some((*number, to.clone(), None)),
                    _ => None,
                };
                let given = match &last {
                    Some(Entry::LocksGiven { to, locks }) => Some((to.clone(), locks.clone())),
                    _ => None,
                };
                let held = pod.client().state().map_err(|e| failed("Asking the session's pod", &e))?.held;
                if held && committed.is_none() && given.is_none() {
                    // Its keeper died between holding it and saying that it is gone.
                    pod.client()
                        .ok(&Request::Release, &[])
                        .map_err(|e| failed("Releasing the session", &e))?;
                }
                let output =
                    Output::fetch(&pod).map_err(|e| failed("Taking the session's output over", &e))?;
                if let Some(Entry::Resuming { file } | Entry::Waking { file, .. }) = &last {
                    forget_file(file);
                }
                if let Some(
                    Entry::Activating { .. }
                    | Entry::Waking { .. }
                    | Entry::Resuming { .. }
                    | Entry::Parked { .. },
                ) = &last
                {
                    // Its keeper died before it could write that the session runs; the pod says so.
                    let running = Entry::Running {
                        identity: identity.clone(),
                        spec: Box::new(spec.clone()),
                        facts: Box::new(facts.clone()),
                    };
                    if let Err(failure) = self.write(identity.generation, running) {
                        tracing::warn!(%failure, "the session was not recorded as running");
                    }
                }
                let mut state = SessionState::Running;
                if let Some((to, _)) = &given {
                    state = SessionState::Sending { to: to.clone(), stage: MoveStage::Prepared };
                }
                if let Some((number, to, key)) = committed {
                    let of_move =
                        records.iter().rev().take_while(|r| !matches!(r.entry, Entry::SendBegun { .. }));
                    let locks = of_move.filter_map(|r| match &r.entry {
                        Entry::LocksGiven { locks, .. } => Some(locks.clone()),
                        _ => None,
                    });
                    let locks = locks.last().unwrap_or_default();
                    *lock(&self.unsettled) = Some(Unsettled { number, to: to.clone(), key, locks });
                    state = SessionState::Sending { to, stage: MoveStage::Commit };
                }
                let live = self
                    .take_charge(identity, spec, facts, pod, output, state)
                    .map_err(|e| failed("Taking the session over", &e))?;
                if let Some((_, locks)) = given {
                    tokio::spawn(self.clone().take_locks_back(live, locks));
                }
            }
        }
        self.info().map(Answer::Info)
    }
}

impl Keeper {
    /// A keeper died while the session had given its file locks back. It stands still until it has them again.
    async fn take_locks_back(self: Arc<Self>, live: Arc<Live>, mut locks: Vec<LockPlace>) {
        let _turn = self.turn.lock().await;
        loop {
            let (pod, wanted) = (live.pod.clone(), locks.clone());
            let left =
                self.engine.run(move || freeze(&*pod).and_then(|frozen| frozen.take_locks(&wanted))).await;
            match left {
                Some(Ok(left)) if left.is_empty() => break,
                // A lease that was lost is told of once, so it is not tried for again.
                Some(Ok(left)) => {
                    tracing::warn!(?left, "file locks of the session are not to be had");
                    locks = left;
                }
                Some(Err(error)) => tracing::warn!(%error, "file locks of the session could not be taken"),
                None => tracing::warn!("the engine failed while it took file locks of the session"),
            }
            if live.ended.borrow().is_some() {
                return;
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
        if let Err(error) = live.pod.client().ok(&Request::Release, &[]) {
            tracing::error!(%error, "the session could not be released");
        }
        if let Err(failure) = self.write(live.generation(), Entry::SendUndone) {
            tracing::warn!(%failure, "the undone move was not recorded");
        }
        self.set_state(SessionState::Running);
    }
}

/// The phase of a session that was here.
#[must_use]
pub fn away(live: &Live, state: SessionState) -> Phase {
    Phase::Away {
        identity: live.identity(),
        spec: Box::new(live.spec.clone()),
        facts: Box::new(live.facts.clone()),
        state,
    }
}

/// Ends a pod, on a thread where waiting is allowed.
pub async fn end_pod(pod: Arc<Pod>) {
    let ended = tokio::task::spawn_blocking(move || pod.end()).await;
    if let Ok(Err(error)) = ended {
        tracing::error!(%error, "a pod did not end");
    }
}

/// An error of the system as a failure that changed nothing.
#[must_use]
pub fn failed(doing: &str, error: &std::io::Error) -> Failure {
    Failure::new(Outcome::FailedAndUndone, format!("{doing} failed: {error}."))
}

fn journal_failed(error: &std::io::Error) -> Failure {
    Failure::undone(format!("The session's journal can't be written: {error}."))
        .next("Make room on that machine's disk, where the home folder is.")
}

/// Why nothing can be done with a session here once its move is committed.
#[must_use]
pub fn went(name: &str, to: &str) -> Failure {
    Failure::refused(format!("{name} went to {to}, which has not confirmed it yet.")).next(format!(
        "Bring {to} into reach: it is asked until it answers. Then {name} runs there, or here again if it never came."
    ))
}

fn not_here(name: &str, state: &SessionState) -> Failure {
    match state {
        SessionState::Parked { file } => Failure::refused(format!("{name} sleeps in {file}."))
            .next(format!("Wake it with `roam resume {name}`.")),
        SessionState::Ended { .. } => Failure::refused(format!("{name} has ended.")),
        SessionState::Receiving { from } => {
            Failure::refused(format!("{name} is still arriving from {from}."))
        }
        _ => Failure::refused(format!("{name} does not run here yet.")),
    }
}

fn command_line(argv: &[Vec<u8>]) -> String {
    let line = argv.iter().map(|arg| String::from_utf8_lossy(arg)).collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(500) {
        Some((at, _)) => format!("{}…", &line[..at]),
        None => line,
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
