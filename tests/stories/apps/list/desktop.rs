//! Programs with windows of their own.

use super::{APP, App, Proof, RETURN};
use crate::desktop::Key::{Named, Text};

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
        after: &[Text("unsaved #")],
        proof: Proof::Picture,
        ..APP
    },
    App {
        name: "calc",
        command: &["soffice", "--nologo", "--norestore", "--calc"],
        title: "Calc",
        before: &[Text("41"), RETURN],
        after: &[Text("=A1+#"), RETURN],
        proof: Proof::Picture,
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
