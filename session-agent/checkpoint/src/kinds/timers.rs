//! Interval timers (setitimer) and POSIX timers (timer_create).
//!
//! What remains is kept relative: the process's clocks go on from where they were, so a timer fires when
//! it would have, plus the time of the freeze.
//!
//! Whether a timer of the wall clock was set for a date (TIMER_ABSTIME) the kernel does not show. One that runs out at a
//! whole second, as exactly as can be measured, is taken for such, and set for that date: by chance a timer set for
//! a span of time does so once in a million times.
//!
//! What is not carried: how often a timer ran out while its signal waited, before the freeze; and that a timer was
//! set for a date within a second (docs/adr/0032). Refused: a timer on the CPU time of a thread where there are
//! several; at a target before Linux 6.15, an id above [`HIGHEST_ID`].

use roam_api::error::Refusal;
use roam_sys::batch::{Arg, Batch, Data, Done};
use serde::{Deserialize, Serialize};

use crate::error::Error;

/// The clocks that go on steadily, also while a session is on its way.
const STEADY: [i32; 2] = [libc::CLOCK_MONOTONIC, libc::CLOCK_BOOTTIME];
const SIGEV_SIGNAL: i32 = 0;
const SIGEV_NONE: i32 = 1;
const SIGEV_THREAD_ID: i32 = 4;
const PR_TIMER_CREATE_RESTORE_IDS: i32 = 77;
const SECOND: i64 = 1_000_000_000;
/// Without [`PR_TIMER_CREATE_RESTORE_IDS`] an id is reached by making a timer for each one below: about half a second
/// for so many.
const HIGHEST_ID: i32 = 1_000_000;
/// A date is believed if it was measured as closely as this, in nanoseconds: an emulated processor takes so long.
const NEAR: i64 = 1_000_000;
/// So often a timer is looked at for that: a look may be interrupted.
const LOOKS: usize = 3;
/// So many ids are passed by in one batch.
const PASSED: i32 = 1000;

/// A POSIX timer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timer {
    /// Its id, which the program holds.
    pub id: i32,
    /// The clock.
    pub clock: i32,
    /// SIGEV_* as given.
    pub notify: i32,
    /// The signal.
    pub signal: i32,
    /// sigev_value.
    pub value: u64,
    /// The thread to be signalled, for SIGEV_THREAD_ID; pod tid.
    pub tid: i32,
    /// struct itimerspec: interval, then what remains.
    pub setting: [u8; 32],
    /// The date that it was set for, in seconds of the wall clock.
    pub date: Option<i64>,
}

/// All timers of a process.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Timers {
    /// ITIMER_REAL, ITIMER_VIRTUAL, ITIMER_PROF as struct itimerval.
    pub interval: [[u8; 32]; 3],
    /// POSIX timers.
    pub posix: Vec<Timer>,
    /// [`STEADY`] clocks as struct timespec when the timers were read.
    pub read_at: [[u8; 16]; 2],
}

impl Timers {
    /// The flags and the setting that start this timer again. By a steady clock it fires at the moment at which it
    /// would have, and for a date then; by any other clock after what was left.
    fn next(&self, timer: &Timer) -> (i32, [u8; 32]) {
        let left = nanoseconds(&timer.setting[16..]);
        let moment = match (timer.date, STEADY.iter().position(|clock| *clock == timer.clock)) {
            (Some(date), _) => date.saturating_mul(SECOND).max(1),
            (None, Some(clock)) if left > 0 => nanoseconds(&self.read_at[clock]).saturating_add(left).max(1),
            _ => return (0, timer.setting),
        };
        let mut setting = timer.setting;
        setting[16..24].copy_from_slice(&(moment / SECOND).to_le_bytes());
        setting[24..].copy_from_slice(&(moment % SECOND).to_le_bytes());
        (libc::TIMER_ABSTIME, setting)
    }
}

