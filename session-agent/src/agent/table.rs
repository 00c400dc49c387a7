//! The sessions that this agent knows, and where each of them is. Pure.
//!
//! A session is *here* (a keeper of this machine says so), *there* (a paired machine says so, or it
//! was sent there), *parked* in a file, or has *ended*. Two machines may both claim a session for a
//! moment around a move; the higher generation is right, because it is raised at every change of
//! host, and when a machine takes back what it had sent. A copy that is still arriving is not the session yet: it counts
//! only where nothing else is known. What runs here according to its keeper is here, whatever others claim.

use std::collections::{BTreeMap, VecDeque};

use roam_api::error::Failure;
use roam_api::session::{MachineKey, MoveStage, SessionId, SessionInfo, SessionState};
use serde::{Deserialize, Serialize};

use crate::names::{self, Known};

/// How many ended sessions are remembered, for `wait` and `log`.
const ENDED_KEPT: usize = 64;

/// Where a session is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// A keeper of this machine has it.
    Here,
    /// This machine has it, or knows who does.
    There(MachineKey),
    /// It sleeps in a file of this machine.
    Parked(String),
    /// Its last process ended with this status.
    Ended(i32),
}

/// A session that another machine has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Elsewhere {
    /// The machine to ask.
    pub machine: MachineKey,
    /// What was last known of it.
    pub info: SessionInfo,
    /// True while that machine itself lists it; false for what is only remembered.
    #[serde(skip)]
    pub listed: bool,
    /// True if this machine's keeper said that it went there: then nothing of it is left here.
    #[serde(skip)]
    pub sent: bool,
    /// True if that machine has ever listed it itself.
    #[serde(default)]
    pub confirmed: bool,
}

impl Elsewhere {
    /// Whether this counts, and not what a keeper of this machine says. That alone knows what runs here: what another
    /// machine claims counts where nothing runs here, as past a move's commit.
    fn outranks(&self, here: &SessionInfo) -> bool {
        let runs = match &here.state {
            SessionState::Running | SessionState::Starting => true,
            SessionState::Sending { stage, .. } => *stage < MoveStage::Commit,
            _ => false,
        };
        self.info.generation > here.generation && (self.sent || !runs)
    }
}

/// What must outlive a restart of the agent.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Remembered {
    /// Sessions that sleep in files here.
    pub parked: Vec<SessionInfo>,
    /// Sessions that went to another machine.
    pub elsewhere: Vec<Elsewhere>,
    /// Sessions that were just being put to sleep: those whose files are there do sleep.
    #[serde(default)]
    pub parking: Vec<SessionInfo>,
}

/// All sessions known here.
#[derive(Debug)]
pub struct Table {
    machine: MachineKey,
    here: BTreeMap<SessionId, SessionInfo>,
    there: BTreeMap<SessionId, Elsewhere>,
    parked: BTreeMap<SessionId, SessionInfo>,
    /// As they will be once they sleep.
    parking: BTreeMap<SessionId, SessionInfo>,
    ended: VecDeque<SessionInfo>,
    /// Whose keeper is gone before it was said why: parked and sent keepers end at once, and the
    /// word of one is often heard before the word about it.
    left: VecDeque<SessionInfo>,
    /// Names promised to sessions that are being started.
    promised: Vec<String>,
}

impl Table {
    /// The table of this machine, with what was remembered.
    #[must_use]
    pub fn new(machine: MachineKey, remembered: Remembered) -> Self {
        let sleeps = |info: &SessionInfo| match &info.state {
            SessionState::Parked { file } => std::path::Path::new(file).exists(),
            _ => false,
        };
        let fell_asleep = remembered.parking.into_iter().filter(sleeps);
        let parked = remembered.parked.into_iter().chain(fell_asleep);
        Self {
            machine,
            here: BTreeMap::new(),
            there: remembered.elsewhere.into_iter().map(|e| (e.info.id, e)).collect(),
            parked: parked.map(|info| (info.id, info)).collect(),
            parking: BTreeMap::new(),
            ended: VecDeque::new(),
            left: VecDeque::new(),
            promised: Vec::new(),
        }
    }

