"""Key images, what points to them, and the PDF: what is on them, and where, by truth that was painted in."""

import base64
import re
import zlib
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pytest
from PIL import Image
from pydicom.dataset import Dataset

from node.findings import EarlierLesion, Recognition, Side
from node.records import ResultRole
from node.report import gate, wording
from node.report.drawing import AMBER, CYAN, Panel, Window, wrapped
from node.report.pages import FOOT, HEAD, draw_lesion, draw_overview, table_rows, top_pct, under_title
from tests.report.builders import (
    LESION,
    LESION_MM,
    MEASUREMENTS,
    SHAPE,
    SPACING_MM,
    WITH_LESION,
    everything,
    evidence,
    items,
    level_rows,
    name,
    objects,
    pictures,
    position_mm,
    value,
)
from tests.report.test_onimages import corners

MUSCLE_ALONE = replace(pictures()[0], layers={"enhancement": np.full((4, 4), 20.0, np.float32)})
NAMED = "levels and a suspicion by EMG"


def panel() -> tuple[Panel, Image.Image]:
    canvas = Image.new("RGB", (600, 400))
    return Panel(canvas, (0, 0, 600, 400), pictures()[0], "Title"), canvas


def test_the_patients_left_is_on_the_right_and_the_back_is_below() -> None:
    drawn, _canvas = panel()

    middle, left, back = drawn.at((0.0, 0.0, 12.0)), drawn.at((30.0, 0.0, 12.0)), drawn.at((0.0, 30.0, 12.0))

    assert left[0] > middle[0] == back[0]
    assert back[1] > middle[1] == left[1]


def test_a_point_is_drawn_on_the_voxel_that_it_lies_in() -> None:
    """A bright voxel, found again on the canvas without the code that maps points."""
    picture = pictures()[0]
    bright = np.zeros(SHAPE[1:], np.float32)
    bright[44:48, 42:46] = 1.0
    canvas = Image.new("RGB", (600, 400))
    drawn = Panel(canvas, (0, 0, 600, 400), replace(picture, layers={"post": bright}), "")

    drawn.show("post", Window(0.0, 1.0))

    lit = np.argwhere(np.asarray(canvas)[..., 0] > 128)
    lit = lit[(lit[:, 1] < 480) & (lit[:, 0] > 60)]  # without the note on the window
    x, y, z = position_mm(3)
    centre = (x + 43.5 * SPACING_MM, y + 45.5 * SPACING_MM, z)
    assert drawn.at(centre) == pytest.approx(lit.mean(axis=0)[::-1], abs=1.5)


@pytest.mark.parametrize("slices", [SHAPE[0], 5])
def test_the_scale_bar_is_as_long_as_it_says(slices: int) -> None:
    flat = replace(pictures()[1], layers={"post": np.zeros((slices, SHAPE[2]), np.float32)})
    canvas = Image.new("RGB", (600, 400))
    drawn = Panel(canvas, (0, 0, 600, 400), flat, "")

    drawn.marks()

    white = (np.asarray(canvas) == 255).all(axis=2)
    bar = np.nonzero(white[white.sum(axis=1).argmax()])[0]
    (start, _), (end, _) = drawn.at((0.0, 35.0, 0.0)), drawn.at((50.0, 35.0, 0.0))  # "50 mm", of a picture of 160 mm
    assert bar[-1] - bar[0] == pytest.approx(end - start, abs=3)


def test_the_outline_surrounds_the_lesion_and_nothing_else() -> None:
    drawn, canvas = panel()

    drawn.outline(pictures()[0].layers["lesions"], CYAN)

    rows, columns = np.nonzero((np.asarray(canvas) == CYAN).all(axis=2))
    x, y, z = position_mm(3)
    left, top = drawn.at((x + 41.5 * SPACING_MM, y + 43.5 * SPACING_MM, z))
    right, bottom = drawn.at((x + 45.5 * SPACING_MM, y + 47.5 * SPACING_MM, z))
    assert (columns.min(), columns.max()) == pytest.approx((left, right), abs=3)
    assert (rows.min(), rows.max()) == pytest.approx((top, bottom), abs=3)


