#!/usr/bin/env python3
"""What does a centre do with what its tills send? Taken at least once, kept exactly once, and what is missing is known.

    centre.py STORE.db mqtt --host broker --ca ca.pem --certificate centre.pem   # topics: docs/fleet.md
    centre.py STORE.db https --listen 127.0.0.1:8787                             # behind fleet/nginx/posagent.conf
    centre.py STORE.db missing                                                   # what neither came nor was explained

A sketch to start from: SQLite stands in for your store, and the statements right below are all that there is to port
(docs/fleet.md has them for PostgreSQL and ClickHouse). Needs Python 3.11; for MQTT also paho-mqtt 2.
"""

from __future__ import annotations

import argparse
import hashlib
import http.server
import json
import sqlite3
import sys
import threading
import time
import zlib
from typing import Any

LARGEST = 4_000_000
SCHEMA = """
CREATE TABLE IF NOT EXISTS parcels (
  store TEXT, terminal TEXT, kind TEXT, seq INTEGER, digest TEXT, received_at REAL, body TEXT,
  PRIMARY KEY (store, terminal, kind, seq, digest)
) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS tills (
  store TEXT, terminal TEXT, seq INTEGER, generated_at TEXT, payments TEXT, online INTEGER, body TEXT,
  PRIMARY KEY (store, terminal)
) WITHOUT ROWID;
"""
KEEP = "INSERT INTO parcels VALUES (?, ?, ?, ?, ?, ?, ?) ON CONFLICT DO NOTHING"
NEWEST = """
INSERT INTO tills VALUES (?, ?, ?, ?, ?, NULL, ?) ON CONFLICT (store, terminal) DO UPDATE SET seq = excluded.seq,
  generated_at = excluded.generated_at, payments = excluded.payments, body = excluded.body
  WHERE tills.seq IS NULL OR excluded.seq > tills.seq OR (?
    AND json_extract(excluded.body, '$.agent.started_at') <> json_extract(tills.body, '$.agent.started_at'))
"""
ONLINE = """
INSERT INTO tills (store, terminal, online) VALUES (?, ?, ?)
  ON CONFLICT (store, terminal) DO UPDATE SET online = excluded.online
"""
MISSING = """
SELECT store, terminal, before + 1, seq - 1 FROM (
  SELECT store, terminal, seq, lag(seq) OVER (PARTITION BY store, terminal ORDER BY seq) AS before
  FROM (SELECT DISTINCT store, terminal, seq FROM parcels WHERE kind = 'report')
) AS steps WHERE seq > before + 1 AND NOT EXISTS (
  SELECT 1 FROM parcels AS gap WHERE gap.kind = 'gap' AND gap.store = steps.store AND gap.terminal = steps.terminal
    AND json_extract(gap.body, '$.from_seq') <= before + 1 AND json_extract(gap.body, '$.to_seq') >= steps.seq - 1
) ORDER BY store, terminal, before
"""


class Refused(Exception):
    """Nothing that a till of ours sends: said again it would be no better."""


class Store:
    """Where everything goes. `take` returns once it is on disk; whoever was told before may be told twice."""

    def __init__(self, path: str) -> None:
        self._file = sqlite3.connect(path, check_same_thread=False)
        self._file.executescript("PRAGMA journal_mode=WAL;" + SCHEMA)
        self._one = threading.Lock()

    def take(self, store: str, terminal: str, body: bytes, *, newest: bool = False) -> bool:
        """Keep a report, an incident's event or a gap of this till. False: it was here already.

        `newest`: the till said that no newer one exists. Only then may the numbers have begun anew, with a new disk.
        """
        try:
            said: dict[str, Any] = json.loads(body)
            kind = {"posagent.report/1": "report", "posagent.incident/1": "incident", "posagent.gap/1": "gap"}[
                said["schema"]
            ]
            whose = said["site"] if kind == "report" else said
            if (whose["store"], whose["terminal"]) != (store, terminal):
                raise Refused(f"of {whose['store']}/{whose['terminal']}, sent by {store}/{terminal}")
            seq = int(said["seq"] if kind == "report" else said.get("to_seq", 0))
            present = (
                (store, terminal, seq, said["generated_at"], said["verdict"]["payments"], body.decode())
                if kind == "report"
                else None
            )
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise Refused(f"not of posagent: {error!r}") from error
        digest = hashlib.sha256(body).hexdigest()[:16]
        with self._one, self._file:
            new = (
                self._file.execute(KEEP, (store, terminal, kind, seq, digest, time.time(), body.decode())).rowcount > 0
            )
            if present is not None and new:
                self._file.execute(NEWEST, (*present, newest))
        return new

    def online(self, store: str, terminal: str, here: bool) -> None:
        """The broker says whether it is connected."""
        with self._one, self._file:
            self._file.execute(ONLINE, (store, terminal, here))

    def missing(self) -> list[tuple[str, str, int, int]]:
        """Store, terminal, first and last number of what neither came nor was told to be lost."""
        with self._one:
            return self._file.execute(MISSING).fetchall()


