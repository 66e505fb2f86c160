"""Who looks at the same twenty things? posagent, Debian's monitoring-plugins in parallel, and blackbox_exporter."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
import threading
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

from bench.world import BLACK_HOLES, HTTP_PORT, NAMES, TCP_PORTS, TLS_PORT

PLUGINS = "/usr/lib/nagios/plugins"
PINGED = ("127.0.0.1", "127.0.0.2", "127.0.0.3")
SPREAD_PING = "check_ping -H {} -w 500,20% -c 1000,50% -p 5"
HASTY_PING = "check_icmp -H {} -n 5"
EXPORTER = "127.0.0.1:9115"


def posagent() -> list[str]:
    """The installed command of this interpreter."""
    return [str(Path(sys.executable).with_name("posagent"))]


def configuration(directory: Path, ca_file: Path, *, holes: bool = False) -> Path:
    """The twenty checks as a till's configuration; `holes` adds four hosts that swallow packets."""
    tables = [f'[probes.ping{n}]\nkind = "ping"\nhost = "{host}"\ncount = 5' for n, host in enumerate(PINGED)]
    tables += [f'[probes.tcp{port}]\nkind = "port"\nhost = "127.0.0.1"\nport = {port}' for port in TCP_PORTS]
    tables += [f'[probes.tls]\nkind = "tls"\nhost = "{NAMES[0]}"\nport = {TLS_PORT}\nca_file = "{ca_file}"']
    tables += [f'[probes.http]\nkind = "http"\nurl = "http://127.0.0.1:{HTTP_PORT}/"']
    tables += [f'[probes.dns{n}]\nkind = "dns"\nname = "{name}"\nserver = "127.0.0.1"\nexpect = ["127.0.0.1"]'
               for n, name in enumerate(NAMES)]  # fmt: skip
    tables += [f'[probes.{kind}]\nkind = "{kind}"' for kind in ("disk", "cpu", "memory")]
    if holes:
        tables += [f'[probes.h{n}]\nkind = "port"\nhost = "{hole}"\nport = 443' for n, hole in enumerate(BLACK_HOLES)]
    path = directory / ("holes.toml" if holes else "twenty.toml")
    path.write_text('[schedule]\ntimeout = "3s"\n' + "\n\n".join(tables) + "\n")
    return path


def plugin_lines(ping: str = SPREAD_PING, *, holes: bool = False) -> list[str]:
    """The same checks as plugin command lines, with as many packets a ping as posagent sends."""
    lines = [ping.format(host) for host in PINGED]
    lines += [f"check_tcp -H 127.0.0.1 -p {port} -t 3" for port in TCP_PORTS]
    lines += [f"check_tcp -H 127.0.0.1 -p {TLS_PORT} -S -t 3", f"check_http -H 127.0.0.1 -p {HTTP_PORT} -t 3"]
    lines += [f"check_dig -H 127.0.0.1 -l {name} -t 3" for name in NAMES]
    lines += [
        "check_disk -w 10% -c 1% -p /",
        "check_load -w 100,100,100 -c 200,200,200",
        "check_swap -w 2% -c 1% -n ok",
    ]
    if holes:
        lines += [f"check_tcp -H {hole} -p 443 -t 3" for hole in BLACK_HOLES]
    return [f"{PLUGINS}/{line}" for line in lines]


def plugins(lines: list[str]) -> tuple[list[str], bytes]:
    """A command, and its standard input, that runs every plugin line at once."""
    return ["xargs", "-P", str(len(lines)), "-I{}", "sh", "-c", "{}"], "\n".join(lines).encode()


@contextlib.contextmanager
def exporter(directory: Path, ca_file: Path) -> Iterator[tuple[list[str], bytes]]:
    """blackbox_exporter running, and the command that asks it the network part of the checks, all at once."""
    modules = {
        "icmp": {"prober": "icmp"},
        "tcp": {"prober": "tcp", "timeout": "3s"},
        "tls": {
            "prober": "tcp",
            "tcp": {"tls": True, "tls_config": {"ca_file": str(ca_file), "server_name": NAMES[0]}},
        },
        "http": {"prober": "http"},
        **{f"dns{n}": {"prober": "dns", "dns": {"query_name": name}} for n, name in enumerate(NAMES)},
    }
    config = directory / "blackbox.yml"
    config.write_text(json.dumps({"modules": modules}))  # JSON is YAML
    process = subprocess.Popen(
        ["prometheus-blackbox-exporter", f"--config.file={config}", f"--web.listen-address={EXPORTER}"],
        stderr=subprocess.DEVNULL,
    )
    asked = [("icmp", host) for host in PINGED] + [("tcp", f"127.0.0.1:{port}") for port in TCP_PORTS]
    asked += [("tls", f"127.0.0.1:{TLS_PORT}"), ("http", f"http://127.0.0.1:{HTTP_PORT}/")]
    asked += [(f"dns{n}", "127.0.0.1:53") for n in range(len(NAMES))]
    urls = [f"http://{EXPORTER}/probe?" + urllib.parse.urlencode({"module": m, "target": t}) for m, t in asked]
    try:
        threading.Event().wait(1.0)
        yield (
            ["xargs", "-P", str(len(urls)), "-n", "1", "curl", "-sf", "-m", "5", "-o", "/dev/null"],
            "\n".join(urls).encode(),
        )
    finally:
        process.terminate()
        process.wait(5)