def test_the_lesion_is_hotter_than_the_muscle_and_what_was_not_measured_stays_grey() -> None:
    drawn, canvas = panel()
    picture = pictures()[0]

    drawn.show("post", Window.of(picture.layers["post"]))
    drawn.heat("enhancement", 100.0)

    pixels = np.asarray(canvas).astype(int)
    x, y, z = position_mm(3)

    def color(row: float, column: float) -> np.ndarray:
        u, v = drawn.at((x + column * SPACING_MM, y + row * SPACING_MM, z))
        return pixels[round(v), round(u)]

    lesion, muscle, outside = color(45.5, 43.5), color(42, 20), color(20, 30)
    assert lesion.sum() > muscle.sum() + 200
    assert np.ptp(outside) == 0
    assert np.ptp(muscle) > 30


def test_a_level_that_is_diffuse_is_remarked_in_the_table() -> None:
    rows = table_rows(MEASUREMENTS[NAMED].findings)

    assert rows == [
        ("L2", "20", "20", "+12", ""),
        ("L3", "21", "21", "+12", ""),
        ("L4", "52", "22", "+12", "left diffuse"),
        ("L5", "23", "23", "+12", ""),
    ]


def test_without_levels_the_whole_muscles_are_told() -> None:
    assert table_rows(WITH_LESION) == [("whole", "40", "40", "+12", "")]


def test_the_colour_bar_ends_at_a_round_number_above_nearly_all() -> None:
    assert top_pct(pictures()) == 100.0
    assert top_pct([MUSCLE_ALONE]) == 50.0
    assert top_pct(()) == 50.0


def overview_of(*levels: str, slices: int = SHAPE[0]) -> npt.NDArray[np.uint8]:
    """The page of an examination with these levels, of so many slices from the head down."""
    axial, coronal, *_more = pictures()
    flat = replace(coronal, layers={name: layer[:slices] for name, layer in coronal.layers.items()})
    image = draw_overview(replace(WITH_LESION, levels=level_rows(*levels)), (axial, flat))
    assert image is not None
    return np.asarray(image)


def test_the_fewest_slices_that_are_measured_have_their_page_too() -> None:
    made = overview_of(slices=5)

    above = made[150:280, 500:580].reshape(-1, 3)  # of the flat picture, where its colour bar has room
    assert len(np.unique(above, axis=0)) > 50


def test_the_table_of_a_whole_spine_stays_above_the_banner_and_tells_what_it_leaves_out() -> None:
    thoracic = [f"T{number}" for number in range(1, 13)]

    made, other = overview_of(*thoracic, "L1", "L2", "L3", "L4", "L5"), overview_of("L1")

    assert np.array_equal(made[-FOOT:], other[-FOOT:])
    last_line = made[-FOOT - 36 : -FOOT, 600:]
    assert (last_line == AMBER).all(axis=2).any()  # L4 is diffuse


def test_the_window_is_told_beside_the_title_whatever_the_scanner_scales() -> None:
    axial, coronal, *_more = pictures()
    scaled = replace(coronal, layers=coronal.layers | {"post": 1000 * coronal.layers["post"]})

    page = draw_overview(WITH_LESION, (axial, scaled))

    written = np.nonzero(np.asarray(page)[HEAD : HEAD + 30, :600].any(axis=(0, 2)))[0]
    assert np.diff(written).max() > 15  # pixels between title and window; words are 10 apart at most


def test_signals_of_a_fraction_of_one_are_seen_and_told() -> None:
    layer = np.linspace(0, 0.02, 100, dtype=np.float32).reshape(10, 10)

    window = Window.of(layer)

    assert window.apply(layer).max() == 1.0
    assert str(window) == "W 0.0197  L 0.0101"


def test_a_lesion_is_named_on_the_side_away_from_the_letters() -> None:
    drawn, canvas = panel()
    x, _y = drawn.at((-30.0, 30.0, 12.0))

    drawn.ring((-30.0, 30.0, 12.0), 5.0, "lesion 1", CYAN)

    columns = np.nonzero((np.asarray(canvas) == CYAN).all(axis=2))[1]
    assert x - columns.min() > 60 > columns.max() - x


def test_all_that_was_measured_of_a_lesion_has_room_under_its_title() -> None:
    (lesion,) = MEASUREMENTS[NAMED].findings.lesions
    then = EarlierLesion("PVM lesion 1", "2.25.1", Side.LEFT, "L4", None, None, 12340.0, 41.0, None, 140.0, None, None)
    since = wording.change(lesion, Recognition(then, "20250301", "position", "high"))

    lines = [line for text in (since, wording.lesion_in_short(lesion)) for line in wrapped(text, 18, 1176, 9)]

    assert len(lines) <= 3
    assert lines[-1].endswith("axial slices 4 to 5 counted from the head.")


