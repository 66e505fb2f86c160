"""Which ways are there to reach people, and what does each want to know? `[channels.NAME]`, told by their `kind`.

Nothing secret is ever in the file: where a service hides its password in the address, the whole address is a secret.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal

from msgspec import Meta

from agent.config.model import Channel, Format
from agent.config.secret import Secret
from probes.host.command import Command
from probes.model import HostName, PathText, Pattern, Port, Text, Url

Address = Annotated[
    str, Meta(pattern=r"^[^\s@<>,;]+@[^\s@<>,;]+\Z", max_length=254, title='a mail address such as "it@store.example"')
]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+\Z")]


class WebChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What every channel over HTTPS takes as well."""

    proxy: Annotated[
        Url | Secret | None,
        Meta(
            description="the HTTP proxy to go through; one with a password in it is a secret. The proxy variables of "
            "the environment are never heeded",
            examples=["http://192.0.2.3:3128"],
        ),
    ] = None
    ca_file: Annotated[
        PathText | None,
        Meta(
            description="trust the certificates in this PEM file and no others; default: those of this PC",
            examples=["/etc/posagent/store-ca.pem"],
        ),
    ] = None


class Webhook(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A web server of yours is sent JSON, signed if you like."""

    url: Annotated[
        Url | Secret,
        Meta(
            description="where to; an address that is itself a secret is one", examples=["https://centre.example/hook"]
        ),
    ]
    method: Annotated[Literal["POST", "PUT", "PATCH"], Meta(description="the HTTP method")] = "POST"
    token: Annotated[
        Secret | None,
        Meta(description="sent as `Authorization: Bearer …`; one with a space in it, such as `Basic …`, as it is"),
    ] = None
    signature: Annotated[
        Secret | None,
        Meta(description="signs each message (HMAC-SHA256) as standardwebhooks.com describes; may begin with whsec_"),
    ] = None
    headers: Annotated[
        dict[HeaderName, Text | Secret],
        Meta(description="headers of your own; a secret one is a secret here too", examples=[{"X-Store": "0042"}]),
    ] = {}  # noqa: RUF012 - msgspec copies it
    template: Annotated[
        Annotated[str, Meta(max_length=20000, title="text")] | None,
        Meta(
            description="the body, where another one than posagent's JSON is wanted: $subject, $text and so on are "
            "filled in as JSON values; docs/channels.md lists them",
            examples=['{"title": $subject, "body": $text}'],
        ),
    ] = None
    content_type: Annotated[
        Text, Meta(description="what the body is; JSON, application/x-www-form-urlencoded, or any other text")
    ] = "application/json"
    expect: Annotated[
        Pattern | None,
        Meta(
            description="what the answer must hold, where a 200 does not say that it was taken", examples=["accepted"]
        ),
    ] = None


class WeCom(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A robot in a group of WeCom (企业微信)."""

    url: Annotated[Secret, Meta(description="the webhook address of the robot, key and all")]
    format: Annotated[Format, Meta(description="WeChat beside WeCom shows only text")] = "markdown"
    mention: Annotated[
        tuple[Text, ...],
        Meta(
            description='who is called by name: user ids, telephone numbers (format = "text" only), or "@all"',
            examples=[["@all"]],
        ),
    ] = ()


class DingTalk(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A robot in a group of DingTalk (钉钉)."""

    url: Annotated[Secret, Meta(description="the webhook address of the robot, access_token and all")]
    sign: Annotated[Secret | None, Meta(description="the secret SEC… of a robot with the security setting 加签")] = None
    format: Annotated[Format, Meta(description="how the message is set")] = "markdown"
    mention: Annotated[
        tuple[Text, ...],
        Meta(description='who is called by name: telephone numbers, or "@all"', examples=[["13800000000"]]),
    ] = ()


class Feishu(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A robot in a group of Feishu (飞书) or Lark."""

    url: Annotated[Secret, Meta(description="the webhook address of the robot")]
    sign: Annotated[Secret | None, Meta(description="the secret of a robot with the security setting 签名校验")] = None
    format: Annotated[Format, Meta(description="text, or a card with markdown in it")] = "markdown"


class Slack(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incoming webhook of Slack, or of Mattermost and others that speak the same."""

    url: Annotated[Secret, Meta(description="the incoming webhook's address")]
    format: Annotated[Format, Meta(description="how the message is set")] = "markdown"


class Teams(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A Teams workflow: "Post to a channel when a webhook request is received"."""

    url: Annotated[Secret, Meta(description="the workflow's address, sig and all")]
    format: Annotated[Format, Meta(description="how the text in the card is set")] = "markdown"


class Telegram(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A bot of Telegram writes into a chat."""

    token: Annotated[Secret, Meta(description="the bot's token, as BotFather gave it")]
    chat: Annotated[Text, Meta(description="the chat's number or @name", examples=["-1001234567890"])]
    thread: Annotated[
        Annotated[int, Meta(ge=1)] | None, Meta(description="the topic in a forum group", examples=[7])
    ] = None
    api: Annotated[Url, Meta(description="the Bot API's address, where you run your own")] = "https://api.telegram.org"
    format: Annotated[Format, Meta(description="how the message is set")] = "markdown"


class PagerDuty(WebChannel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An incident in PagerDuty, resolved when it is gone (Events API v2)."""

    routing_key: Annotated[Secret, Meta(description="the integration key of the service")]
    url: Annotated[
        Url, Meta(description="the events address; in Europe https://events.eu.pagerduty.com/v2/enqueue")
    ] = "https://events.pagerduty.com/v2/enqueue"


class Email(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Mail, through an SMTP server."""

    host: Annotated[HostName, Meta(description="the mail server that takes mail to send", examples=["smtp.example"])]
    sender: Annotated[Address, Meta(description="whom the mail is from", examples=["till@store.example"])]
    to: Annotated[
        tuple[Address, ...],
        Meta(min_length=1, max_length=50, description="whom it goes to", examples=[["it@store.example"]]),
    ]
    security: Annotated[
        Literal["starttls", "tls", "none"],
        Meta(description="starttls: encrypted after a greeting; tls: from the first byte; none: not at all"),
    ] = "starttls"
    port: Annotated[
        Port | None,
        Meta(description="default: 587 for starttls, 465 for tls, 25 for none", examples=[587]),
    ] = None
    user: Annotated[Text | None, Meta(description="who logs in", examples=["till@store.example"])] = None
    password: Annotated[Secret | None, Meta(description="the password of `user`")] = None
    ca_file: Annotated[
        PathText | None,
        Meta(
            description="trust the certificates in this PEM file and no others; default: those of this PC",
            examples=["/etc/posagent/store-ca.pem"],
        ),
    ] = None


class Apprise(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Any service that Apprise knows (needs the extra: pip install 'posagent[notify]')."""

    url: Annotated[Secret, Meta(description="the service's Apprise URL")]
    format: Annotated[Format, Meta(description="how the message is set")] = "text"
    proxy: Annotated[
        Url | Secret | None,
        Meta(
            description="the HTTP proxy to go through, where the service is an HTTP one",
            examples=["http://192.0.2.3:3128"],
        ),
    ] = None
    ca_file: Annotated[
        PathText | None,
        Meta(
            description="trust the certificates in this PEM file and no others; default: Apprise's own",
            examples=["/etc/posagent/store-ca.pem"],
        ),
    ] = None


class CommandChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A program of yours is run and given the message as JSON."""

    command: Annotated[
        Command,
        Meta(
            description="the program and its arguments; no shell is involved",
            examples=[["/opt/store/bin/tell", "--sms"]],
        ),
    ]
    secrets: Annotated[
        dict[Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]*\Z")], Secret],
        Meta(description="what the program finds in its environment, under these names"),
    ] = {}  # noqa: RUF012 - msgspec copies it


class JournalChannel(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A line in this PC's journal (or syslog). Needs no network."""


class Desktop(Channel, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A notification on the screen of whoever is logged in at this PC. Needs no network."""


KINDS: Mapping[str, type[Channel]] = {
    "webhook": Webhook,
    "email": Email,
    "command": CommandChannel,
    "journal": JournalChannel,
    "desktop": Desktop,
    "wecom": WeCom,
    "dingtalk": DingTalk,
    "feishu": Feishu,
    "slack": Slack,
    "teams": Teams,
    "telegram": Telegram,
    "pagerduty": PagerDuty,
    "apprise": Apprise,
}
"""Every way, in the order in which people read of them."""
