//! What runs in a terminal: shells and their jobs, interpreters, databases, jobs at work.

use super::{APP, App, Proof, RETURN};
use crate::desktop::Key::{Named, Text};

pub(super) const APPS: &[App] = &[
    App {
        name: "bash",
        command: &["xterm"],
        before: &[Text("X=held"), RETURN],
        after: &[Text("echo $X # >>apps/bash"), RETURN],
        proof: Proof::File("", "held #\n"),
        ..APP
    },
    App {
        name: "zsh",
        command: &["xterm", "-e", "zsh", "-f"],
        before: &[Text("X=held; sleep 1000 &"), RETURN],
        // How many jobs it has in the background.
        after: &[Text("echo $X # ${(%):-%j} >>apps/zsh"), RETURN],
        proof: Proof::File("", "held # 1\n"),
        ..APP
    },
    App {
        name: "tmux",
        command: &["xterm", "-e", "tmux", "-f", "/dev/null"],
        before: &[Text("X=held"), RETURN, Named("ctrl+b"), Text("%"), Text("X=other"), RETURN],
        after: &[Text("echo $X # >>apps/tmux"), RETURN],
        proof: Proof::File("", "other #\n"),
        ..APP
    },
    App {
        name: "lxterminal",
        command: &["lxterminal"],
        before: &[Text("X=held"), RETURN],
        after: &[Text("echo $X # >>apps/lxterminal"), RETURN],
        proof: Proof::File("", "held #\n"),
        ..APP
    },
    App {
        name: "mc",
        command: &["xterm", "-e", "mc"],

        before: &[],
        after: &[Named("Down")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "python",
        command: &["xterm", "-e", "python3", "-q"],
        before: &[Text("x = 41"), RETURN],
        after: &[Text("with open('apps/python','a') as f: print(x + 1, #, file=f)"), RETURN, RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "node",
        command: &["xterm", "-e", "node"],
        before: &[Text("x = 41"), RETURN],
        after: &[Text("fs.appendFileSync('apps/node', `${x + 1} #\\n`)"), RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "lua",
        command: &["xterm", "-e", "lua5.4"],

        before: &[Text("x = 41"), RETURN],
        after: &[Text("f = io.open('apps/lua', 'a'); f:write(x + 1, ' #\\n'); f:close()"), RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "guile",
        command: &["xterm", "-e", "guile", "-q"],

        before: &[Text("(define x 41)"), RETURN],
        after: &[
            Text("(let ((p (open-file \"apps/guile\" \"a\"))) (format p \"~a #~%\" (+ x 1)) (close-port p))"),
            RETURN,
        ],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "ruby",
        command: &["xterm", "-e", "irb", "-f"],

        before: &[Text("x = 41"), RETURN],
        after: &[Text("File.write('apps/ruby', (x + 1).to_s + ' #' + 10.chr, mode: 'a')"), RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "r",
        command: &["xterm", "-e", "R", "--no-save", "-q"],

        before: &[Text("x <- 41"), RETURN],
        after: &[Text("cat(x + 1, '#\\n', file = 'apps/r', append = TRUE)"), RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "gnuplot",
        command: &["xterm", "-T", "prompt", "-e", "gnuplot"],
        title: "^prompt",
        before: &[Text("plot sin(x)"), RETURN, Text("x = 41"), RETURN],
        after: &[Text("set print 'apps/gnuplot' append; print x + 1, #; unset print"), RETURN],
        proof: Proof::File("", "42 #\n"),
        ..APP
    },
    App {
        name: "sqlite3",
        command: &["xterm", "-e", "sqlite3"],
        before: &[Text("create table t(x); begin; insert into t values('unsaved');"), RETURN],
        after: &[
            Text("insert into t values(' #');"),
            RETURN,
            Text(".once apps/sqlite3"),
            RETURN,
            Text("select group_concat(x, '') from t;"),
            RETURN,
        ],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "redis",
        command: &["xterm"],
        before: &[
            Text("redis-server --port 0 --unixsocket /tmp/redis --save '' >/dev/null &"),
            RETURN,
            Text("until redis-cli -s /tmp/redis set text unsaved; do :; done"),
            RETURN,
        ],
        after: &[
            Text("redis-cli -s /tmp/redis append text ' #'; redis-cli -s /tmp/redis get text >apps/redis"),
            RETURN,
        ],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        // In a transaction that is open all the way.
        name: "postgres",
        command: &["xterm"],
        before: &[
            Text("PATH=$PATH:/usr/lib/postgresql/15/bin; initdb -N -D /tmp/pg >/dev/null"),
            RETURN,
            Text(
                "pg_ctl -D /tmp/pg -l /tmp/pg.log -o '-k /tmp -h \"\"' -w start; psql -Atq -h /tmp postgres",
            ),
            RETURN,
            Text("begin; create temp table t(x text); insert into t values('unsaved');"),
            RETURN,
        ],
        after: &[
            Text("insert into t values(' #');"),
            RETURN,
            Text("\\o apps/postgres"),
            RETURN,
            Text("select string_agg(x, '') from t;"),
            RETURN,
            Text("\\o"),
            RETURN,
        ],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        // One connection all the way: the server says how many requests it has had.
        name: "nginx",
        command: &["xterm"],
        before: &[Text(". apps/nginx.sh"), RETURN],
        after: &[Text("ask apps/nginx"), RETURN],
        proof: Proof::File("", "request #\n"),
        ..APP
    },
    App {
        // Letters that are read and marked, none of which is in the file yet.
        name: "mutt",
        command: &[
            "sh",
            "-c",
            "for i in 1 2 3 4 5; do printf 'From a@b Thu Jan  1 00:00:0%d 1970\nFrom: a@b\nSubject: letter %d\n\nbody\n\n' \
             $i $i; done >/tmp/box; exec xterm -e mutt -n -F /dev/null -e 'set folder=/tmp' -f /tmp/box",
        ],
        after: &[Text("d")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "make",
        command: &["xterm"],
        proof: Proof::Job("make -j4 -sC $SOURCES OUT=/tmp/made && sha256sum /tmp/made/*"),
        ..APP
    },
    App {
        name: "rustc",
        command: &["xterm"],
        proof: Proof::Job(
            "for i in $(seq 6000); do echo \"pub fn f$i(x: u64) -> u64 { (x ^ $i).rotate_left($i % 64) * 7 + $i }\"; done >/tmp/f.rs; \
             /usr/bin/rustc -O --crate-type lib --emit asm -o /tmp/f.s /tmp/f.rs && sha256sum /tmp/f.s",
        ),
        ..APP
    },
    App {
        name: "ffmpeg",
        command: &["xterm"],
        proof: Proof::Job(
            "ffmpeg -loglevel error -f lavfi -i testsrc2=size=hd720:duration=60 -c:v libx264 -f md5 -",
        ),
        ..APP
    },
];
