//! A pod as an ordinary user makes it: what is in it, what is not, and who it outlives.

mod common;

use std::io::Read;
use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;

use common::{Folders, as_ordinary_user, bytes};
use roam_api::init::{Clocks, PodSpec, Request, Role};
use roam_keeper::pod::handle::Pod;

fn spec(folders: &Folders) -> PodSpec {
    let mount_point = folders.path("session/root");
    std::fs::create_dir_all(&mount_point).unwrap();
    PodSpec {
        uid: nix::unistd::getuid().as_raw(),
        gid: nix::unistd::getgid().as_raw(),
        hostname: "a-pod".into(),
        mount_point: bytes(&mount_point),
        home: bytes(&folders.path("home")),
        runtime_dir: b"/run/user/77".to_vec(),
        clocks: Clocks { monotonic_ns: 86_400_000_000_000, boottime_ns: 86_400_500_000_000 },
    }
}

fn create(folders: &Folders) -> Pod {
    Pod::create(Path::new(env!("CARGO_BIN_EXE_roam-init")), &folders.path("session"), &spec(folders)).unwrap()
}

fn shell(pod: &Pod, script: &str) -> String {
    let (mut out, input) = std::io::pipe().unwrap();
    let null = std::fs::File::open("/dev/null").unwrap();
    let request = Request::Start {
        role: Role::Exec,
        argv: ["/bin/sh", "-c", script].map(|s| s.as_bytes().to_vec()).to_vec(),
        env: vec![(b"PATH".to_vec(), b"/usr/bin:/bin".to_vec())],
        cwd: b"/".to_vec(),
        umask: 0o022,
    };
    let input = OwnedFd::from(input);
    pod.client().start(&request, &[null.as_fd(), input.as_fd(), input.as_fd()]).unwrap();
    drop(input);
    let mut text = String::new();
    out.read_to_string(&mut text).unwrap();
    text
}

#[test]
fn a_pod_holds_what_it_should_and_nothing_else() {
    as_ordinary_user("a_pod_holds_what_it_should_and_nothing_else", || {
        let folders = Folders::new();
        std::fs::write(folders.path("home/note"), "mine").unwrap();
        let mut pod = create(&folders);
        pod.live().unwrap();

        let caps = shell(&pod, "grep ^Cap /proc/self/status");
        for line in caps.lines().filter(|l| !l.starts_with("CapBnd")) {
            assert!(line.ends_with("\t0000000000000000"), "{caps}");
        }
        assert_eq!(caps.lines().count(), 5);
        assert_eq!(shell(&pod, "grep -E '^(NoNewPrivs|Seccomp):' /proc/self/status | cut -f2"), "1\n2\n");
        assert_eq!(shell(&pod, "id -u; uname -n"), format!("{}\na-pod\n", nix::unistd::getuid()));
        let home = folders.path("home");
        assert_eq!(shell(&pod, &format!("cat {0}/note; echo new >{0}/other", home.display())), "mine");
        assert_eq!(std::fs::read_to_string(folders.path("home/other")).unwrap(), "new\n");
        assert_eq!(
            shell(&pod, "ls -A /dev | tr '\\n' ' '"),
            "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero "
        );
        assert_eq!(
            shell(&pod, "ls -A /tmp /run/user/77 /dev/shm"),
            "/dev/shm:\n\n/run/user/77:\n\n/tmp:\n.ICE-unix\n.X11-unix\n"
        );
        assert_eq!(shell(&pod, "echo x >/tmp/x && echo x >/dev/null && stat -c %a /run/user/77"), "700\n");
        assert_eq!(shell(&pod, "echo x 2>&1 >/x").lines().count(), 1, "the root is read-only");
        assert_eq!(shell(&pod, "cat /sys/class/net/*/operstate /proc/net/dev | grep -c :"), "1\n");
        assert_eq!(
            shell(&pod, "cat /proc/1/comm"),
            "roam-init
"
        );
        // Those of this test that are just ending, and none of the machine's.
        let visible: usize = shell(&pod, "ls -d /proc/[0-9]* | wc -l").trim().parse().unwrap();
        assert!(visible < 12, "{visible} processes");
        let uptime: f64 = shell(&pod, "cut -d' ' -f1 /proc/uptime").trim().parse().unwrap();
        let outside: f64 =
            std::fs::read_to_string("/proc/uptime").unwrap().split(' ').next().unwrap().parse().unwrap();
        assert!((86_399.0..86_500.0).contains(&(uptime - outside)), "{uptime} {outside}");
        let fds = shell(&pod, "ls /proc/self/fd | tr '\\n' ' '");
        assert_eq!(fds, "0 1 2 3 ", "nothing leaks into programs");

        let init = roam_checkpoint::pod::Pod::init(&pod);
        pod.end().unwrap();
        let stat = std::fs::read_to_string(format!("/proc/{init}/stat")).unwrap_or_default();
        assert!(stat.is_empty() || stat.contains(") Z "), "nothing is left: {stat}");
    });
}