    /// What must be written down.
    #[must_use]
    pub fn remembered(&self) -> Remembered {
        Remembered {
            parked: self.parked.values().cloned().collect(),
            elsewhere: self.there.values().cloned().collect(),
            parking: self.parking.values().cloned().collect(),
        }
    }

    /// A keeper of this machine tells what its session is. True if that is news.
    pub fn heard_here(&mut self, info: SessionInfo) -> bool {
        // What an earlier keeper of it said last can be heard late.
        let is_last = matches!(info.state, SessionState::Parked { .. } | SessionState::Ended { .. });
        let before = self.here.get(&info.id);
        let is_there = self.there.get(&info.id).is_some_and(|there| there.outranks(before.unwrap_or(&info)));
        if before.is_some_and(|here| here.generation > info.generation) || is_last && is_there {
            return false;
        }
        if let SessionState::Ended { .. } = info.state {
            let arriving = |here: &SessionInfo| matches!(here.state, SessionState::Receiving { .. });
            if self.here.get(&info.id).is_some_and(arriving) {
                // Only the copy that was to arrive has ended, not the session.
                self.here.remove(&info.id);
                return true;
            }
            return self.end(info);
        }
        if let SessionState::Parked { file } = &info.state {
            let file = file.clone();
            self.here.insert(info.id, info.clone());
            self.park(&info.id, info.generation, file);
            return true;
        }
        // Whoever runs is not asleep; a leftover of a lower generation proves nothing.
        if info.state == SessionState::Running {
            self.parked.retain(|id, parked| *id != info.id || parked.generation > info.generation);
            self.there.retain(|id, there| *id != info.id || there.info.generation > info.generation);
        }
        self.here.insert(info.id, info.clone()).as_ref() != Some(&info)
    }

    fn end(&mut self, info: SessionInfo) -> bool {
        self.here.remove(&info.id);
        self.there.remove(&info.id);
        if let Some(at) = self.ended.iter().position(|ended| ended.id == info.id) {
            if self.ended[at].generation >= info.generation {
                return false;
            }
            self.ended.remove(at);
        }
        self.ended.push_back(info);
        if self.ended.len() > ENDED_KEPT {
            self.ended.pop_front();
        }
        true
    }

    /// The keeper that had this generation of a session of this machine is gone for good.
    pub fn gone_here(&mut self, id: &SessionId, generation: u64) {
        if self.here.get(id).is_some_and(|here| here.generation > generation) {
            return; // It came back meanwhile, with another keeper.
        }
        if let Some(info) = self.here.remove(id) {
            self.left.retain(|left| left.id != *id);
            self.left.push_back(info);
            if self.left.len() > ENDED_KEPT {
                self.left.pop_front();
            }
        }
    }

    /// Takes what is known of a session that is, or has just been, here: of several stays the last.
    fn take_here(&mut self, id: &SessionId) -> Option<SessionInfo> {
        let here = self.here.remove(id);
        let left = self.left.iter().position(|info| info.id == *id).and_then(|at| self.left.remove(at));
        here.into_iter().chain(left).max_by_key(|info| info.generation)
    }

    /// A session of this machine is about to be put to sleep in a file. What is written down then tells where it
    /// is, even if nobody here hears how that ends. Returns its generation; none if it is about to already.
    pub fn begin_to_park(&mut self, id: &SessionId, file: &str) -> Option<u64> {
        if self.parking.contains_key(id) {
            return None;
        }
        let Some(info) = self.here.get(id) else { return Some(0) };
        self.parking.insert(*id, asleep(info.clone(), file.to_owned()));
        Some(info.generation)
    }

    /// It stays awake.
    pub fn not_parked(&mut self, id: &SessionId) {
        self.parking.remove(id);
    }

    /// A session of this machine, which had this generation, was put to sleep in a file.
    pub fn park(&mut self, id: &SessionId, generation: u64, file: String) {
        self.parking.remove(id);
        if let Some(mut info) = self.take_here(id) {
            info.generation = info.generation.max(generation);
            self.parked.insert(*id, asleep(info, file));
        }
    }

    /// A parked session was woken, or its file is gone.
    pub fn unpark(&mut self, id: &SessionId) {
        self.parked.remove(id);
    }

