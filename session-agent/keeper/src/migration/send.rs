//! The loop around [`super::sender`]: lane, engine, journal, and the person who waits.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, PoisonError};
use std::time::{Duration, Instant};

use roam_api::codec::encode_section;
use roam_api::error::{Failure, Outcome};
use roam_api::init::Request;
use roam_api::keeper::LaneSecret;
use roam_api::migration::{Offer, ToSource, ToTarget};
use roam_api::session::{MachineKey, MoveProgress, MoveReport, MoveStage, Round, SessionState};
use roam_checkpoint::{LockPlace, Outlook, check, tracking_supported};
use tokio::sync::{OwnedMutexGuard, mpsc, oneshot};

use super::lane::{Lane, NotSaid, STUCK};
use super::orders::{self, Order, Report};
use super::sender::{Effect, Input, Rules, State};
use crate::carry::{about, engine_failed, refused, wait_for_commands};
use crate::journal::Entry;
use crate::keeper::{Keeper, LOCK_RETRY, Phase, Unsettled, away, end_pod, failed, went};
use crate::live::Live;

pub(super) const SENDING: &str = "Moving the session";
/// Between two tries to reach a target that must confirm.
const RETRY: Duration = Duration::from_secs(2);
/// How often progress is told, at most.
const TELL: Duration = Duration::from_millis(200);

/// Where and how the target's keeper is reached.
#[derive(Clone)]
pub struct Target {
    /// The machine's name.
    pub name: String,
    /// Its key.
    pub key: MachineKey,
    /// Addresses of its lane listener.
    pub addresses: Vec<String>,
    /// How the keepers prove themselves.
    pub secret: LaneSecret,
}

type SourceLane = Lane<ToTarget, ToSource>;

impl Target {
    async fn connect(&self) -> Result<SourceLane, Failure> {
        roam_link::lane::connect(&self.addresses, &self.secret).await.map(SourceLane::over).map_err(|e| {
            Failure::undone(format!(
                "{}'s keeper can't be reached: {e}. The session goes on here.",
                self.name
            ))
        })
    }
}

/// Everything the loop keeps besides the state.
struct Move {
    keeper: Arc<Keeper>,
    live: Arc<Live>,
    target: Target,
    rules: Rules,
    begun: Instant,
    stages: Vec<(MoveStage, Instant)>,
    rounds: Vec<Round>,
    frozen_at: Option<Instant>,
    checkpoint_bytes: u64,
    pinged: Option<Instant>,
    round_trip: Duration,
    bytes_total: u64,
    sent: Arc<AtomicU64>,
    answer: Option<oneshot::Sender<Result<MoveReport, Failure>>>,
    /// File locks that the session has given back.
    locks: Vec<LockPlace>,
    /// Whether it was told to.
    locks_given: bool,
}

