"""Identifiers: UIDs, AE titles, UIDs derived from what they name."""

import hashlib
import re
from typing import NewType

from node.errors import SettingsError

StudyUID = NewType("StudyUID", str)
SeriesUID = NewType("SeriesUID", str)
InstanceUID = NewType("InstanceUID", str)
AETitle = NewType("AETitle", str)

_LONGEST_AE_TITLE = 16  # PS3.5 table 6.2-1, VR AE
_UID = re.compile(r"[0-9.]{1,64}")  # PS3.5 section 9.1, less its rule on leading zeros, which scanners break


def is_uid(text: str) -> bool:
    """Return whether `text`, without padding, can be a UID: 1 to 64 digits and dots."""
    return _UID.fullmatch(text) is not None


def parse_ae_title(text: str) -> AETitle:
    """Return `text` as an AE title.

    Raises
    ------
    SettingsError
        If it is empty, longer than 16 characters, or holds a backslash, a control or a non-ASCII character
        (PS3.5 section 6.2).
    """
    title = text.strip(" ")
    valid = 0 < len(title) <= _LONGEST_AE_TITLE and title.isascii() and title.isprintable() and "\\" not in title
    if not valid:
        raise SettingsError(f"an AE title must be 1 to 16 printable ASCII characters without backslash, not {text!r}")
    return AETitle(title)


def shown_title(title: str) -> str:
    """Return an AE title from the wire as a log may show it: no blanks, quotes or control characters."""
    return "".join(one if one.isascii() and (one.isalnum() or one in "_-.") else "?" for one in title)


def derived_uid(*parts: str) -> str:
    """Return the UID that stands for `parts`: the same parts give the same UID, always and everywhere.

    The form is "2.25." and 128 bits (PS3.5 annex B.2), here the first half of a SHA-256. So a repeated step
    makes the same object again, which an archive takes for a duplicate and not for a second result.
    """
    digest = hashlib.sha256("\x1f".join(parts).encode()).digest()
    return f"2.25.{int.from_bytes(digest[:16])}"