def hear(store: Store, topic: str, payload: bytes) -> None:
    """One message of the broker's: PREFIX/STORE/TERMINAL/WHAT."""
    whose, terminal, what = topic.split("/")[-3:]
    if what == "status":
        store.online(whose, terminal, payload == b"online")
    elif payload:  # an empty one takes back what was retained
        try:
            store.take(whose, terminal, payload, newest=what == "health")
        except Refused as error:
            sys.stderr.write(f"refused what came as {topic!r}: {error}\n")


def listen(store: Store, args: argparse.Namespace) -> None:
    """Never returns. Acknowledged only once it is kept: what was not is said again, also over a restart of this."""
    import paho.mqtt.client as mqtt
    from paho.mqtt.packettypes import PacketTypes
    from paho.mqtt.properties import Properties

    client = mqtt.Client(
        mqtt.CallbackAPIVersion.VERSION2, client_id=args.client_id, protocol=mqtt.MQTTv5, manual_ack=True
    )
    if args.ca:
        client.tls_set(args.ca, args.certificate, args.key)
    session = Properties(PacketTypes.CONNECT)
    session.SessionExpiryInterval = 14 * 86400

    def connected(client: mqtt.Client, _data: object, _flags: object, reason: mqtt.ReasonCode, _more: object) -> None:
        sys.stderr.write(f"connected: {reason}\n")
        # Several consumers share the work with "$share/centre/" before the topic; nothing retained comes to them then.
        client.subscribe(f"{args.prefix}/+/+/+", qos=1)

    def told(client: mqtt.Client, _data: object, message: mqtt.MQTTMessage) -> None:
        hear(store, message.topic, message.payload)
        client.ack(message.mid, message.qos)

    client.on_connect, client.on_message = connected, told
    client.connect(args.host, args.port, clean_start=False, properties=session)
    client.loop_forever(retry_first_connection=True)


def unpacked(body: bytes) -> bytes:
    """What was gzipped, up to a bound."""
    unzip = zlib.decompressobj(31)
    found = unzip.decompress(body, LARGEST)
    if unzip.unconsumed_tail or not unzip.eof:
        raise Refused("larger than any report, or cut off")
    return found


def serve(store: Store, args: argparse.Namespace) -> None:
    """Never returns. 204: kept. 409: had it already. 400: never try that again."""

    class Handler(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            whose, _, terminal = self.headers.get("X-Posagent-Certificate", "").partition("/")
            try:
                body = unpacked(body) if self.headers.get("Content-Encoding") == "gzip" else body
                newest = self.headers.get("Posagent-Kind") == "report"
                self._answer(204 if store.take(whose, terminal, body, newest=newest) else 409)
            except (Refused, zlib.error) as error:
                self._answer(400, str(error))
            except sqlite3.Error:
                self._answer(503)

        def _answer(self, status: int, words: str = "") -> None:
            self.send_response(status)
            if status != 204:
                self.send_header("Content-Type", "text/plain; charset=utf-8")
                self.send_header("Content-Length", str(len(words.encode())))
            self.end_headers()
            self.wfile.write(words.encode())

        def log_message(self, *_args: object) -> None:
            """The web server in front has a log."""

    host, _, port = args.listen.rpartition(":")
    http.server.ThreadingHTTPServer((host, int(port)), Handler).serve_forever()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("store")
    ways = parser.add_subparsers(dest="way", required=True)
    mqtt = ways.add_parser("mqtt")
    mqtt.add_argument("--host", required=True)
    mqtt.add_argument("--port", type=int, default=8883)
    mqtt.add_argument("--prefix", default="posagent/v1")
    mqtt.add_argument("--client-id", default="posagent-centre")
    for name in ("--ca", "--certificate", "--key"):
        mqtt.add_argument(name)
    ways.add_parser("https").add_argument("--listen", default="127.0.0.1:8787")
    ways.add_parser("missing")
    args = parser.parse_args()
    store = Store(args.store)
    if args.way == "missing":
        for whose, terminal, first, last in store.missing():
            sys.stdout.write(f"{whose}/{terminal}: {first}..{last}\n")
    elif args.way == "mqtt":
        listen(store, args)
    else:
        serve(store, args)


if __name__ == "__main__":
    main()
