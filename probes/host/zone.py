"""In which time zone do people read the clock here?"""

from __future__ import annotations

import datetime
import struct
import zoneinfo

from probes.host import Host
from probes.model import Unsupported


def of(host: Host, name: str | None = None) -> datetime.tzinfo:
    """The zone called `name`, by default this PC's own; UTC where it has none set. Raises Unsupported."""
    if name is not None:
        try:
            return zoneinfo.ZoneInfo(name)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise Unsupported(
                f"this PC has no time zone data for {name}; the package tzdata brings it", why="no_zone", zone=name
            ) from error
    try:
        with host.path("/etc/localtime").open("rb") as file:
            return zoneinfo.ZoneInfo.from_file(file)
    except FileNotFoundError:
        return datetime.UTC
    except (ValueError, struct.error, EOFError) as error:
        raise Unsupported("/etc/localtime holds no time zone data", why="bad_localtime") from error


def is_known(name: str) -> bool:
    """Whether a zone of that name can exist; a PC without any zone data cannot say no."""
    for candidate in (name, "Etc/UTC"):
        try:
            zoneinfo.ZoneInfo(candidate)
        except (zoneinfo.ZoneInfoNotFoundError, ValueError, OSError):
            continue
        return candidate == name
    return True