#[test]
fn a_pod_ends_with_its_maker_until_it_is_live() {
    as_ordinary_user("a_pod_ends_with_its_maker_until_it_is_live", || {
        let folders = Folders::new();
        let pod = create(&folders);
        let init = roam_checkpoint::pod::Pod::init(&pod);
        let watch = roam_sys::spawn::pidfd_open(init).unwrap();
        drop(pod);
        assert!(ended(&watch), "the guard did not work");

        let mut pod = create(&folders);
        pod.live().unwrap();
        let kept = std::io::pipe().unwrap();
        pod.client().ok(&Request::Keep { name: "pipe".into() }, &[kept.0.as_fd()]).unwrap();
        drop(pod);
        let pod = Pod::find(&folders.path("session")).unwrap().unwrap();
        assert_eq!(pod.client().state().unwrap().kept, ["filters", "filters-book", "pipe"]);
        nix::unistd::write(&kept.1, b"still here").unwrap();
        drop(kept);
        let back = pod.client().descriptor(&Request::Fetch { name: "pipe".into() }).unwrap();
        let mut text = String::new();
        std::io::PipeReader::from(back).read_to_string(&mut text).unwrap();
        assert_eq!(text, "still here");
        pod.end().unwrap();
    });
}

#[test]
fn a_stub_keeps_the_capabilities() {
    as_ordinary_user("a_stub_keeps_the_capabilities", || {
        use roam_checkpoint::pod::Pod as _;
        let folders = Folders::new();
        let pod = create(&folders);
        let stub = pod.spawn_stub().unwrap();
        let status = std::fs::read_to_string(format!("/proc/{stub}/status")).unwrap();
        let effective = status.lines().find(|l| l.starts_with("CapEff")).unwrap();
        assert!(!effective.ends_with("\t0000000000000000"), "{effective}");
        assert_eq!(std::fs::read_dir(format!("/proc/{stub}/fd")).unwrap().count(), 0);
        pod.end().unwrap();
    });
}

/// Its keeper may be killed before it has traced it.
#[test]
fn a_stub_ends_with_whom_it_was_started_for() {
    as_ordinary_user("a_stub_ends_with_whom_it_was_started_for", || {
        let folders = Folders::new();
        let pod = create(&folders);
        let image = roam_sys::spawn::memory_file(c"roam-stub", &roam_sys::stub::elf_image()).unwrap();
        let other = pod.connect().unwrap();
        let (_, stub) = other.start(&Request::Stub, &[image.as_fd()]).unwrap();
        drop(other);
        assert!(ended(&stub));
        pod.end().unwrap();
    });
}

#[test]
fn a_pod_that_can_not_be_made_leaves_nothing() {
    as_ordinary_user("a_pod_that_can_not_be_made_leaves_nothing", || {
        let folders = Folders::new();
        let mut bad = spec(&folders);
        bad.mount_point = b"/no/such/folder".to_vec();
        let error = Pod::create(Path::new(env!("CARGO_BIN_EXE_roam-init")), &folders.path("session"), &bad)
            .err()
            .unwrap()
            .to_string();
        assert!(error.contains("mounting /no/such/folder"), "{error}");
        assert!(!folders.path("session/init.sock").exists());
    });
}

fn ended(pidfd: &OwnedFd) -> bool {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    poll(&mut [PollFd::new(pidfd.as_fd(), PollFlags::POLLIN)], PollTimeout::from(10_000u16)).unwrap() == 1
}
