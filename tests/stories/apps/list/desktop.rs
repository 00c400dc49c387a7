//! Programs with windows of their own.

use super::{APP, App, Proof, RETURN};
use crate::desktop::Key::{Named, Text};

/// Makes a minute's film with a tone and shows it, over and over.
macro_rules! film {
    () => {
        "ffmpeg -loglevel error -f lavfi -i testsrc2=size=qvga:duration=60 -f lavfi -i sine=duration=60 -c:v mpeg4 \
         /tmp/film.mkv && exec mpv --ao=null --vo=x11 --loop=inf --osd-level=0 --osc=no /tmp/film.mkv"
    };
}

pub(super) const APPS: &[App] = &[
    App {
        name: "two-processes",
        command: &["python3", "apps/two-processes.py", "apps/two-processes"],
        before: &[Text("unsaved")],
        after: &[Text(" #"), RETURN],
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
        name: "writer",
        command: &["soffice", "--nologo", "--norestore", "--writer"],
        title: "Writer",
        before: &[Text("Unsaved")],
        // A new line, which is undone at the other machine.
        held: &[Named("ctrl+End"), RETURN],
        after: &[Named("ctrl+z"), Text(" #"), Named("ctrl+a"), Named("ctrl+c")],
        proof: Proof::Copied("Unsaved", " #"),
        ..APP
    },
    App {
        name: "calc",
        command: &["soffice", "--nologo", "--norestore", "--calc"],
        title: "Calc",
        before: &[Text("41"), RETURN, Text("42"), RETURN],
        // A cell, which is emptied again at the other machine.
        held: &[Named("ctrl+Home"), Named("ctrl+Down"), Named("Down"), Text("undone"), RETURN],
        after: &[
            Named("ctrl+z"),
            Named("ctrl+Home"),
            Named("ctrl+Down"),
            Named("Down"),
            Text("=A1&\" #\""),
            RETURN,
            Named("ctrl+a"),
            Named("ctrl+c"),
        ],
        proof: Proof::Copied("41\n42", "\n41 #"),
        ..APP
    },
    App {
        name: "gnumeric",
        command: &["gnumeric"],

        before: &[Text("41"), RETURN],
        after: &[Text("=A1+#"), RETURN],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "abiword",
        command: &["abiword"],

        before: &[Text("unsaved")],
        after: &[Text(" #")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "inkscape",
        command: &["sh", "-c", "echo '<svg/>' >/tmp/empty.svg; exec inkscape /tmp/empty.svg"],
        after: &[Text("+")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "thunar",
        command: &["thunar", "."],

        before: &[],
        after: &[Named("ctrl+h")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "evince",
        command: &[
            "sh",
            "-c",
            "Rscript -e 'pdf(\"/tmp/five.pdf\"); for (i in 1:5) plot(i)'; exec evince /tmp/five.pdf",
        ],

        before: &[],
        after: &[Named("Next")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "okular",
        command: &[
            "sh",
            "-c",
            "Rscript -e 'pdf(\"/tmp/five.pdf\"); for (i in 1:5) plot(i)'; exec okular /tmp/five.pdf",
        ],

        before: &[],
        after: &[Named("Next")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        // As the package made it, with its sandbox.
        name: "firefox-esr",
        command: &["python3", "apps/browser.py", "apps/firefox-esr", "firefox-esr"],
        title: "^ready",
        before: &[Text("unsaved")],
        after: &[Text(" #"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        // As the package made it, with its sandbox.
        name: "chromium",
        command: &["python3", "apps/browser.py", "apps/chromium", "chromium", "--no-first-run"],
        title: "^ready",
        before: &[Text("unsaved")],
        after: &[Text(" #"), RETURN],
        proof: Proof::File("unsaved", " #"),
        ..APP
    },
    App {
        // A film, playing.
        name: "mpv",
        command: &["sh", "-c", film!()],
        ..APP
    },
    App {
        // And paused; each step is five seconds.
        name: "mpv-paused",
        command: &["sh", "-c", concat!(film!(), " --pause")],
        before: &[Named("space"), Named("space")],
        after: &[Named("Right")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "hexchat",
        command: &[
            "sh",
            "-c",
            "mkdir /tmp/chat; echo gui_slist_skip = 1 >/tmp/chat/hexchat.conf; exec hexchat -d /tmp/chat -a",
        ],
        before: &[Text("/echo unsaved"), RETURN],
        after: &[Text("/echo #"), RETURN],
        proof: Proof::Picture,
        ..APP
    },
    App {
        // The board and the engine are two processes. A move of each, then the board is turned.
        name: "xboard",
        command: &[
            "/usr/games/xboard",
            "-fcp",
            "/usr/games/gnuchess -x",
            "-size",
            "small",
            "-clockMode",
            "false",
        ],
        title: "^(xboard|.* vs)",
        before: &[Text("e2e4"), RETURN],
        after: &[Named("F2")],
        proof: Proof::Picture,
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
