"""How is Zabbix agent 2 asked the same? As active checks every 30 s; a stand-in for the server takes what it sends.

The agent judges nothing, its server does: here a check is broken when two values in a row say so. It cannot ping; a
UserParameter does, with the system's ping.
"""

from __future__ import annotations

import json
import re
import socketserver
import struct
import threading
import zlib
from typing import Any

from bench.daemons.checks import INTERVAL_S, NAME, ROUTER, TIMEOUT_S, Check
from bench.daemons.peers import Peer, write

SERVER_PORT = 10051
MAGIC, COMPRESSED = b"ZBXD\x01", 2


class Zabbix(Peer):
    """Debian's zabbix-agent2."""

    def start(self) -> None:
        """Start the stand-in at the router, then the agent."""
        self._keys = {str(number): check for number, check in enumerate(self.checks, 1)}
        self._values: dict[str, list[bool]] = {}
        self._server = _Server((ROUTER, SERVER_PORT), _Exchange)
        self._server.peer = self
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        settings = {
            "Server": "127.0.0.1",
            "ServerActive": f"{ROUTER}:{SERVER_PORT}",
            "Hostname": "till",
            "LogFile": f"{self.home}/log",
            "PidFile": f"{self.home}/pid",
            "ControlSocket": f"{self.home}/control",
            "PluginSocket": f"{self.home}/plugins",
            "Timeout": TIMEOUT_S,
            "UserParameter": "alive[*],ping -q -c 1 -W 2 $1 > /dev/null && echo 1 || echo 0",
        }
        config = write(
            self.home / "agent.conf", "".join(f"{name}={value}\n" for name, value in settings.items()), 0o644
        )
        self.processes.append(self.shop.start(["zabbix_agent2", "-f", "-c", str(config)]))

    def broken(self) -> set[str]:
        """By the last two values of each check."""
        return {name for name, values in self._values.items() if len(values) == 2 and not any(values)}

    def answer(self, asked: dict[str, Any]) -> dict[str, Any]:
        """What the server would say."""
        if asked["request"] == "active checks":
            items = [
                {"itemid": int(number), "key": _item(check), "key_orig": _item(check), "delay": f"{INTERVAL_S}s",
                 "lastlogsize": 0, "mtime": 0}
                for number, check in self._keys.items()
            ]  # fmt: skip
            return {"response": "success", "data": items}
        for value in asked.get("data", ()):
            check = self._keys.get(str(value.get("itemid", value.get("id"))))
            if check is not None:
                well = value.get("state", 0) == 0 and _well(check, str(value["value"]))
                self._values[check.name] = [*self._values.get(check.name, [])[-1:], well]
        return {"response": "success", "info": "processed"}


class _Server(socketserver.ThreadingTCPServer):
    allow_reuse_address = True
    daemon_threads = True
    peer: Zabbix


class _Exchange(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        assert isinstance(self.server, _Server)
        flags = self.rfile.read(5)[4]
        size, _unpacked = struct.unpack("<II", self.rfile.read(8))
        asked = self.rfile.read(size)
        answer = json.dumps(
            self.server.peer.answer(json.loads(zlib.decompress(asked) if flags & COMPRESSED else asked))
        ).encode()
        self.wfile.write(MAGIC + struct.pack("<II", len(answer), 0) + answer)


def _item(check: Check) -> str:
    return {
        "port": f"net.tcp.service[tcp,{check.address},{check.port}]",
        "tls": f"web.certificate.get[{check.address},{check.port}]",
        "http": f"net.tcp.service[http,{check.address},{check.port}]",
        "dns": f"net.dns[{ROUTER},{NAME},A,{TIMEOUT_S},1]",
        "ping": f"alive[{check.address}]",
        "disk": "vfs.fs.size[/,pfree]",
        "memory": "vm.memory.size[pavailable]",
        "load": "system.cpu.load[all,avg1]",
    }[check.kind]


def _well(check: Check, value: str) -> bool:
    if check.kind in ("port", "http", "dns", "ping"):
        return value == "1"
    return bool(re.search(r"\d", value))