    /// A session of this machine went to another one, which calls itself `host` here.
    pub fn moved_away(&mut self, id: &SessionId, to: MachineKey, host: &str, generation: u64) {
        if let Some(mut info) = self.take_here(id) {
            info.generation = generation;
            host.clone_into(&mut info.host);
            info.state = SessionState::Running;
            info.shown_on.clear();
            let newer = self.there.get(id).is_some_and(|there| there.info.generation >= generation);
            if !newer {
                let there = Elsewhere { machine: to, info, listed: false, sent: true, confirmed: false };
                self.there.insert(*id, there);
            } else if let Some(there) = self.there.get_mut(id) {
                there.sent = true;
            }
        }
    }

    /// A paired machine is in reach again, and of these sessions it says that it has them, or that they left it or
    /// ended. What it had once, and does not name, ended there while nobody who could say so was heard.
    pub fn reached(&mut self, machine: MachineKey, named: &[SessionId]) {
        self.there.retain(|id, there| there.machine != machine || !there.confirmed || named.contains(id));
    }

    /// A paired machine says which sessions it has, which left it, and which ended there.
    pub fn heard_there(
        &mut self,
        machine: MachineKey,
        has: Vec<SessionInfo>,
        left: &[(SessionId, u64)],
        ended: Vec<SessionInfo>,
    ) {
        for info in ended {
            if self.there.get(&info.id).is_some_and(|there| there.info.generation <= info.generation) {
                self.end(info);
            }
        }
        // What it listed before and lists no more is forgotten, unless it was sent on by here.
        let now: Vec<SessionId> =
            has.iter().map(|info| info.id).chain(left.iter().map(|(id, _)| *id)).collect();
        self.there.retain(|id, there| there.machine != machine || !there.listed || now.contains(id));
        for info in has {
            let arriving = matches!(info.state, SessionState::Receiving { .. });
            let newer_known = self.generation(&info.id).is_some_and(|known| known > info.generation);
            let here_too = self.here.contains_key(&info.id);
            // A list that was on its way while it came here and fell asleep.
            let sleeps = self.parked.get(&info.id).is_some_and(|parked| parked.generation >= info.generation);
            if newer_known || sleeps || (arriving && (here_too || self.there.contains_key(&info.id))) {
                continue;
            }
            self.parked.remove(&info.id);
            let sent = self.there.get(&info.id).is_some_and(|there| there.sent);
            self.there.insert(info.id, Elsewhere { machine, info, listed: true, sent, confirmed: true });
        }
        // It knows where they went, so it is still the one to ask.
        for (id, generation) in left {
            if let Some(there) = self.there.get_mut(id)
                && there.machine == machine
                && there.info.generation <= *generation
            {
                there.info.generation = *generation;
                there.listed = false;
            }
        }
    }

    /// A paired machine can't be reached any more: what it listed stays known, as remembered.
    pub fn lost(&mut self, machine: MachineKey) {
        for there in self.there.values_mut().filter(|there| there.machine == machine) {
            there.listed = false;
        }
    }

    /// A machine is paired no longer: nothing can be asked of it.
    pub fn forget(&mut self, machine: MachineKey) {
        self.there.retain(|_, there| there.machine != machine);
    }

    fn generation(&self, id: &SessionId) -> Option<u64> {
        let here = self.here.get(id).filter(|i| !matches!(i.state, SessionState::Receiving { .. }));
        let parked = self.parked.get(id);
        here.or(parked).map(|info| info.generation).max(self.there.get(id).map(|t| t.info.generation))
    }

    /// Where a session is, as far as is known.
    #[must_use]
    pub fn place(&self, id: &SessionId) -> Option<Place> {
        let here = self.here.get(id);
        let there = self.there.get(id);
        if let Some(info) = here {
            let arriving = matches!(info.state, SessionState::Receiving { .. });
            return Some(match there {
                Some(there) if arriving || there.outranks(info) => Place::There(there.machine),
                _ => Place::Here,
            });
        }
        if let Some(SessionInfo { state: SessionState::Parked { file }, .. }) = self.parked.get(id) {
            return Some(Place::Parked(file.clone()));
        }
        if let Some(there) = there {
            return Some(Place::There(there.machine));
        }
        self.ended.iter().find(|info| info.id == *id).and_then(|info| match info.state {
            SessionState::Ended { status } => Some(Place::Ended(status)),
            _ => None,
        })
    }

