"""Pages: what a reader sees at a glance, one for the examination and one for each lesion."""

from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from node.findings import POSTERIOR, Findings, LesionFindings, MuscleFindings, Picture, Side
from node.report import wording
from node.report.drawing import AMBER, BLACK, CYAN, GREEN, GREY, WHITE, Panel, Window, font, wrapped

HEAD, FOOT = 112, 40  # strips with the answer, and with the banner; pixels
_WIDTH, _HEIGHT = 1200, 960  # pixels; fit a viewport of a usual screen; chosen
_TOPS_PCT = (50.0, 100.0, 200.0, 400.0)  # of the colour bar
_BANNER = "INVESTIGATIONAL - NOT FOR DIAGNOSTIC USE"
_MOST_LINES = 3  # under the title
_MOST_ROWS = 14  # of the table; more would run into the banner
_TISSUE_PERCENTILE = 50.0  # of a projection of the MRV: what is darker is no vessel; chosen


def draw_lesion(finding: LesionFindings, findings: Findings, pictures: Sequence[Picture]) -> Image.Image | None:
    """Return the page of one lesion: before and after contrast, enhancement, MRV; None if it has no picture."""
    shown = next((one for one in pictures if one.lesion == finding.number), None)
    if shown is None:
        return None
    since = [wording.change(finding, finding.prior)] if finding.prior else []
    canvas = _canvas(_lesion_title(finding), [*since, wording.lesion_in_short(finding)], findings)
    here = shown.layers["lesions"] == finding.number
    window = Window.of(*(shown.layers[name] for name in ("pre", "post") if name in shown.layers))
    boxes = iter(_quarters())
    for layer, title in (("pre", "Before contrast (registered)"), ("post", "After contrast")):
        if layer in shown.layers:
            panel = Panel(canvas, next(boxes), shown, f"{title}, axial, {_height(shown)}")
            panel.show(layer, window)
            panel.brackets(here, CYAN)
            panel.marks()
    if "enhancement" in shown.layers:
        panel = Panel(canvas, next(boxes), shown, "Enhancement in muscle")
        panel.show("post", window)
        panel.heat("enhancement", top_pct(pictures))
        panel.outline(shown.layers["muscles"], GREEN, 1)
        panel.outline(here, CYAN)
        panel.marks()
    _venography(canvas, next(boxes), findings, pictures, [finding], finding)
    return canvas


def draw_overview(findings: Findings, pictures: Sequence[Picture]) -> Image.Image | None:
    """Return the page of the examination: enhancement along the spine, MRV, each level; None without pictures."""
    axial = next((one for one in pictures if one.plane == "axial" and one.lesion is None), None)
    coronal = next((one for one in pictures if one.plane == "coronal" and "post" in one.layers), None)
    if axial is None or coronal is None:
        return None
    answer = "" if findings.answer is None else findings.answer.statement
    said = [text for text in (findings.summary, answer, " ".join(wording.refusals(findings))) if text]
    canvas = _canvas("Paraspinal muscles: overview", said, findings)
    top = top_pct(pictures)
    height = (_HEIGHT - HEAD - FOOT) // 2
    window = Window.of(coronal.layers["post"])
    panel = Panel(canvas, (0, HEAD, 600, height), coronal, "Enhancement, coronal (mean of the muscle)")
    panel.show("post", window)
    if "enhancement" in coronal.layers:
        panel.heat("enhancement", top)
    panel.outline(coronal.layers["muscles"] == 1, GREEN, 1)
    panel.outline(coronal.layers["muscles"] == 2, GREEN, 1)
    panel.outline(coronal.layers["lesions"], CYAN)
    for finding in findings.lesions:
        panel.ring(finding.centroid_mm, 0.7 * finding.long_axis_mm, f"{finding.number}", CYAN)
    _levels(panel, findings)
    panel.marks()
    _venography(canvas, (600, HEAD, 600, height), findings, pictures, findings.lesions, None)

    panel = Panel(canvas, (0, HEAD + height, 600, height), axial, f"Enhancement, axial, {_height(axial)}")
    panel.show("post", Window.of(axial.layers["post"]))
    if "enhancement" in axial.layers:
        panel.heat("enhancement", top)
    panel.outline(axial.layers["muscles"], GREEN, 1)
    panel.outline(axial.layers["lesions"], CYAN)
    panel.marks()
    _table(canvas, (600, HEAD + height, 600, height), findings)
    return canvas


def top_pct(pictures: Sequence[Picture]) -> float:
    """Return the upper end of the colour bar: the same for all pictures of a study, and a round number."""
    layers = [np.asarray(one.layers["enhancement"]) for one in pictures if "enhancement" in one.layers]
    values = np.concatenate([one[np.isfinite(one)] for one in layers]) if layers else np.zeros(0, np.float32)
    most = float(np.percentile(values, 99.0)) if values.size else 0.0
    return next((top for top in _TOPS_PCT if top >= most), _TOPS_PCT[-1])


def _canvas(title: str, lines: Sequence[str], findings: Findings) -> Image.Image:
    canvas = Image.new("RGB", (_WIDTH, _HEIGHT))
    pen = ImageDraw.Draw(canvas)
    pen.text((12, 6), title, WHITE, font(32))
    tag = "automatic, not reviewed when made"
    pen.text((_WIDTH - 12 - font(18).getlength(tag), 16), tag, AMBER, font(18))
    for number, line in enumerate(under_title(lines)):
        pen.text((12, 46 + 21 * number), line, WHITE, font(18))
    pen.rectangle((0, _HEIGHT - FOOT, _WIDTH, _HEIGHT), fill=AMBER)
    pen.text((12, _HEIGHT - FOOT + 7), _BANNER, BLACK, font(24))
    made_by = f"{findings.algorithm.name} {findings.algorithm.version}"
    pen.text((_WIDTH - 12 - font(18).getlength(made_by), _HEIGHT - FOOT + 11), made_by, BLACK, font(18))
    return canvas


