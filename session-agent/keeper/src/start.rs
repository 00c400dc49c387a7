//! Starting a session: a pod, what belongs to it, and the program.
//!
//! Refused before anything is made: root, a working directory that the pod does not have, and programs that can't
//! live in one ([`adoption`]).

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::io;
use std::os::fd::AsFd;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::Arc;

use roam_api::error::Failure;
use roam_api::init::{Clocks, PodSpec, Request, Role};
use roam_api::keeper::{Answer, Identity};
use roam_api::session::{SessionSpec, SessionState};

use crate::adoption;
use crate::journal::{Entry, Facts};
use crate::keeper::{Keeper, Phase, failed};
use crate::live::Output;
use crate::paths::companion;
use crate::pod::handle::Pod;
use crate::pod::mounts;

/// Variables that lead outside the pod, where nothing of the session may reach.
const OUTSIDE: [&[u8]; 8] = [
    b"DISPLAY",
    b"XAUTHORITY",
    b"WAYLAND_DISPLAY",
    b"WAYLAND_SOCKET",
    b"DBUS_SESSION_BUS_ADDRESS",
    b"SESSION_MANAGER",
    b"SSH_AUTH_SOCK",
    b"GPG_AGENT_INFO",
];

impl Keeper {
    /// Makes a pod and starts the program in it.
    ///
    /// # Errors
    /// What kept it from starting; nothing is left then.
    pub async fn start(self: &Arc<Self>, identity: Identity, spec: SessionSpec) -> Result<Answer, Failure> {
        let Ok(_turn) = self.turn.try_lock() else {
            return Err(Failure::wrong_use("This keeper has a session already."));
        };
        if !matches!(self.phase(), Phase::Empty) {
            return Err(Failure::wrong_use("This keeper has a session already."));
        }
        let facts = facts_of(&spec)?;
        check(&spec, &facts)?;
        self.set(Phase::Away {
            identity: identity.clone(),
            spec: Box::new(spec.clone()),
            facts: Box::new(facts.clone()),
            state: SessionState::Starting,
        });
        let result = self.start_inner(identity, spec, facts).await;
        if result.is_err() {
            self.set(Phase::Empty);
        }
        result
    }

    async fn start_inner(
        self: &Arc<Self>,
        identity: Identity,
        spec: SessionSpec,
        facts: Facts,
    ) -> Result<Answer, Failure> {
        let mut pod = tokio::task::block_in_place(|| self.make_pod_now(&facts, Clocks::default()))?;
        let facts = if spec.screen {
            tokio::task::block_in_place(|| crate::screen::start(&pod, facts))?
        } else {
            facts
        };
        let output = Output::make(&pod).map_err(|e| failed("Making the program's output pipes", &e))?;
        let null = pod.null().map_err(|e| failed("Opening /dev/null", &e))?;
        let request = Request::Start {
            role: Role::Main,
            argv: spec.argv.clone(),
            env: facts.env.clone(),
            cwd: spec.cwd.clone(),
            umask: spec.umask,
        };
        let [out, err] = &output.writers[..] else {
            return Err(Failure::undone("There are no output pipes."));
        };
        pod.client()
            .start(&request, &[null.as_fd(), out.as_fd(), err.as_fd()])
            .map_err(|e| not_started(&spec, &e))?;
        // Recorded before it is made to outlive us: a pod that nobody knows of must not stay.
        let entry = Entry::Running {
            identity: identity.clone(),
            spec: Box::new(spec.clone()),
            facts: Box::new(facts.clone()),
        };
        self.write(identity.generation, entry)?;
        pod.live().map_err(|e| failed("Starting the session", &e))?;
        self.keep(identity, spec, facts, pod, output);
        Ok(Answer::Ok)
    }

    /// Makes a pod for a session with these facts; it ends with its value until it is made live. Blocks.
    ///
    /// # Errors
    /// What did not work.
    pub fn make_pod_now(&self, facts: &Facts, clocks: Clocks) -> Result<Pod, Failure> {
        let mount_point = self.dirs.mount_point().map_err(|e| failed("Making the session's folder", &e))?;
        let pod_spec = PodSpec {
            uid: facts.uid,
            gid: facts.gid,
            hostname: facts.hostname.clone(),
            mount_point: mount_point.as_os_str().as_bytes().to_vec(),
            home: facts.home.clone(),
            runtime_dir: facts.runtime_dir.clone(),
            clocks,
        };
        let program = companion("roam-init").map_err(|e| Failure::refused(format!("{e}.")))?;
        Pod::create(&program, &self.dirs.runtime, &pod_spec).map_err(|e| {
            Failure::refused(format!("{e}.")).next("`roam doctor` says what this machine lacks.")
        })
    }
}

