"""How is Icinga 2 asked the same? Plugins every 30 s, every 5 s while one looks wrong; broken is three in a row."""

from __future__ import annotations

from bench.daemons.checks import INTERVAL_S, NAME, ROUTER, TIMEOUT_S, Check
from bench.daemons.peers import Peer, write

PLUGINS = "/usr/lib/nagios/plugins"
PLACES = {"DataDir": "data", "LogDir": "log", "CacheDir": "cache", "SpoolDir": "spool", "InitRunDir": "run"}
HEAD = """
object CheckerComponent "checker" {{ concurrent_checks = 256 }}
object NotificationComponent "notification" {{ }}
object CheckCommand "always" {{ command = [ "/bin/true" ] }}
object Host "till" {{
  check_command = "always"
  enable_active_checks = false
}}
object User "technician" {{ }}
object NotificationCommand "tell" {{
  command = [ "/bin/sh", "-c", "echo $$STATE $$CHECK >> {told}" ]
  env = {{ STATE = "$service.state$"
           CHECK = "$service.name$" }}
}}
apply Notification "tell" to Service {{
  command = "tell"
  users = [ "technician" ]
  interval = 0
  assign where true
}}
"""
SERVICE = """
object CheckCommand "{name}" {{ command = [ {command} ] }}
object Service "{name}" {{
  host_name = "till"
  check_command = "{name}"
  check_interval = {interval}s
  retry_interval = 5s
  max_check_attempts = 3
}}
"""


class Icinga(Peer):
    """Debian's icinga2 with monitoring-plugins, without database and web."""

    def start(self) -> None:
        """Run it in the foreground as root, all its files in one directory."""
        for place in PLACES.values():
            (self.home / place).mkdir()
        text = HEAD.format(told=self.home / "told")
        for check in self.checks:
            command = ", ".join(f'"{word}"' for word in plugin(check))
            text += SERVICE.format(name=check.name, command=command, interval=INTERVAL_S)
        config = write(self.home / "icinga2.conf", text)
        places = [f"--define={name}={self.home / place}" for name, place in PLACES.items()]
        line = ["icinga2", "daemon", "-c", str(config), *places]
        self.processes.append(self.shop.start(line, {"ICINGA2_USER": "root", "ICINGA2_GROUP": "root"}))

    def broken(self) -> set[str]:
        """By the notifications it sent."""
        told = self.home / "told"
        found: set[str] = set()
        for line in told.read_text().splitlines() if told.exists() else ():
            state, _, name = line.partition(" ")
            found = found - {name} if state == "OK" else found | {name}
        return found


def plugin(check: Check) -> list[str]:
    """Return the plugin's command line."""
    words = {
        "port": f"check_tcp -H {check.address} -p {check.port} -t {TIMEOUT_S}",
        "tls": f"check_tcp -H {check.address} -p {check.port} -S -t {TIMEOUT_S}",
        "http": f"check_http -H {check.address} -p {check.port} -t {TIMEOUT_S}",
        "dns": f"check_dig -H {ROUTER} -l {NAME} -t {TIMEOUT_S}",
        "ping": f"check_icmp -H {check.address} -n 5",
        "disk": "check_disk -w 2% -c 1% -p /",
        "memory": "check_swap -w 2% -c 1% -n ok",
        "load": "check_load -w 300,300,300 -c 400,400,400",
    }[check.kind].split()
    return [f"{PLUGINS}/{words[0]}", *words[1:]]