def under_title(texts: Sequence[str]) -> list[str]:
    """Return texts as the lines below a title; each has one at least, and what does not fit ends in dots."""
    lines: list[str] = []
    for number, text in enumerate(texts, start=1):
        lines += wrapped(text, 18, _WIDTH - 24, _MOST_LINES - len(lines) - (len(texts) - number))
    return lines


def _quarters() -> list[tuple[int, int, int, int]]:
    width, height = _WIDTH // 2, (_HEIGHT - HEAD - FOOT) // 2
    return [(x, y, width, height) for y in (HEAD, HEAD + height) for x in (0, width)]


def _lesion_title(finding: LesionFindings) -> str:
    level = finding.location.level if finding.location else None
    return f"Lesion {finding.number}: {finding.side.upper()}, {level or 'level not determined'}"


def _height(picture: Picture) -> str:
    """Return how far to the head or the feet the middle of a picture lies."""
    rows, columns = next(iter(picture.layers.values())).shape
    middle = picture.origin_mm[2] + rows / 2 * picture.down_mm[2] + columns / 2 * picture.right_mm[2]
    return f"{'F' if middle < 0 else 'H'} {abs(middle):.0f} mm"


def _levels(panel: Panel, findings: Findings) -> None:
    for row in findings.levels:
        if row.muscle == POSTERIOR and row.side is Side.RIGHT and row.location and row.location.level:
            panel.level(row.location.position_mm, row.location.level)


def _venography(
    canvas: Image.Image,
    box: tuple[int, int, int, int],
    findings: Findings,
    pictures: Sequence[Picture],
    lesions: Sequence[LesionFindings],
    key: LesionFindings | None,
) -> None:
    shown = next((one for one in pictures if "mrv" in one.layers), None)
    if shown is None:
        ImageDraw.Draw(canvas).text((box[0] + 8, box[1] + 4), "MR venography: none, or not usable", GREY, font(20))
        return
    panel = Panel(canvas, box, shown, "MR venography, coronal projection")
    panel.show("mrv", Window.of(shown.layers["mrv"], darkest=_TISSUE_PERCENTILE))
    _levels(panel, findings)
    if key is not None:
        panel.line(key.centroid_mm)
    for finding in lesions:
        panel.ring(finding.centroid_mm, 0.7 * finding.long_axis_mm, f"lesion {finding.number}", CYAN)
    panel.marks()


def _table(canvas: Image.Image, box: tuple[int, int, int, int], findings: Findings) -> None:
    """Write what each level does, sides beside each other."""
    pen = ImageDraw.Draw(canvas)
    left, top, width, _height = box
    places = (left + 10, left + 150, left + 250, left + 350, left + 450)
    pen.text((left + 10, top + 4), "Enhancement by level, percent", WHITE, font(20))
    for x, name in zip(places, ("level", "left", "right", "asymmetry", ""), strict=True):
        pen.text((x, top + 34), name, GREY, font(18))
    pen.line([(left + 10, top + 58), (left + width - 10, top + 58)], GREY)
    rows = table_rows(findings)
    for number, cells in enumerate(rows[:_MOST_ROWS]):
        color = AMBER if cells[-1] else WHITE
        for x, text in zip(places, cells, strict=True):
            pen.text((x, top + 64 + 22 * number), text, color, font(18))
    if hidden := rows[_MOST_ROWS:]:
        remarks = [f"{cells[0]} {cells[-1]}" for cells in hidden if cells[-1]]
        text = ": ".join([f"and {len(hidden)} more", *([", ".join(remarks)] if remarks else [])])
        pen.text((places[0], top + 64 + 22 * _MOST_ROWS), text, AMBER if remarks else GREY, font(18))


def table_rows(findings: Findings) -> list[tuple[str, str, str, str, str]]:
    """Return level, left, right, asymmetry index and remark of each level of the posterior compartment."""
    pairs: dict[str, dict[Side, MuscleFindings]] = {}
    for row in findings.levels:
        if row.muscle == POSTERIOR:
            pairs.setdefault(_name(row), {})[row.side] = row
    if not pairs:
        pairs["whole"] = {row.side: row for row in findings.muscles}
    return [
        (
            name,
            _percent(sides.get(Side.LEFT)),
            _percent(sides.get(Side.RIGHT)),
            _asymmetry(sides.get(Side.LEFT)),
            ", ".join(f"{side} diffuse" for side, row in sides.items() if row.diffuse),
        )
        for name, sides in pairs.items()
    ]


def _name(row: MuscleFindings) -> str:
    if row.location is None:
        return "whole"
    if row.location.level:
        return row.location.level
    if row.location.slices is None:
        return "not named"
    first, last = row.location.slices
    return f"slices {first}-{last}"


def _percent(row: MuscleFindings | None) -> str:
    return "-" if row is None or row.enhancement_pct is None else f"{row.enhancement_pct:.0f}"


def _asymmetry(row: MuscleFindings | None) -> str:
    return "-" if row is None or row.asymmetry_pct is None else f"{row.asymmetry_pct:+z.0f}"
