"""Did the message arrive? One door to every way of reaching people: `send` always answers, in time, without a secret.

webhook   a web server of one's own            email (smtp)   mail
command   a program of one's own               journal        this PC's journal
desktop   the screen of whoever is logged in   apprise (anything) + apprise_child   whatever Apprise knows
wecom, dingtalk, feishu, slack, teams, telegram, pagerduty    each as its service documents it
web       asking over HTTPS, and what answers mean      marks   Markdown as each service writes it
errand    what a channel is given                       outcome   what it gives back
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from agent.channels import (
    anything,
    command,
    desktop,
    dingtalk,
    feishu,
    journal,
    pagerduty,
    slack,
    smtp,
    teams,
    telegram,
    webhook,
    wecom,
)
from agent.channels.errand import Errand
from agent.config.model import Channel
from agent.config.secret import CannotReadSecret, resolve_secret, secrets_of
from agent.outcome import Outcome, concealed, failed, refused
from probes.host import Host
from probes.model import Denied, NotFitted, OutOfTime, Unsupported

if TYPE_CHECKING:
    from agent.telling.message import Message

__all__ = ["Outcome", "send"]

WAYS: Mapping[str, Callable[[Errand[Any]], Outcome]] = {
    "webhook": webhook.deliver,
    "email": smtp.deliver,
    "command": command.deliver,
    "journal": journal.deliver,
    "desktop": desktop.deliver,
    "wecom": wecom.deliver,
    "dingtalk": dingtalk.deliver,
    "feishu": feishu.deliver,
    "slack": slack.deliver,
    "teams": teams.deliver,
    "telegram": telegram.deliver,
    "pagerduty": pagerduty.deliver,
    "apprise": anything.deliver,
}


def send(channel: Channel, message: Message, *, env: Mapping[str, str] = os.environ) -> Outcome:
    """Bring one message to one channel before the channel's deadline. Raises nothing."""
    began = time.monotonic()
    secrets: dict[str, str] = {}
    outcome = _try(channel, message, Host(ends=began + channel.timeout), secrets, env)
    return msgspec.structs.replace(
        outcome, detail=concealed(outcome.detail, secrets.values()), took_s=time.monotonic() - began
    )


def _try(channel: Channel, message: Message, host: Host, secrets: dict[str, str], env: Mapping[str, str]) -> Outcome:
    """`secrets` is filled, so that the caller can conceal them whatever happens."""
    try:
        for name, secret in secrets_of(channel).items():
            secrets[name] = resolve_secret(secret, env)
        return WAYS[channel.kind](Errand(channel, message, host, secrets))
    except CannotReadSecret as error:
        return failed(str(error))  # whoever mends the file need not touch the configuration
    except (NotFitted, Denied, Unsupported) as error:
        return refused(str(error))
    except OutOfTime as error:
        return failed(str(error) if error.facts.get("program") else f"no answer within {channel.timeout}")
    except Exception as error:  # noqa: BLE001 -- a channel's fault must not stop the others; it is told, without its text
        place = error.__traceback__
        while place is not None and place.tb_next is not None:
            place = place.tb_next
        where = f"{os.path.basename(place.tb_frame.f_code.co_filename)}:{place.tb_lineno}" if place else "?"  # noqa: PTH119
        said = f": {error.strerror}" if isinstance(error, OSError) and error.strerror else ""
        return failed(f"posagent's own fault: {type(error).__name__}{said} at {where}")
