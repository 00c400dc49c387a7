//! What the engine does in a move, on its own thread, by orders of [`super::send`].

use std::time::Instant;

use roam_api::error::Failure;
use roam_api::init::Request;
use roam_api::migration::{ItemRef, ToTarget};
use roam_api::session::Round;
use roam_checkpoint::{LockPlace, Tracker, freeze};
use tokio::sync::mpsc;

use super::send::SENDING;
use crate::bundle::{ItemSink, Outgoing};
use crate::carry::{engine_failed, freeze_and_send};
use crate::journal::Entry;
use crate::keeper::{Keeper, failed};
use crate::live::Live;

/// What the engine is asked for.
pub enum Order {
    /// Send what was written since the last round; the session runs.
    Round,
    /// Freeze it and send the rest.
    StopAndCopy,
    /// The frozen session gives its file locks back…
    GiveLocks,
    /// …and takes them again.
    TakeLocks,
    /// End what is frozen: it is at the target.
    Kill,
}

/// What it answers.
pub enum Report {
    /// What was sent.
    Round(Result<Round, Failure>),
    /// What was sent while it stood still.
    Copied(Result<Copied, Failure>),
    /// They are given back.
    LocksGiven(Result<(), Failure>),
    /// How many are still missing.
    LocksTaken(Result<usize, Failure>),
    /// It is gone.
    Killed,
}

/// A session that stands still and was sent.
pub struct Copied {
    /// When its first thread stood.
    pub frozen_at: Instant,
    /// The last round.
    pub round: Round,
    /// How much it was.
    pub bytes: u64,
}

struct LaneSink(mpsc::Sender<ToTarget>);

impl ItemSink for LaneSink {
    fn put(&mut self, item: ItemRef<'_>) -> std::io::Result<()> {
        self.0.blocking_send(ToTarget::Item(item.into())).map_err(|_| std::io::ErrorKind::BrokenPipe.into())
    }
}

/// Does what the orders say, on the engine's thread. It ends with the orders; whatever is frozen then goes on.
pub fn obey(
    keeper: &Keeper,
    live: &Live,
    to: &str,
    mut given: Vec<LockPlace>,
    lane: mpsc::Sender<ToTarget>,
    mut orders: mpsc::Receiver<Order>,
    reports: &mpsc::Sender<Report>,
) {
    let mut sink = LaneSink(lane);
    let mut tracker: Option<Tracker> = None;
    let mut frozen = None;
    while let Some(order) = orders.blocking_recv() {
        let begun = Instant::now();
        let mut out = Outgoing::new(&mut sink);
        let report = match order {
            Order::Round => Report::Round((|| {
                let tracker = match &mut tracker {
                    Some(tracker) => tracker,
                    none => none.insert(Tracker::start(&*live.pod).map_err(|e| engine_failed(SENDING, e))?),
                };
                let stats = tracker.round(&*live.pod, &mut out).map_err(|e| engine_failed(SENDING, e))?;
                Ok(Round { pages: stats.pages, bytes: out.bytes, ms: begun.elapsed().as_millis() as u64 })
            })()),
            Order::StopAndCopy => Report::Copied((|| {
                let (stopped, stats) = freeze_and_send(live, &keeper.log, tracker.as_mut(), &mut out)?;
                let frozen_at = stopped.since;
                frozen = Some(stopped);
                let ms = frozen_at.elapsed().as_millis() as u64;
                let round = Round { pages: stats.pages, bytes: out.bytes, ms };
                Ok(Copied { frozen_at, round, bytes: out.bytes })
            })()),
            Order::GiveLocks => Report::LocksGiven((|| {
                let frozen = frozen.as_ref().ok_or_else(|| Failure::undone("Nothing is frozen."))?;
                let locks = frozen.locks().to_vec();
                // Whoever dies now: it must not run without them.
                live.pod.client().ok(&Request::Hold, &[]).map_err(|e| failed("Holding the session", &e))?;
                given.clone_from(&locks);
                let entry = Entry::LocksGiven { to: to.to_owned(), locks: locks.clone() };
                keeper.write(live.generation(), entry)?;
                frozen.give_locks(&locks).map_err(|e| engine_failed(SENDING, e))
            })()),
            Order::TakeLocks => Report::LocksTaken((|| {
                let again = |e| engine_failed("Taking the session's file locks again", e);
                if frozen.is_none() {
                    frozen = Some(freeze(&*live.pod).map_err(again)?);
                }
                let frozen = frozen.as_ref().expect("frozen just now");
                // A lease that was lost is told of once, so it is not tried for again.
                given = frozen.take_locks(&given).map_err(again)?;
                Ok(given.len())
            })()),
            Order::Kill => {
                if let Some(frozen) = frozen.take() {
                    frozen.kill();
                }
                Report::Killed
            }
        };
        if reports.blocking_send(report).is_err() {
            return;
        }
    }
}