/// What is to be known of a session that starts here.
fn facts_of(spec: &SessionSpec) -> Result<Facts, Failure> {
    let uid = nix::unistd::getuid();
    if uid.is_root() {
        return Err(Failure::refused("Roam does not run sessions as root.")
            .next("Start it as an ordinary user; it needs no privileges."));
    }
    let hostname = nix::unistd::gethostname()
        .map_err(|e| failed("Reading the host name", &io::Error::from(e)))?
        .to_string_lossy()
        .into_owned();
    let home = spec.env.get(b"HOME".as_slice()).cloned().unwrap_or_else(|| b"/".to_vec());
    let runtime_dir = spec
        .env
        .get(b"XDG_RUNTIME_DIR".as_slice())
        .filter(|dir| dir.starts_with(b"/"))
        .cloned()
        .unwrap_or_else(|| format!("/run/user/{uid}").into_bytes());
    let mut env: BTreeMap<Vec<u8>, Vec<u8>> = spec.env.clone();
    env.retain(|name, _| !OUTSIDE.contains(&name.as_slice()));
    env.insert(b"XDG_RUNTIME_DIR".to_vec(), runtime_dir.clone());
    if spec.screen {
        env.insert(b"GDK_BACKEND".to_vec(), b"x11".to_vec());
        env.insert(b"QT_QPA_PLATFORM".to_vec(), b"xcb".to_vec());
        env.insert(b"SDL_VIDEODRIVER".to_vec(), b"x11".to_vec());
        env.insert(b"XDG_SESSION_TYPE".to_vec(), b"x11".to_vec());
        env.insert(b"LIBGL_ALWAYS_SOFTWARE".to_vec(), b"1".to_vec());
    }
    let started = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Ok(Facts {
        uid: uid.as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        hostname,
        home,
        runtime_dir,
        env: env.into_iter().collect(),
        cookie: None,
        started_unix: started.as_secs(),
    })
}

/// Refuses what would fail anyway, with words that help.
fn check(spec: &SessionSpec, facts: &Facts) -> Result<(), Failure> {
    if spec.argv.first().is_none_or(|program| program.is_empty()) {
        return Err(Failure::wrong_use("No program was named."));
    }
    let cwd = Path::new(OsStr::from_bytes(&spec.cwd));
    let home = Path::new(OsStr::from_bytes(&facts.home));
    let in_home = home != Path::new("/") && cwd.starts_with(home);
    let private = mounts::is_private(cwd) && !mounts::PRIVATE.iter().any(|dir| cwd == Path::new(dir));
    if private && !in_home {
        return Err(Failure::refused(format!(
            "The working folder {} is not in the session: a session has {} to itself.",
            cwd.display(),
            mounts::PRIVATE.join(", ")
        ))
        .next("Start it from your home folder."));
    }
    if !cwd.is_dir() {
        return Err(Failure::wrong_use(format!("There is no folder {}.", cwd.display())));
    }
    let path = facts.env.iter().find(|(name, _)| name == b"PATH").map(|(_, path)| path.as_slice());
    if let Some(program) = adoption::find(&spec.argv[0], cwd, path) {
        adoption::check(&program, &spec.argv[1..], facts.uid, facts.gid)?;
    }
    if !spec.publish.is_empty() {
        return Err(Failure::refused(
            "Published ports are not supported yet: a session has no network but its own loopback.",
        )
        .next("Start it without --publish."));
    }
    Ok(())
}

fn not_started(spec: &SessionSpec, error: &io::Error) -> Failure {
    let program = String::from_utf8_lossy(&spec.argv[0]).into_owned();
    match error.kind() {
        io::ErrorKind::NotFound => Failure::wrong_use(format!("There is no program {program}.")),
        io::ErrorKind::PermissionDenied => Failure::wrong_use(format!("{program} can't be executed.")),
        _ => Failure::refused(format!("{program} could not be started: {error}.")),
    }
}
