//! Waiting for events, with a limit. The kernel wakes us (inotify, pidfd); nothing is polled.

use std::io::{Read, Seek, SeekFrom};
use std::os::fd::AsFd;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Output};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::inotify::{AddWatchFlags, InitFlags, Inotify};
use rustix::process::{Pid, PidfdFlags, pidfd_open};

/// A point in time until which things may take.
#[derive(Debug, Clone, Copy)]
pub struct Limit {
    start: Instant,
    length: Duration,
}

impl Limit {
    /// So many seconds from now.
    #[must_use]
    pub fn seconds(seconds: u64) -> Self {
        Self { start: Instant::now(), length: Duration::from_secs(seconds) }
    }

    /// What is left, or an error that says what took too long.
    pub fn left(&self, what: &str) -> Result<Duration> {
        match self.length.checked_sub(self.start.elapsed()) {
            Some(left) if !left.is_zero() => Ok(left),
            _ => bail!("{what}: not within {} s", self.length.as_secs()),
        }
    }

    fn poll(&self, fd: impl AsFd, what: &str) -> Result<bool> {
        let left = self.left(what)?;
        // Rounded up, so that the last millisecond isn't spent in circles.
        let timeout = PollTimeout::try_from(left + Duration::from_millis(1)).unwrap_or(PollTimeout::MAX);
        match poll(&mut [PollFd::new(fd.as_fd(), PollFlags::POLLIN)], timeout) {
            Ok(ready) => Ok(ready > 0),
            Err(nix::errno::Errno::EINTR) => Ok(false),
            Err(error) => Err(error).with_context(|| what.to_owned()),
        }
    }
}

/// Waits until something stands at `path`, whose folder need not exist yet.
pub fn for_path(path: &Path, limit: Limit) -> Result<()> {
    let what = format!("{} appears", path.display());
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    let flags = AddWatchFlags::IN_CREATE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_DELETE_SELF;
    while !path.exists() {
        // The deepest folder that exists is where the next thing will happen.
        let folder = path.ancestors().skip(1).find(|folder| folder.exists()).context("a root exists")?;
        let Ok(watch) = inotify.add_watch(folder, flags) else { continue };
        // It may have come between the look and the watch.
        let next = path.ancestors().take_while(|p| *p != folder).last().unwrap_or(path);
        while !next.exists() && folder.exists() {
            limit.poll(&inotify, &what)?;
            drop(inotify.read_events());
        }
        // A watch of a folder that has gone went with it.
        let _gone = inotify.rm_watch(watch);
        limit.left(&what)?;
    }
    Ok(())
}

/// Waits until a file holds what is wanted, by looking after each change in its folder.
pub fn for_content(path: &Path, limit: Limit, wanted: impl Fn(&str) -> bool) -> Result<()> {
    let what = format!("{} is written", path.display());
    let folder = path.parent().context("a file has a folder")?;
    let inotify = Inotify::init(InitFlags::IN_CLOEXEC | InitFlags::IN_NONBLOCK)?;
    inotify.add_watch(
        folder,
        AddWatchFlags::IN_CLOSE_WRITE | AddWatchFlags::IN_MOVED_TO | AddWatchFlags::IN_MODIFY,
    )?;
    while !std::fs::read_to_string(path).is_ok_and(|text| wanted(&text)) {
        limit.poll(&inotify, &what)?;
        drop(inotify.read_events());
    }
    Ok(())
}

/// Lines of a pipe, each within a limit.
#[derive(Debug)]
pub struct Lines<R> {
    from: R,
    rest: Vec<u8>,
}

impl<R: Read + AsFd> Lines<R> {
    /// Lines read from here.
    pub fn of(from: R) -> Self {
        Self { from, rest: Vec::new() }
    }

    /// The next line without its end; none at the end of the stream.
    pub fn next(&mut self, what: &str, limit: Limit) -> Result<Option<String>> {
        loop {
            if let Some(at) = self.rest.iter().position(|&byte| byte == b'\n') {
                let line: Vec<u8> = self.rest.drain(..=at).collect();
                return Ok(Some(String::from_utf8_lossy(&line[..at]).into_owned()));
            }
            if limit.poll(&self.from, what)? {
                let mut room = [0; 4096];
                let length = self.from.read(&mut room)?;
                if length == 0 {
                    return Ok(None);
                }
                self.rest.extend_from_slice(&room[..length]);
            }
        }
    }
}