impl Keeper {
    /// Moves the session, or, after a commit that nobody confirmed, asks its target what came of it. `progress` is
    /// told how far it is; a change of `cancel` to true cancels it until the commit.
    ///
    /// # Errors
    /// Why not: then the session is here as before; [`Outcome::Unconfirmed`]; or a refusal because it belongs to
    /// another machine by now.
    pub async fn send(
        self: &Arc<Self>,
        target: Target,
        cold: bool,
        progress: mpsc::Sender<MoveProgress>,
    ) -> Result<MoveReport, Failure> {
        if !matches!(self.phase(), Phase::Here { state: SessionState::Sending { .. }, .. }) {
            // Whoever cancels from here on means this move.
            self.cancel.send_replace(false);
        }
        let Some(turn) = self.turn_soon().await else {
            return self.ask_again(target).await;
        };
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        if let Some(unsettled) = unsettled {
            return self.settle(turn, target, unsettled, progress).await;
        }
        let live = self.live()?;
        wait_for_commands(&live).await?;
        let session = live.clone();
        let Outlook { refusals, wants } = self
            .engine
            .run(move || check(&*session.pod, &session.externals()))
            .await
            .unwrap_or_else(|| Err(roam_checkpoint::Error::Image("the engine failed".into())))
            .map_err(|e| engine_failed("Looking at the session", e))?;
        if !refusals.is_empty() {
            return Err(refused(SENDING, refusals));
        }
        let memory = live.size().1;
        let about = about(&live).map_err(|e| failed(SENDING, &e))?;
        let lane = target.connect().await?;
        let mut identity = live.identity();
        identity.generation += 1;
        identity.host.clone_from(&target.name);
        let number = rand::random();
        // Read last: what passes until the target reads them, its clocks are behind.
        let clocks = roam_checkpoint::clocks(&*live.pod).map_err(|e| engine_failed(SENDING, e))?;
        let offer = Offer {
            identity,
            number,
            name: live.spec.name.clone(),
            about: encoded(&about)?,
            memory_bytes: memory,
            cpu_features: super::fit::cpu_features(),
            clocks_ns: (clocks.monotonic, clocks.boottime),
            wants: encoded(&wants)?,
        };
        self.write(live.generation(), Entry::SendBegun { number, to: target.name.clone() })?;
        self.reach.send_replace(Some(target.clone()));
        let (answer, answered) = oneshot::channel();
        let begun = Instant::now();
        let run = Move {
            keeper: self.clone(),
            live,
            target,
            rules: Rules { number, cold: cold || !tracking_supported() },
            begun,
            stages: vec![(MoveStage::Offer, begun)],
            rounds: Vec::new(),
            frozen_at: None,
            checkpoint_bytes: 0,
            pinged: None,
            round_trip: Duration::ZERO,
            bytes_total: memory,
            sent: lane.sent.clone(),
            answer: Some(answer),
            locks: Vec::new(),
            locks_given: false,
        };
        tokio::spawn(async move {
            let _turn = turn;
            run.run(State::Offering, lane, Some(Box::new(offer)), progress).await;
        });
        answered.await.unwrap_or_else(|_| Err(Failure::undone("The move ended unexpectedly.")))
    }

    /// A move that must be confirmed is under way: the target is asked by this way from now on, and the end waited for.
    async fn ask_again(&self, target: Target) -> Result<MoveReport, Failure> {
        let phase = self.phase();
        if !phase.is_committed() {
            return Err(Failure::refused("The session is being moved or put to sleep already."));
        }
        let unsettled = self.unsettled.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let same = match (unsettled, &*self.reach.borrow()) {
            (Some(unsettled), _) => unsettled.is_with(&target),
            (None, Some(under_way)) => under_way.key == target.key,
            (None, None) => false,
        };
        if !same {
            // Only the one that has the session can say so.
            return self.live().and(Err(Failure::refused("The session is being moved already.")));
        }
        let unconfirmed = unconfirmed(&target.name);
        self.reach.send_replace(Some(target));
        let mut phase = self.watch();
        let settled = phase.wait_for(|phase| {
            !matches!(
                phase,
                Phase::Here { state: SessionState::Sending { stage: MoveStage::Commit, .. }, .. }
            )
        });
        match tokio::time::timeout(self.unconfirmed_after, settled).await {
            Ok(Ok(phase)) if matches!(*phase, Phase::Here { state: SessionState::Running, .. }) => {
                Err(Failure::undone("The target has nothing of the session. It goes on here."))
            }
            _ => Err(unconfirmed),
        }
    }

