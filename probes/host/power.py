"""What feeds this PC? Every supply the kernel lists, and the Raspberry Pi's own watch on its voltage."""

from __future__ import annotations

import msgspec

from probes.host import Host, files

CLASS = "/sys/class/power_supply"
HWMON = "/sys/class/hwmon"
NUMBERS = (
    *("online", "present", "capacity", "time_to_empty_now"),
    *("energy_now", "energy_full", "power_now"),
    *("charge_now", "charge_full", "current_now"),
)


class Supply(msgspec.Struct, frozen=True):
    """One supply. Percent, seconds; None where the driver does not say. `energy` is (now, full) in its own unit."""

    name: str
    type: str = ""
    scope: str = ""
    online: bool | None = None
    present: bool = True
    status: str = ""
    percent: int | None = None
    level: str = ""
    energy: tuple[int, int] | None = None
    seconds_left: float | None = None

    @property
    def is_battery(self) -> bool:
        """Whether the PC itself can run on it; a mouse's or scanner's battery has the scope Device."""
        return self.type == "Battery" and self.scope != "Device" and self.present

    @property
    def is_external(self) -> bool:
        """Whether it is a cord: mains, USB-C, wireless."""
        return self.type not in ("Battery", "UPS") and self.scope != "Device" and self.online is not None


def supplies(host: Host) -> list[Supply]:
    """All of them, in the kernel's order; one that goes while we look is left out."""
    found = []
    for name in files.names(host.path(CLASS)):
        host.left()
        if (supply := _supply(host, name)) is not None:
            found.append(supply)
    return found


def undervoltage(host: Host) -> bool | None:
    """Whether a Raspberry Pi's supply is too weak right now; None where nothing watches it."""
    for name in files.names(host.path(HWMON)):
        directory = host.path(HWMON) / name
        if files.read_word(directory / "name") == "rpi_volt":
            alarm = files.read_number(directory / "in0_lcrit_alarm")
            return None if alarm is None else alarm != 0
    return None


def _supply(host: Host, name: str) -> Supply | None:
    directory = host.path(CLASS) / name
    kind = files.read_word(directory / "type")
    if kind is None:
        return None
    number = {key: files.read_number(directory / key) for key in NUMBERS}
    now, full, drain = number["energy_now"], number["energy_full"], number["power_now"]
    if now is None or full is None:
        now, full, drain = number["charge_now"], number["charge_full"], number["current_now"]
    percent = number["capacity"]
    energy = (now, full) if now is not None and full is not None and full > 0 and 0 <= now <= 2 * full else None
    if percent is None and energy is not None:
        percent = round(100 * energy[0] / energy[1])
    return Supply(
        name=name,
        type=kind,
        scope=files.read_word(directory / "scope") or "",
        online=None if number["online"] is None else number["online"] > 0,
        present=number["present"] != 0,
        status=files.read_word(directory / "status") or "",
        percent=percent if percent is not None and 0 <= percent <= 100 else None,
        level=files.read_word(directory / "capacity_level") or "",
        energy=energy,
        seconds_left=_left(number["time_to_empty_now"], now, drain),
    )


def _left(told: int | None, now: int | None, drain: int | None) -> float | None:
    if told is not None and told > 0:
        return float(told)
    if now is None or not drain or now < 0:
        return None
    return 3600 * now / abs(drain)