def test_what_does_not_fit_ends_in_dots_and_what_has_no_room_is_left_out() -> None:
    assert wrapped("one two three four", 18, 80, 1)[0].endswith(" ...")
    assert wrapped("one", 18, 80, 0) == []


def test_each_lesion_with_a_picture_has_its_page() -> None:
    one, other = LESION, replace(LESION, number=2, side=Side.RIGHT)

    assert draw_lesion(one, WITH_LESION, pictures()) is not None
    assert draw_lesion(other, WITH_LESION, pictures()) is None
    assert draw_overview(WITH_LESION, ()) is None


def test_the_banner_is_burned_into_every_page() -> None:
    for key in ("key-image-1", "key-image-2"):
        dataset = everything()[key]
        foot = dataset.pixel_array[-40:]
        amber = (foot == (255, 200, 0)).all(axis=2).mean()
        assert dataset.BurnedInAnnotation == "YES"
        assert 0.6 < amber < 0.95  # the rest is its text


def test_nothing_in_the_pixels_or_the_texts_of_a_page_depends_on_the_patient() -> None:
    def other(header: Dataset) -> None:
        header.PatientName, header.PatientID = "Roe^Richard", "OTHER"

    mine = everything()["key-image-2"]
    theirs = objects(series=evidence(edit=other), wanted=(ResultRole.KEY_IMAGES,))["key-image-2"]

    assert mine.PixelData == theirs.PixelData
    assert mine.ImageComments == theirs.ImageComments


def test_a_page_names_the_slice_that_it_shows() -> None:
    dataset = everything()["key-image-2"]

    source = dataset.SourceImageSequence[0].ReferencedSOPInstanceUID

    post = next(one for one in evidence() if one.role == "post")
    (header,) = (one for one in post.headers if one.SOPInstanceUID == source)
    assert list(header.ImagePositionPatient) == position_mm(3)