    /// After a crash past the commit: asks the target, and nobody else, until it is clear who has the session.
    async fn settle(
        self: &Arc<Self>,
        turn: OwnedMutexGuard<()>,
        target: Target,
        unsettled: Unsettled,
        progress: mpsc::Sender<MoveProgress>,
    ) -> Result<MoveReport, Failure> {
        let Phase::Here { live, .. } = self.phase() else {
            return Err(Failure::refused("The session is not here any more."));
        };
        if !unsettled.is_with(&target) {
            // Whoever has never heard of it would say that it has nothing.
            return Err(went(&live.spec.name, &unsettled.to));
        }
        self.reach.send_replace(Some(target.clone()));
        let lane = target.connect().await.map_err(|_| unconfirmed(&target.name))?;
        let (answer, answered) = oneshot::channel();
        let begun = Instant::now();
        let run = Move {
            keeper: self.clone(),
            live,
            target,
            rules: Rules { number: unsettled.number, cold: true },
            begun,
            stages: vec![(MoveStage::Commit, begun)],
            rounds: Vec::new(),
            frozen_at: None,
            checkpoint_bytes: 0,
            pinged: None,
            round_trip: Duration::ZERO,
            bytes_total: 0,
            sent: lane.sent.clone(),
            answer: Some(answer),
            locks_given: !unsettled.locks.is_empty(),
            locks: unsettled.locks,
        };
        let open = unconfirmed(&run.target.name);
        tokio::spawn(async move {
            let _turn = turn;
            run.run(State::Reconnecting, lane, None, progress).await;
        });
        answered.await.unwrap_or(Err(open))
    }
}

fn encoded<T: serde::Serialize>(value: &T) -> Result<Vec<u8>, Failure> {
    encode_section(value).map_err(|e| Failure::undone(format!("{SENDING} failed: {e}.")))
}

impl Unsettled {
    /// Whether this is the machine that it went to.
    fn is_with(&self, target: &Target) -> bool {
        self.key.map_or(self.to == target.name, |key| key == target.key)
    }
}

