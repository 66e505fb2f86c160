"""The POS software, as far as a port can tell: a real process that holds one end of a pty.

Run as `pos.py how`, it prints the name of its port and how the port stands at first (speed, modes, waiting bytes),
waits for a line, and prints how the port stands then. `how` is open, excl (TIOCEXCL), flock or none; a second word is
the user id to run as.
"""

from __future__ import annotations

import fcntl
import json
import os
import select
import struct
import sys
import termios

WAITING = b"\x02PONG,SN001\x03"


def state(port: int) -> dict[str, object]:
    """Everything a prober could disturb."""
    modes = termios.tcgetattr(port)
    waiting = struct.unpack("i", fcntl.ioctl(port, termios.FIONREAD, b"\0\0\0\0"))[0]
    return {"modes": repr(modes), "waiting": waiting}


def main() -> None:
    """Hold the port until told to let go."""
    how = sys.argv[1]
    if len(sys.argv) > 2:
        os.setgroups([])
        os.setresgid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
        os.setresuid(int(sys.argv[2]), int(sys.argv[2]), int(sys.argv[2]))
    master, port = os.openpty()
    name = os.ttyname(port)
    modes = termios.tcgetattr(port)
    modes[0], modes[1], modes[3] = 0, 0, 0  # raw, as every terminal protocol wants it
    modes[2] = termios.CS8 | termios.CREAD | termios.PARENB
    modes[4] = modes[5] = termios.B19200
    termios.tcsetattr(port, termios.TCSANOW, modes)
    os.write(master, WAITING)
    select.select([port], [], [], 10)  # the kernel hands bytes over in its own time
    if how == "excl":
        fcntl.ioctl(port, termios.TIOCEXCL)
    if how == "flock":
        fcntl.flock(port, fcntl.LOCK_EX | fcntl.LOCK_NB)
    before = state(port)
    if how == "none":
        os.close(port)
    print(json.dumps({"port": name, "pid": os.getpid(), "before": before}), flush=True)
    sys.stdin.readline()
    if how == "none":
        print(json.dumps({}), flush=True)
        return
    after = state(port)
    os.set_blocking(port, False)
    print(json.dumps({"after": after, "bytes": os.read(port, 100).hex()}), flush=True)


if __name__ == "__main__":
    main()
