//! An interrupt that comes while a thread is on its way into another stop is lost with that stop.

use std::process::{Child, Command, Stdio};

use roam_sys::ptrace::{EXITKILL, FOLLOW, Stop, Tracee};

struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        let _gone = self.0.kill();
        let _status = self.0.wait();
    }
}

#[test]
fn an_interrupt_is_asked_for_again_after_another_stop() {
    let mut command = Command::new("sh");
    let child =
        Killed(command.args(["-c", "while :; do umask; done"]).stdout(Stdio::null()).spawn().unwrap());
    let thread = Tracee::seize(child.0.id() as i32, FOLLOW | EXITKILL).unwrap();
    thread.interrupt().unwrap();
    thread.wait().unwrap();
    // Into a system call, at whose end the next stop is.
    thread.resume_to_syscall().unwrap();
    while thread.wait().unwrap() != Stop::Syscall {
        thread.resume_to_syscall().unwrap();
    }
    thread.interrupt().unwrap();
    thread.resume_to_syscall().unwrap();
    assert_eq!(thread.wait().unwrap(), Stop::Syscall);
    thread.resume_interrupted(0).unwrap();
    let stop = thread.wait().unwrap();
    assert!(matches!(stop, Stop::Event { event: libc::PTRACE_EVENT_STOP, .. }), "{stop:?}");
}
