//! A machine for tests: one real agent with folders of its own, and a fake keeper.
//!
//! Programs are copied into one folder, because they look for each other beside themselves. What a
//! machine started is ended by process id when it is dropped.
#![allow(dead_code)] // Not every test file uses all of it.

use std::io::{BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use roam_agent::client::Client;
use roam_agent::paths::Paths;
use roam_api::agent::{Reply, Request, Snapshot};

/// Nothing in a test takes longer.
pub const LIMIT: Duration = Duration::from_secs(30);

pub struct Machine {
    pub name: String,
    pub root: tempfile::TempDir,
    agent: Option<Child>,
}

impl Machine {
    /// A machine whose agent does not run yet.
    pub fn off(name: &str) -> Self {
        let root = tempfile::tempdir().unwrap();
        let bin = root.path().join("bin");
        std::fs::create_dir(&bin).unwrap();
        let built = Path::new(env!("CARGO_BIN_EXE_roam")).parent().unwrap();
        for (from, to) in [
            ("roam", "roam"),
            ("roam-agent", "roam-agent"),
            ("examples/fake-keeper", "roam-keeper"),
            ("examples/fake-viewer", "roam-viewer"),
        ] {
            std::fs::copy(built.join(from), bin.join(to)).unwrap_or_else(|e| panic!("{from}: {e}"));
        }
        for folder in ["run", "state", "home", "state/roam"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        // As if another port had been free at an earlier start: any one.
        std::fs::write(root.path().join("state/roam/port"), "0").unwrap();
        Self { name: name.into(), root, agent: None }
    }

    /// A machine whose agent runs.
    pub fn on(name: &str) -> Self {
        let mut machine = Self::off(name);
        machine.start();
        machine
    }

    pub fn start(&mut self) {
        let log = std::fs::File::options().append(true).create(true).open(self.path("agent.log")).unwrap();
        let mut agent = self
            .command("roam-agent", &["--name", &self.name])
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(agent.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert_eq!(line, "ready\n", "{}", std::fs::read_to_string(self.path("agent.log")).unwrap());
        self.agent = Some(agent);
    }

    /// Kills the agent as a crash would.
    pub fn kill_agent(&mut self) {
        let mut agent = self.agent.take().unwrap();
        agent.kill().unwrap();
        agent.wait().unwrap();
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    pub fn paths(&self) -> Paths {
        Paths { runtime: self.path("run/roam"), state: self.path("state/roam") }
    }

    pub fn command(&self, program: &str, arguments: &[&str]) -> Command {
        let mut command = Command::new(self.root.path().join("bin").join(program));
        command
            .args(arguments)
            .env_clear()
            .env("PATH", "/usr/bin:/bin")
            .env("HOME", self.path("home"))
            .env("XDG_RUNTIME_DIR", self.path("run"))
            .env("XDG_STATE_HOME", self.path("state"))
            .env("DISPLAY", ":none")
            .env("ROAM_TEST_VIEWER", self.path("viewer"))
            .env("ROAM_LOG", "info,roam_agent=debug")
            .stdin(Stdio::null());
        command
    }

    /// Runs `roam` to its end.
    pub fn roam(&self, arguments: &[&str]) -> Output {
        self.roam_with_input(arguments, b"")
    }

    pub fn roam_with_input(&self, arguments: &[&str], input: &[u8]) -> Output {
        let mut child = self
            .command("timeout", &[])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn_as(self, arguments);
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        let writer = std::thread::spawn(move || stdin.write_all(&input));
        let output = child.wait_with_output().unwrap();
        let _ = writer.join().unwrap();
        output
    }

    /// Runs `roam`, which must do its work; returns stdout.
    pub fn ok(&self, arguments: &[&str]) -> String {
        let output = self.roam(arguments);
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        assert!(output.status.success(), "{}: roam {arguments:?}: {output:?}\n{}", self.name, self.log());
        text.trim_end().to_owned()
    }

    /// Runs `roam`, which must exit with this code; returns stderr.
    pub fn fails(&self, code: i32, arguments: &[&str]) -> String {
        let output = self.roam(arguments);
        assert_eq!(output.status.code(), Some(code), "{}: roam {arguments:?}: {output:?}", self.name);
        String::from_utf8_lossy(&output.stderr).into_owned()
    }

    pub fn json(&self, arguments: &[&str]) -> serde_json::Value {
        serde_json::from_str(&self.ok(arguments)).unwrap()
    }

    pub fn log(&self) -> String {
        std::fs::read_to_string(self.path("agent.log")).unwrap_or_default()
    }

    /// The address that others reach it at.
    pub fn address(&self) -> String {
        let log = self.log();
        let line = log.lines().rev().find(|line| line.contains("the agent runs")).unwrap();
        let port = line.split("port=").nth(1).unwrap().split(' ').next().unwrap();
        format!("127.0.0.1:{port}")
    }

    /// Waits until what the agent shows the app fulfils a condition; returns what it shows then.
    pub fn until(&self, what: &str, condition: impl Fn(&Snapshot) -> bool) -> Snapshot {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let mut last = None;
        let watching = async {
            let mut client = Client::connect(&self.paths()).await.unwrap();
            client.say(&Request::Watch).await.unwrap();
            loop {
                let Reply::Snapshot(snapshot) = client.hear().await.unwrap() else { panic!("no snapshot") };
                if condition(&snapshot) {
                    return snapshot;
                }
                last = Some(snapshot);
            }
        };
        let found = runtime.block_on(async { tokio::time::timeout(LIMIT, watching).await });
        found.unwrap_or_else(|_| panic!("{}: never {what}; last {last:#?}\n{}", self.name, self.log()))
    }

    /// The runtime folders of its sessions.
    pub fn folders(&self) -> Vec<PathBuf> {
        let Ok(folders) = std::fs::read_dir(self.path("run/roam/sessions")) else { return vec![] };
        folders.map(|folder| folder.unwrap().path()).collect()
    }

    /// Waits until a file has another content.
    pub fn until_other(&self, file: &Path, before: &str) {
        let start = std::time::Instant::now();
        while std::fs::read_to_string(file).is_ok_and(|now| now == before || now.is_empty()) {
            assert!(start.elapsed() < LIMIT, "{}: {} stayed\n{}", self.name, file.display(), self.log());
            std::thread::yield_now();
        }
    }

    /// Waits until the agent's log has these words so often.
    pub fn until_logged(&self, words: &str, times: usize) {
        let start = std::time::Instant::now();
        while self.log().matches(words).count() < times {
            assert!(start.elapsed() < LIMIT, "{}: never {words} {times} times\n{}", self.name, self.log());
            std::thread::yield_now();
        }
    }

    /// Waits until nothing of any session is left.
    pub fn until_empty(&self) {
        let start = std::time::Instant::now();
        while !self.folders().is_empty() {
            assert!(start.elapsed() < LIMIT, "{}: {:?} stayed\n{}", self.name, self.folders(), self.log());
            std::thread::yield_now();
        }
    }

    /// Waits until a file has so many lines; returns it.
    pub fn until_lines(&self, file: &str, lines: usize) -> String {
        let start = std::time::Instant::now();
        loop {
            let text = std::fs::read_to_string(self.path(file)).unwrap_or_default();
            if text.lines().count() >= lines {
                return text;
            }
            assert!(
                start.elapsed() < LIMIT,
                "{}: {file} never had {lines} lines: {text}\n{}",
                self.name,
                self.log()
            );
            std::thread::yield_now();
        }
    }
}

trait SpawnAs {
    fn spawn_as(&mut self, machine: &Machine, arguments: &[&str]) -> Child;
}

impl SpawnAs for Command {
    /// `roam` under a time limit.
    fn spawn_as(&mut self, machine: &Machine, arguments: &[&str]) -> Child {
        let mut command = Command::new("timeout");
        command
            .args(["-s".into(), "KILL".into(), "40".into(), machine.path("bin/roam")])
            .args(arguments)
            .env_clear();
        for (name, value) in self.get_envs() {
            command.env(name, value.unwrap());
        }
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }
}

/// Ends a process by the id in a file.
pub fn kill_by_file(file: &Path) {
    if let Ok(pid) = std::fs::read_to_string(file) {
        let _ = Command::new("kill").args(["-9", pid.trim()]).stderr(Stdio::null()).status();
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Some(mut agent) = self.agent.take() {
            let _ = agent.kill();
            let _ = agent.wait();
        }
        for folder in self.folders() {
            kill_by_file(&folder.join("keeper.pid"));
            kill_by_file(&folder.join("init.pid"));
        }
    }
}

/// Pairs `asking` with `asked`, by the address of the latter.
pub fn pair(asking: &Machine, asked: &Machine) {
    let address = asked.address();
    asking.ok(&["pair", &address]);
    let code = asked.until("a code", |s| s.pairing_code.is_some()).pairing_code.unwrap();
    assert_eq!(code.1, asking.name);
    asking.ok(&["pair", &address, "--code", &code.0]);
    for (one, other) in [(asking, asked), (asked, asking)] {
        one.until("paired", |s| s.machines.iter().any(|m| m.name == other.name && m.paired && m.online));
    }
}
