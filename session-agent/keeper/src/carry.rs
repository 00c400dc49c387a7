//! A session leaves as pieces and arrives as pieces: what parking, resuming and moving share.
//!
//! Everything here runs on the engine's thread and blocks.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use nix::time::{ClockId, clock_getres, clock_gettime};
use roam_api::error::{Failure, Outcome};
use roam_api::init::{Clocks, Request, Role};
use roam_api::keeper::Identity;
use roam_api::migration::{ItemRef, Part};
use roam_api::session::{SessionSpec, SessionState};
use roam_checkpoint::{Error, Frozen, PageStats, Prepared, Restorer, Tracker, freeze};

use crate::bundle::{About, Incoming, Outgoing};
use crate::journal::{Entry, Facts};
use crate::keeper::{Keeper, failed};
use crate::live::{Live, Output, PodExternals, memory_in_use};
use crate::log::OutputLog;
use crate::pod::handle::Pod;

/// How long what may be over in a moment may take.
const PASSING: Duration = Duration::from_secs(1);

/// An error of the engine as a failure that changed nothing. `doing` begins the sentence.
#[must_use]
pub fn engine_failed(doing: &str, error: Error) -> Failure {
    match error {
        Error::Refused(refusals) => refused(doing, refusals),
        other => Failure::undone(format!("{doing} failed: {other}.")),
    }
}

/// What can't be carried, as a failure.
#[must_use]
pub fn refused(doing: &str, refusals: Vec<roam_api::error::Refusal>) -> Failure {
    let mut failure = Failure::refused(format!("{doing} is not possible: something in it can't be carried."));
    failure.refusals = refusals;
    failure
}

/// What is to be known of a session that is here.
///
/// # Errors
/// If roam-init does not answer.
pub fn about(live: &Live) -> io::Result<About> {
    let state = live.pod.client().state()?;
    let mut children: Vec<(i32, Role, Option<i32>)> =
        state.running.iter().map(|(pid, role)| (*pid, *role, None)).collect();
    if let Some((pid, Some(status))) = state.main {
        children.push((pid, Role::Main, Some(status)));
    }
    Ok(About {
        identity: live.identity(),
        spec: live.spec.clone(),
        facts: live.facts.clone(),
        children,
        monotonic_ns: 0,
        boottime_ns: 0,
        realtime_ns: 0,
    })
}

/// Freezes the session, captures it and sends all of it that was not sent yet. What may be over in a moment, such as a
/// connection that nobody has accepted yet, is given [`PASSING`] before it is a reason to refuse; the session
/// runs meanwhile.
///
/// # Errors
/// Whatever kept it from being carried; the session goes on as it was.
pub fn freeze_and_send(
    live: &Live,
    log: &OutputLog,
    mut tracker: Option<&mut Tracker>,
    out: &mut Outgoing<'_>,
) -> Result<(Frozen, PageStats), Failure> {
    const DOING: &str = "Carrying the session";
    let begun = Instant::now();
    let (mut frozen, image) = loop {
        let mut frozen = freeze(&*live.pod).map_err(|e| engine_failed(DOING, e))?;
        match frozen.capture(&*live.pod, &live.externals(), tracker.as_deref_mut()) {
            Ok(image) => break (frozen, image),
            Err(error) if error.passes() && begun.elapsed() < PASSING => frozen.thaw(),
            Err(error) => return Err(engine_failed(DOING, error)),
        }
        std::thread::sleep(Duration::from_millis(20));
    };
    let about = about(live).map_err(|e| failed(DOING, &e))?.at(image.clocks);
    let log = live.settled_log(log).map_err(|e| failed(DOING, &e))?;
    out.value(Part::About, &about)
        .and_then(|()| out.value(Part::Image, &image))
        .and_then(|()| out.part(Part::Log, &log))
        .map_err(|e| failed(DOING, &e))?;
    let stats = frozen.send_pages(&image, tracker, out).map_err(|e| engine_failed(DOING, e))?;
    Ok((frozen, stats))
}

