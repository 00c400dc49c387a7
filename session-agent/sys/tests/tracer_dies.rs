//! A tracer that is killed at any moment of an injection harms nobody: the program that it injected into
//! goes on with every register, its signal mask and its system calls as they were.
//!
//! Victim and tracer are this same test program, started again with a variable that says what to be.

use std::io::{BufRead, BufReader, Read, Write};
use std::process::{Child, ChildStdout, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use roam_sys::batch::Batch;
use roam_sys::borrowed::Borrowed;
use roam_sys::procfs;
use roam_sys::ptrace::{FOLLOW, Stop, Tracee};

const VICTIM: &str = "ROAM_TEST_VICTIM";
const TRACER: &str = "ROAM_TEST_TRACER";
const KILLS: u32 = 400;

fn again(test: &str, variable: &str, value: &str) -> (Child, BufReader<ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", test, "--nocapture", "--test-threads=1"])
        .env(variable, value)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let out = BufReader::new(child.stdout.take().unwrap());
    (child, out)
}

#[test]
fn a_program_outlives_its_tracer() {
    let (mut victim, mut alive) = again("victim", VICTIM, "1");
    // What the test harness says comes first.
    let mut line = String::new();
    while line != "victim\n" {
        line.clear();
        assert_ne!(alive.read_line(&mut line).unwrap(), 0, "the victim did not start");
    }
    for round in 0..KILLS {
        let (mut tracer, mut out) = again("tracer", TRACER, &victim.id().to_string());
        line.clear();
        while line != "tracer\n" {
            line.clear();
            assert_ne!(out.read_line(&mut line).unwrap(), 0, "the tracer did not start");
        }
        let until = Instant::now() + Duration::from_micros(u64::from(round * 7919 % 3000));
        while Instant::now() < until {
            std::hint::spin_loop();
        }
        tracer.kill().unwrap();
        let ended = tracer.wait().unwrap();
        assert_eq!(ended.code(), None, "the tracer ended by itself");
        // What it said before may still be in the pipe, which holds less than this.
        let mut beats = vec![0; (64 << 10) + 3];
        if let Err(error) = alive.read_exact(&mut beats) {
            panic!("after {round} kills the victim is gone ({error}): {:?}", victim.wait());
        }
    }
    victim.kill().unwrap();
    victim.wait().unwrap();
}

/// Borrows all threads of the victim again and again, as a capture does.
#[test]
fn tracer() {
    let Ok(pid) = std::env::var(TRACER) else { return };
    let pid: i32 = pid.parse().unwrap();
    println!("\ntracer");
    loop {
        let threads: Vec<Tracee> = procfs::threads(pid)
            .unwrap()
            .into_iter()
            .map(|tid| Tracee::seize(tid, FOLLOW).unwrap())
            .collect();
        for thread in &threads {
            thread.interrupt().unwrap();
            while !matches!(thread.wait().unwrap(), Stop::Event { .. }) {
                thread.resume(0).unwrap();
            }
        }
        let leader = Borrowed::take(threads[0], pid).unwrap();
        let area = leader.install(1 << 16).unwrap();
        let mut batch = Batch::new();
        let ends = batch.room(8);
        for _ in 0..20 {
            batch.must("getppid", libc::SYS_getppid, &[]);
            batch.may("failing", libc::SYS_rt_sigpending, &[1.into(), 1.into()]);
        }
        batch.must("rt_sigpending", libc::SYS_rt_sigpending, &[ends.into(), 8.into()]);
        leader.run(area, &batch).unwrap();
        for thread in &threads[1..] {
            let other = Borrowed::take_beside(*thread, pid, area).unwrap();
            other.run(area, &batch).unwrap();
            other.give_back().unwrap();
        }
        let fd = leader.call(libc::SYS_eventfd2, [0; 6], Some(libc::SYS_close)).unwrap();
        leader.call(libc::SYS_close, [fd as u64, 0, 0, 0, 0, 0], None).unwrap();
        leader.remove(area).unwrap();
        leader.give_back().unwrap();
        for thread in threads {
            thread.detach(0).unwrap();
        }
    }
}

static TURNS: AtomicU64 = AtomicU64::new(0);

/// Looks at itself for ever and ends once something is not as it was.
#[test]
fn victim() {
    if std::env::var(VICTIM).is_err() {
        return;
    }
    // SAFETY: integers; lets any process of the user trace this one.
    unsafe { libc::prctl(libc::PR_SET_PTRACER, libc::PR_SET_PTRACER_ANY, 0, 0, 0) };
    std::thread::spawn(|| {
        while registers_hold() {
            TURNS.fetch_add(1, Ordering::Relaxed);
        }
        std::process::exit(3);
    });
    std::thread::spawn(|| {
        in_32_bit_code();
        std::process::exit(5);
    });
    let descriptors = || std::fs::read_dir("/proc/self/fd").unwrap().count();
    let (before, mut last) = (mask(), 0);
    let mut out = std::io::stdout();
    out.write_all(b"\nvictim\n").unwrap();
    out.flush().unwrap();
    let open = descriptors();
    loop {
        // SAFETY: no descriptor is waited for, so no memory is touched.
        let polled = unsafe { libc::poll(std::ptr::null_mut(), 0, 1) };
        let slept = nix::time::clock_nanosleep(
            nix::time::ClockId::CLOCK_MONOTONIC,
            nix::time::ClockNanosleepFlags::empty(),
            &Duration::from_micros(50).into(),
        );
        let turns = TURNS.load(Ordering::Relaxed);
        // A tracer that dies between two calls leaves what the first has made, which harms nobody.
        let kept = (open..=open + KILLS as usize).contains(&descriptors());
        let well = polled == 0 && slept.is_ok() && mask() == before && kept;
        // A closed pipe is the end of the test.
        if !well || out.write_all(&[b'.'; 4 << 10]).and_then(|()| out.flush()).is_err() {
            eprintln!("poll {polled}, sleep {slept:?}, mask {:x}, {} descriptors", mask(), descriptors());
            std::process::exit(4);
        }
        assert!(turns >= last);
        last = turns;
    }
}

/// Goes on in 32-bit code, as Wine does, and returns once a register is not as it was.
fn in_32_bit_code() {
    const MARK: u32 = 0x1234_5678;
    let rights = libc::PROT_READ | libc::PROT_WRITE | libc::PROT_EXEC;
    let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_32BIT;
    // SAFETY: a mapping of its own.
    let page = unsafe { libc::mmap(std::ptr::null_mut(), 4096, rights, flags, -1, 0) };
    assert_ne!(page, libc::MAP_FAILED);
    let here = page as u32;
    // Before the code: a counter, and where the stack is kept.
    let (counter, stack, entry) = (here.to_le_bytes(), (here + 8).to_le_bytes(), here + 16);
    let far = |code: &[u8], to: usize| (entry + (code.len() + to) as u32).to_le_bytes();
    let mark = MARK.to_le_bytes();
    let mut code = vec![0x53, 0x48, 0x89, 0x24, 0x25]; // push rbx; mov [stack], rsp
    code.extend(stack);
    code.extend([0xb8, 0x2b, 0, 0, 0, 0x8e, 0xd8, 0xbb]); // mov eax, USER_DS; mov ds, eax; mov ebx, MARK
    code.extend(mark);
    code.extend([0x6a, 0x23, 0x68]); // push USER32_CS; push the address behind lretq
    code.extend(far(&code, 6));
    code.extend([0x48, 0xcb, 0xff, 0x05]); // lretq; inc [counter]
    code.extend(counter);
    code.extend([0x81, 0xfb]); // cmp ebx, MARK
    code.extend(mark);
    code.extend([0x74, 0xf2, 0xea]); // je back to inc; ljmp USER_CS:behind
    code.extend(far(&code, 6));
    code.extend([0x33, 0, 0x48, 0x8b, 0x24, 0x25]); // mov rsp, [stack]
    code.extend(stack);
    code.extend([0x5b, 0xc3]); // pop rbx; ret
    // SAFETY: the page is this function's, and the code keeps to the calling convention.
    unsafe {
        let to = page.cast::<u8>().add(16);
        std::ptr::copy_nonoverlapping(code.as_ptr(), to, code.len());
        std::mem::transmute::<*mut u8, extern "C" fn()>(to)();
    }
}

fn mask() -> u64 {
    let mut set = 0u64;
    // SAFETY: room for the 8 bytes that are asked for.
    let got = unsafe {
        libc::syscall(libc::SYS_rt_sigprocmask, libc::SIG_BLOCK, std::ptr::null::<u64>(), &raw mut set, 8)
    };
    assert_eq!(got, 0);
    set
}

/// Fills every register that can be, counts for a while without touching the flags, and compares.
fn registers_hold() -> bool {
    let wrong: u64;
    // SAFETY: all registers that are written are named or put back; the stack is balanced.
    unsafe {
        std::arch::asm!(
            "push rbx",
            "push rbp",
            "mov rbx, 1001", "mov rbp, 1002", "mov rdx, 1003", "mov rsi, 1004", "mov rdi, 1005",
            "mov r8, 1008", "mov r9, 1009", "mov r10, 1010", "mov r11, 1011", "mov r12, 1012",
            "mov r13, 1013", "mov r14, 1014", "mov r15, 1015", "mov rax, 1016",
            "movq xmm7, r15",
            "mov rcx, 3000",
            "stc",
            "2: loop 2b",
            "mov rcx, 0",
            "jc 3f",
            "mov rcx, 1",
            "3: cmp rbx, 1001", "jne 4f",
            "cmp rbp, 1002", "jne 4f",
            "cmp rdx, 1003", "jne 4f",
            "cmp rsi, 1004", "jne 4f",
            "cmp rdi, 1005", "jne 4f",
            "cmp r8, 1008", "jne 4f",
            "cmp r9, 1009", "jne 4f",
            "cmp r10, 1010", "jne 4f",
            "cmp r11, 1011", "jne 4f",
            "cmp r12, 1012", "jne 4f",
            "cmp r13, 1013", "jne 4f",
            "cmp r14, 1014", "jne 4f",
            "cmp r15, 1015", "jne 4f",
            "cmp rax, 1016", "jne 4f",
            "movq rax, xmm7",
            "cmp rax, 1015", "je 5f",
            "4: mov rcx, 1",
            "5: pop rbp",
            "pop rbx",
            out("rcx") wrong,
            out("rax") _, out("rdx") _, out("rsi") _, out("rdi") _, out("r8") _, out("r9") _, out("r10") _,
            out("r11") _, out("r12") _, out("r13") _, out("r14") _, out("r15") _, out("xmm7") _,
        );
    }
    wrong == 0
}
