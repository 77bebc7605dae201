"""The walker of the head against pydicom, which reads the same bytes later, and against bytes made to hurt."""

import io
import logging
import mmap
import random
import struct
import time
import tracemalloc
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom import Dataset, dcmread
from pydicom.filebase import DicomBytesIO
from pydicom.filereader import read_file_meta_info
from pydicom.filewriter import write_dataset
from pydicom.uid import MRImageStorage

from node.dicom.routing import HeadTooShort, Routing, read_routing
from node.errors import HeaderError
from tests.conftest import shared

IMPLICIT, EXPLICIT, BIG = "1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2"
JPEG_LOSSLESS, DEFLATED = "1.2.840.10008.1.2.4.70", "1.2.840.10008.1.2.1.99"
SYNTAXES = (IMPLICIT, EXPLICIT, BIG)
WANTED = (0x00080016, 0x00080018, 0x0020000D, 0x0020000E, 0x00100020, 0x00100021)
SHORT_VRS = (
    *("AE", "AS", "AT", "CS", "DA", "DS", "DT", "FD", "FL", "IS", "LO"),
    *("LT", "PN", "SH", "SL", "SS", "ST", "TM", "UI", "UL", "US"),
)
UNDEFINED = 0xFFFFFFFF


def element(tag: int, vr: str, value: bytes, syntax: str = EXPLICIT, *, length: int | None = None) -> bytes:
    length = len(value) if length is None else length
    order = ">" if syntax == BIG else "<"
    group_element = struct.pack(order + "HH", tag >> 16, tag & 0xFFFF)
    if syntax == IMPLICIT:
        return group_element + struct.pack("<I", length) + value
    if vr in SHORT_VRS:
        return group_element + vr.encode("latin-1") + struct.pack(order + "H", length & 0xFFFF) + value
    return group_element + vr.encode("latin-1") + struct.pack(order + "HI", 0, length) + value


def delimiter(tag: int, length: int = 0, syntax: str = EXPLICIT) -> bytes:
    return struct.pack((">" if syntax == BIG else "<") + "HHI", tag >> 16, tag & 0xFFFF, length)


def item(content: bytes, syntax: str = EXPLICIT, *, undefined: bool = True, wrong_by: int = 0) -> bytes:
    if undefined:
        return delimiter(0xFFFEE000, UNDEFINED, syntax) + content + delimiter(0xFFFEE00D, 0, syntax)
    return delimiter(0xFFFEE000, max(0, len(content) + wrong_by), syntax) + content


def sequence(tag: int, items: bytes, syntax: str = EXPLICIT, vr: str = "SQ") -> bytes:
    return element(tag, vr, items, syntax, length=UNDEFINED) + delimiter(0xFFFEE0DD, 0, syntax)


def routed(syntax: str = EXPLICIT, between: bytes = b"", **values: bytes) -> bytes:
    """Return a small data set that can be routed, with `between` in front of Patient ID."""
    return (
        element(0x00080016, "UI", values.get("sop_class", b"1.2.840\0"), syntax)
        + element(0x00080018, "UI", values.get("sop_instance", b"1.2.3.4\0"), syntax)
        + between
        + element(0x00100020, "LO", values.get("patient_id", b"PID "), syntax)
        + element(0x00100021, "LO", b"HOSPITAL", syntax)
        + element(0x0020000D, "UI", values.get("study", b"1.2.5\0"), syntax)
        + element(0x0020000E, "UI", b"1.2.6\0", syntax)
        + element(0x00200011, "IS", b"1 ", syntax)
    )


ROUTED = Routing("1.2.840", "1.2.3.4", "1.2.5", "1.2.6", "PID", "HOSPITAL")


@pytest.fixture(autouse=True, scope="module")
def _quiet_pydicom() -> Iterator[None]:
    """Keep what pydicom logs of broken character sets out of the reports: it quotes them in full."""
    logger = logging.getLogger("pydicom")
    level = logger.level
    logger.setLevel(logging.CRITICAL)
    yield
    logger.setLevel(level)


def fields(routing: Routing) -> tuple[str, ...]:
    """Return all of it: its repr hides itself, and a failed comparison must say what differs."""
    return tuple(getattr(routing, name) for name in Routing.__slots__)


