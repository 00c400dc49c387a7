//! Pairing by a six-digit code: pure state, no clock, no sockets.
//!
//! ```text
//! asking machine (A)                        asked machine (B)
//!   | begin, with A's name ------------------> |  B shows a code
//!   |        a person types the code at A      |
//!   | prove: SPAKE2 message -----------------> |
//!   | <----------------------- SPAKE2 message  |
//!   | confirm: proof of the shared key ------> |  right: B stores A
//!   | <-------------- proof of the shared key  |  right: A stores B
//! ```
//! The link has shown both keys already; the code proves that the person stands at both machines.
//! SPAKE2 takes both keys as identities, so that a machine in the middle, which has keys of its own,
//! gets a different shared key. Nothing sent lets anyone test codes off-line; on-line each `prove`
//! uses up one of [`TRIES`], whether it is finished or not, and then there is a pause of [`PAUSE`]
//! for everyone, because keys cost an attacker nothing.
//!
//! Refused: a second machine while a code is shown; a code older than [`CODE_LIFE`]; anything out of
//! order.

use std::time::{Duration, Instant};

use roam_api::session::MachineKey;
use spake2::{Ed25519Group, Identity, Password, Spake2};

/// How often a code may be tried.
pub const TRIES: u32 = 3;
/// How long no code is shown after that.
pub const PAUSE: Duration = Duration::from_secs(60);
/// How long a code is good for.
pub const CODE_LIFE: Duration = Duration::from_secs(300);

/// Why pairing does not go on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum PairingError {
    /// Too many wrong codes lately.
    #[error("too many wrong codes; no new code is shown for another {0} seconds")]
    Paused(u64),
    /// Another machine is being paired.
    #[error("another machine is being paired there just now")]
    Busy,
    /// There is no code that this could belong to.
    #[error("no code is shown there, or it is too old; ask for one first")]
    NoCode,
    /// The code was wrong; so many tries are left.
    #[error("the code is wrong; tries left: {0}")]
    Wrong(u32),
    /// The message is none of this protocol.
    #[error("the pairing message is malformed")]
    Malformed,
}

/// The machine that is asked, and shows the code.
#[derive(Debug, Default)]
pub struct Asked {
    state: State,
}

#[derive(Debug, Default)]
enum State {
    #[default]
    Idle,
    Shown(Shown),
    Paused {
        until: Instant,
    },
}

#[derive(Debug)]
struct Shown {
    by: MachineKey,
    name: String,
    code: String,
    until: Instant,
    tries_left: u32,
    /// The shared key of the try under way.
    proving: Option<[u8; 32]>,
}

impl Asked {
    /// A machine asks to be paired. `code` is a fresh random one, from [`new_code`].
    ///
    /// # Errors
    /// [`PairingError::Paused`] or [`PairingError::Busy`].
    pub fn begin(
        &mut self,
        now: Instant,
        by: MachineKey,
        name: &str,
        code: String,
    ) -> Result<(), PairingError> {
        self.expire(now);
        match &self.state {
            State::Paused { until } => return Err(PairingError::Paused(seconds(*until - now))),
            State::Shown(shown) if shown.by != by => return Err(PairingError::Busy),
            // Asked again by the same machine: the code stays, and so do its tries.
            State::Shown(_) => return Ok(()),
            State::Idle => {}
        }
        self.state = State::Shown(Shown {
            by,
            name: name.to_owned(),
            code,
            until: now + CODE_LIFE,
            tries_left: TRIES,
            proving: None,
        });
        Ok(())
    }

    /// The asking machine's SPAKE2 message; returns ours. Uses up a try.
    ///
    /// # Errors
    /// [`PairingError::NoCode`], [`PairingError::Paused`] or [`PairingError::Malformed`].
    pub fn prove(
        &mut self,
        now: Instant,
        own: MachineKey,
        by: MachineKey,
        message: &[u8],
    ) -> Result<Vec<u8>, PairingError> {
        self.expire(now);
        let shown = self.shown(now, by)?;
        if shown.tries_left == 0 {
            self.state = State::Paused { until: now + PAUSE };
            return Err(PairingError::Paused(seconds(PAUSE)));
        }
        shown.tries_left -= 1;
        shown.proving = None;
        let (exchange, ours) = Spake2::<Ed25519Group>::start_b(
            &Password::new(shown.code.as_bytes()),
            &Identity::new(&by.0),
            &Identity::new(&own.0),
        );
        shown.proving = Some(finish(exchange, message)?);
        Ok(ours)
    }