impl Move {
    async fn run(
        mut self,
        mut state: State,
        lane: SourceLane,
        offer: Option<Box<Offer>>,
        progress: mpsc::Sender<MoveProgress>,
    ) {
        let (orders, to_do) = mpsc::channel::<Order>(4);
        let (done, mut reports) = mpsc::channel::<Report>(4);
        let mut orders = Some(orders);
        let engine = {
            let (keeper, live, say) = (self.keeper.clone(), self.live.clone(), lane.say.clone());
            let (to, given) = (self.target.name.clone(), std::mem::take(&mut self.locks));
            let engine = self.keeper.engine.clone();
            tokio::spawn(async move {
                engine.run(move || orders::obey(&keeper, &live, &to, given, say, to_do, &done)).await;
            })
        };
        let mut cancel = self.keeper.cancel.subscribe();
        let mut lane = Some(lane);
        let mut next = vec![];
        match offer {
            Some(offer) => {
                next.push(Effect::Send(ToTarget::Offer(offer)));
                next.push(Effect::Timer(Duration::from_secs(30)));
            }
            None => {
                let (to, effects) = state.step(Input::LaneBack, self.rules);
                state = to;
                next = effects;
            }
        }
        let mut deadline: Option<Instant> = None;
        let mut timer = Duration::MAX;
        let mut sent_before = 0;
        let mut told = Instant::now() - TELL;
        let mut reconnected: Option<mpsc::Receiver<SourceLane>> = None;
        loop {
            let mut inputs = Vec::new();
            for effect in std::mem::take(&mut next) {
                match effect {
                    Effect::Send(message) => {
                        let ping = matches!(message, ToTarget::Offer(_)).then_some(ToTarget::Ping);
                        if let Some(lane) = &lane {
                            for message in std::iter::once(message).chain(ping) {
                                if matches!(message, ToTarget::Ping) {
                                    self.pinged = Some(Instant::now());
                                }
                                let given_up = async {
                                    if !state_can_cancel(&state)
                                        || cancel.wait_for(|cancel| *cancel).await.is_err()
                                    {
                                        std::future::pending().await
                                    }
                                };
                                match lane.put(message, STUCK, given_up).await {
                                    Ok(()) => continue,
                                    Err(NotSaid::Lost) => inputs.push(Input::LaneLost),
                                    Err(NotSaid::GivenUp) => inputs.push(Input::Cancel),
                                }
                                break;
                            }
                        }
                    }
                    Effect::Round => order(&orders, Order::Round).await,
                    Effect::StopAndCopy => order(&orders, Order::StopAndCopy).await,
                    Effect::GiveLocks => {
                        self.locks_given = true;
                        order(&orders, Order::GiveLocks).await;
                    }
                    Effect::WriteGone => inputs.push(self.write_gone()),
                    Effect::Timer(after) => {
                        timer = after;
                        deadline = Some(Instant::now() + after);
                    }
                    Effect::Undo(failure) => {
                        // A full queue means a lane that does not move: closing it says the same.
                        if let Some(lane) = lane.take()
                            && lane.say.try_send(ToTarget::Abort { failure: failure.clone() }).is_ok()
                        {
                            tokio::spawn(lane.finish(RETRY));
                        }
                        self.take_locks_back(&orders, &mut reports, &failure).await;
                        // Without orders the engine's part ends, and what is frozen goes on.
                        drop(orders.take());
                        self.undone(failure, engine).await;
                        return;
                    }
                    Effect::DropCopy => {
                        order(&orders, Order::Kill).await;
                        while !matches!(reports.recv().await, Some(Report::Killed) | None) {}
                        drop(orders);
                        self.done().await;
                        return;
                    }
                    Effect::Reclaim(failure) => {
                        self.take_locks_back(&orders, &mut reports, &failure).await;
                        let released = self.live.pod.client().ok(&Request::Release, &[]);
                        if let Err(error) = released {
                            tracing::error!(%error, "the session could not be released");
                        }
                        if let Err(failure) = self.keeper.write(self.live.take_back(), Entry::Reclaimed) {
                            tracing::warn!(%failure, "it was not recorded that the session was taken back");
                        }
                        drop(orders.take());
                        let _ = engine.await;
                        *self.keeper.unsettled.lock().unwrap_or_else(PoisonError::into_inner) = None;
                        let ended = *self.live.ended.borrow();
                        let failure = if let Some(status) = ended {
                            self.keeper.end(&self.live, status).await;
                            Failure::refused(format!("{} has ended (status {status}).", self.live.spec.name))
                        } else {
                            self.keeper.set_state(SessionState::Running);
                            failure
                        };
                        self.reply(Err(failure));
                        return;
                    }
                    Effect::Reconnect => {
                        lane = None;
                        let (found, receive) = mpsc::channel(1);
                        reconnected = Some(receive);
                        let mut target = self.target.clone();
                        let reach = self.keeper.reach.subscribe();
                        tokio::spawn(async move {
                            while !found.is_closed() {
                                if let Some(newer) = &*reach.borrow() {
                                    target.clone_from(newer);
                                }
                                if let Ok(lane) = target.connect().await {
                                    let _ = found.send(lane).await;
                                    return;
                                }
                                tokio::time::sleep(RETRY).await;
                            }
                        });
                    }
                }
            }
            if inputs.is_empty() {
                let active = matches!(state, State::PreCopy { .. } | State::Stopping | State::Offering);
                let tick = if active { TELL } else { Duration::from_secs(3600) };
                let until = deadline
                    .map_or(Duration::from_secs(3600), |d| d.saturating_duration_since(Instant::now()));
                let waits = self.answer.is_some()
                    && matches!(state, State::Committed | State::Reconnecting | State::Asking);
                tokio::select! {
                    report = reports.recv(), if orders.is_some() => inputs.extend(self.reported(report)),
                    heard = hear(&mut lane) => inputs.push(match heard {
                        Some(ToSource::Pong) => {
                            if let Some(at) = self.pinged.take() {
                                self.round_trip = at.elapsed();
                            }
                            continue;
                        }
                        Some(message) => Input::Message(message),
                        None => Input::LaneLost,
                    }),
                    _ = cancel.wait_for(|cancel| *cancel), if state_can_cancel(&state) => inputs.push(Input::Cancel),
                    back = back(&mut reconnected) => {
                        reconnected = None;
                        if let Some(new) = back {
                            lane = Some(new);
                            inputs.push(Input::LaneBack);
                        }
                    }
                    () = tokio::time::sleep(self.keeper.unconfirmed_after), if waits => {
                        self.reply(Err(unconfirmed(&self.target.name)));
                    }
                    () = tokio::time::sleep(until), if deadline.is_some() => {
                        let sent = self.sent.load(Ordering::Relaxed);
                        if sent == sent_before {
                            deadline = None;
                            inputs.push(Input::Timeout);
                        } else {
                            // Something still moves: the time begins anew.
                            sent_before = sent;
                            deadline = Some(Instant::now() + timer);
                        }
                    }
                    () = tokio::time::sleep(tick) => {}
                }
            }
            for input in inputs {
                let before = std::mem::discriminant(&state);
                if input == Input::LaneLost {
                    lane = None;
                }
                let (to, effects) = state.step(input, self.rules);
                state = to;
                next.extend(effects);
                if std::mem::discriminant(&state) != before {
                    self.enter(&state);
                    told = Instant::now() - TELL;
                }
            }
            if told.elapsed() >= TELL {
                told = Instant::now();
                let _ = progress.try_send(self.progress());
            }
        }
    }

