//! Sleep and waking: a session goes into a file and comes back from it.
//!
//! ```text
//! freeze → capture → write, sync, name the file → journal "parked" (synced) → only then the pod ends
//! ```
//! Any failure before the journal's word lets the session go on. Waking is the reverse; the file goes
//! away once the session runs again, so that it can't be woken twice.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::time::ClockId;
use roam_api::error::Failure;
use roam_api::keeper::{Answer, Identity};
use roam_api::migration::{Item, Part};
use roam_api::session::SessionState;
use roam_checkpoint::{check, freeze};

use crate::bundle::{About, Outgoing};
use crate::carry::{
    Arrived, Arriving, clocks_for, engine_failed, now, refused, send_frozen, wait_for_commands,
};
use crate::journal::Entry;
use crate::keeper::{Keeper, Phase, away, end_pod, failed};
use crate::live::Live;
use crate::parked_file::{self, Reader, Writer};

const SLEEPING: &str = "Putting the session to sleep";
const WAKING: &str = "Waking the session";

impl Keeper {
    fn park_key(&self) -> Result<[u8; 32], Failure> {
        // STATE/sessions/ID lies two below STATE.
        let state = self.dirs.state.parent().and_then(Path::parent).unwrap_or(&self.dirs.state);
        parked_file::key(&state.join("park.key"))
            .map_err(|e| failed("Reading the key of parked sessions", &e))
    }

    /// Puts the session to sleep in this file. The keeper ends after it.
    ///
    /// # Errors
    /// Why not; the session goes on then.
    pub async fn park(self: &Arc<Self>, file: String) -> Result<Answer, Failure> {
        let Ok(_turn) = self.turn.try_lock() else {
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
        let bytes = self
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
        Ok(Answer::Parked { bytes })
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
        let (path, generation) = (PathBuf::from(&file), identity.generation);
        let arrived = self
            .engine
            .run(move || {
                let ready = read(&keeper, &path, &key)?.build()?;
                keeper.write(generation, Entry::Resuming { file: path.display().to_string() })?;
                ready.activate()
            })
            .await
            .unwrap_or_else(|| Err(Failure::undone("The engine failed.")));
        let arrived: Arrived = arrived.map_err(|mut failure| {
            failure.sentence = format!("{WAKING} failed: {}", failure.sentence);
            failure.next_step.get_or_insert(format!("The file {file} is still there."));
            failure
        })?;
        self.welcome(identity, arrived)?;
        if let Err(error) = std::fs::remove_file(&file) {
            tracing::warn!(%error, file, "the file of the woken session could not be removed");
        }
        Ok(Answer::Ok)
    }
}

/// On the engine's thread: everything up to the journal's word, then the session ends.
fn write_frozen(keeper: &Keeper, live: &Arc<Live>, path: &Path, key: &[u8; 32]) -> Result<u64, Failure> {
    let refusals =
        check(&*live.pod, &live.externals()).map_err(|e| engine_failed("Looking at the session", e))?;
    if !refusals.is_empty() {
        return Err(refused(SLEEPING, refusals));
    }
    let mut writer = Writer::create(path, key).map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => {
            Failure::wrong_use(format!("There is a file {} already.", path.display()))
        }
        _ => failed(&format!("Writing {}", path.display()), &e),
    })?;
    let mut frozen = freeze(&*live.pod).map_err(|e| engine_failed(SLEEPING, e))?;
    // From here on every early return drops `frozen`, and the session goes on.
    send_frozen(&mut frozen, live, &keeper.log, None, &mut Outgoing::new(&mut writer))?;
    let bytes = writer.finish().map_err(|e| {
        failed(&format!("Writing {}", path.display()), &e).next("The session goes on. Is the disk full?")
    })?;
    let parked = Entry::Parked { file: path.display().to_string() };
    if let Err(failure) = keeper.write(live.identity.generation, parked).and_then(|()| keeper.sync_journal())
    {
        let _ = std::fs::remove_file(path);
        return Err(failure);
    }
    frozen.kill();
    Ok(bytes)
}

/// On the engine's thread: reads the file into a new pod.
fn read(keeper: &Keeper, path: &Path, key: &[u8; 32]) -> Result<Arriving, Failure> {
    let unreadable = |e: std::io::Error| match e.kind() {
        std::io::ErrorKind::NotFound => Failure::wrong_use(format!("There is no file {}.", path.display())),
        _ => Failure::refused(format!("{} can't be read: {e}.", path.display())),
    };
    // Look at all of it first: a damaged file must not cost more than reading it.
    let mut reader = Reader::open(path, key).map_err(unreadable)?;
    while reader.next_item().map_err(unreadable)?.is_some() {}
    let mut reader = Reader::open(path, key).map_err(unreadable)?;
    let mut arriving: Option<Arriving> = None;
    let mut about = Vec::new();
    while let Some(item) = reader.next_item().map_err(unreadable)? {
        if let Some(arriving) = &mut arriving {
            arriving.take(item)?;
            continue;
        }
        let Item::Bytes { part: Part::About, last, bytes } = &item else {
            return Err(Failure::refused(format!("{} is not in order.", path.display())));
        };
        about.extend_from_slice(bytes);
        if *last {
            let decoded: About = roam_api::codec::decode_section(&about)
                .map_err(|e| Failure::refused(format!("{} can't be read: {e}.", path.display())))?;
            let asleep = now(ClockId::CLOCK_REALTIME).unwrap_or(decoded.realtime_ns) - decoded.realtime_ns;
            // While it sleeps, its monotonic clock stands still and its boottime goes on.
            let clocks = clocks_for(decoded.monotonic_ns, decoded.boottime_ns.saturating_add(asleep.max(0)))
                .map_err(|e| failed("Reading the clocks", &e))?;
            let mut begun = Arriving::begin(keeper, &decoded, clocks)?;
            begun.take(Item::Bytes { part: Part::About, last: true, bytes: std::mem::take(&mut about) })?;
            arriving = Some(begun);
        }
    }
    arriving.ok_or_else(|| Failure::refused(format!("{} is empty.", path.display())))
}