/// What must be added to this machine's clocks so that a pod's read this much now.
///
/// # Errors
/// The kernel's.
pub fn clocks_for(monotonic_ns: i64, boottime_ns: i64) -> io::Result<Clocks> {
    Ok(Clocks {
        monotonic_ns: monotonic_ns.saturating_sub(now(ClockId::CLOCK_MONOTONIC)?),
        boottime_ns: boottime_ns.saturating_sub(now(ClockId::CLOCK_BOOTTIME)?),
    })
}

/// A clock of this machine in nanoseconds.
///
/// # Errors
/// The kernel's.
pub fn now(clock: ClockId) -> io::Result<i64> {
    let time = clock_gettime(clock)?;
    Ok(time.tv_sec() * 1_000_000_000 + time.tv_nsec())
}

/// A session that is arriving in a pod of its own. Dropping it ends the pod.
pub struct Arriving {
    restorer: Restorer,
    incoming: Incoming,
    pod: Pod,
    clocks: Clocks,
    /// How the sentence begins if it can't be taken.
    cant: String,
    /// How much memory may be filled, in bytes.
    most: Option<u64>,
    /// Pages taken since that was last looked at, in bytes.
    uncounted: u64,
}

impl Arriving {
    /// Makes the pod and the first stub.
    ///
    /// # Errors
    /// What did not work; nothing is left.
    pub fn begin(keeper: &Keeper, about: &About, clocks: Clocks) -> Result<Self, Failure> {
        let pod = keeper.make_pod_now(&about.facts, clocks)?;
        let restorer = Restorer::begin(&pod).map_err(|e| engine_failed("Preparing the session's pod", e))?;
        let cant = format!("{} can't take {}.", keeper.here(), about.spec.name);
        Ok(Self { restorer, incoming: Incoming::default(), pod, clocks, cant, most: None, uncounted: 0 })
    }

    /// Refuses more memory than this, in bytes, whatever was announced.
    #[must_use]
    pub fn at_most(mut self, most: Option<u64>) -> Self {
        self.most = most;
        self
    }

    /// Takes what was written down at one time, as [`Restorer::expect_record`] says.
    #[must_use]
    pub fn from_record(mut self) -> Self {
        self.restorer.expect_record();
        self
    }

    /// Takes a piece.
    ///
    /// # Errors
    /// If it can't be used; the session can't be built then.
    pub fn take(&mut self, item: ItemRef<'_>) -> Result<(), Failure> {
        if let Some(most) = self.most {
            let new = match item {
                ItemRef::Pages { bytes, .. } => bytes.len() as u64,
                // They may be copied.
                ItemRef::Inherited { len, .. } => len,
                ItemRef::Bytes { .. } | ItemRef::Forget { .. } => 0,
            };
            self.uncounted = self.uncounted.saturating_add(new);
            // Not more than a part of the limit may come between two looks.
            if self.uncounted > most / 8 {
                self.uncounted = 0;
                if memory_in_use(&self.pod) > most {
                    return Err(Failure::refused(format!(
                        "{} It is larger than it was said to be.",
                        self.cant
                    ))
                    .next("`roam allow` there says how much memory this machine may use."));
                }
            }
        }
        let taken = self.incoming.take(item, &mut self.restorer);
        taken.map_err(|error| cant_take(&self.cant, "Receiving the session", error))
    }

    /// Builds everything. Nothing runs yet. `ask_for_locks` is called when somebody has a file lock that the
    /// session held.
    ///
    /// # Errors
    /// What could not be built; nothing is left.
    pub fn build(self, ask_for_locks: &mut dyn FnMut() -> Result<(), Error>) -> Result<Ready, Failure> {
        const DOING: &str = "Building the session";
        let Self { restorer, incoming, pod, clocks, cant, .. } = self;
        let (Some(about), Some(image)) = (incoming.about, incoming.image) else {
            return Err(Failure::undone("The session did not arrive completely."));
        };
        let output = Output::make(&pod).map_err(|e| failed(DOING, &e))?;
        let mut externals = PodExternals::to_provide(&output).map_err(|e| failed(DOING, &e))?;
        let prepared = restorer
            .build(&image, &pod, &mut externals, ask_for_locks)
            .map_err(|error| cant_take(&cant, DOING, error))?;
        for (pid, role, status) in &about.children {
            let track = Request::Track { pid: *pid, role: *role, status: *status };
            pod.client().ok(&track, &[]).map_err(|e| failed(DOING, &e))?;
        }
        Ok(Ready { prepared, pod, output, about, log: incoming.log, clocks })
    }
}

