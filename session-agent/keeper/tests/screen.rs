//! A session with a screen: X server, bus and window manager in the pod, reachable only with the cookie.

mod common;

use common::keeper::{Running, identity, spec};
use common::{Folders, as_ordinary_user};
use roam_api::error::Outcome;
use roam_api::keeper::{Answer, Request};

#[test]
fn programs_find_a_display_and_a_bus_of_their_own() {
    as_ordinary_user("programs_find_a_display_and_a_bus_of_their_own", || {
        let folders = Folders::new();
        let keeper = Running::start(&folders);
        let mut program = spec(
            &folders,
            "echo $DISPLAY $GDK_BACKEND $QT_QPA_PLATFORM; ls /tmp/.X11-unix; \
             dbus-send --session --print-reply --dest=org.freedesktop.DBus / org.freedesktop.DBus.GetId \
             | grep -c string; [ -s $XAUTHORITY ] && stat -c %a $XAUTHORITY; cat /proc/[0-9]*/comm | sort -u",
        );
        program.screen = true;
        program.env.insert(b"WAYLAND_DISPLAY".to_vec(), b"wayland-0".to_vec());
        match keeper.ask(&Request::Start { identity: identity(), spec: program }) {
            Ok(_) => {}
            // Only the window manager, which is another crate's program, may be missing beside the keeper.
            Err(failure) if failure.outcome == Outcome::Refused && failure.sentence.contains("roam-wm") => {
                panic!("build roam-wm first: cargo build -p roam-x11-proxy --bin roam-wm")
            }
            Err(failure) => panic!("{failure}"),
        }
        assert_eq!(keeper.ask(&Request::Wait), Ok(Answer::Ended { status: 0 }));
        let ([out, err], _) = keeper.output(&Request::Log { follow: true });
        assert!(out.starts_with(":0 x11 xcb\nX0\n1\n600\n"), "{out}{err}");
        for name in ["dbus-daemon", "roam-init", "roam-wm"] {
            assert!(out.lines().any(|line| line == name), "{name}: {out}");
        }
        keeper.ask(&Request::Stop).unwrap();
        keeper.wait();
    });
}