    /// Whether the machine that has a session says by itself that it runs there.
    #[must_use]
    pub fn runs_there(&self, id: &SessionId) -> bool {
        self.there.get(id).is_some_and(|there| there.listed && there.info.state == SessionState::Running)
    }

    /// What is known of a session.
    #[must_use]
    pub fn info(&self, id: &SessionId) -> Option<&SessionInfo> {
        match self.place(id)? {
            Place::Here => self.here.get(id),
            Place::There(_) => self.there.get(id).map(|there| &there.info),
            Place::Parked(_) => self.parked.get(id),
            Place::Ended(_) => self.ended.iter().find(|info| info.id == *id),
        }
    }

    /// What the keeper of this machine says of a session, also while it only arrives.
    #[must_use]
    pub fn here(&self, id: &SessionId) -> Option<&SessionInfo> {
        self.here.get(id)
    }

    /// All sessions that live, here and elsewhere, in a steady order.
    #[must_use]
    pub fn list(&self) -> Vec<SessionInfo> {
        let ids = self.here.keys().chain(self.there.keys()).chain(self.parked.keys());
        let ids: std::collections::BTreeSet<&SessionId> = ids.collect();
        ids.into_iter().filter_map(|id| self.info(id)).cloned().collect()
    }

    /// The sessions that this machine answers for towards others.
    #[must_use]
    pub fn hosted(&self) -> Vec<SessionInfo> {
        let here = self.here.values().filter(|info| self.place(&info.id) == Some(Place::Here));
        let asleep = self.parked.values().filter(|i| matches!(self.place(&i.id), Some(Place::Parked(_))));
        here.chain(asleep).cloned().collect()
    }

    /// What the keepers of this machine say.
    pub fn kept(&self) -> impl Iterator<Item = &SessionInfo> {
        self.here.values()
    }

    /// The sessions that are elsewhere, and their generations there.
    #[must_use]
    pub fn left(&self) -> Vec<(SessionId, u64)> {
        let there = self.there.values().filter(|there| self.place(&there.info.id) != Some(Place::Here));
        there.map(|there| (there.info.id, there.info.generation)).collect()
    }

    /// The sessions that ended, for a while.
    #[must_use]
    pub fn ended(&self) -> Vec<SessionInfo> {
        self.ended.iter().cloned().collect()
    }

    /// Which session a person means.
    ///
    /// # Errors
    /// Wrong use, if there is none or more than one.
    pub fn resolve(&self, text: &str) -> Result<SessionId, Failure> {
        let living = self.list();
        names::resolve(text, self.machine, &known(&living)).or_else(|failure| {
            // The newest of those that ended, so that `wait` and `log` still find it.
            let ended = self.ended.iter().rev();
            let found = ended.map(std::slice::from_ref);
            let mut found = found.filter_map(|one| names::resolve(text, self.machine, &known(one)).ok());
            let ambiguous = names::resolve(text, self.machine, &known(&living)).is_err()
                && known(&living).iter().any(|k| k.name == text.split('@').next().unwrap_or_default());
            if ambiguous { Err(failure) } else { found.next().ok_or(failure) }
        })
    }

    /// The parked session that sleeps in this file.
    #[must_use]
    pub fn parked_in(&self, file: &str) -> Option<SessionId> {
        let is_it =
            |info: &&SessionInfo| matches!(&info.state, SessionState::Parked { file: f } if f == file);
        self.parked.values().find(is_it).map(|info| info.id)
    }

    fn taken(&self, name: &str) -> bool {
        let ours = |info: &SessionInfo| info.id.home == self.machine && info.name == name;
        self.promised.iter().any(|promised| promised == name) || self.list().iter().any(ours)
    }

