//! Sleep and waking: a session goes into a file and comes back from it.
//!
//! ```text
//! memory ahead → freeze → capture → write, sync, name the file → hold → journal "parked" (synced) → the pod ends
//! ```
//! Any failure before the journal's word lets the session go on. Waking is the reverse: the journal says "waking",
//! the session runs, and the file goes away, so that it can't be woken twice. What a keeper that dies in between
//! leaves is judged by the pod: where it lives, and does not only stand still for a file that is there, the session
//! runs ([`Keeper::sleeps`]).

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{channel, sync_channel};
use std::time::Instant;

use nix::time::ClockId;
use roam_api::error::Failure;
use roam_api::init::Request;
use roam_api::keeper::{Answer, Identity};
use roam_api::migration::{ItemRef, Part};
use roam_api::session::{ParkReport, Round, SessionState, WakeReport};
use roam_checkpoint::{Tracker, check, tracking_supported};

use crate::bundle::{About, Outgoing};
use crate::carry::{
    Arrived, Arriving, clocks_for, engine_failed, freeze_and_send, now, refused, wait_for_commands,
};
use crate::journal::Entry;
use crate::keeper::{Keeper, Phase, away, end_pod, failed};
use crate::live::Live;
use crate::migration::sender::another_round;
use crate::parked_file::{self, Batch, Reader, Writer};
use crate::pod::handle::Pod;

const SLEEPING: &str = "Putting the session to sleep";
const WAKING: &str = "Waking the session";
/// What is opened of the file at once, in bytes.
const BATCH: usize = 512 << 10;
/// So many of these may wait to be used.
const AT_ONCE: usize = 4;

impl Keeper {
    fn park_key(&self) -> Result<[u8; 32], Failure> {
        parked_file::key(&self.dirs.shared("park.key"))
            .map_err(|e| failed("Reading the key of parked sessions", &e))
    }

    /// Puts the session to sleep in this file. The keeper ends after it.
    ///
    /// # Errors
    /// Why not; the session goes on then.
    pub async fn park(self: &Arc<Self>, file: String) -> Result<Answer, Failure> {
        let Some(_turn) = self.turn_soon().await else {
            return Err(Failure::refused("The session is being moved or put to sleep already."));
        };
        let live = self.live()?;
        let path = PathBuf::from(&file);
        if !path.is_absolute() || path.file_name().is_none() {
            return Err(Failure::wrong_use(format!("{file} is no absolute path of a file.")));
        }
        let key = self.park_key()?;
        wait_for_commands(&live).await?;
        let (keeper, session) = (self.clone(), live.clone());
        let report = self
            .engine
            .run(move || write_frozen(&keeper, &session, &path, &key))
            .await
            .unwrap_or_else(|| Err(Failure::undone("The engine failed; the session goes on.")))?;
        self.displays.stop(None);
        self.set(away(&live, SessionState::Parked { file }));
        end_pod(live.pod.clone()).await;
        live.drained().await;
        self.log.close();
        self.quit.send_replace(true);
        Ok(Answer::Parked(report))
    }

    /// Whether a session whose journal ends with "parked" sleeps in that file, or was on its way there: then its pod
    /// stands still. A file of ours that is no session's sleep is removed, lest the session be woken from it and run
    /// twice.
    ///
    /// # Errors
    /// roam-init's.
    pub fn sleeps(&self, file: &str, pod: &Pod) -> Result<bool, Failure> {
        let held = pod.client().state().map_err(|e| failed("Asking the session's pod", &e))?.held;
        let is_there = self.park_key().is_ok_and(|key| Reader::open(Path::new(file), &key).is_ok());
        if is_there && !held {
            forget_file(file);
        }
        Ok(is_there && held)
    }

    /// Wakes the session that sleeps in this file.
    ///
    /// # Errors
    /// Why not; the file stays as it is then.
    pub async fn resume(self: &Arc<Self>, identity: Identity, file: String) -> Result<Answer, Failure> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(Failure::wrong_use("This keeper has a session already."));
        };
        if !matches!(self.phase(), Phase::Empty | Phase::Away { state: SessionState::Parked { .. }, .. }) {
            return Err(Failure::wrong_use("This keeper has a session already."));
        }
        let key = self.park_key()?;
        let keeper = self.clone();
        let (path, who) = (PathBuf::from(&file), identity.clone());
        let arrived = self
            .engine
            .run(move || {
                let begun = Instant::now();
                let (arriving, pod_ms) = read(&keeper, &path, &key)?;
                let ready = arriving.build(&mut || Ok(()))?;
                // All that the next keeper must know: from the next step on the pod outlives this one.
                let waking = Entry::Waking {
                    identity: who.clone(),
                    spec: Box::new(ready.about.spec.clone()),
                    facts: Box::new(ready.about.facts.clone()),
                    file: path.display().to_string(),
                };
                keeper.write(who.generation, waking)?;
                let arrived = ready.activate()?;
                Ok((arrived, WakeReport { pod_ms, restored_ms: millis(begun) - pod_ms }))
            })
            .await
            .unwrap_or_else(|| Err(Failure::undone("The engine failed.")));
        let (arrived, report): (Arrived, WakeReport) = arrived.map_err(|mut failure| {
            failure.sentence = format!("{WAKING} failed: {}", failure.sentence);
            failure.next_step.get_or_insert(format!("The file {file} is still there."));
            failure
        })?;
        self.welcome(identity, arrived);
        forget_file(&file);
        Ok(Answer::Resumed(report))
    }
}

