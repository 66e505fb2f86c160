"""How does a message reach a service that only Apprise knows? Through a child process that ends with the errand.

Apprise loads some 180 plug-ins, 40 MB for life; here it lives for a second. The child gets the URL over its standard
input, so that no list of processes shows it, and is killed at the deadline.
"""

from __future__ import annotations

import json
import re
import sys
from pathlib import Path
from typing import Any

from agent.channels import web
from agent.channels.errand import Errand
from agent.config.channels import Apprise
from agent.outcome import Outcome, delivered, failed, refused
from probes.host import command

CHILD = Path(__file__).with_name("apprise_child.py")
KINDS = {"critical": "failure", "warning": "warning", "info": "info"}
_STATUS = re.compile(r"\berror=(\d{3})\b")


def deliver(errand: Errand[Apprise]) -> Outcome:
    """Ask the child, and understand what it says."""
    message = errand.message
    kind = "success" if message.what == "resolved" else KINDS.get(message.severity, "info")
    asked = {
        "path": sys.path,
        "url": errand.secrets["url"].strip(),
        "title": message.subject,
        "body": message.text if errand.channel.format == "text" else message.markdown,
        "format": errand.channel.format,
        "type": kind,
    }
    argv = [sys.executable, "-I", "-B", str(CHILD)]
    ended = command.run(errand.host, argv, env=_environment(errand), stdin=json.dumps(asked).encode())
    try:
        answer = json.loads(ended.stdout)
    except ValueError:
        said = ended.stderr.strip().rpartition("\n")[2]
        return failed(f"the child process ended with {ended.exit_code or ended.signal}: {said}")
    return _meaning(answer)


def _environment(errand: Errand[Apprise]) -> dict[str, str]:
    """What requests reads in the child; nothing of it comes from our own environment."""
    env = {"HOME": "/nonexistent", "no_proxy": "*"}
    proxy = errand.value("proxy")
    if proxy is not None:
        env = {"HOME": "/nonexistent", "http_proxy": proxy, "https_proxy": proxy}
    if errand.channel.ca_file is not None:
        env |= {"REQUESTS_CA_BUNDLE": errand.channel.ca_file, "SSL_CERT_FILE": errand.channel.ca_file}
    return env


def _meaning(answer: dict[str, Any]) -> Outcome:
    """Apprise says yes or no; the HTTP status that tells a lasting no from a passing one stands in its log."""
    how, said = answer.get("how"), str(answer.get("said", ""))
    if how == "delivered":
        return delivered()
    if how == "missing":
        return refused("apprise is not installed beside posagent: pip install 'posagent[notify]'")
    if how == "unknown":
        return refused(f"apprise knows no service by this URL{': ' if said else ''}{said}")
    found = _STATUS.search(said)
    status = int(found[1]) if found else 0
    detail = f"apprise could not deliver: {said}"
    return refused(detail) if 400 <= status < 500 and status not in web.PASSING else failed(detail)
