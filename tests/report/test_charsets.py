"""Names in the character sets of the world: the report and the segmentation name the patient as the images do."""

import io
from dataclasses import replace

import pytest
from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.uid import ImplicitVRLittleEndian

from node.completion import read_facts
from node.emg import read_order
from node.errors import ReportError
from node.report import SeriesEvidence, build
from node.settings import ReportSettings
from tests.builders import part10
from tests.report.builders import MEASUREMENTS, STARTED, evidence

JAPANESE = b"=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B"
KOREAN = b"=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf"
CHINESE = b"=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab"

# Specific Character Set and Patient's Name, byte for byte; how the name reads. Several are those of PS3.5 annexes H-K.
READABLE = [
    (b"", b"Doe^Jane", "Doe^Jane"),
    (b"", b"", ""),
    (b"ISO_IR 100", b"M\xfcller^J\xfcrgen", "Müller^Jürgen"),
    (b"ISO_IR 101", b"\xa3ukasz^\xaf\xf3\xb3\xe6", "Łukasz^Żółć"),
    (b"ISO_IR 109", "Ĉiaj^Ĝoĵo".encode("iso8859_3"), "Ĉiaj^Ĝoĵo"),
    (b"ISO_IR 110", "Žemaitė^Ķ".encode("iso8859_4"), "Žemaitė^Ķ"),
    (b"ISO_IR 148", "Çavuş^Işık".encode("iso8859_9"), "Çavuş^Işık"),
    (b"ISO_IR 203", "Œuvre^Žoë".encode("iso8859_15"), "Œuvre^Žoë"),
    (b"ISO_IR 126", b"\xc4\xe9\xef\xed\xf5\xf3\xe9\xef\xf2", "Διονυσιος"),
    (b"ISO_IR 144", b"\xbb\xee\xdace\xdc\xd1yp\xd3", "Люкceмбypг"),
    (b"ISO_IR 138", b"\xf9\xf8\xe5\xef^\xe3\xe1\xe5\xf8\xe4", "שרון^דבורה"),
    (b"ISO_IR 127", b"\xe2\xc8\xc7\xe6\xea^\xe4\xe6\xd2\xc7\xd1", "قباني^لنزار"),
    (b"ISO_IR 166", "สมชาย^ใจดี".encode("tis_620"), "สมชาย^ใจดี"),
    (b"ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    (b"\\ISO 2022 IR 87", b"Yamada^Tarou" + JAPANESE, "Yamada^Tarou=山田^太郎=やまだ^たろう"),
    (b"\\ISO 2022 IR 87", b"x=\x1b$B=;M'\x1b(B^\x1b$B==\x1b(B", "x=住友^十"),  # with = within a character
    (
        b"ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3" + JAPANESE.replace(b"\x1b(B", b"\x1b(J"),
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎=やまだ^たろう",
    ),
    (b"\\ISO 2022 IR 149", b"Hong^Gildong" + KOREAN, "Hong^Gildong=洪^吉洞=홍^길동"),
    (b"\\ISO 2022 IR 58", b"Zhang^XiaoDong" + CHINESE, "Zhang^XiaoDong=张^小东"),
    (b"GB18030", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    (b"GBK", b"Wang^XiaoDong=\xcd\xf5^\xd0\xa1\xb6\xab", "Wang^XiaoDong=王^小东"),
    (b"GB18030", "Li^Yi=李^\u4e62".encode("gb18030"), "Li^Yi=李^\u4e62"),  # its second byte is a backslash
    (b"ISO_IR 192", "Wang^XiaoDong=王^小東".encode(), "Wang^XiaoDong=王^小東"),
    (b"ISO 2022 IR 100\\ISO 2022 IR 144", b"M\xfcller^\x1b-L\xb8\xd2\xd0\xdd", "Müller^Иван"),
    (b"ISO_IR_100", b"M\xfcller", "Müller"),  # misspelt, as scanners do
    (b"UTF-8", "Müller".encode(), "Müller"),
]
UNREADABLE = [
    (None, b"M\xfcller^J\xfcrgen"),
    (None, "Müller^Jürgen".encode()),
    (None, b"\x8eR\x93c^\x91\xbe\x98Y"),  # Shift-JIS
    (b"", b"\xc8\xe2\xe0\xed"),  # Windows-1251
    (b"ISO_IR 6", b"M\xfcller"),
    (b"ISO_IR 192", b"M\xfcller^J\xfcrgen"),
    (b"ISO_IR 999", b"M\xfcller^J\xfcrgen"),
    (b"ISO_IR 100", b"\x80\x84Euro"),  # Windows-1252
    (b"\\ISO 2022 IR 87", b"Yamada^Tarou=\x1b$B;3ED^\x1b(Bx"),  # no way back from the second set
    (b"\\ISO 2022 IR 149", b"Hong=\xfb\xf3"),  # not designated
    (b"GB18030", b"Wang=\xcd"),
]


def padded(value: bytes) -> bytes:
    return value + b" " * (len(value) % 2)


def received(character_set: bytes | None, name: bytes, *, implicit: bool) -> tuple[SeriesEvidence, ...]:
    """The series of a study whose headers came with these very bytes."""

    def as_received(header: Dataset) -> Dataset:
        header.PatientName = "N" * len(padded(name))
        del header.SpecificCharacterSet
        if character_set is not None:
            header.SpecificCharacterSet = "C" * len(padded(character_set))
        if implicit:
            header.file_meta.TransferSyntaxUID = ImplicitVRLittleEndian
        content = part10(header)
        for stand, value in ((b"N", padded(name)), (b"C", padded(character_set or b""))):
            content = content.replace(stand * len(value), value, 1) if value else content
        return dcmread(io.BytesIO(content))

    return tuple(
        replace(series, headers=tuple(as_received(header) for header in series.headers)) for series in evidence("post")
    )


def sent(series: tuple[SeriesEvidence, ...]) -> list[bytes]:
    """A report and a segmentation, as bytes."""
    made = build(
        MEASUREMENTS["no findings"], series, settings=ReportSettings(institution="Spital Zürich"), started=STARTED
    )
    return [part10(one.dataset) for one in made]


@pytest.mark.parametrize(("character_set", "name", "reads"), READABLE)
@pytest.mark.parametrize("implicit", [False, True], ids=["explicit", "implicit"])
def test_a_name_that_can_be_read_is_the_same_name_in_utf_8(
    character_set: bytes, name: bytes, reads: str, implicit: bool
) -> None:
    for content in sent(received(character_set, name, implicit=implicit)):
        dataset = dcmread(io.BytesIO(content))
        assert dataset.SpecificCharacterSet == "ISO_IR 192"
        assert str(dataset.PatientName) == reads
        assert dataset.get("InstitutionName") == "Spital Zürich"


@pytest.mark.parametrize(("character_set", "name"), UNREADABLE)
def test_a_name_that_cannot_be_read_goes_out_byte_for_byte_under_the_set_that_it_came_with(
    character_set: bytes | None, name: bytes
) -> None:
    for content in sent(received(character_set, name, implicit=False)):
        dataset = dcmread(io.BytesIO(content))
        assert dataset.get_item("PatientName").value == padded(name)
        declared = padded(character_set or b"")
        element = b"\x08\x00\x05\x00CS" + len(declared).to_bytes(2, "little") + declared
        assert (element in content) if declared else (b"\x08\x00\x05\x00CS" not in content)
        assert dataset.get_item("InstitutionName").value.strip() == b"Spital Zurich"


def test_the_names_of_two_patients_differ_even_if_neither_can_be_read() -> None:
    (one,), (other,) = (received(None, name, implicit=False) for name in (b"M\xfcller", b"M\xf6ller"))
    mixed = replace(one, headers=(*one.headers[:1], *other.headers[1:]))

    with pytest.raises(ReportError, match="PatientName differs"):
        sent((mixed,))


@pytest.mark.parametrize(("character_set", "name"), [*((one, name) for one, name, _reads in READABLE), *UNREADABLE])
@pytest.mark.filterwarnings("ignore")
def test_what_else_reads_headers_takes_them_whatever_the_character_set(
    character_set: bytes | None, name: bytes
) -> None:
    (series,) = received(character_set, name, implicit=False)

    order, (facts,) = read_order(series.headers[:1], ()), read_facts(series.headers)

    assert order.accession_number == "ACC0001"
    assert facts.acquisition.modality == "MR"
