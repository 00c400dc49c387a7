//! The loop around [`super::receiver`]: lanes, engine, journal.
//!
//! It outlives the move: a source that did not hear "activated" opens a lane again and asks.

use std::os::fd::OwnedFd;
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use roam_api::codec::decode_section;
use roam_api::error::{Failure, Outcome};
use roam_api::init::Clocks;
use roam_api::keeper::{Answer, Identity, LaneSecret};
use roam_api::migration::{Item, Offer, ToSource, ToTarget};
use roam_api::session::SessionState;
use roam_checkpoint::{Error, Want};
use tokio::sync::mpsc;

use super::fit;
use super::lane::Lane;
use super::receiver::{Effect, Input, State};
use crate::bundle::About;
use crate::carry::{Arrived, Arriving, Ready, clocks_for};
use crate::journal::Entry;
use crate::keeper::{Keeper, LINGER, Phase, failed};

/// Pieces that wait for the engine.
const QUEUED: usize = 8;

/// A lane as the target holds it, and how long its way was at most.
pub struct TargetLane {
    lane: Lane<ToSource, ToTarget>,
    way: Duration,
}

impl TargetLane {
    /// Over a stream whose handshake took so long: no less than a round trip.
    pub fn over(stream: impl super::lane::Stream, handshake: Duration) -> Self {
        Self { lane: Lane::over(stream), way: handshake }
    }
}

/// Where lanes come in.
pub struct Gate {
    secret: LaneSecret,
    /// For whom, and from where.
    identity: Identity,
    from: String,
    /// No session may come in by it.
    asks: bool,
    lanes: mpsc::Sender<TargetLane>,
}

enum Work {
    Begin(Box<About>, Clocks, Vec<Want>),
    Take(Item),
    Build,
    /// The source has let go of its file locks.
    LocksGiven,
    Activate,
}

enum Report {
    Reserved,
    CanNot(Failure),
    /// Building waits until the source lets go of its file locks.
    NeedsLocks,
    Built,
    Runs(Box<Arrived>),
    Failed(Failure),
}