/// Waits for a child's end; kills it when the limit has passed.
pub fn for_end(child: &mut Child, what: &str, limit: Limit) -> Result<ExitStatus> {
    let pid = i32::try_from(child.id()).ok().and_then(Pid::from_raw).context("a child has a pid")?;
    let handle = pidfd_open(pid, PidfdFlags::empty())?;
    loop {
        match limit.poll(&handle, what) {
            Ok(true) => return Ok(child.wait()?),
            Ok(false) => {}
            Err(error) => {
                child.kill()?;
                child.wait()?;
                return Err(error);
            }
        }
    }
}

/// Runs a command to its end within the limit and returns all that it printed. Its output goes
/// through files in memory, so that neither pipe can fill and block it.
pub fn output(command: &mut Command, limit: Limit) -> Result<Output> {
    let what = describe(command);
    let (mut out, mut err) = (memory()?, memory()?);
    command.stdout(out.try_clone()?).stderr(err.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("{what} can't be started"))?;
    let ended = for_end(&mut child, &what, limit);
    let mut output = Output { status: ExitStatus::default(), stdout: Vec::new(), stderr: Vec::new() };
    for (file, bytes) in [(&mut out, &mut output.stdout), (&mut err, &mut output.stderr)] {
        file.seek(SeekFrom::Start(0))?;
        file.read_to_end(bytes)?;
    }
    output.status = ended.with_context(|| String::from_utf8_lossy(&output.stderr).trim().to_owned())?;
    Ok(output)
}

/// Like [`output`], and anything but exit code 0 is an error with what the command complained of.
pub fn success(command: &mut Command, limit: Limit) -> Result<String> {
    let what = describe(command);
    let output = output(command, limit)?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("{what}: {}: {}", output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// The command's last words: what the person would have typed, less how the machine is entered.
fn describe(command: &Command) -> String {
    let words: Vec<_> = command.get_args().map(|word| word.to_string_lossy().into_owned()).collect();
    let from = words.iter().rposition(|word| word == "--pdeathsig").map_or(0, |at| at + 3);
    let mut text =
        if from == 0 { format!("{} ", command.get_program().to_string_lossy()) } else { String::new() };
    text.push_str(&words[from.min(words.len())..].join(" "));
    format!("`{}`", text.trim())
}

fn memory() -> Result<std::fs::File> {
    let name = std::env::temp_dir().join(format!("roam-harness-{:032x}", rand::random::<u128>()));
    let file = std::fs::File::options().read(true).write(true).create_new(true).open(&name)?;
    std::fs::remove_file(&name)?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[test]
    fn a_file_in_a_folder_to_come_is_seen() {
        let temporary = tempfile::tempdir().expect("folder");
        let path = temporary.path().join("a/b/file");
        let writer = {
            let path = path.clone();
            thread::spawn(move || {
                std::fs::create_dir_all(path.parent().expect("parent")).expect("folders");
                std::fs::write(path, b"x").expect("file");
            })
        };
        for_path(&path, Limit::seconds(20)).expect("seen");
        writer.join().expect("wrote");
    }

    #[test]
    fn a_limit_ends_waiting_and_kills() {
        let temporary = tempfile::tempdir().expect("folder");
        assert!(for_path(&temporary.path().join("never"), Limit::seconds(0)).is_err());
        let error = output(Command::new("sleep").arg("60"), Limit::seconds(0)).expect_err("too long");
        assert!(format!("{error:#}").contains("sleep 60"), "{error:#}");
    }

    #[test]
    fn much_output_does_not_block() {
        let mut command = Command::new("head");
        command.args(["-c", "1000000", "/dev/zero"]);
        assert_eq!(output(&mut command, Limit::seconds(20)).expect("ends").stdout.len(), 1_000_000);
        assert!(success(&mut Command::new("false"), Limit::seconds(20)).is_err());
    }
}