def as_pydicom_reads(content: bytes, syntax: str) -> tuple[str, ...] | None:
    """Return what `dcmread` sees in the file that holds `content`, or None if it does not read it."""
    uid = syntax.encode() + b"\0" * (len(syntax) % 2)
    meta = element(0x00020010, "UI", uid)
    file = b"\0" * 128 + b"DICM" + element(0x00020000, "UL", struct.pack("<I", len(meta))) + meta + content
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            dataset = dcmread(io.BytesIO(file))
            uids = [str(dataset[tag].value) if tag in dataset else "" for tag in WANTED[:4]]
            texts = [dataset.get_item(tag).value if tag in dataset else b"" for tag in WANTED[4:]]
    except Exception:  # whatever pydicom raises, it has not seen another identity
        return None
    return (*uids, *((one or b"").strip(b" \0").decode("latin-1") if one != "" else "" for one in texts))


def nested_dataset() -> Dataset:
    """Return a data set with sequences of each kind in front of the routing elements."""
    deepest, middle, dataset = Dataset(), Dataset(), Dataset()
    deepest.PatientID, deepest.StudyInstanceUID = "SOMEONE ELSE", "9.9.9"
    middle.PurposeOfReferenceCodeSequence = [deepest, Dataset()]
    middle.ReferencedSOPInstanceUID = "9.9"
    dataset.SpecificCharacterSet = "ISO_IR 192"
    dataset.SOPClassUID, dataset.SOPInstanceUID = MRImageStorage, "1.2.3"
    dataset.ReferencedImageSequence, dataset.ReferencedStudySequence = [middle, middle], []
    dataset.PatientID, dataset.IssuerOfPatientID, dataset.PatientName = "MÜLLER 7", "A", "Nobody"
    dataset.StudyInstanceUID, dataset.SeriesInstanceUID, dataset.Rows = "1.2.4", "1.2.5", 4
    return dataset


def encoded(dataset: Dataset, syntax: str, *, undefined: bool) -> bytes:
    def mark(one: Dataset) -> None:
        for each in one:
            if each.VR == "SQ":
                each.is_undefined_length = undefined
                for inner in each.value:
                    inner.is_undefined_length_sequence_item = undefined
                    mark(inner)

    mark(dataset)
    buffer = DicomBytesIO()
    buffer.is_implicit_VR, buffer.is_little_endian = syntax == IMPLICIT, syntax != BIG
    write_dataset(buffer, dataset)
    return buffer.getvalue()


# What is read


def test_files_of_real_scanners_are_read_as_pydicom_reads_them() -> None:
    files = sorted(shared("data").rglob("*.dcm"))

    for file in files:
        syntax = read_file_meta_info(file).TransferSyntaxUID
        content = file.read_bytes()
        content = content[144 + struct.unpack_from("<I", content, 140)[0] :]
        expected = as_pydicom_reads(content, syntax)
        assert fields(read_routing(content[:65536], syntax, whole=False)) == expected, file
        assert fields(read_routing(content, syntax, whole=True, to_end=True)) == expected, file
    assert len(files) > 50


@pytest.mark.parametrize("undefined", [True, False])
@pytest.mark.parametrize("syntax", SYNTAXES)
def test_sequences_before_the_routing_elements_are_skipped(syntax: str, undefined: bool) -> None:
    content = encoded(nested_dataset(), syntax, undefined=undefined)

    routing = read_routing(content, syntax, whole=True, to_end=True)

    utf8_as_latin1 = "MÜLLER 7".encode().decode("latin-1")
    assert fields(routing) == (MRImageStorage, "1.2.3", "1.2.4", "1.2.5", utf8_as_latin1, "A")
    assert fields(routing) == as_pydicom_reads(content, syntax)


def test_encapsulated_syntaxes_are_read_and_fragments_skipped() -> None:
    pixels = delimiter(0xFFFEE000) + delimiter(0xFFFEE000, 6) + b"\xfe\xff\xdd\xe0ab"
    content = routed() + sequence(0x7FE00010, pixels, vr="OB") + element(0xFFFCFFFC, "OB", b"\0\0")

    assert read_routing(content, JPEG_LOSSLESS, whole=True, to_end=True) == ROUTED