/// The engine's part, on its thread. It ends with the work; what does not run by then is gone.
fn engine_part(
    keeper: &Keeper,
    generation: u64,
    most_memory: Option<u64>,
    mut work: mpsc::Receiver<Work>,
    reports: &mpsc::Sender<Report>,
) {
    let mut arriving: Option<Arriving> = None;
    let mut ready: Option<Ready> = None;
    while let Some(piece) = work.blocking_recv() {
        let report = match piece {
            Work::Begin(about, clocks, wants) => match begin(keeper, &about, clocks, &wants) {
                Ok(begun) => {
                    arriving = Some(begun.at_most(most_memory));
                    Report::Reserved
                }
                Err(failure) => Report::CanNot(failure),
            },
            Work::Take(item) => match arriving.as_mut().map(|a| a.take(item.borrow())) {
                Some(Err(failure)) => {
                    arriving = None;
                    Report::Failed(failure)
                }
                _ => continue,
            },
            Work::LocksGiven => continue,
            Work::Build => match arriving.take().map(|a| {
                build(keeper, generation, a, &mut || {
                    let asked = reports.blocking_send(Report::NeedsLocks).is_ok();
                    match asked.then(|| work.blocking_recv()).flatten() {
                        Some(Work::LocksGiven) => Ok(()),
                        _ => Err(Error::Image("the source did not let go of its file locks".into())),
                    }
                })
            }) {
                Some(Ok(built)) => {
                    ready = Some(built);
                    Report::Built
                }
                Some(Err(failure)) => Report::Failed(failure),
                None => continue,
            },
            Work::Activate => match ready.take().map(|r| activate(keeper, generation, r)) {
                Some(Ok(arrived)) => Report::Runs(Box::new(arrived)),
                Some(Err(failure)) => Report::Failed(failure),
                None => continue,
            },
        };
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
}

/// What is not here is said before anything is made, and before the source freezes anything.
fn begin(keeper: &Keeper, about: &About, clocks: Clocks, wants: &[Want]) -> Result<Arriving, Failure> {
    fit::lacks(wants, about, &keeper.here())?;
    Arriving::begin(keeper, about, clocks)
}

fn build(
    keeper: &Keeper,
    generation: u64,
    arriving: Arriving,
    ask_for_locks: &mut dyn FnMut() -> Result<(), Error>,
) -> Result<Ready, Failure> {
    let ready = arriving.build(ask_for_locks)?;
    keeper.write(generation, Entry::Prepared)?;
    Ok(ready)
}

fn activate(keeper: &Keeper, generation: u64, ready: Ready) -> Result<Arrived, Failure> {
    let mut identity = ready.about.identity.clone();
    identity.generation = generation;
    let entry = Entry::Activating {
        identity,
        spec: Box::new(ready.about.spec.clone()),
        facts: Box::new(ready.about.facts.clone()),
    };
    keeper.write(generation, entry)?;
    ready.activate()
}

impl Keeper {
    /// Gets ready for a session, or for the questions of a source that lost its lane.
    ///
    /// # Errors
    /// If this keeper has another session.
    pub fn receive(
        self: &Arc<Self>,
        identity: Identity,
        from: String,
        secret: LaneSecret,
        most_memory: Option<u64>,
    ) -> Result<Answer, Failure> {
        self.open_gate(identity, from, secret, most_memory, State::Waiting)
    }

    /// Gets ready for the questions of a source, and for nothing else: that needs nobody's leave.
    ///
    /// # Errors
    /// If this keeper has another session.
    pub fn answer(
        self: &Arc<Self>,
        identity: Identity,
        from: String,
        secret: LaneSecret,
    ) -> Result<Answer, Failure> {
        self.open_gate(identity, from, secret, None, State::Asked)
    }

    /// `state` is the one of a keeper that has, and had, nothing of the session.
    fn open_gate(
        self: &Arc<Self>,
        identity: Identity,
        from: String,
        secret: LaneSecret,
        most_memory: Option<u64>,
        state: State,
    ) -> Result<Answer, Failure> {
        let asks = state == State::Asked;
        let mut gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(open) = &mut *gate
            && !open.lanes.is_closed()
        {
            // One that is leaving, or has ended, answers nobody any more.
            let here = match self.phase() {
                Phase::Empty | Phase::Here { .. } => true,
                Phase::Away { state, .. } => matches!(state, SessionState::Receiving { .. }),
            };
            let same = (open.identity.id, open.identity.generation) == (identity.id, identity.generation);
            // What comes now was not let in then.
            let comes = open.asks && !asks;
            if !here || !same || comes || open.from != from {
                let void = open.identity.id == identity.id
                    && (comes || open.identity.generation < identity.generation);
                if open.from == from && void {
                    // Its source offers what came of that since: it has given up that move, and could not say so.
                    self.cancel.send_replace(true);
                }
                return Err(Failure::wrong_use("This keeper has another session."));
            }
            open.secret = secret;
            return Ok(Answer::Listening);
        }
        let turn = match self.phase() {
            // A source that is told "nothing" takes its copy back: not before it is known what is here.
            Phase::Empty if std::os::unix::net::UnixStream::connect(self.dirs.pod_socket()).is_ok() => {
                return Err(Failure::undone("The session's pod has not been taken over yet."));
            }
            Phase::Empty => Some(
                self.turn
                    .clone()
                    .try_lock_owned()
                    .map_err(|_| Failure::wrong_use("This keeper has a session already."))?,
            ),
            // Taken over after a crash: only questions are answered.
            Phase::Here { live, .. } if live.identity().id == identity.id => None,
            _ => return Err(Failure::wrong_use("This keeper has a session already.")),
        };
        // It has been here and left or ended; its source has not heard that it came.
        let stayed = self.stayed(identity.generation);
        let (lanes, incoming) = mpsc::channel(2);
        *gate = Some(Gate { secret, identity: identity.clone(), from: from.clone(), asks, lanes });
        drop(gate);
        self.cancel.send_replace(false);
        let arrival = Arrival {
            keeper: self.clone(),
            state: if turn.is_some() && stayed.is_none() { state } else { State::Activated },
            identity,
            from,
            most_memory,
            turn: turn.filter(|_| stayed.is_none()),
            // It is known by which move it came; only that one's source is told that it is, or was, here.
            number: stayed.or(*self.arrived.lock().unwrap_or_else(PoisonError::into_inner)),
            work: None,
            deadline: None,
        };
        tokio::spawn(arrival.run(incoming));
        Ok(Answer::Listening)
    }

    /// A lane connection that the agent passed on.
    ///
    /// # Errors
    /// If nobody waits for one.
    pub fn lane(&self, token: [u8; 16], mut descriptors: Vec<OwnedFd>) -> Result<Answer, Failure> {
        let gate = self.gate.lock().unwrap_or_else(PoisonError::into_inner);
        let (Some(gate), Some(socket)) = (&*gate, descriptors.pop()) else {
            return Err(Failure::refused("This keeper waits for no lane."));
        };
        if gate.secret.token != token {
            return Err(Failure::refused("This lane is not expected."));
        }
        let stream = std::net::TcpStream::from(socket);
        let stream = stream
            .set_nonblocking(true)
            .and_then(|()| tokio::net::TcpStream::from_std(stream))
            .map_err(|e| failed("Taking the lane", &e))?;
        let (secret, lanes) = (gate.secret.clone(), gate.lanes.clone());
        tokio::spawn(async move {
            let begun = Instant::now();
            match roam_link::lane::accept(stream, &secret).await {
                Ok(stream) => {
                    let _ = lanes.send(TargetLane::over(stream, begun.elapsed())).await;
                }
                Err(error) => tracing::warn!(%error, "a lane was refused"),
            }
        });
        Ok(Answer::Ok)
    }
}

struct Arrival {
    keeper: Arc<Keeper>,
    state: State,
    identity: Identity,
    from: String,
    /// Bytes that may be filled here.
    most_memory: Option<u64>,
    /// Held until the session runs here or is given up.
    turn: Option<tokio::sync::OwnedMutexGuard<()>>,
    number: Option<u64>,
    work: Option<mpsc::Sender<Work>>,
    deadline: Option<Instant>,
}

impl Arrival {
    async fn run(mut self, mut incoming: mpsc::Receiver<TargetLane>) {
        let mut lane: Option<TargetLane> = None;
        let mut reports: Option<mpsc::Receiver<Report>> = None;
        let mut cancel = self.keeper.cancel.subscribe();
        let mut quit = self.keeper.quit.subscribe();
        loop {
            let until = self.deadline.map_or(Duration::MAX, |d| d.saturating_duration_since(Instant::now()));
            // One that only answers for a session of the past has nothing to lose either.
            let past = self.state == State::Activated && matches!(self.keeper.phase(), Phase::Empty);
            let gives_up = past || !matches!(self.state, State::Activating | State::Activated);
            let input = tokio::select! {
                came = incoming.recv() => match came {
                    // A new lane replaces the old one: the source gave that up.
                    Some(new) => { lane = Some(new); continue }
                    None => return,
                },
                heard = hear(&mut lane) => match heard {
                    Some(message) => Input::Message(message),
                    None => { lane = None; Input::LaneLost }
                },
                report = report(&mut reports) => match report {
                    Some(Report::Reserved) => Input::Reserved,
                    Some(Report::CanNot(failure)) => Input::CanNot(failure),
                    Some(Report::NeedsLocks) => Input::NeedsLocks,
                    Some(Report::Built) => Input::Built,
                    Some(Report::Failed(failure)) => Input::EngineFailed(failure),
                    Some(Report::Runs(arrived)) => { self.welcome(*arrived); Input::Runs }
                    None => { reports = None; Input::EngineFailed(Failure::undone("The engine failed.")) }
                },
                _ = cancel.wait_for(|cancel| *cancel), if gives_up => {
                    if !matches!(self.state, State::Nothing | State::Asked) && !past {
                        self.discard(&Failure::undone("It was stopped."));
                    }
                    self.keeper.quit.send_replace(true);
                    return;
                }
                _ = quit.wait_for(|quit| *quit) => return,
                () = tokio::time::sleep(until), if self.deadline.is_some() => Input::Timeout,
                // Nobody comes any more: whoever asks later finds another keeper, which has as little.
                () = tokio::time::sleep(LINGER), if lane.is_none() && (past || self.waits_for_nothing()) => {
                    self.keeper.quit.send_replace(true);
                    return;
                }
            };
            let offered = match &input {
                Input::Message(ToTarget::Offer(offer)) => Some(offer.number),
                _ => None,
            };
            let (next, effects) = std::mem::replace(&mut self.state, State::Nothing).step(input, self.number);
            self.state = next;
            if offered.is_some() && self.state == State::Reserving {
                self.number = offered;
            }
            for effect in effects {
                match effect {
                    Effect::Send(message) => {
                        if let Some(lane) = &lane {
                            let _ = lane.lane.say.send(message).await;
                        }
                    }
                    Effect::Reserve(offer) => {
                        let way = lane.as_ref().map_or(Duration::ZERO, |lane| lane.way);
                        reports = Some(self.reserve(&offer, way).await);
                    }
                    Effect::Take(item) => self.give(Work::Take(item)).await,
                    Effect::Build => self.give(Work::Build).await,
                    Effect::GoOnWithLocks => self.give(Work::LocksGiven).await,
                    Effect::Activate => self.give(Work::Activate).await,
                    Effect::Discard(failure) => {
                        self.discard(&failure);
                        reports = None;
                    }
                    Effect::Timer(after) => self.deadline = after.map(|after| Instant::now() + after),
                }
            }
        }
    }

    fn waits_for_nothing(&self) -> bool {
        matches!(self.state, State::Waiting | State::Nothing | State::Asked)
    }

    async fn give(&self, work: Work) {
        if let Some(queue) = &self.work {
            let _ = queue.send(work).await;
        }
    }

    /// Checks the offer and begins; the answer comes as a report.
    async fn reserve(&mut self, offer: &Offer, way: Duration) -> mpsc::Receiver<Report> {
        let (done, reports) = mpsc::channel(QUEUED);
        // Given up with an earlier offer.
        if self.turn.is_none() {
            self.turn = self.keeper.turn.clone().try_lock_owned().ok();
        }
        match self.accept(offer, way) {
            Ok((about, clocks, wants)) => {
                let (work, to_do) = mpsc::channel(QUEUED);
                let _ = work.send(Work::Begin(Box::new(about), clocks, wants)).await;
                self.work = Some(work);
                let (keeper, generation) = (self.keeper.clone(), self.identity.generation);
                let most = self.most_memory;
                tokio::spawn(async move {
                    let engine = keeper.engine.clone();
                    engine.run(move || engine_part(&keeper, generation, most, to_do, &done)).await;
                });
            }
            Err(failure) => {
                let _ = done.send(Report::CanNot(failure)).await;
                // Kept open: its end would read as the engine's.
                tokio::spawn(async move { done.closed().await });
            }
        }
        reports
    }

    fn accept(&self, offer: &Offer, way: Duration) -> Result<(About, Clocks, Vec<Want>), Failure> {
        if offer.identity.id != self.identity.id || offer.identity.generation != self.identity.generation {
            return Err(Failure::refused("The offered session is not the one that was announced."));
        }
        let odd = |e| Failure::refused(format!("The offer can't be understood: {e}."));
        let about: About = decode_section(&offer.about).map_err(odd)?;
        let wants: Vec<Want> = decode_section(&offer.wants).map_err(odd)?;
        fit::check(offer, &about)?;
        let way = i64::try_from(way.as_nanos()).unwrap_or(0);
        let (monotonic, boottime) = offer.clocks_ns;
        let clocks = clocks_for(monotonic.saturating_add(way), boottime.saturating_add(way))
            .map_err(|e| failed("Reading the clocks", &e))?;
        let begun = Entry::ReceiveBegun { identity: self.identity.clone(), number: offer.number };
        self.keeper.write(self.identity.generation, begun).map_err(|failure| Failure {
            // Read at another machine, where nothing has changed.
            outcome: Outcome::Refused,
            sentence: format!("{} can't take {}. {}", self.identity.host, offer.name, failure.sentence),
            ..failure
        })?;
        self.keeper.set(Phase::Away {
            identity: self.identity.clone(),
            spec: Box::new(about.spec.clone()),
            facts: Box::new(about.facts.clone()),
            state: SessionState::Receiving { from: self.from.clone() },
        });
        Ok((about, clocks, wants))
    }

    fn discard(&mut self, failure: &Failure) {
        tracing::info!(%failure, "the arriving session was given up");
        self.work = None;
        self.deadline = None;
        if let Err(failure) = self.keeper.write(self.identity.generation, Entry::ReceiveUndone) {
            tracing::warn!(%failure, "the undone arrival was not recorded");
        }
        self.keeper.set(Phase::Empty);
        self.turn = None;
    }

    fn welcome(&mut self, arrived: Arrived) {
        self.work = None;
        self.keeper.welcome(self.identity.clone(), arrived);
        self.turn = None;
    }
}

async fn hear(lane: &mut Option<TargetLane>) -> Option<ToTarget> {
    match lane {
        Some(lane) => lane.lane.hear.recv().await,
        None => std::future::pending().await,
    }
}

async fn report(reports: &mut Option<mpsc::Receiver<Report>>) -> Option<Report> {
    match reports {
        Some(receive) => receive.recv().await,
        None => std::future::pending().await,
    }
}
