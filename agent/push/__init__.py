"""Does the centre hear of everything that happened here, the newest first, once it can be reached?

report ─► Centre ─► a row in the state file ─► order: what next? ─► runner: a thread per way ─► https · mqtt

`Centre` belongs to the daemon's loop. Without [push] nothing of it is imported, started or written.
"""

from __future__ import annotations

from agent.push.centre import Centre, Ways
from agent.push.sender import Parcel, Pushed, Sender, Till

__all__ = ["Centre", "Parcel", "Pushed", "Sender", "Till", "Ways"]
