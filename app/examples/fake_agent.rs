//! For pictures and for trying the app's looks: an agent that only tells a scene.
//! `fake_agent SOCKET SCENE`; further scene names on stdin change it.

#[path = "../tests/support/mod.rs"]
mod support;

use std::sync::Arc;

use support::{FakeAgent, scenes};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [socket, scene] = arguments.as_slice() else { panic!("fake_agent SOCKET SCENE") };
    let first = scenes::by_name(scene).expect("a known scene");
    let agent = FakeAgent::start(socket.as_ref(), first, Arc::new(scenes::willing));
    for line in std::io::stdin().lines().map_while(Result::ok) {
        match scenes::by_name(line.trim()) {
            Some(scene) => agent.tell(scene),
            None => eprintln!("no scene is called {line}"),
        }
    }
}
