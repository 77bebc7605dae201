"""The head of a Part 10 file: what comes before the data set (PS3.10 section 7.1)."""

import struct

from node import __version__
from node.dicom.identifiers import derived_uid

IMPLEMENTATION_CLASS_UID = derived_uid("paraspinal-node")
IMPLEMENTATION_VERSION_NAME = f"PARASPINAL_{__version__}"[:16]  # SH, at most 16 characters

_PREAMBLE = bytes(128) + b"DICM"  # ours, never the peer's: what a preamble holds may be run (CVE-2019-11687)


def head(sop_class: str, sop_instance: str, transfer_syntax: str) -> bytes:
    """Return preamble, prefix and file meta information for a data set that came over the network."""
    meta = b"".join((
        struct.pack("<HH2sHLBB", 2, 0x0001, b"OB", 0, 2, 0, 1),  # File Meta Information Version
        _element(0x0002, b"UI", sop_class),
        _element(0x0003, b"UI", sop_instance),
        _element(0x0010, b"UI", transfer_syntax),
        _OURS,
    ))  # fmt: skip
    return b"".join((_PREAMBLE, struct.pack("<HH2sHL", 2, 0x0000, b"UL", 4, len(meta)), meta))


def _element(element: int, vr: bytes, text: str) -> bytes:
    value = text.encode("ascii")
    if len(value) % 2:
        value += b"\0" if vr == b"UI" else b" "
    return struct.pack("<HH2sH", 2, element, vr, len(value)) + value


_OURS = _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID) + _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME)
