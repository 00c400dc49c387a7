//! The apps: how each is started, what is typed, and how it shows that it has answered.

use crate::desktop::Key::{self, Click, Named, Text};

/// How an app shows that it has answered. In texts, `#` stands for the move's number.
#[derive(Debug, Clone, Copy)]
pub enum Proof {
    /// The file of its name in HOME's `apps` begins with the first, and each move so far has added the second.
    File(&'static str, &'static str),
    /// This shell command is at work during the first move, and prints what it prints undisturbed.
    Job(&'static str),
    /// The picture has changed.
    Picture,
    /// The picture changes by itself.
    Moving,
}

/// One app on the road.
#[derive(Debug, Clone, Copy)]
pub struct App {
    /// The session's name.
    pub name: &'static str,
    /// How it is started, in HOME.
    pub command: &'static [&'static str],
    /// What the title of the window that takes keys begins with, as a regular expression.
    pub title: &'static str,
    /// Pressed once, on desk.
    pub before: &'static [Key<'static>],
    /// Pressed before each move.
    pub held: &'static [Key<'static>],
    /// The title of a window that must look the same at the target: an open menu.
    pub open: Option<&'static str>,
    /// Pressed after each move.
    pub after: &'static [Key<'static>],
    /// How it shows that it has answered.
    pub proof: Proof,
}

const RETURN: Key<'static> = Named("Return");

const APP: App = App {
    name: "",
    command: &[],
    title: "",
    before: &[],
    held: &[],
    open: None,
    after: &[],
    proof: Proof::Moving,
};

/// All of them.
pub const APPS: &[App] = &[
    App {
        name: "bash",
        command: &["xterm"],
        before: &[Text("X=held"), RETURN],
        after: &[Text("echo $X # >>apps/bash"), RETURN],
        proof: Proof::File("", "held #\n"),
        ..APP
    },
    App {
        name: "vim",
        command: &["xterm", "-e", "vim.tiny", "-u", "NONE", "-c", "set title titlestring=ready"],
        title: "^ready",
        before: &[Text("iunsaved text"), Named("Escape")],
        after: &[Text("A #"), Named("Escape"), Text(":w! apps/vim"), RETURN],
        proof: Proof::File("unsaved text", " #"),
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
        name: "mousepad",
        command: &["mousepad", "apps/mousepad"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "menu-keys",
        command: &["mousepad", "apps/menu-keys"],
        before: &[Text("unsaved")],
        held: &[Text(" #"), Named("alt+f")],
        open: Some("^Mousepad"),
        // Save: in the open menu its letter chooses it.
        after: &[Text("s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "menu-mouse",
        command: &["mousepad", "apps/menu-mouse"],
        before: &[Text("unsaved")],
        held: &[Text(" #"), Named("alt+f")],
        open: Some("^Mousepad"),
        // Save, in the middle of the menu.
        after: &[Click("^Mousepad", 60, 139)],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "featherpad",
        command: &["featherpad", "apps/featherpad"],
        before: &[Text("unsaved")],
        // At saving it ends the text with a new line, in the editor as well, and the cursor stays last.
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #\n"),
        ..APP
    },
    App {
        name: "gnome-text-editor",
        command: &["gnome-text-editor", "-s", "apps/gnome-text-editor"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "emacs",
        command: &["emacs", "-Q", "apps/emacs"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+x"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "two-processes",
        command: &["python3", "apps/two-processes.py", "apps/two-processes"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "nano",
        command: &["xterm", "-e", "nano", "apps/nano"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+o"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "geany",
        command: &["geany", "-i", "apps/geany"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
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
        name: "node",
        command: &["xterm", "-e", "node"],
        before: &[Text("x = 41"), RETURN],
        after: &[Text("fs.appendFileSync('apps/node', `${x + 1} #\\n`)"), RETURN],
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
        name: "pcmanfm",
        command: &["pcmanfm", "."],
        // Hidden files are shown, and not.
        after: &[Named("ctrl+h")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        // Gimp and its interpreter speak through pipes; pixels go through System V shared memory, which the
        // process that writes the picture attaches anew each time.
        name: "gimp",
        command: &["gimp", "-sfd", "-b", "(plug-in-script-fu-console RUN-INTERACTIVE)"],
        title: "Script-Fu",
        before: &[
            Text("(define i (car (gimp-image-new 99 99 0)))"),
            RETURN,
            Text("(define l (car (gimp-layer-new i 99 99 0 \"unsaved\" 100 0)))"),
            RETURN,
            Text("(gimp-image-insert-layer i l 0 0)"),
            RETURN,
        ],
        after: &[
            Text("(gimp-item-set-name l (string-append (car (gimp-item-get-name l)) \" #\"))"),
            RETURN,
            Text("(begin (file-png-save 1 i l \"apps/gimp.png\" \"\" 0 9 0 0 0 0 0)"),
            Text("(let ((p (open-output-file \"apps/gimp\")))"),
            Text("(display (car (gimp-item-get-name l)) p) (close-output-port p)))"),
            RETURN,
        ],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "swing",
        command: &["java", "apps/Swing.java", "apps/swing"],
        title: "^Swing",
        before: &[Text("unsaved")],
        after: &[Text(" #"), Named("ctrl+s")],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        name: "make",
        command: &["xterm"],
        proof: Proof::Job("make -j4 -sC $SOURCES OUT=/tmp/made && sha256sum /tmp/made/*"),
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
    App {
        name: "xcalc",
        command: &["xcalc"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "galculator",
        command: &["galculator"],
        before: &[Text("12+")],
        after: &[Text("3+")],
        proof: Proof::Picture,
        ..APP
    },
    App { name: "glxgears", command: &["glxgears"], ..APP },
];
