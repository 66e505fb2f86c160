"""Which value stands in the example for a setting that has no default? By kind and setting.

A value that the kind's own `example` or the setting's own Meta gives goes before these.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from probes.model import Seconds

SAMPLES: Mapping[str, Mapping[str, Any]] = {
    "ups": {"ups": "till"},
    "usb": {"product": "2200", "serial": "0820123456", "path": "1-1.2", "driver": "cdc_acm", "min_speed": 12},
    "serial": {"owner": "pos", "lines": ["DSR", "CTS"], "max_errors": 10},
    "interface": {"name": "eth0"},
    "gateway": {"address": "192.0.2.1"},
    "dns": {"server": "192.0.2.53", "expect": ["198.51.100.0/24"]},
    "port": {"targets": ["auth.acquirer.example:443", "batch.acquirer.example:8443"]},
    "tls": {
        "targets": ["auth.acquirer.example:443", "batch.acquirer.example:8443"],
        "server_name": "auth.acquirer.example",
        "ca_file": "/etc/posagent/acquirer-ca.pem",
        "issuer": "DigiCert Inc",
    },
    "http": {
        "expect_status": 200,
        "expect_body": "ok",
        "ca_file": "/etc/posagent/vendor-ca.pem",
        "proxy": "http://192.0.2.3:3128",
    },
    "temperature": {"warn": 80, "fail": 95},
    "process": {"match": "^/opt/pos/", "max_memory": "1GB", "listens": 8080},
    "version": {
        "file": "/opt/pos/VERSION",
        "package": "pos-client",
        "module": "cdc_acm",
        "url": "http://127.0.0.1:8080/version",
        "value": "4.2.0",
        "pattern": "version ([0-9.]+)",
        "expected": "4.2.1",
        "manifest": "https://updates.vendor.example/manifest.json",
        "ca_file": "/etc/posagent/vendor-ca.pem",
        "process": "pos",
    },
    "settlement": {
        "command": ["/opt/pos/bin/pos", "--last-settlement"],
        "records": "batches",
        "fields": {"time": "closed_at", "status": "result"},
        "patterns": ["^(?P<time>\\S+ \\S+) batch (?P<reference>\\d+) (?P<status>\\w+)"],
        "time_format": "%d/%m/%Y %H:%M:%S",
        "timezone": "Asia/Shanghai",
        "max_age": Seconds(26 * 3600),
        "max_pending": 20,
        "max_pending_age": Seconds(2 * 3600),
    },
}