/// struct timespec.
fn nanoseconds(bytes: &[u8]) -> i64 {
    let word = |at: usize| i64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"));
    word(0).saturating_mul(SECOND).saturating_add(word(8))
}

/// The whole second at which a timer runs out. At each look the clock was read, what was left, and the clock again: a date
/// agrees with every look, and the closest one judges.
fn date(looks: impl Iterator<Item = [i64; 3]>) -> Option<i64> {
    let (mut earliest, mut latest) = (i64::MIN, i64::MAX);
    for [before, left, after] in looks {
        // What has run out, and whose signal waits, has one nanosecond left.
        let left = Some(left).filter(|left| *left > 1)?;
        earliest = earliest.max(before.checked_add(left)?);
        latest = latest.min(after.checked_add(left)?);
    }
    let second = latest.div_euclid(SECOND);
    let is_near = latest.checked_sub(earliest)? < NEAR;
    (second > 0 && is_near && second * SECOND >= earliest).then_some(second)
}

/// Questions to a process.
pub struct Asked {
    interval: [Data; 3],
    posix: Vec<(Timer, Data)>,
    /// For each timer, of the wall clock: the clock, the timer, the clock.
    dates: Vec<Vec<[Data; 3]>>,
    read_at: [Data; 2],
}

/// Adds the questions. `listed` is the text of /proc/PID/timers, `pod_tid` turns its thread ids into
/// the pod's.
pub fn ask(batch: &mut Batch, listed: &[u8], pod_tid: impl Fn(i32) -> Option<i32>) -> Asked {
    let interval = [0, 1, 2].map(|which| {
        let room = batch.room(32);
        batch.must("reading an interval timer", libc::SYS_getitimer, &[which.into(), room.into()]);
        room
    });
    let (mut posix, mut dates) = (Vec::new(), Vec::new());
    let read = |clock: i32, batch: &mut Batch| {
        let room = batch.room(16);
        batch.must("reading a clock", libc::SYS_clock_gettime, &[clock.into(), room.into()]);
        room
    };
    let left = |timer: &Timer, batch: &mut Batch| {
        let room = batch.room(32);
        batch.must("reading a timer", libc::SYS_timer_gettime, &[timer.id.into(), room.into()]);
        room
    };
    for mut timer in parse(&String::from_utf8_lossy(listed)) {
        timer.tid = pod_tid(timer.tid).unwrap_or(0);
        let looks = if timer.clock == libc::CLOCK_REALTIME { LOOKS } else { 0 };
        let look = |batch: &mut Batch| {
            let before = read(libc::CLOCK_REALTIME, batch);
            [before, left(&timer, batch).skip(16), read(libc::CLOCK_REALTIME, batch)]
        };
        dates.push((0..looks).map(|_| look(batch)).collect());
        let room = left(&timer, batch);
        posix.push((timer, room));
    }
    let read_at = STEADY.map(|clock| read(clock, batch));
    Asked { interval, posix, dates, read_at }
}

/// Reads the answers.
#[must_use]
pub fn answers(asked: &Asked, done: &Done) -> Timers {
    let thirty_two = |data: Data| done.bytes(data).try_into().expect("asked so");
    Timers {
        interval: asked.interval.map(thirty_two),
        posix: asked
            .posix
            .iter()
            .zip(&asked.dates)
            .map(|((timer, room), looks)| {
                let date = date(looks.iter().map(|look| look.map(|data| nanoseconds(done.bytes(data)))));
                Timer { setting: thirty_two(*room), date, ..timer.clone() }
            })
            .collect(),
        read_at: asked.read_at.map(|data| done.bytes(data).try_into().expect("asked so")),
    }
}

/// Whether one of these timers (the text of /proc/PID/timers) runs on the CPU time of the thread that made it: of
/// which the kernel does not say.
#[must_use]
pub fn any_of_a_thread(listed: &[u8]) -> bool {
    /// As the kernel lists CLOCK_THREAD_CPUTIME_ID: the scheduler's clock of thread 0, whoever that is.
    const OWN_THREAD: i32 = -2;
    parse(&String::from_utf8_lossy(listed)).iter().any(|timer| timer.clock == OWN_THREAD)
}

