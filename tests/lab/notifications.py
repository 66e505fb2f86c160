"""A notification server, as desktops have one: writes each notification it is asked for as a line of JSON.

`python tests/lab/notifications.py UID BUS FILE`; says "ready" once it has the name. It is started as root, since its code
may lie where nobody else can read, and becomes the user of the bus once all of it is loaded.
"""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Any

from jeepney import DBusAddress, HeaderFields, MessageType, new_method_return
from jeepney.bus_messages import message_bus
from jeepney.io.blocking import open_dbus_connection

SERVER = DBusAddress("/org/freedesktop/Notifications", "org.freedesktop.Notifications")


def main(bus: str, file: str) -> None:
    with open_dbus_connection(bus=bus) as connection:
        assert connection.send_and_get_reply(message_bus.RequestName(SERVER.bus_name)).body == (1,)
        print("ready", flush=True)
        while True:
            message = connection.receive()
            if message.header.message_type is MessageType.method_call:
                connection.send(reply(message, Path(file)))


def reply(message: Any, file: Path) -> Any:
    member = message.header.fields[HeaderFields.member]
    if member == "Notify":
        app, _, _, summary, body, _, hints, expires = message.body
        told = {"app": app, "summary": summary, "body": body, "urgency": hints["urgency"][1], "expires": expires}
        with file.open("a", encoding="utf-8") as out:
            out.write(json.dumps(told) + "\n")
        return new_method_return(message, "u", (7,))
    if member == "GetServerInformation":
        return new_method_return(message, "ssss", ("lab", "posagent", "1", "1.2"))
    return new_method_return(message, "as", (["body"],))


if __name__ == "__main__":
    import jeepney.fds
    import jeepney.io.common  # noqa: F401 - nothing may be left to load

    os.setgroups([])
    os.setresgid(int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[1]))
    os.setresuid(int(sys.argv[1]), int(sys.argv[1]), int(sys.argv[1]))
    main(sys.argv[2], sys.argv[3])