    /// The asking machine's proof; returns ours and the asking machine's name. From now on both are
    /// paired.
    ///
    /// # Errors
    /// [`PairingError::Wrong`]: with no tries left, the pause begins.
    pub fn confirm(
        &mut self,
        now: Instant,
        own: MachineKey,
        by: MachineKey,
        theirs: &[u8; 32],
    ) -> Result<([u8; 32], String), PairingError> {
        self.expire(now);
        let shown = self.shown(now, by)?;
        let key = shown.proving.take().ok_or(PairingError::NoCode)?;
        if !proof(&key, Side::Asking, by, own).same_as(theirs) {
            let left = shown.tries_left;
            if left == 0 {
                self.state = State::Paused { until: now + PAUSE };
            }
            return Err(PairingError::Wrong(left));
        }
        let name = std::mem::take(&mut shown.name);
        self.state = State::Idle;
        Ok((proof(&key, Side::Asked, by, own).0, name))
    }

    /// The code to show now and the machine that asks.
    #[must_use]
    pub fn code(&self, now: Instant) -> Option<(&str, &str)> {
        match &self.state {
            State::Shown(shown) if shown.until > now => Some((&shown.code, &shown.name)),
            _ => None,
        }
    }

    /// When [`Asked::code`] changes by itself, if it does.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        match &self.state {
            State::Shown(shown) => Some(shown.until),
            _ => None,
        }
    }

    fn shown(&mut self, now: Instant, by: MachineKey) -> Result<&mut Shown, PairingError> {
        match &mut self.state {
            State::Shown(shown) if shown.by == by => Ok(shown),
            State::Paused { until } => Err(PairingError::Paused(seconds(*until - now))),
            _ => Err(PairingError::NoCode),
        }
    }

    fn expire(&mut self, now: Instant) {
        let over = match &self.state {
            State::Shown(shown) => shown.until <= now,
            State::Paused { until } => *until <= now,
            State::Idle => false,
        };
        if over {
            self.state = State::Idle;
        }
    }
}

/// The asking machine, while it proves a code.
#[derive(Debug)]
pub struct Asking {
    own: MachineKey,
    other: MachineKey,
    exchange: Spake2<Ed25519Group>,
}

/// The asking machine, once it knows the shared key.
#[derive(Debug)]
pub struct Proved {
    own: MachineKey,
    other: MachineKey,
    key: [u8; 32],
}

impl Asking {
    /// Begins with the code that the person typed; returns the message to send.
    #[must_use]
    pub fn start(own: MachineKey, other: MachineKey, code: &str) -> (Self, Vec<u8>) {
        let (exchange, message) = Spake2::<Ed25519Group>::start_a(
            &Password::new(code.as_bytes()),
            &Identity::new(&own.0),
            &Identity::new(&other.0),
        );
        (Self { own, other, exchange }, message)
    }

    /// Takes the other side's message; returns the proof to send.
    ///
    /// # Errors
    /// [`PairingError::Malformed`].
    pub fn proof(self, message: &[u8]) -> Result<(Proved, [u8; 32]), PairingError> {
        let key = finish(self.exchange, message)?;
        let ours = proof(&key, Side::Asking, self.own, self.other).0;
        Ok((Proved { own: self.own, other: self.other, key }, ours))
    }
}

impl Proved {
    /// Whether the other side's proof is right: then it knew the code, too.
    #[must_use]
    pub fn is_right(&self, theirs: &[u8]) -> bool {
        <&[u8; 32]>::try_from(theirs)
            .is_ok_and(|theirs| proof(&self.key, Side::Asked, self.own, self.other).same_as(theirs))
    }
}

/// Six random digits.
#[must_use]
pub fn new_code() -> String {
    format!("{:06}", rand::random_range(0..1_000_000u32))
}

fn seconds(time: Duration) -> u64 {
    time.as_secs().max(1)
}

fn finish(exchange: Spake2<Ed25519Group>, message: &[u8]) -> Result<[u8; 32], PairingError> {
    let key = exchange.finish(message).map_err(|_| PairingError::Malformed)?;
    Ok(blake3::derive_key("roam pairing v1: key of the proofs", &key))
}

#[derive(Clone, Copy)]
enum Side {
    Asking,
    Asked,
}

struct Proof([u8; 32]);

impl Proof {
    /// Compares without telling by the time taken where the difference is.
    fn same_as(&self, other: &[u8; 32]) -> bool {
        blake3::Hash::from_bytes(self.0) == blake3::Hash::from_bytes(*other)
    }
}