    fn stage(&self) -> MoveStage {
        self.stages.last().map_or(MoveStage::Offer, |(stage, _)| *stage)
    }

    fn progress(&self) -> MoveProgress {
        let sent = self.sent.load(Ordering::Relaxed);
        MoveProgress {
            stage: self.stage(),
            bytes_sent: sent,
            bytes_total: self.bytes_total.max(sent),
            elapsed_ms: self.begun.elapsed().as_millis() as u64,
        }
    }

    fn enter(&mut self, state: &State) {
        let stage = match state {
            State::Offering => MoveStage::Offer,
            State::PreCopy { .. } => MoveStage::PreCopy,
            State::Stopping => MoveStage::StopAndCopy,
            State::Sealed | State::GivingLocks => MoveStage::Prepared,
            State::Writing | State::Committed | State::Reconnecting | State::Asking => MoveStage::Commit,
            State::Done => MoveStage::Activate,
            State::Undone | State::Reclaimed => return,
        };
        if stage != self.stage() {
            self.stages.push((stage, Instant::now()));
            self.keeper.set_state(SessionState::Sending { to: self.target.name.clone(), stage });
        }
    }

    fn reported(&mut self, report: Option<Report>) -> Option<Input> {
        Some(match report {
            Some(Report::Round(Ok(round))) => {
                let bytes = round.bytes;
                self.rounds.push(round);
                Input::RoundDone(bytes)
            }
            Some(Report::Copied(Ok(copied))) => {
                self.frozen_at = Some(copied.frozen_at);
                self.checkpoint_bytes = self.rounds.iter().map(|r| r.bytes).sum::<u64>() + copied.bytes;
                self.rounds.push(copied.round);
                Input::Copied
            }
            Some(Report::Round(Err(failure)) | Report::Copied(Err(failure))) => Input::EngineFailed(failure),
            Some(Report::LocksGiven(Ok(()))) => Input::LocksGiven,
            Some(Report::LocksGiven(Err(failure))) => Input::EngineFailed(failure),
            Some(Report::Killed | Report::LocksTaken(_)) => return None,
            None => Input::EngineFailed(Failure::undone("The engine failed.")),
        })
    }

    /// A session that gave its file locks back does not go on before it has them again.
    async fn take_locks_back(
        &mut self,
        orders: &Option<mpsc::Sender<Order>>,
        reports: &mut mpsc::Receiver<Report>,
        failure: &Failure,
    ) {
        if !std::mem::take(&mut self.locks_given) {
            return;
        }
        loop {
            order(orders, Order::TakeLocks).await;
            let left = loop {
                match reports.recv().await {
                    Some(Report::LocksTaken(left)) => break left,
                    Some(_) => {}
                    None => break Ok(0),
                }
            };
            match left {
                Ok(0) => break,
                Ok(_) => tracing::warn!("another program has a file lock of the session"),
                Err(failure) => {
                    tracing::error!(%failure, "the session's file locks could not be taken again")
                }
            }
            self.reply(Err(failure.clone().next(
                "Another program took a file lock of the session meanwhile: it stands still here until it has it again.",
            )));
            if self.live.ended.borrow().is_some() {
                break;
            }
            tokio::time::sleep(LOCK_RETRY).await;
        }
        if let Err(error) = self.live.pod.client().ok(&Request::Release, &[]) {
            tracing::error!(%error, "the session could not be released");
        }
    }

