"""What do people see? `python -m tests.lab.pictures [check] [page]` takes the README's pictures.

`check`: the real command, on a terminal of its own (a pty) in the store's till while a fault is on; what it printed
becomes a picture. `page`: the status page, from its real server, in Chromium. Needs root, the lab's packages, chromium
and fonts-noto-cjk.
"""

from __future__ import annotations

import io
import os
import pty
import select
import signal
import struct
import subprocess
import sys
import tempfile
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import Console
from rich.terminal_theme import MONOKAI
from rich.text import Text

from tests.lab import glass
from tests.lab.faults import FAULTS
from tests.lab.store import Store

FOLDER = Path(__file__).parents[2] / "docs/pictures"
COLUMNS, ROWS = 112, 60
FAULT = "port_dropped"
LINE_PX = 20
STYLE = (
    f"body{{background:#0c0c0c;margin:16px}}pre{{margin:0;color:#d9d9d9;font:16px/{LINE_PX}px 'Noto Sans Mono CJK SC'}}"
)
"""A font in which a Chinese letter is exactly as wide as two Latin ones (Debian package fonts-noto-cjk)."""
CHROMIUM = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--hide-scrollbars"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
)

PAGES: dict[str, tuple[str, dict[str, bool], dict[str, object]]] = {
    # picture: sight, how it is, the browser
    "page-ready": ("healthy", {}, {"locale": "en-US", "viewport": {"width": 1280, "height": 800}}),
    "page-down-zh-CN": (
        "store",
        {"acknowledged": True},
        {"locale": "zh-CN", "viewport": {"width": 1280, "height": 900}},
    ),
    "page-dark": (
        "firewall",
        {},
        {"locale": "en-US", "viewport": {"width": 1280, "height": 900}, "color_scheme": "dark"},
    ),
    "page-phone": (
        "isp",
        {},
        {"locale": "en-US", "viewport": {"width": 390, "height": 800}, "device_scale_factor": 2},
    ),
}


def seen(command: list[str], env: dict[str, str]) -> str:
    """All that a command printed on a terminal of COLUMNS columns."""
    pid, terminal = pty.fork()
    if pid == 0:
        os.execvpe(command[0], command, env)
    ioctl(terminal, TIOCSWINSZ, struct.pack("HHHH", ROWS, COLUMNS, 0, 0))
    output, ends = b"", time.monotonic() + 30
    while time.monotonic() < ends:
        if not select.select([terminal], [], [], 1)[0]:
            continue
        try:
            piece = os.read(terminal, 65536)
        except OSError:  # the other side has closed
            break
        if not piece:
            break
        output += piece
    else:
        os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    return output.decode()


def html(text: str) -> tuple[str, int]:
    """The last state of the screen as a page of evenly wide letters, and how many lines it has."""
    settled = text.rpartition("\x1b[?25h")[2] or text  # what came after the live line was taken away
    settled = settled.removeprefix("\r\x1b[1A\x1b[2K").strip("\r\n").replace("\r\n", "\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(settled))
    body = console.export_html(theme=MONOKAI, inline_styles=True, code_format="<pre>{code}</pre>")
    return f"<meta charset=utf-8><style>{STYLE}</style>{body}", settled.count("\n") + 1


def shoot(page: str, lines: int, picture: Path) -> None:
    """Have Chromium draw the page."""
    with tempfile.TemporaryDirectory() as folder:
        source = Path(folder) / "page.html"
        source.write_text(page, encoding="utf-8")
        size = f"--window-size={COLUMNS * 8 + 40},{lines * LINE_PX + 40}"
        subprocess.run(
            ["chromium", *CHROMIUM, f"--user-data-dir={folder}/profile", size, f"--screenshot={picture}", str(source)],
            check=True,
            capture_output=True,
            timeout=60,
        )


def take_check() -> None:
    """One picture of the command in each language."""
    posagent = str(Path(sys.executable).with_name("posagent"))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(COLUMNS)}
    with Store() as store, store.fault(FAULTS[FAULT]):
        for language in ("en", "zh-CN"):
            command = store.in_room("till", posagent, "check", "--lang", language)
            text = seen(command, env | store.till_env)
            shoot(*html(text), FOLDER / f"check-{language}.png")


def take_page() -> None:
    """The page as the shop has it before them, in its moods."""
    with glass.browser() as chromium, glass.Glass() as shown:
        for name, (sight, how, kind) in PAGES.items():
            shown.show_sight(sight, **how)
            page = chromium.new_page(**kind)
            page.goto(shown.url)
            page.locator(".strip rect").first.wait_for(state="attached")
            page.screenshot(path=FOLDER / f"{name}.png")
            page.close()


TAKES = {"check": take_check, "page": take_page}


def main() -> int:
    """Take the pictures that are asked for, or all."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    for name in sys.argv[1:] or TAKES:
        TAKES[name]()
    return 0


if __name__ == "__main__":
    sys.exit(main())