fn cant_take(cant: &str, doing: &str, error: Error) -> Failure {
    match error {
        Error::Refused(refusals) => Failure { refusals, ..Failure::refused(cant) },
        other => engine_failed(doing, other),
    }
}

/// A session that is built and stands still. Dropping it ends it.
pub struct Ready {
    prepared: Prepared,
    pod: Pod,
    output: Output,
    /// What it is.
    pub about: About,
    log: Vec<u8>,
    clocks: Clocks,
}

/// A session that runs in a new pod and waits to be taken charge of.
pub struct Arrived {
    /// Its pod.
    pub pod: Pod,
    /// Its new output pipes.
    pub output: Output,
    /// What it is.
    pub about: About,
    /// What it had printed before.
    pub log: Vec<u8>,
}

impl Ready {
    /// Lets it run; from here on its pod outlives this keeper.
    ///
    /// # Errors
    /// If it can't; it is gone then.
    pub fn activate(self) -> Result<Arrived, Failure> {
        // The pod's monotonic clock must not be behind what the session saw last, nor may its coarse
        // sister, which follows it by up to a tick.
        let tick = clock_getres(ClockId::CLOCK_MONOTONIC_COARSE)
            .map_or(10_000_000, |t| t.tv_sec() * 1_000_000_000 + t.tv_nsec());
        let behind = || {
            now(ClockId::CLOCK_MONOTONIC)
                .map(|now| self.about.monotonic_ns + tick - now.saturating_add(self.clocks.monotonic_ns))
                .unwrap_or(0)
        };
        while let wait @ 1.. = behind() {
            std::thread::sleep(std::time::Duration::from_nanos(wait as u64));
        }
        let mut pod = self.pod;
        self.prepared.activate().map_err(|e| engine_failed("Starting the session", e))?;
        pod.live().map_err(|e| failed("Starting the session", &e))?;
        let output = self.output.readers_only();
        Ok(Arrived { pod, output, about: self.about, log: self.log })
    }
}

impl Keeper {
    /// Takes charge of a session that arrived. It runs already, and what was written before it was let go tells the
    /// next keeper all it needs; so nothing here is a reason to say that it did not come.
    pub fn welcome(self: &Arc<Self>, identity: Identity, arrived: Arrived) {
        let Arrived { pod, output, about, log } = arrived;
        if self.log.is_empty()
            && let Err(error) = self.log.preload(&log)
        {
            tracing::error!(%error, "what the session had printed before is lost");
        }
        let entry = Entry::Running {
            identity: identity.clone(),
            spec: Box::new(about.spec.clone()),
            facts: Box::new(about.facts.clone()),
        };
        if let Err(failure) = self.write(identity.generation, entry) {
            tracing::warn!(%failure, "the arrived session was not recorded as running");
        }
        self.keep(identity, about.spec, about.facts, pod, output);
    }

    /// Takes charge of a session whose pod is live, or leaves it to the next keeper.
    pub fn keep(
        self: &Arc<Self>,
        identity: Identity,
        spec: SessionSpec,
        facts: Facts,
        pod: Pod,
        output: Output,
    ) {
        if let Err(error) = self.take_charge(identity, spec, facts, pod, output, SessionState::Running) {
            tracing::error!(%error, "the session runs and is left to the next keeper");
            self.quit.send_replace(true);
        }
    }
}

/// Waits for running commands of `roam exec`, since they can't be carried.
///
/// # Errors
/// If one still runs after a while.
pub async fn wait_for_commands(live: &Live) -> Result<(), Failure> {
    const PATIENCE: std::time::Duration = std::time::Duration::from_secs(10);
    let idle = async {
        let mut running = live.execs.subscribe();
        let _ = running.wait_for(|count| *count == 0).await;
    };
    tokio::time::timeout(PATIENCE, idle).await.map_err(|_| {
        Failure::new(Outcome::Refused, "A command of `roam exec` is still running in the session.")
            .next("Wait until it is done, or end it.")
    })
}