/// On the engine's thread: everything up to the journal's word, then the session ends.
fn write_frozen(
    keeper: &Keeper,
    live: &Arc<Live>,
    path: &Path,
    key: &[u8; 32],
) -> Result<ParkReport, Failure> {
    let refusals = check(&*live.pod, &live.externals())
        .map_err(|e| engine_failed("Looking at the session", e))?
        .refusals;
    if !refusals.is_empty() {
        return Err(refused(SLEEPING, refusals));
    }
    let not_written = |e: std::io::Error| {
        failed(&format!("Writing {}", path.display()), &e).next("The session goes on. Is the disk full?")
    };
    let mut writer = Writer::create(path, key).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::wrong_use(format!("There is a file {} already.", path.display()))
        }
        _ => not_written(e),
    })?;
    let mut rounds = Vec::new();
    let mut tracker = ahead(live, &mut writer, &mut rounds)?;
    writer.settle().map_err(not_written)?;

    let mut out = Outgoing::new(&mut writer);
    let (frozen, stats) = freeze_and_send(live, &keeper.log, tracker.as_mut(), &mut out)?;
    // From here on every early return drops `frozen`, and the session goes on.
    let begun = frozen.since;
    let last = Round { pages: stats.pages, bytes: out.bytes, ms: begun.elapsed().as_millis() as u64 };
    rounds.push(last);
    let bytes = writer.finish().map_err(not_written)?;
    let frozen_ms = millis(begun);
    let parked = Entry::Parked { file: path.display().to_string() };
    let client = live.pod.client();
    // Whoever dies from here on: what runs past this moment would be lost once "parked" is found.
    let held = client.ok(&Request::Hold, &[]).map_err(|e| failed("Holding the session", &e));
    if let Err(failure) = held.and_then(|()| keeper.write_synced(live.generation(), parked)) {
        // The file first: without it "parked" counts for nothing, should that not have been taken back.
        forget_file(path);
        if let Err(error) = client.ok(&Request::Release, &[]) {
            tracing::error!(%error, "the session could not be released");
        }
        return Err(failure);
    }
    frozen.kill();
    Ok(ParkReport { bytes, frozen_ms, rounds })
}

/// The session runs: it must not be woken from its file any more.
pub fn forget_file(file: impl AsRef<Path>) {
    let file = file.as_ref();
    if let Err(error) = std::fs::remove_file(file)
        && error.kind() != std::io::ErrorKind::NotFound
    {
        tracing::warn!(%error, file = %file.display(), "the file of a session that runs could not be removed");
    }
}

/// Memory goes into the file while the session runs, so that the rest is soon written. Where writes can't be
/// tracked all of it is the rest.
fn ahead(live: &Live, writer: &mut Writer, rounds: &mut Vec<Round>) -> Result<Option<Tracker>, Failure> {
    if !tracking_supported() {
        return Ok(None);
    }
    let doing = |e| engine_failed(SLEEPING, e);
    let mut tracker = Tracker::start(&*live.pod).map_err(doing)?;
    loop {
        let begun = Instant::now();
        let mut out = Outgoing::new(writer);
        let stats = tracker.round(&*live.pod, &mut out).map_err(doing)?;
        let before = rounds.last().map(|round: &Round| round.bytes);
        let bytes = out.bytes;
        rounds.push(Round { pages: stats.pages, bytes, ms: begun.elapsed().as_millis() as u64 });
        if !another_round(rounds.len() as u32, before, bytes) {
            return Ok(Some(tracker));
        }
    }
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

/// On the engine's thread: reads the file into a new pod, and how long that pod took.
///
/// A damaged place is noticed when it is reached; nothing of the session runs before all of it was read.
fn read(keeper: &Keeper, path: &Path, key: &[u8; 32]) -> Result<(Arriving, f64), Failure> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::wrong_use(format!("There is no file {}.", path.display())),
        _ => Failure::refused(format!("{} can't be read: {e}.", path.display())),
    };
    let mut reader = Reader::open(path, key).map_err(unreadable)?;
    let about: About = roam_api::codec::decode_section(reader.about())
        .map_err(|e| Failure::refused(format!("{} can't be read: {e}.", path.display())))?;
    let asleep = now(ClockId::CLOCK_REALTIME).unwrap_or(about.realtime_ns) - about.realtime_ns;
    // While it sleeps, its monotonic clock stands still and its boottime goes on.
    let clocks = clocks_for(about.monotonic_ns, about.boottime_ns.saturating_add(asleep.max(0)))
        .map_err(|e| failed("Reading the clocks", &e))?;
    let about_bytes = reader.about().to_vec();
    // One thread opens what is sealed, this one makes the pod and fills memory.
    std::thread::scope(|scope| {
        let (put, batches) = sync_channel(AT_ONCE);
        let (give_back, used) = channel::<Batch>();
        scope.spawn(move || {
            loop {
                let mut batch = used.try_recv().unwrap_or_default();
                let batch = reader.fill(&mut batch, BATCH).map(|more| more.then_some(batch));
                let ended = !matches!(batch, Ok(Some(_)));
                if batch.transpose().is_some_and(|batch| put.send(batch).is_err()) || ended {
                    return;
                }
            }
        });
        let begun = Instant::now();
        let mut arriving = Arriving::begin(keeper, &about, clocks)?.from_record();
        let pod_ms = millis(begun);
        arriving.take(ItemRef::Bytes { part: Part::About, last: true, bytes: &about_bytes })?;
        for batch in batches {
            let batch = batch.map_err(unreadable)?;
            for item in batch.items() {
                arriving.take(item.map_err(unreadable)?)?;
            }
            // It is filled again, unless all was read.
            let _ = give_back.send(batch);
        }
        Ok((arriving, pod_ms))
    })
}
