"""What are the tables of the file made of?"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

Label = Annotated[str, Meta(max_length=200, title="text of at most 200 characters")]


class Section(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One table of the file."""
