"""Coordinates: in a frame of reference of the images or on one of them, and such that they can be drawn."""

from collections.abc import Iterator, Mapping, Sequence

import numpy as np
from pydicom.dataset import Dataset

from node.report.gate.reading import content, is_sr, text

_SHAPES = {"SCOORD": "POLYLINE", "SCOORD3D": "POINT"}  # that we draw, by Value Type


def coordinates(made: Sequence[Dataset], sources: Sequence[Dataset]) -> Iterator[str]:
    """Yield what is wrong with the SCOORD and SCOORD3D items of the reports (PS3.3 sections C.18.6 and C.18.9)."""
    frames = {text(one, "FrameOfReferenceUID") for one in sources} - {""}
    images = {text(one, "SOPInstanceUID"): one for one in sources}
    for dataset in filter(is_sr, made):
        for item in content(dataset):
            kind = text(item, "ValueType")
            if kind not in _SHAPES:
                continue
            of_each = 2 if kind == "SCOORD" else 3
            values = np.array(item.get("GraphicData") or [], np.float64)
            if not len(values) or len(values) % of_each or not np.isfinite(values).all():
                yield f"GATE-STRUCTURE coordinates are not {of_each} numbers each"
                continue
            if text(item, "GraphicType") != _SHAPES[kind]:
                yield f"GATE-STRUCTURE we draw no {text(item, 'GraphicType') or 'shape without a name'} as {kind}"
            elif kind == "SCOORD":
                yield from _on_image(item, values.reshape(-1, 2), images)
            elif len(values) != 3:
                yield "GATE-STRUCTURE a point has more than one place"
            if kind == "SCOORD3D" and text(item, "ReferencedFrameOfReferenceUID") not in frames:
                yield "GATE-REFERENCE coordinates are in a frame of reference of none of the images"


def _on_image(item: Dataset, points: np.ndarray, images: Mapping[str, Dataset]) -> Iterator[str]:
    """Yield what is wrong with an outline, and with the image that it was selected from."""
    if len(points) < 4 or not np.array_equal(points[0], points[-1]):
        yield "GATE-STRUCTURE an outline is not closed"
    referenced = [one for child in item.get("ContentSequence", ()) for one in child.get("ReferencedSOPSequence", ())]
    image = images.get(text(referenced[0], "ReferencedSOPInstanceUID")) if len(referenced) == 1 else None
    if image is None:
        yield "GATE-REFERENCE coordinates are on none of the images"
    elif (points < 0).any() or (points > (int(image.Columns), int(image.Rows))).any():
        yield "GATE-RANGE coordinates lie beside their image"