    /// First the session is made to stay still whoever dies, then "gone" is written.
    fn write_gone(&self) -> Input {
        let client = self.live.pod.client();
        if let Err(error) = client.ok(&Request::Hold, &[]) {
            return Input::WriteFailed(failed("Holding the session", &error));
        }
        let Target { name: to, key, .. } = &self.target;
        let entry = Entry::Gone { number: self.rules.number, to: to.clone(), key: *key };
        match self.keeper.write(self.live.generation(), entry) {
            Ok(()) => Input::Written,
            Err(failure) => {
                let _ = client.ok(&Request::Release, &[]);
                Input::WriteFailed(failure)
            }
        }
    }

    async fn undone(mut self, failure: Failure, engine: tokio::task::JoinHandle<()>) {
        let _ = engine.await;
        if let Err(failure) = self.keeper.write(self.live.generation(), Entry::SendUndone) {
            tracing::warn!(%failure, "the undone move was not recorded");
        }
        self.keeper.set_state(SessionState::Running);
        self.reply(Err(failure));
    }

    async fn done(mut self) {
        let ended = Instant::now();
        let report = self.report(ended);
        let gone = SessionState::Sending { to: self.target.name.clone(), stage: MoveStage::Activate };
        self.keeper.displays.stop(None);
        self.keeper.set(away(&self.live, gone));
        end_pod(self.live.pod.clone()).await;
        self.live.drained().await;
        self.keeper.log.close();
        if let Err(failure) = self.keeper.write(self.live.generation(), Entry::SendDone) {
            tracing::warn!(%failure, "the finished move was not recorded");
        }
        self.reply(Ok(report));
        self.keeper.quit.send_replace(true);
    }

    fn report(&self, ended: Instant) -> MoveReport {
        let half = self.round_trip.as_secs_f64() * 500.0;
        let down = self.frozen_at.map_or(0.0, |at| (ended - at).as_secs_f64() * 1000.0);
        let mut phases: Vec<(MoveStage, f64)> = Vec::new();
        for (index, (stage, at)) in self.stages.iter().enumerate() {
            let end = self.stages.get(index + 1).map_or(ended, |(_, next)| *next);
            phases.push((*stage, (end - *at).as_secs_f64() * 1000.0));
        }
        MoveReport {
            downtime_ms: (down - half).max(0.0),
            downtime_uncertainty_ms: half,
            total_ms: (ended - self.begun).as_millis() as u64,
            phases,
            rounds: self.rounds.clone(),
            bytes_sent: self.sent.load(Ordering::Relaxed),
            checkpoint_bytes: self.checkpoint_bytes,
            connections_kept: 0,
            connections_lost: 0,
        }
    }

    fn reply(&mut self, answer: Result<MoveReport, Failure>) {
        if let Some(waiting) = self.answer.take() {
            let _ = waiting.send(answer);
        }
    }
}

fn unconfirmed(target: &str) -> Failure {
    Failure::new(
        Outcome::Unconfirmed,
        format!("The session went to {target}, which has not confirmed it yet."),
    )
    .next("It is asked until it answers; nothing is lost meanwhile.")
}

fn state_can_cancel(state: &State) -> bool {
    matches!(
        state,
        State::Offering | State::PreCopy { .. } | State::Stopping | State::Sealed | State::GivingLocks
    )
}

async fn order(orders: &Option<mpsc::Sender<Order>>, order: Order) {
    if let Some(orders) = orders {
        let _ = orders.send(order).await;
    }
}

async fn hear(lane: &mut Option<SourceLane>) -> Option<ToSource> {
    match lane {
        Some(lane) => lane.hear.recv().await,
        None => std::future::pending().await,
    }
}

async fn back(reconnected: &mut Option<mpsc::Receiver<SourceLane>>) -> Option<SourceLane> {
    match reconnected {
        Some(receive) => receive.recv().await,
        None => std::future::pending().await,
    }
}