def test_a_mapped_file_is_read_without_a_copy(tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"x" * 100 + routed())

    with (
        (tmp_path / "one").open("rb") as file,
        mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped,
        memoryview(mapped) as view,
        view[100:] as content,
    ):
        assert read_routing(content, EXPLICIT, whole=True) == ROUTED


def test_un_of_undefined_length_is_a_sequence_in_implicit_vr() -> None:
    inner = element(0x00100020, "LO", b"OTHR", IMPLICIT) + element(0x0020000D, "UI", b"9.9\0", IMPLICIT)
    content = routed(between=sequence(0x00091001, item(inner) + item(b"") + item(b"", undefined=False), vr="UN"))

    assert read_routing(content, EXPLICIT, whole=True) == ROUTED
    assert as_pydicom_reads(content, EXPLICIT) == fields(ROUTED)


def test_a_private_element_of_undefined_length_in_implicit_vr_is_a_sequence() -> None:
    content = routed(IMPLICIT, sequence(0x00091001, item(routed(IMPLICIT), undefined=False), IMPLICIT))

    assert read_routing(content, IMPLICIT, whole=True) == ROUTED


def test_what_is_in_an_implicit_item_is_implicit_even_if_a_length_reads_as_a_vr() -> None:
    inner = sequence(0x00081140, item(element(0x00080005, "CS", b"A" * 0x4142, IMPLICIT)), IMPLICIT)
    content = routed(between=sequence(0x00091001, item(element(0x00080005, "CS", b"", IMPLICIT) + inner), vr="UN"))

    assert read_routing(content, EXPLICIT, whole=True) == ROUTED
    assert as_pydicom_reads(content, EXPLICIT) == fields(ROUTED)


def test_nothing_is_looked_at_behind_the_series() -> None:
    content = routed()[: -len(element(0x00200011, "IS", b"1 "))] + element(0x0020000F, "??", b"")

    assert read_routing(content, EXPLICIT, whole=True) == ROUTED


def test_elements_out_of_order_are_found() -> None:
    content = (
        element(0x0020000D, "UI", b"1.2.5\0")
        + element(0x00100010, "PN", b"")
        + routed().replace(element(0x0020000D, "UI", b"1.2.5\0"), b"")
    )

    assert read_routing(content, EXPLICIT, whole=True) == ROUTED


def test_an_absent_patient_id_is_empty() -> None:
    content = routed().replace(element(0x00100020, "LO", b"PID "), b"")

    assert read_routing(content, EXPLICIT, whole=True).patient_id == ""


@pytest.mark.parametrize("padded", [b"1.2.5", b"1.2.5\0", b"1.2.5 ", b"1.2.5   "])
def test_padding_is_no_part_of_a_uid(padded: bytes) -> None:
    assert read_routing(routed(study=padded), EXPLICIT, whole=True) == ROUTED


def test_the_patient_is_not_in_the_repr() -> None:
    assert "PID" not in repr(ROUTED)


# What is refused


@pytest.mark.parametrize(
    "value", [b"", b"1.2.x ", b"1.2\\3.", b" 1.2", b"1.2\0\0", b"1.2\n", b"1" * 65, b"1" * 60000, b"1.2\0.3"]
)
def test_a_malformed_uid_is_refused_by_name(value: bytes) -> None:
    with pytest.raises(HeaderError, match=r"^StudyInstanceUID is missing or malformed$"):
        read_routing(routed(study=value), EXPLICIT, whole=True)