    /// Promises a name to a session that is about to start; none wished: one from the program.
    ///
    /// # Errors
    /// If the wished name can't be one, or is taken.
    pub fn promise(&mut self, wish: &str, program: &[u8]) -> Result<String, Failure> {
        let name = if wish.is_empty() {
            names::choose(program, |name| self.taken(name))
        } else {
            names::check(wish, "session")?;
            if self.taken(wish) {
                return Err(Failure::refused(format!("There is a session called {wish} already."))
                    .next("Choose another name, or leave --name away."));
            }
            wish.to_owned()
        };
        self.promised.push(name.clone());
        Ok(name)
    }

    /// The session of this name has started, or won't.
    pub fn keep_promise(&mut self, name: &str) {
        if let Some(at) = self.promised.iter().position(|promised| promised == name) {
            self.promised.swap_remove(at);
        }
    }
}

fn known(infos: &[SessionInfo]) -> Vec<Known<'_>> {
    infos.iter().map(|i| Known { id: i.id, name: &i.name, home: &i.home, host: &i.host }).collect()
}

/// A session as it is while it sleeps in this file.
fn asleep(info: SessionInfo, file: String) -> SessionInfo {
    SessionInfo { state: SessionState::Parked { file }, shown_on: Vec::new(), processes: 0, ..info }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESK: MachineKey = MachineKey([1; 32]);
    const LAPTOP: MachineKey = MachineKey([2; 32]);
    const TABLET: MachineKey = MachineKey([3; 32]);
    const ID: SessionId = SessionId { home: DESK, number: 7 };

    fn info(generation: u64, host: &str, state: SessionState) -> SessionInfo {
        SessionInfo {
            id: ID,
            generation,
            name: "vim".into(),
            home: "desk".into(),
            host: host.into(),
            state,
            command: "vim".into(),
            titles: vec![],
            shown_on: vec![],
            processes: 1,
            memory_bytes: 0,
            started_unix: 0,
            screen: false,
        }
    }

    fn running(generation: u64, host: &str) -> SessionInfo {
        info(generation, host, SessionState::Running)
    }

    fn receiving(generation: u64) -> SessionInfo {
        info(generation, "laptop", SessionState::Receiving { from: "desk".into() })
    }

    #[test]
    fn a_move_is_followed_from_the_source() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.heard_there(LAPTOP, vec![receiving(2)], &[], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::Here), "what arrives is not the session yet");
        desk.moved_away(&ID, LAPTOP, "laptop", 2);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        // A late word of the dying keeper changes nothing.
        desk.heard_here(running(1, "desk"));
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        assert_eq!(desk.resolve("vim").unwrap(), ID);
        // On to the tablet, which desk is not paired with: laptop stays the one to ask.
        desk.gone_here(&ID, 1);
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        desk.heard_there(LAPTOP, vec![], &[(ID, 3)], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        // And home again.
        desk.heard_here(running(4, "desk"));
        assert_eq!(desk.place(&ID), Some(Place::Here));
        assert!(desk.left().is_empty());
    }

    #[test]
    fn a_move_is_followed_from_the_target() {
        let mut laptop = Table::new(LAPTOP, Remembered::default());
        laptop.heard_there(DESK, vec![running(1, "desk")], &[], vec![]);
        laptop.heard_here(receiving(2));
        assert_eq!(laptop.place(&ID), Some(Place::There(DESK)));
        assert!(laptop.hosted().is_empty());
        laptop.heard_here(running(2, "laptop"));
        assert_eq!(laptop.place(&ID), Some(Place::Here));
        // The source's last list was on its way.
        laptop.heard_there(DESK, vec![running(1, "desk")], &[], vec![]);
        assert_eq!(laptop.place(&ID), Some(Place::Here));
    }

    #[test]
    fn a_copy_that_never_arrived_is_not_the_end_of_the_session() {
        let mut laptop = Table::new(LAPTOP, Remembered::default());
        laptop.heard_there(DESK, vec![running(1, "desk")], &[], vec![]);
        laptop.heard_here(receiving(2));
        laptop.heard_here(info(2, "laptop", SessionState::Ended { status: 143 }));
        assert_eq!(laptop.place(&ID), Some(Place::There(DESK)));
        assert!(laptop.ended().is_empty());
    }

    #[test]
    fn what_was_sent_away_outlives_a_restart_and_a_lost_link() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.moved_away(&ID, LAPTOP, "laptop", 2);
        let mut desk = Table::new(DESK, desk.remembered());
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        desk.heard_there(LAPTOP, vec![], &[], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)), "not listed yet is not gone");
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        desk.lost(LAPTOP);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        desk.heard_there(LAPTOP, vec![], &[], vec![info(2, "laptop", SessionState::Ended { status: 3 })]);
        assert_eq!(desk.place(&ID), Some(Place::Ended(3)));
    }

    #[test]
    fn parked_sessions_keep_their_names_and_files() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.park(&ID, 1, "/f".into());
        let mut desk = Table::new(DESK, desk.remembered());
        assert_eq!(desk.place(&ID), Some(Place::Parked("/f".into())));
        assert_eq!(desk.parked_in("/f"), Some(ID));
        // Its home, or whoever sent it here, still sees it and can wake it.
        let mut laptop = Table::new(LAPTOP, Remembered::default());
        laptop.heard_there(DESK, vec![running(1, "desk")], &[], vec![]);
        laptop.heard_there(DESK, desk.hosted(), &[], vec![]);
        assert_eq!(laptop.place(&ID), Some(Place::There(DESK)));
        assert!(matches!(laptop.list()[0].state, SessionState::Parked { .. }));
        assert!(desk.promise("vim", b"").is_err());
        desk.heard_here(running(2, "desk"));
        assert_eq!(desk.place(&ID), Some(Place::Here));
    }

    #[test]
    fn a_keeper_that_ends_before_its_answer_is_heard_loses_nothing() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.gone_here(&ID, 1);
        assert_eq!(desk.place(&ID), None);
        desk.park(&ID, 1, "/f".into());
        assert_eq!(desk.place(&ID), Some(Place::Parked("/f".into())));
    }

    #[test]
    fn an_earlier_stay_is_not_taken_for_the_last() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.moved_away(&ID, LAPTOP, "laptop", 2);
        // The keeper of the first stay says something late, and is gone.
        desk.heard_here(running(1, "desk"));
        desk.gone_here(&ID, 1);
        desk.heard_here(running(3, "desk"));
        desk.heard_here(running(1, "desk"));
        desk.gone_here(&ID, 1);
        assert_eq!(desk.here(&ID).unwrap().generation, 3);
        desk.gone_here(&ID, 3);
        desk.park(&ID, 3, "/f".into());
        assert_eq!(desk.info(&ID).unwrap().generation, 3);
        // What the laptop said before it sent the session here comes now.
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::Parked("/f".into())));
        assert_eq!(Table::new(DESK, desk.remembered()).place(&ID), Some(Place::Parked("/f".into())));
    }

    #[test]
    fn what_runs_here_is_here_whatever_others_claim() {
        let sending = |stage| info(1, "desk", SessionState::Sending { to: "laptop".into(), stage });
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.heard_there(LAPTOP, vec![running(99, "laptop")], &[], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::Here));
        assert_eq!((desk.hosted().len(), desk.left()), (1, vec![]));
        // Remembered over a restart.
        let mut desk = Table::new(DESK, desk.remembered());
        desk.heard_here(running(1, "desk"));
        assert_eq!(desk.place(&ID), Some(Place::Here));
        desk.heard_here(info(1, "desk", SessionState::Ended { status: 3 }));
        assert_eq!(desk.place(&ID), Some(Place::Ended(3)));
        // Past the commit the target is asked, which may run it already.
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(sending(MoveStage::StopAndCopy));
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        assert_eq!(desk.place(&ID), Some(Place::Here));
        desk.heard_here(sending(MoveStage::Commit));
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        // Taken back all the same, because the laptop went down with it: everybody hears what is newer.
        let mut tablet = Table::new(TABLET, Remembered::default());
        tablet.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        desk.heard_here(running(3, "desk"));
        assert_eq!(desk.place(&ID), Some(Place::Here));
        assert_eq!(desk.remembered(), Remembered::default());
        tablet.heard_there(DESK, desk.hosted(), &desk.left(), vec![]);
        assert_eq!(tablet.place(&ID), Some(Place::There(DESK)));
    }

    #[test]
    fn what_fell_asleep_while_the_agent_was_away_is_found() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("f").to_str().unwrap().to_owned();
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        assert_eq!(desk.begin_to_park(&ID, &file), Some(1));
        assert_eq!(desk.begin_to_park(&ID, "/another"), None);
        assert_eq!(desk.place(&ID), Some(Place::Here));
        let written = desk.remembered();
        assert_eq!(Table::new(DESK, written.clone()).place(&ID), None, "there is no such file");
        std::fs::write(&file, "").unwrap();
        let mut again = Table::new(DESK, written.clone());
        assert_eq!(again.place(&ID), Some(Place::Parked(file.clone())));
        // Its keeper was not done yet.
        again.heard_here(running(1, "desk"));
        assert_eq!(again.place(&ID), Some(Place::Here));
        again.heard_here(info(1, "desk", SessionState::Parked { file: file.clone() }));
        again.gone_here(&ID, 1);
        assert_eq!(again.place(&ID), Some(Place::Parked(file)));
        desk.not_parked(&ID);
        assert_eq!(desk.remembered(), Remembered::default());
        // A late word of a sleep that is over.
        desk.moved_away(&ID, LAPTOP, "laptop", 4);
        desk.heard_here(info(2, "desk", SessionState::Parked { file: "/f".into() }));
        desk.heard_here(info(2, "desk", SessionState::Ended { status: 1 }));
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
    }

    #[test]
    fn names_are_promised_once() {
        let mut desk = Table::new(DESK, Remembered::default());
        assert_eq!(desk.promise("", b"/bin/vim").unwrap(), "vim");
        assert_eq!(desk.promise("", b"/bin/vim").unwrap(), "vim-2");
        assert!(desk.promise("vim", b"").is_err());
        assert!(desk.promise("a b", b"").is_err());
        desk.keep_promise("vim");
        assert_eq!(desk.promise("vim", b"").unwrap(), "vim");
    }

    #[test]
    fn ended_sessions_are_found_until_the_name_lives_again() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(info(1, "desk", SessionState::Ended { status: 1 }));
        assert_eq!(desk.resolve("vim").unwrap(), ID);
        assert!(desk.list().is_empty());
        let again = SessionInfo { id: SessionId { home: DESK, number: 8 }, ..running(1, "desk") };
        desk.heard_here(again.clone());
        assert_eq!(desk.resolve("vim").unwrap(), again.id);
        assert!(desk.resolve("nothing").is_err());
    }

    #[test]
    fn what_ended_while_nobody_heard_is_no_ghost() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(running(1, "desk"));
        desk.moved_away(&ID, LAPTOP, "laptop", 2);
        desk.reached(LAPTOP, &[]);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)), "the laptop may not have heard of it yet");
        desk.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        desk.lost(LAPTOP);
        let mut desk = Table::new(DESK, desk.remembered());
        desk.reached(TABLET, &[]);
        desk.reached(LAPTOP, &[ID]);
        assert_eq!(desk.place(&ID), Some(Place::There(LAPTOP)));
        desk.reached(LAPTOP, &[]);
        assert_eq!(desk.place(&ID), None);
        assert_eq!(desk.remembered(), Remembered::default());
    }

    #[test]
    fn the_newest_end_is_remembered() {
        let mut desk = Table::new(DESK, Remembered::default());
        desk.heard_here(info(1, "desk", SessionState::Ended { status: 137 }));
        desk.heard_here(info(3, "desk", SessionState::Ended { status: 3 }));
        desk.heard_here(info(2, "desk", SessionState::Ended { status: 2 }));
        assert_eq!((desk.place(&ID), desk.ended().len()), (Some(Place::Ended(3)), 1));
    }

    #[test]
    fn the_higher_generation_wins_between_machines() {
        let mut tablet = Table::new(TABLET, Remembered::default());
        tablet.heard_there(LAPTOP, vec![running(2, "laptop")], &[], vec![]);
        tablet.heard_there(DESK, vec![running(1, "desk")], &[], vec![]);
        assert_eq!(tablet.place(&ID), Some(Place::There(LAPTOP)));
        tablet.forget(LAPTOP);
        assert_eq!(tablet.place(&ID), None);
    }
}