/// The stanzas of /proc/PID/timers; `tid` is as that file says.
fn parse(text: &str) -> Vec<Timer> {
    let mut timers: Vec<Timer> = Vec::new();
    for line in text.lines() {
        let Some((key, value)) = line.split_once(':') else { continue };
        let value = value.trim();
        if key == "ID" {
            timers.push(Timer {
                id: value.parse().unwrap_or(-1),
                clock: 0,
                notify: SIGEV_SIGNAL,
                signal: 0,
                value: 0,
                tid: 0,
                setting: [0; 32],
                date: None,
            });
        }
        let Some(timer) = timers.last_mut() else { continue };
        match key {
            "signal" => {
                if let Some((signal, pointer)) = value.split_once('/') {
                    timer.signal = signal.parse().unwrap_or(0);
                    timer.value = u64::from_str_radix(pointer.trim_start_matches("0x"), 16).unwrap_or(0);
                }
            }
            "notify" => {
                let (how, whom) = value.split_once('/').unwrap_or((value, ""));
                timer.notify = if how == "none" { SIGEV_NONE } else { SIGEV_SIGNAL };
                if let Some(tid) = whom.strip_prefix("tid.") {
                    timer.notify |= SIGEV_THREAD_ID;
                    timer.tid = tid.parse().unwrap_or(0);
                }
            }
            "ClockID" => timer.clock = value.parse().unwrap_or(0),
            _ => {}
        }
    }
    timers
}

/// Adds the calls that set the interval timers. Do this last: they begin to run.
pub fn restore_interval(timers: &Timers, batch: &mut Batch) {
    for (which, setting) in timers.interval.iter().enumerate() {
        if *setting != [0; 32] {
            let mut setting = *setting;
            if setting[16..] == [0; 16] {
                // It has fired and its signal still waits; the kernel starts it again when that is taken.
                // Set to nothing it would end, so it fires once more, into the same waiting signal.
                setting[24] = 1;
            }
            let setting = batch.data(&setting);
            batch.must(
                "setting an interval timer",
                libc::SYS_setitimer,
                &[which.into(), setting.into(), 0.into()],
            );
        }
    }
}

/// Makes the POSIX timers. `by_id` says whether this kernel gives the id asked for, `number` what a thread is called where
/// the process is, `run` has its leader run a batch. `owner` is the process's name and pid.
///
/// # Errors
/// A failed call, or a refusal of an id that can't be reached.
pub fn restore_posix(
    timers: &Timers,
    owner: (&[u8], i32),
    by_id: bool,
    number: &dyn Fn(i32) -> i32,
    run: &mut dyn FnMut(&Batch) -> Result<(), Error>,
) -> Result<(), Error> {
    let mut sorted: Vec<&Timer> = timers.posix.iter().collect();
    sorted.sort_by_key(|t| t.id);
    let (Some(first), Some(last)) = (sorted.first(), sorted.last()) else { return Ok(()) };
    if first.id < 0 {
        return Err(Error::Image(format!("a timer has the id {}", first.id)));
    }
    if !by_id && last.id > HIGHEST_ID {
        return Err(unreachable(last.id, owner));
    }
    let mut batch = Batch::new();
    if by_id {
        batch.must(
            "asking for timer ids",
            libc::SYS_prctl,
            &[PR_TIMER_CREATE_RESTORE_IDS.into(), 1.into(), 0.into(), 0.into(), 0.into()],
        );
    }
    let mut next = 0;
    for timer in &sorted {
        while !by_id && next < timer.id {
            let upto = timer.id.min(next + PASSED);
            pass(upto - next, &mut batch);
            run(&std::mem::take(&mut batch))?;
            next = upto;
        }
        let id = batch.data(&timer.id.to_le_bytes());
        let mut event = [0u8; 64];
        event[..8].copy_from_slice(&timer.value.to_le_bytes());
        event[8..12].copy_from_slice(&timer.signal.to_le_bytes());
        event[12..16].copy_from_slice(&timer.notify.to_le_bytes());
        event[16..20].copy_from_slice(&number(timer.tid).to_le_bytes());
        let event = batch.data(&event);
        batch.must("making a timer", libc::SYS_timer_create, &[timer.clock.into(), event.into(), id.into()]);
        next = timer.id + 1;
    }
    if by_id {
        batch.must(
            "ending the asking for timer ids",
            libc::SYS_prctl,
            &[PR_TIMER_CREATE_RESTORE_IDS.into(), 0.into(), 0.into(), 0.into(), 0.into()],
        );
    }
    for timer in sorted {
        if timer.setting != [0; 32] {
            let (flags, setting) = timers.next(timer);
            let setting = batch.data(&setting);
            batch.must(
                "starting a timer",
                libc::SYS_timer_settime,
                &[timer.id.into(), flags.into(), setting.into(), 0.into()],
            );
        }
    }
    run(&batch)
}