OPEN_ITEM, CLOSED_ITEM = delimiter(0xFFFEE000, UNDEFINED), delimiter(0xFFFEE00D)
HOSTILE = {
    "an element of group 0002 in front": element(0x00020010, "UI", b"1.2.840.10008.1.2\0") + routed(),
    "a command element in front": element(0x00000002, "UI", b"1.2 ", IMPLICIT) + routed(),
    "a preamble in front": b"\0" * 128 + b"DICM" + routed(),
    "implicit VR": routed(IMPLICIT),
    "big endian": routed(BIG),
    "an unknown VR": routed(between=element(0x00091001, "ZZ", b"")),
    "a VR that is none": routed(between=element(0x00091001, "B\0", b"")),
    "a study UID of VR LO": routed().replace(b"UI\6\0" + b"1.2.5", b"LO\6\0" + b"1.2.5"),
    "a patient ID of VR OB": routed().replace(element(0x00100020, "LO", b"PID "), element(0x00100020, "OB", b"PID ")),
    "a patient ID of undefined length": routed(between=sequence(0x00100020, b"", vr="UN")),
    "a patient ID of 60,000 bytes": routed(patient_id=b"A" * 60000),
    "a second patient ID": routed(between=element(0x00100020, "LO", b"OTHR")),
    "a text of undefined length": routed(between=sequence(0x00091001, item(b""), vr="UT")),
    "bulk data of undefined length": routed(between=sequence(0x00091001, item(b""), vr="OB")),
    "a length of 0xFFFFFFFE": routed(between=element(0x00091001, "OB", b"A" * 99, length=0xFFFFFFFE)),
    "a sequence without items": routed(between=sequence(0x00081140, element(0x00080018, "UI", b"9.9\0"))),
    "an item without its delimiter": routed(between=sequence(0x00081140, delimiter(0xFFFEE000, UNDEFINED))),
    "a sequence that does not end": routed(between=element(0x00081140, "SQ", item(b""), length=UNDEFINED)),
    "a sequence delimiter with a length": routed(
        between=element(0x00081140, "SQ", delimiter(0xFFFEE0DD, 8), length=UNDEFINED)
    ),
    "an item delimiter with a length": routed(between=sequence(0x00081140, OPEN_ITEM + delimiter(0xFFFEE00D, 8))),
    "an item delimiter with a VR": routed(
        between=sequence(
            0x00081140, OPEN_ITEM + element(0x00080005, "CS", b"") + element(0xFFFEE00D, "UI", b"") + CLOSED_ITEM
        )
    ),
    "an item shorter than its content": routed(
        between=sequence(0x00081140, item(element(0x00080005, "CS", b"ABCD"), undefined=False, wrong_by=-2))
    ),
    "a delimiter in an item of defined length": routed(
        between=sequence(0x00081140, item(delimiter(0xFFFEE00D), undefined=False))
    ),
    "nothing": b"",
    "seven bytes": routed()[:7],
    "text": b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 9,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_what_cannot_be_read_in_one_way_only_is_refused(content: bytes) -> None:
    with pytest.raises(HeaderError) as refusal:
        read_routing(content, EXPLICIT, whole=True)
    assert len(str(refusal.value)) <= 64


def test_an_implicit_data_set_whose_first_length_reads_as_a_vr_is_refused() -> None:
    content = element(0x00080005, "CS", b" " * 0x4142, IMPLICIT) + routed(IMPLICIT)

    with pytest.raises(HeaderError, match="not encoded as"):
        read_routing(content, IMPLICIT, whole=True)


def test_a_known_element_that_is_no_sequence_has_no_undefined_length_in_implicit_vr() -> None:
    inner = sequence(0x00081140, b"", IMPLICIT)  # its delimiter ends the outer value for a reader that searches
    content = routed(IMPLICIT, sequence(0x00081150, item(inner, IMPLICIT), IMPLICIT))

    with pytest.raises(HeaderError, match="undefined length"):
        read_routing(content, IMPLICIT, whole=True)


def test_un_of_undefined_length_in_big_endian_is_refused() -> None:
    with pytest.raises(HeaderError, match="undefined length"):
        read_routing(routed(BIG, sequence(0x00091001, b"", BIG, "UN")), BIG, whole=True)


def test_a_deflated_data_set_is_refused() -> None:
    with pytest.raises(HeaderError, match="deflated"):
        read_routing(routed(), DEFLATED, whole=False)


BEHIND = {
    "a second patient": element(0x00100020, "LO", b"OTHR"),
    "a patient behind pixels": element(0x7FE00010, "OW", b"\0" * 8) + element(0x00100020, "LO", b"OTHR"),
    "a patient in what is no fragment": sequence(0x7FE00010, element(0x00100020, "LO", b"OTHR"), vr="OB"),
    "pixels that are not all there": element(0x7FE00010, "OW", b"\0" * 8, length=1000),
    "a delimiter": delimiter(0xFFFEE0DD) + element(0x00280010, "US", b"\0\0"),
    "an unknown VR": element(0x00280010, "ZZ", b"\0\0"),
}


@pytest.mark.parametrize("rest", BEHIND.values(), ids=BEHIND)
def test_a_second_identity_behind_the_head_is_found_at_the_end(rest: bytes) -> None:
    assert read_routing(routed() + rest, EXPLICIT, whole=True) == ROUTED

    with pytest.raises(HeaderError):
        read_routing(routed() + rest, EXPLICIT, whole=True, to_end=True)


# Where it ends


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_head_cut_anywhere_is_too_short_or_right(syntax: str) -> None:
    content = encoded(nested_dataset(), syntax, undefined=True)
    full = read_routing(content, syntax, whole=True)
    enough = next(n for n in range(len(content)) if not too_short(content[:n], syntax))

    for end in range(enough):
        with pytest.raises(HeadTooShort) as refusal:
            read_routing(content[:end], syntax, whole=False)
        assert end < refusal.value.needed <= enough
    for end in range(enough, len(content)):
        assert read_routing(memoryview(content)[:end], syntax, whole=False) == full
    assert content[:enough] == content[: -len(element(0x00280010, "US", b"\0\0", syntax)) + 8]


def too_short(head: bytes, syntax: str) -> bool:
    try:
        read_routing(head, syntax, whole=False)
    except HeadTooShort:
        return True
    return False


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_whole_data_set_cut_within_an_element_is_refused(syntax: str) -> None:
    content = encoded(nested_dataset(), syntax, undefined=True)
    full = read_routing(content, syntax, whole=True)

    for end in range(len(content)):
        try:
            assert read_routing(content[:end], syntax, whole=True) == full
        except HeaderError:
            assert end < len(content) - 2  # the last element but its header: not looked at
        else:
            assert end >= len(content) - 10


# How much it takes


def nest(depth: int) -> bytes:
    opened = element(0x00081140, "SQ", b"", length=UNDEFINED) + delimiter(0xFFFEE000, UNDEFINED)
    return opened * depth + (delimiter(0xFFFEE00D) + delimiter(0xFFFEE0DD)) * depth


def test_sequences_may_be_nested_32_deep_and_not_33() -> None:
    assert read_routing(routed(between=nest(32)), EXPLICIT, whole=True) == ROUTED
    with pytest.raises(HeaderError, match="too deeply"):
        read_routing(routed(between=nest(33)), EXPLICIT, whole=True)


FLOODS = {
    "elements": element(0x00090010, "LO", b"") * 300_000,
    "items": sequence(0x00081140, item(b"", undefined=False) * 300_000),
    "elements of an item": sequence(0x00081140, item(element(0x00090010, "LO", b"") * 300_000)),
    "sequences": sequence(0x00081140, b"") * 150_000,
    "items of 300 sequences": sequence(0x00081140, item(b"", undefined=False) * 1000) * 300,
    "nested sequences": nest(300_000),
}


@pytest.mark.parametrize("flood", FLOODS.values(), ids=FLOODS)
def test_300_000_elements_are_refused_in_little_time_and_memory(flood: bytes) -> None:
    content = routed(between=flood)

    begun = time.process_time()
    with pytest.raises(HeaderError, match=r"too many|too deeply"):
        read_routing(content, EXPLICIT, whole=True)
    taken_s = time.process_time() - begun
    cut = memoryview(content)[: len(content) // 10]  # watching memory takes ten times as long

    assert taken_s < 0.5  # 0.02 to 0.1 s on a quiet machine
    assert peak_memory(lambda: read_routing(cut, EXPLICIT, whole=True)) < 100_000


def peak_memory(act: Callable[[], object]) -> int:
    """Return the bytes that `act`, which is refused, held at once."""
    tracemalloc.start()
    try:
        with pytest.raises(HeaderError):
            act()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


# The property: never another identity than pydicom's


def some_items(r: random.Random, syntax: str, depth: int) -> bytes:
    return b"".join(
        item(
            some_elements(r, syntax, depth + 1),
            syntax,
            undefined=r.random() < 0.5,
            wrong_by=r.choice((0, 0, 0, 0, 0, -2, 2, 8)),
        )
        for _ in range(r.randrange(3))
    )


def some_elements(r: random.Random, syntax: str, depth: int) -> bytes:
    """Return what stands in data sets and what should not, at random, and as often as not in ascending order."""
    elements = []
    if depth == 0:
        for tag in WANTED:
            value = r.choice((b"1.2.3\0", b"1.4 ", b"7")) if tag not in WANTED[4:] else r.choice((b"", b"P1", b"Q \0"))
            if r.random() < 0.985:
                elements.append((tag, element(tag, "LO" if tag in WANTED[4:] else "UI", value, syntax)))
    for _ in range(r.randrange(8 if depth == 0 else 4)):
        tag, vr = r.choice(
            [(0x00080005, "CS"), (0x00081140, "SQ"), (0x00080000, "UL"), (0x00020010, "UI"), (0x00091001, "UN")]
            + [(0x00091002, "OB"), (0x00100010, "PN"), (0x00280010, "US"), (0x7FE00010, "OW"), (0x00082112, "SQ")]
            + [(tag, "LO" if tag in WANTED[4:] else "UI") for tag in WANTED[:: r.randrange(1, 7)][:1]]
        )
        if r.random() < 0.08:
            vr = r.choice((*SHORT_VRS, "UN", "OB", "UT", "SQ", "ZZ", "\0\0", "B\0"))
        inner = IMPLICIT if vr == "UN" and r.random() < 0.8 else r.choice((syntax,) * 9 + (IMPLICIT,))
        if depth < 4 and r.random() < (0.8 if vr in ("SQ", "UN") else 0.05):
            items = some_items(r, inner if syntax != BIG else BIG, depth)
            built = sequence(tag, items, syntax, vr) if r.random() < 0.7 else element(tag, vr, items, syntax)
        else:
            value = r.choice((b"", b"AB", b"9.9\0", delimiter(0xFFFEE0DD), delimiter(0xFFFEE00D), b"A" * 0x4142))
            built = element(tag, vr, value, syntax)
        elements.append((tag, built))
    if r.random() < 0.9:
        elements.sort(key=lambda one: one[0])
    else:
        r.shuffle(elements)
    return b"".join(built for _, built in elements)


def mutated(r: random.Random, content: bytes) -> bytes:
    b = bytearray(content)
    for _ in range(r.choice((0, 0, 1, 1, 2, 3)) if b else 0):
        i = r.randrange(len(b) + 1)
        match r.randrange(6):
            case 0:
                b[i : i + 1] = bytes([r.choice((0, 1, 8, 0x10, 0x20, 0x41, 0xFE, 0xFF))])
            case 1:
                del b[i : i + r.choice((1, 2, 4, 8))]
            case 2:
                b[i:i] = r.randbytes(r.choice((1, 2, 4, 8)))
            case 3:
                b[i : i + 4] = struct.pack("<I", r.choice((UNDEFINED, 0xFFFFFFFE, 0, 8, 0x7FFFFFFF)))
            case 4:
                j = r.randrange(len(b) + 1)
                b[i:i] = b[j : j + r.choice((8, 16, 32))]
            case 5:
                del b[i:]
    return bytes(b)


def check_the_property(seed: int) -> bool:
    """Return whether the bytes of `seed` were read at all."""
    r = random.Random(seed)
    syntax = r.choice(SYNTAXES)
    content = mutated(r, some_elements(r, syntax, 0))
    try:
        head = read_routing(content, syntax, whole=False)
    except (HeaderError, HeadTooShort):
        head = None
    try:
        routing = read_routing(memoryview(content), syntax, whole=True, to_end=True)
    except HeaderError:
        return False
    seen = as_pydicom_reads(content, syntax)
    assert seen is None or fields(routing) == seen
    assert head in (None, routing)
    return True


@settings(max_examples=250, deadline=None)
@given(seed=st.integers(0, 2**64 - 1))
def test_pydicom_never_sees_another_identity(seed: int) -> None:
    check_the_property(seed)


@pytest.mark.slow
def test_pydicom_never_sees_another_identity_in_30_000_data_sets() -> None:
    read = sum(check_the_property(seed) for seed in range(30_000))

    assert read > 3_000  # else it shows nothing


@settings(max_examples=200, deadline=None)
@given(content=st.binary(max_size=300), syntax=st.sampled_from(SYNTAXES), whole=st.booleans(), to_end=st.booleans())
def test_no_other_error_comes_out_whatever_the_bytes(content: bytes, syntax: str, whole: bool, to_end: bool) -> None:
    try:
        read_routing(content, syntax, whole=whole, to_end=to_end)
    except HeaderError:
        pass
    except HeadTooShort:
        assert not whole