fn proof(key: &[u8; 32], side: Side, asking: MachineKey, asked: MachineKey) -> Proof {
    let mut hasher = blake3::Hasher::new_keyed(key);
    hasher.update(match side {
        Side::Asking => b"asking",
        Side::Asked => b"asked!",
    });
    hasher.update(&asking.0);
    hasher.update(&asked.0);
    Proof(*hasher.finalize().as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const A: MachineKey = MachineKey([1; 32]);
    const B: MachineKey = MachineKey([2; 32]);
    const M: MachineKey = MachineKey([3; 32]);

    fn shown(now: Instant) -> Asked {
        let mut asked = Asked::default();
        asked.begin(now, A, "desk", "123456".into()).unwrap();
        asked
    }

    /// A whole try; who asks and who is asked may each see other keys than the truth.
    fn attempt(
        asked: &mut Asked,
        now: Instant,
        code: &str,
        seen_by_asking: MachineKey,
    ) -> Result<bool, PairingError> {
        let (asking, message) = Asking::start(A, seen_by_asking, code);
        let reply = asked.prove(now, B, A, &message)?;
        let (proved, ours) = asking.proof(&reply)?;
        let (theirs, name) = asked.confirm(now, B, A, &ours)?;
        assert_eq!(name, "desk");
        Ok(proved.is_right(&theirs))
    }

    #[test]
    fn the_right_code_pairs_once() {
        let now = Instant::now();
        let mut asked = shown(now);
        assert_eq!(asked.code(now), Some(("123456", "desk")));
        assert_eq!(attempt(&mut asked, now, "123456", B), Ok(true));
        assert_eq!(asked.code(now), None);
        assert_eq!(attempt(&mut asked, now, "123456", B), Err(PairingError::NoCode));
    }

    #[test]
    fn three_wrong_codes_bring_a_pause_for_everyone() {
        let now = Instant::now();
        let mut asked = shown(now);
        assert_eq!(attempt(&mut asked, now, "000000", B), Err(PairingError::Wrong(2)));
        assert_eq!(attempt(&mut asked, now, "000000", B), Err(PairingError::Wrong(1)));
        assert_eq!(attempt(&mut asked, now, "000000", B), Err(PairingError::Wrong(0)));
        assert_eq!(attempt(&mut asked, now, "123456", B), Err(PairingError::Paused(60)));
        assert_eq!(asked.begin(now, M, "m", "1".into()), Err(PairingError::Paused(60)));
        let later = now + PAUSE;
        asked.begin(later, A, "desk", "654321".into()).unwrap();
        assert_eq!(attempt(&mut asked, later, "654321", B), Ok(true));
    }

    #[test]
    fn a_try_counts_also_if_it_is_not_finished() {
        let now = Instant::now();
        let mut asked = shown(now);
        for _ in 0..TRIES {
            let (_, message) = Asking::start(A, B, "123456");
            asked.prove(now, B, A, &message).unwrap();
        }
        assert!(matches!(attempt(&mut asked, now, "123456", B), Err(PairingError::Paused(_))));
        // Asking anew does not give the tries back.
        assert!(asked.begin(now, A, "desk", "1".into()).is_err());
    }

    #[test]
    fn a_machine_in_the_middle_fails_even_with_the_right_code() {
        let now = Instant::now();
        assert_eq!(attempt(&mut shown(now), now, "123456", M), Err(PairingError::Wrong(2)));
    }

    #[test]
    fn out_of_order_and_too_late_are_refused() {
        let now = Instant::now();
        let mut asked = Asked::default();
        assert_eq!(asked.confirm(now, B, A, &[0; 32]).unwrap_err(), PairingError::NoCode);
        let mut asked = shown(now);
        assert_eq!(asked.confirm(now, B, A, &[0; 32]).unwrap_err(), PairingError::NoCode);
        assert_eq!(asked.begin(now, M, "m", "1".into()), Err(PairingError::Busy));
        assert_eq!(asked.prove(now, B, M, &[0; 33]).unwrap_err(), PairingError::NoCode);
        let late = now + CODE_LIFE;
        assert_eq!(attempt(&mut asked, late, "123456", B), Err(PairingError::NoCode));
        assert_eq!(asked.code(late), None);
    }

    #[test]
    fn codes_have_six_digits() {
        for _ in 0..50 {
            let code = new_code();
            assert!(code.len() == 6 && code.bytes().all(|b| b.is_ascii_digit()), "{code}");
        }
    }

    proptest! {
        #[test]
        fn garbage_never_pairs(message in proptest::collection::vec(any::<u8>(), 0..80), proof: [u8; 32]) {
            let now = Instant::now();
            let mut asked = shown(now);
            let _ = asked.prove(now, B, A, &message);
            prop_assert!(asked.confirm(now, B, A, &proof).is_err());
            let (asking, _) = Asking::start(A, B, "123456");
            if let Ok((proved, _)) = asking.proof(&message) {
                prop_assert!(!proved.is_right(&proof));
            }
        }
    }
}
