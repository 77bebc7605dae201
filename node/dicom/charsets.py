"""Text in the character set it came in: read strictly, or not at all.

pydicom reads tolerantly: what it cannot decode it replaces, or takes for Latin-1. That does for a screen; a name that
is written again must be the same name, so here a text that its set does not explain is an error.
"""

import re
import warnings
from collections.abc import Sequence

from pydicom.charset import convert_encodings, decode_bytes, python_encoding

from node.errors import HeaderError

TEXT_VRS = frozenset({"LO", "LT", "PN", "SH", "ST", "UC", "UT"})  # that Specific Character Set is for: PS3.5 6.1.2.2

_PN_DELIMITERS = frozenset(b"\\^=")  # a set is designated anew behind them (PS3.5 6.2.1)
_TEXT_DELIMITERS = frozenset(b"\\\r\n\f\t")
_ALONE = frozenset({"GB18030", "GBK", "ISO_IR 192"})  # without code extension: PS3.3 C.12.1.1.2
_CODECS = {  # one set, no code extension; pydicom lacks Latin-9
    **{term: codec for term, codec in python_encoding.items() if term.startswith("ISO_IR") and term != "ISO_IR 6"},
    "ISO_IR 203": "iso8859_15",
    "ISO_IR 13": "shift_jis",
    "GB18030": "gb18030",
    "GBK": "gbk",
}
_ASCII = frozenset({"", "ISO_IR 6", "ISO 2022 IR 6"})
_MISSPELT = ((r"ISO[-_ ]?IR[-_ ]?(\d+)", r"ISO_IR \1"), (r"ISO[-_ ]?2022[-_ ]?IR[-_ ]?(\d+)", r"ISO 2022 IR \1"))
_DESIGNATION = "\x1b$)A"  # of GB 2312 in ISO 2022 IR 58, which pydicom leaves in the text
_CONTROL = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f-\x9f\ufffd]")  # ESC among them: no text has these (PS3.5 6.1.3)


def character_sets(raw: bytes) -> tuple[str, ...]:
    """Return the terms of a Specific Character Set, the usual misspellings mended; "" is the default repertoire.

    Raises
    ------
    HeaderError
        If one is not known.
    """
    terms = tuple(_mended(term.strip(" \0")) for term in raw.decode("latin-1").upper().split("\\"))
    if any(term and term not in _CODECS and term not in python_encoding for term in terms):
        raise HeaderError("Specific Character Set has a term that is not known")
    return terms


def read_text(raw: bytes, terms: Sequence[str], *, person_name: bool) -> str:
    """Return the text that `raw` is in the sets of `character_sets`, without the padding behind it.

    Raises
    ------
    HeaderError
        If it is not text in them.
    """
    first = terms[0] if terms else ""
    try:
        if raw.isascii() and b"\x1b" not in raw:
            text = raw.decode("ascii")
        elif first in _ALONE or (len(terms) < 2 and first in _CODECS):
            text = raw.decode(_CODECS[first])
        else:
            text = _with_code_extension(raw, terms, _PN_DELIMITERS if person_name else _TEXT_DELIMITERS)
    except (UnicodeError, LookupError):
        raise HeaderError("a text is not in its Specific Character Set") from None
    text = text.rstrip(" \0")
    if _CONTROL.search(text):
        raise HeaderError("a text is not in its Specific Character Set")
    return text


def _mended(term: str) -> str:
    if term in ("UTF-8", "UTF8"):
        return "ISO_IR 192"
    for pattern, right in _MISSPELT:
        if re.fullmatch(pattern, term):
            return re.sub(pattern, right, term)
    return term


def _with_code_extension(raw: bytes, terms: Sequence[str], delimiters: frozenset[int]) -> str:
    if not any(term.startswith("ISO 2022") for term in terms):
        raise LookupError  # bytes above 127 without a set that has them
    if terms[0] in _ASCII and any(not part.partition(b"\x1b")[0].isascii() for part in _parts(raw, delimiters)):
        raise LookupError  # likewise: none is designated where they stand
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it quotes what it cannot decode
        return decode_bytes(raw, convert_encodings(list(terms)), set(delimiters)).replace(_DESIGNATION, "")


def _parts(raw: bytes, delimiters: frozenset[int]) -> list[bytes]:
    return re.split(b"[%s]" % re.escape(bytes(sorted(delimiters))), raw)