def test_a_lesion_and_the_muscles_are_illustrated_in_the_report() -> None:
    made = everything()

    lesion, left, right = items(made["sr"], "Imaging Measurements", "Measurement Group")

    shown = [
        items(group, "Illustration of ROI")[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID
        for group in (lesion, left, right)
    ]
    overview, page = made["key-image-1"].SOPInstanceUID, made["key-image-2"].SOPInstanceUID
    assert shown == [page, overview, overview]


def test_the_key_objects_are_the_pages_and_their_slices_without_concept_names() -> None:
    made = everything()

    images = [item for item in made["ko"].ContentSequence if item.ValueType == "IMAGE"]

    listed = [item.ReferencedSOPSequence[0].ReferencedSOPInstanceUID for item in images]
    assert listed[:2] == [made["key-image-1"].SOPInstanceUID, made["key-image-2"].SOPInstanceUID]
    assert listed[2] == made["key-image-2"].SourceImageSequence[0].ReferencedSOPInstanceUID
    assert not any("ConceptNameCodeSequence" in item for item in images)  # TID 2010 row 8
    assert name(made["ko"]) == "Of Interest"


def test_the_outlines_point_to_the_centre_or_the_biopsy_target() -> None:
    for shape, place, purpose in (
        ("findings with MRV", LESION_MM, "Center of Mass"),
        (NAMED, (31.0, 36.0, 14.0), "Representative point"),
    ):
        made = everything(shape)
        group, *_outlines = items(made["outlines"], "Imaging Measurements", "Measurement Group")
        (region,) = items(group, "Image Region")
        assert region.GraphicType == "POINT"
        (image,) = [one for one in evidence("post")[0].headers if one.SOPInstanceUID == pointed_at(region)]
        column, row = region.GraphicData
        (down, right), corner = image.PixelSpacing, image.ImagePositionPatient
        seen = (corner[0] + (column - 0.5) * right, corner[1] + (row - 0.5) * down)
        assert seen == pytest.approx(place[:2], abs=1e-3)
        assert abs(corner[2] - place[2]) <= abs(position_mm(1)[2] - position_mm(0)[2]) / 2
        assert value(items(group, "Geometric purpose of region")[0]) == purpose
        (in_space,) = items(group, purpose)
        assert (in_space.ValueType, in_space.GraphicType, list(in_space.GraphicData)) == ("SCOORD3D", "POINT", [*place])
        assert in_space.ReferencedFrameOfReferenceUID == evidence("post")[0].headers[0].FrameOfReferenceUID
        shapes = [one.ValueType for one in group.ContentSequence if one.ValueType.startswith("SCOORD")]
        assert shapes == ["SCOORD", "SCOORD3D"]  # OHIF draws the first
        tracked = value(items(group, "Tracking Unique Identifier")[0])
        assert tracked == value(items(made["sr"], "Imaging Measurements", "Measurement Group")[0].ContentSequence[1])


def test_a_lesion_is_outlined_in_each_slice_where_its_voxels_are() -> None:
    made = everything("findings with MRV")
    _point, *groups = items(made["outlines"], "Imaging Measurements", "Measurement Group")

    regions = [items(one, "Image Region")[0] for one in groups]

    # Of builders.regions: rows 44 to 47 and columns 42 to 45 of slices 3 and 4.
    (series,) = evidence("post")
    slices = [series.headers[index].SOPInstanceUID for index, _frame in series.slices]
    assert [pointed_at(one) for one in regions] == slices[3:5]
    for one in regions:
        assert corners(one) == {(42.0, 44.0), (46.0, 44.0), (46.0, 48.0), (42.0, 48.0)}
    assert [value(items(one, "Tracking Identifier")[0]) for one in groups] == [
        "PVM lesion 1, outline 1",
        "PVM lesion 1, outline 2",
    ]


def pointed_at(item: Dataset) -> str:
    (image,) = item.ContentSequence
    return str(image.ReferencedSOPSequence[0].ReferencedSOPInstanceUID)


def in_space(item: Dataset) -> None:
    item.ValueType = "SCOORD3D"


def many_places(item: Dataset) -> None:
    item.GraphicData = [*item.GraphicData, *item.GraphicData]


def open_polygon(item: Dataset) -> None:
    item.GraphicData = list(item.GraphicData)[:-2]


def beside(item: Dataset) -> None:
    item.GraphicData = [one + 1000.0 for one in item.GraphicData]


def on_another(item: Dataset) -> None:
    item.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID = "2.25.1"


def torn(item: Dataset) -> None:
    item.GraphicData = list(item.GraphicData)[:-1]


def other_shape(item: Dataset) -> None:
    item.GraphicType = "ELLIPSOID"


@pytest.mark.parametrize(
    ("which", "seed", "message"),
    [
        (0, in_space, "GATE-STRUCTURE we draw nothing in space but single points"),
        (0, many_places, "GATE-STRUCTURE a point has more than one place"),
        (-1, open_polygon, "GATE-STRUCTURE an outline is not closed"),
        (-1, torn, "GATE-STRUCTURE coordinates are not two numbers each"),
        (-1, other_shape, "GATE-STRUCTURE we draw no ELLIPSOID"),
        (-1, beside, "GATE-RANGE coordinates lie beside their image"),
        (-1, on_another, "GATE-REFERENCE coordinates are on none of the images"),
    ],
)
def test_coordinates_that_nobody_can_draw_do_not_leave(
    which: int, seed: Callable[[Dataset], None], message: str
) -> None:
    made = deepcopy(everything("findings with MRV"))
    seed(items(made["outlines"], "Imaging Measurements", "Measurement Group", "Image Region")[which])

    found = gate.faults(tuple(made.values()), [header for one in evidence() for header in one.headers])

    assert any(message in fault for fault in found), found


def test_the_pdf_is_even_and_says_its_true_length() -> None:
    for shape in ("findings with MRV", "no findings", "refused without muscles"):
        dataset = everything(shape)["pdf"]
        content = dataset.EncapsulatedDocument
        assert len(content) % 2 == 0
        assert dataset.EncapsulatedDocumentLength in (len(content), len(content) - 1)
        assert content.startswith(b"%PDF-")
        assert content[: dataset.EncapsulatedDocumentLength].rstrip().endswith(b"%%EOF")


def test_the_pdf_has_two_pages_with_a_lesion_and_one_without() -> None:
    pages = [everything(shape)["pdf"].EncapsulatedDocument.count(b"/Type /Page\n") for shape in (NAMED, "no findings")]

    assert pages == [2, 1]


def test_a_name_that_the_font_lacks_is_left_to_the_header() -> None:
    def other(header: Dataset) -> None:
        header.SpecificCharacterSet, header.PatientName = "ISO_IR 192", "山田^太郎"

    measurement = MEASUREMENTS["refused without muscles"]
    dataset = objects(measurement, evidence(edit=other), wanted=(ResultRole.PDF,))["pdf"]

    assert str(dataset.PatientName) == "山田^太郎"
    assert b"as in the DICOM header" in texts(dataset.EncapsulatedDocument)
    assert b"Doe Jane" in texts(everything("refused without muscles")["pdf"].EncapsulatedDocument)


def pdf_of(**values: str) -> bytes:
    """The PDF of a refused examination of a patient with these attributes."""

    def other(header: Dataset) -> None:
        header.SpecificCharacterSet = "ISO_IR 192"
        for keyword, text in values.items():
            setattr(header, keyword, text)

    measurement = MEASUREMENTS["refused without muscles"]
    made = objects(measurement, evidence(edit=other), wanted=(ResultRole.PDF,))["pdf"]
    return bytes(made.EncapsulatedDocument)


def pdf_texts(**values: str) -> bytes:
    return texts(pdf_of(**values))


def test_of_a_name_in_several_scripts_the_one_that_the_font_has_is_told() -> None:
    said = pdf_texts(PatientName="Yamada^Tarou=山田^太郎=やまだ^たろう")

    assert b"(Yamada Tarou)" in said
    assert b"=" not in said.split(b"Yamada")[1][:40]


def test_a_name_without_an_alphabetic_group_is_not_lost() -> None:
    assert b"(Mueller Joerg)" in pdf_texts(PatientName="^^^^=Mueller^Joerg")


def test_letters_beyond_those_of_western_europe_are_told_and_can_be_searched() -> None:
    pdf = pdf_of(PatientName="Şahin^Łucja Müller")

    assert rb"(\001ahin \002ucja M\003ller)" in texts(pdf)
    assert b"<01> <015E>\n<02> <0141>\n<03> <00FC>\n" in flated(pdf)[0]


def test_every_font_of_the_pdf_is_embedded() -> None:
    for shape in (NAMED, "no findings", "refused without muscles"):
        pdf = everything(shape)["pdf"].EncapsulatedDocument
        fonts = re.findall(rb"/BaseFont /(\S+)", pdf)
        assert fonts
        assert all(one.startswith(b"AAAAAA+") for one in fonts)
        assert pdf.count(b"/FontFile2 ") == len(fonts)


def test_a_long_name_is_broken_into_lines_and_covers_nothing() -> None:
    name = "Montenegro-Castellanos y Hernandez^Maria Magdalena Concepcion"

    said = pdf_texts(PatientName=name, PatientID="0123456789" * 6)

    assert b"Concepcion" in said
    assert b"Montenegro-Castellanos y Hernandez Maria" not in said
    assert b"01234567890123456789012345" not in said


def test_of_three_long_texts_under_a_title_each_has_its_line() -> None:
    long = [f"{word} {'and more ' * 40}" for word in ("summary", "answer", "refusals")]

    assert [line.split()[0] for line in under_title(long)] == ["summary", "answer", "refusals"]
    assert all(line.endswith(" ...") for line in under_title(long))
    assert len(under_title(long[:1])) == 3


def test_why_nothing_was_measured_stands_at_the_top_and_no_table_of_dashes() -> None:
    refused = MEASUREMENTS["refused with muscles"]
    levels = tuple(replace(row, enhancement_pct=None, asymmetry_pct=None) for row in level_rows("L4", "L5"))
    measurement = replace(refused, findings=replace(refused.findings, levels=levels))

    said = texts(objects(measurement, wanted=(ResultRole.PDF,))["pdf"].EncapsulatedDocument)

    assert said.index(b"Not measured: ROLE-CONTRAST") < said.index(b"Muscles, left")
    assert b"Enhancement by level" not in said
    assert b"Not graded" not in said


def texts(pdf: bytes) -> bytes:
    """What the content streams of a PDF say."""
    streams = re.findall(rb"/ASCII85Decode /FlateDecode.*?stream\n(.*?)endstream", pdf, re.DOTALL)
    return b"".join(zlib.decompress(base64.a85decode(b"<~" + one.strip(), adobe=True)) for one in streams)


def flated(pdf: bytes) -> list[bytes]:
    """What stands in the binary streams of a PDF: of each font the letters that its codes mean, and the font."""
    starts = re.finditer(rb"/Filter \[ /FlateDecode \] /Length (\d+).*?stream\r?\n", pdf, re.DOTALL)
    return [zlib.decompress(pdf[one.end() : one.end() + int(one[1])]) for one in starts]
