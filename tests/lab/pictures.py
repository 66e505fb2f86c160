"""What does a technician see? `python -m tests.lab.pictures` takes the README's pictures of the real command in the lab.

The command runs on a terminal of its own (a pty) in the store's till while a fault is on; what it printed becomes an
SVG. Needs root and the lab's packages.
"""

from __future__ import annotations

import io
import os
import pty
import re
import select
import signal
import struct
import sys
import time
from fcntl import ioctl
from pathlib import Path
from termios import TIOCSWINSZ

from rich.console import Console
from rich.text import Text

from tests.lab.faults import FAULTS
from tests.lab.store import Store

FOLDER = Path(__file__).parents[2] / "docs/pictures"
COLUMNS, ROWS = 112, 60
FAULT = "port_dropped"
REMOTE_FONT = re.compile(r"@font-face\s*{[^}]*}\s*")


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


def svg(text: str, title: str) -> str:
    """The last state of the screen as a picture, without fonts from elsewhere."""
    settled = text.rpartition("\x1b[?25h")[2] or text  # what came after the live line was taken away
    settled = settled.removeprefix("\r\x1b[1A\x1b[2K").lstrip("\r\n")
    console = Console(record=True, width=COLUMNS, file=io.StringIO(), legacy_windows=False)
    console.print(Text.from_ansi(settled.replace("\r\n", "\n")))
    return REMOTE_FONT.sub("", console.export_svg(title=title))


def main() -> int:
    """Take one picture in each language."""
    FOLDER.mkdir(parents=True, exist_ok=True)
    posagent = str(Path(sys.executable).with_name("posagent"))
    env = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "COLUMNS": str(COLUMNS)}
    with Store() as store, store.fault(FAULTS[FAULT]):
        for language in ("en", "zh-CN"):
            command = store.in_room("till", posagent, "check", "--lang", language)
            text = seen(command, env | store.till_env)
            (FOLDER / f"check-{language}.svg").write_text(svg(text, "posagent check"), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