/// Adds the making and deleting of so many timers, each of which takes the next id.
fn pass(many: i32, batch: &mut Batch) {
    const DOING: &str = "making a timer to pass its id";
    // One that tells nobody: it uses up no signal.
    let mut event = [0u8; 64];
    event[12..16].copy_from_slice(&SIGEV_NONE.to_le_bytes());
    let event = batch.data(&event);
    let unwanted = batch.room(4);
    for _ in 0..many {
        let create = [libc::CLOCK_MONOTONIC.into(), event.into(), unwanted.into()];
        batch.must(DOING, libc::SYS_timer_create, &create);
        batch.must(DOING, libc::SYS_timer_delete, &[Arg::Load32(unwanted)]);
    }
}

fn unreachable(id: i32, (name, pid): (&[u8], i32)) -> Error {
    Error::Refused(vec![Refusal {
        process: String::from_utf8_lossy(name).into_owned(),
        pid: pid.unsigned_abs(),
        what: format!("its timer {id}"),
        reason:
            "it has made and deleted too many timers for that machine's kernel, which can't give one a number"
                .to_owned(),
        remedy: "Send it to a machine with Linux 6.15 or newer, or start the program anew.".to_owned(),
    }])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stanzas_parse() {
        let timers = parse(
            "ID: 3\nsignal: 34/00007ffd12340000\nnotify: signal/tid.77\nClockID: 1\nID: 4\nsignal: 14/0\n\
             notify: none/pid.9\nClockID: 0\n",
        );
        assert_eq!(timers.len(), 2);
        assert_eq!((timers[0].id, timers[0].signal, timers[0].tid, timers[0].clock), (3, 34, 77, 1));
        assert_eq!(timers[0].notify, SIGEV_SIGNAL | SIGEV_THREAD_ID);
        assert_eq!((timers[1].notify, timers[1].tid), (SIGEV_NONE, 0));
        assert!(any_of_a_thread(b"ID: 0\nsignal: 14/0\nnotify: signal/pid.9\nClockID: -2\n"));
        assert!(!any_of_a_thread(b"ID: 0\nsignal: 14/0\nnotify: signal/pid.9\nClockID: -6\n"));
    }

    fn calls_for(ids: &[i32], by_id: bool) -> Result<Vec<usize>, Error> {
        let timer = |id| Timer {
            id,
            clock: 1,
            notify: 0,
            signal: 14,
            value: 0,
            tid: 0,
            setting: [0; 32],
            date: None,
        };
        let timers = Timers { posix: ids.iter().map(|id| timer(*id)).collect(), ..Timers::default() };
        let mut calls = Vec::new();
        let mut run = |batch: &Batch| {
            calls.push(batch.len());
            Ok(())
        };
        restore_posix(&timers, (b"app", 7), by_id, &|tid| tid, &mut run)?;
        Ok(calls)
    }

    #[test]
    fn old_kernels_count_up_to_the_id() {
        assert_eq!(calls_for(&[], false).unwrap(), []);
        assert_eq!(calls_for(&[3], false).unwrap(), [6, 1]);
        assert_eq!(calls_for(&[2500, 0], false).unwrap(), [1 + 2000, 2000, 998, 1]);
        assert_eq!(calls_for(&[HIGHEST_ID + 1, 3], true).unwrap(), [4]);
    }

    #[test]
    fn an_id_out_of_reach_is_refused_by_the_name_of_the_process() {
        let Err(Error::Refused(refusals)) = calls_for(&[3, HIGHEST_ID + 1], false) else {
            panic!("not refused")
        };
        assert_eq!((refusals[0].process.as_str(), refusals[0].pid), ("app", 7));
        assert!(matches!(calls_for(&[-1], true), Err(Error::Image(_))));
    }

    #[test]
    fn steady_clocks_go_on_meanwhile() {
        let setting =
            |left: [i64; 2]| [0, 7, left[0], left[1]].map(i64::to_le_bytes).concat().try_into().unwrap();
        let timer = |clock, left| Timer {
            id: 0,
            clock,
            notify: 0,
            signal: 14,
            value: 0,
            tid: 0,
            setting: setting(left),
            date: None,
        };
        let read_at =
            [[100i64, 900_000_000], [5, 0]].map(|t| t.map(i64::to_le_bytes).concat().try_into().unwrap());
        let timers = Timers { read_at, ..Timers::default() };
        let next = |clock, left| timers.next(&timer(clock, left));
        assert_eq!(next(libc::CLOCK_MONOTONIC, [2, 200_000_000]), (1, setting([103, 100_000_000])));
        assert_eq!(next(libc::CLOCK_BOOTTIME, [2, 0]), (1, setting([7, 0])));
        assert_eq!(next(libc::CLOCK_REALTIME, [2, 0]), (0, setting([2, 0])));
        assert_eq!(next(libc::CLOCK_MONOTONIC, [0, 0]), (0, setting([0, 0])), "one that does not run");
        let dated = Timer { date: Some(1_700_000_000), ..timer(libc::CLOCK_REALTIME, [2, 5]) };
        assert_eq!(timers.next(&dated), (libc::TIMER_ABSTIME, setting([1_700_000_000, 0])));
    }

    #[test]
    fn a_whole_second_is_a_date() {
        let now = 1_700_000_000 * SECOND + 123_456_789;
        let left = 3600 * SECOND - 123_456_789;
        let date = |looks: &[[i64; 3]]| date(looks.iter().copied());
        assert_eq!(date(&[[now - 300, left, now + 200]]), Some(1_700_003_600));
        assert_eq!(date(&[[now, left, now + 1]]), Some(1_700_003_600));
        assert_eq!(date(&[[now - 1, left, now]]), Some(1_700_003_600));
        // Just before and just after.
        assert_eq!(date(&[[now - 300, left, now - 1]]), None);
        assert_eq!(date(&[[now + 1, left, now + 300]]), None);
        // One look was interrupted; the other says whether it is one.
        let interrupted = [now - 10 * NEAR, left, now + 200];
        assert_eq!(date(&[interrupted]), None);
        assert_eq!(date(&[interrupted, [now + 900, left - 1000, now + 1100]]), Some(1_700_003_600));
        assert_eq!(date(&[interrupted, [now + 900, left - 990, now + 980]]), None);
        // One that has run out, one that does not run, one that was not looked at.
        assert_eq!(date(&[[1_700_000_000 * SECOND - 300, 1, 1_700_000_000 * SECOND + 200]]), None);
        assert_eq!(date(&[[1_700_000_000 * SECOND - 300, 0, 1_700_000_000 * SECOND + 200]]), None);
        assert_eq!((date(&[[0, i64::MAX, 5]]), date(&[])), (None, None));
    }
}
