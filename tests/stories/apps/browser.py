"""A browser with three tabs, on pages that this program serves: FILE BROWSER [ARGUMENT…].

Each page counts, and tells so. What is typed into the first one's form goes into FILE when it is sent, if every page
is still the one that was loaded first and has counted on since the last time; else FILE says which is not."""

import http.server
import os
import subprocess
import sys
import threading
import urllib.parse

FILE, BROWSER = sys.argv[1], sys.argv[2:]
TABS = ["ready", "two", "three"]
PAGE = """<!doctype html><meta charset=utf-8><title>TAB</title>
<form action="/sent"><input name=text size=40 autofocus autocomplete=off></form>
<script>
let page = Math.random(), count = 0;
setInterval(() => fetch("/count", {method: "POST", body: ["TAB", page, ++count].join(" ")}), 200);
</script>"""

changed = threading.Condition()
counts = {}  # By tab: the page's number and its count.
last = {}  # What they were when the form was sent last.


def missing():
    """The tabs that have not counted on."""
    return [tab for tab in TABS if counts.get(tab, (0, 0)) <= last.get(tab, (0, 0))]


def sent(text):
    with changed:
        changed.wait_for(lambda: not missing(), 20)
        lost = missing() + [tab for tab in last if last[tab][0] != counts[tab][0]]
        last.update(counts)
    with open(FILE + ".new", "w") as file:
        file.write(f"lost: {lost}" if lost else text)
    os.rename(FILE + ".new", FILE)


class Pages(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def answer(self, status, body=b""):
        self.send_response(status)
        self.send_header("Content-Type", "text/html")
        if status != 204:
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self):
        url = urllib.parse.urlparse(self.path)
        tab = url.path[1:]
        if tab == "sent":
            sent(urllib.parse.parse_qs(url.query).get("text", [""])[0])
            self.answer(204)  # The browser stays where it is.
        elif tab in TABS:
            self.answer(200, PAGE.replace("TAB", tab).encode())
        else:
            self.answer(404)

    def do_POST(self):
        tab, page, count = self.rfile.read(int(self.headers["Content-Length"])).decode().split()
        with changed:
            counts[tab] = (float(page), int(count))
            changed.notify_all()
        self.answer(204)

    def log_message(self, *_):
        pass


server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
threading.Thread(target=server.serve_forever, daemon=True).start()
home = f"http://127.0.0.1:{server.server_port}/"
sys.exit(subprocess.run(BROWSER + [home + tab for tab in TABS]).returncode)
