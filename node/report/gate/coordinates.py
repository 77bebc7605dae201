"""Coordinates in space: in a frame of reference of the images, and such that they can be drawn."""

from collections.abc import Iterator, Sequence

import numpy as np
from pydicom.dataset import Dataset

from node.report.gate.reading import content, is_sr, text

_FLAT_MM = 0.01  # corners of an outline off its plane: single precision of SCOORD3D at a metre is a tenth of that


def coordinates(made: Sequence[Dataset], sources: Sequence[Dataset]) -> Iterator[str]:
    """Yield what is wrong with the SCOORD3D items of the reports (PS3.3 section C.18.9)."""
    frames = {text(one, "FrameOfReferenceUID") for one in sources} - {""}
    for dataset in filter(is_sr, made):
        for item in content(dataset):
            if text(item, "ValueType") == "SCOORD3D":
                if text(item, "ReferencedFrameOfReferenceUID") not in frames:
                    yield "GATE-REFERENCE coordinates are in a frame of reference of none of the images"
                yield from _shape(text(item, "GraphicType"), np.array(item.get("GraphicData") or [], np.float64))


def _shape(kind: str, values: np.ndarray) -> Iterator[str]:
    if not len(values) or len(values) % 3 or not np.isfinite(values).all():
        yield "GATE-STRUCTURE coordinates are not three numbers each"
        return
    points = values.reshape(-1, 3)
    if kind == "POINT" and len(points) != 1:
        yield f"GATE-STRUCTURE a point has {len(points)} places"
    elif kind == "POLYLINE":
        if len(points) < 4 or not np.array_equal(points[0], points[-1]):
            yield "GATE-STRUCTURE an outline is not closed"
        elif np.linalg.svd(points - points.mean(axis=0), compute_uv=False)[-1] > _FLAT_MM * len(points) ** 0.5:
            yield "GATE-STRUCTURE an outline does not lie in a plane"
    elif kind != "POINT":
        yield f"GATE-STRUCTURE we draw no {kind or 'shape without a name'}"
