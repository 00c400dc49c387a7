//! A viewer without windows, for the agent's tests: greets over its stream, notes what comes back
//! in `$ROAM_TEST_VIEWER`, and ends when the stream does.

use std::io::{Read, Write};
use std::os::fd::AsFd;

fn main() {
    let note = std::env::var_os("ROAM_TEST_VIEWER").expect("ROAM_TEST_VIEWER is not set");
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    assert_eq!(arguments[..2], ["--fd", "0"]);
    let descriptor = std::io::stdin().as_fd().try_clone_to_owned().unwrap();
    let mut stream = std::os::unix::net::UnixStream::from(descriptor);
    stream.write_all(b"ping!").unwrap();
    let mut answer = [0; 5];
    stream.read_exact(&mut answer).unwrap();
    let line =
        format!("{} {} {}\n", std::process::id(), arguments[2..].join(" "), String::from_utf8_lossy(&answer));
    let mut file = std::fs::OpenOptions::new().append(true).create(true).open(note).unwrap();
    file.write_all(line.as_bytes()).unwrap();
    let _ = stream.read(&mut [0]);
}
