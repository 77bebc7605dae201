"""The picture of the key finding: the post-contrast slice with what the received SEG objects outline on it."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw
from pydicom.dataset import Dataset
from scipy import ndimage

_ENLARGED = 3
_BRIGHTEST_PERCENTILE = 99.5
_COLOURS = {"muscles": (90, 200, 255), "lesions": (255, 80, 60)}
_CAPTION = (255, 220, 0)

Mask = npt.NDArray[np.bool_]


def draw_key_finding(
    images: Sequence[Dataset], segmentations: Mapping[str, Dataset], file: Path, *, captions: Sequence[str]
) -> None:
    """Draw the slice with the largest lesion, or the middle one, with outlines in colour, and write it as PNG.

    Parameters
    ----------
    images : sequence of Dataset
        The series that the segmentations refer to.
    segmentations : mapping of str to Dataset
        SEG objects by layer: "muscles", "lesions".
    captions : sequence of str
        Lines written into the picture.
    """
    masks = {layer: dict(_masks(segmentation)) for layer, segmentation in segmentations.items()}
    lesions = masks.get("lesions", {})
    by_uid = {str(image.SOPInstanceUID): image for image in images}
    if lesions:
        key = max(lesions, key=lambda uid: int(lesions[uid].sum()))
    else:
        key = sorted(by_uid, key=lambda uid: float(by_uid[uid].ImagePositionPatient[2]))[len(by_uid) // 2]
    grey = by_uid[key].pixel_array.astype(np.float32)
    grey = np.clip(grey / np.percentile(grey, _BRIGHTEST_PERCENTILE), 0, 1) * 255
    canvas = np.repeat(np.asarray(Image.fromarray(_enlarge(grey.astype(np.uint8))))[..., None], 3, axis=2)
    for layer, colour in _COLOURS.items():
        if key in masks.get(layer, {}):
            large = np.kron(masks[layer][key], np.ones((_ENLARGED, _ENLARGED), bool))
            canvas[large & ~ndimage.binary_erosion(large)] = colour
    picture = Image.fromarray(canvas)
    pen = ImageDraw.Draw(picture)
    for number, line in enumerate(captions):
        pen.text((6, 6 + 14 * number), line, fill=_CAPTION)
    picture.save(file)


def _masks(segmentation: Dataset) -> Iterator[tuple[str, Mask]]:
    """Yield, for each source instance, the union of its segments."""
    frames = segmentation.pixel_array.reshape(-1, segmentation.Rows, segmentation.Columns) > 0
    union: dict[str, Mask] = {}
    for group, frame in zip(segmentation.PerFrameFunctionalGroupsSequence, frames, strict=True):
        source = str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)
        union[source] = union.get(source, np.zeros_like(frame)) | frame
    yield from union.items()


def _enlarge(grey: npt.NDArray[np.uint8]) -> npt.NDArray[np.uint8]:
    rows, columns = grey.shape
    large = Image.fromarray(grey).resize((columns * _ENLARGED, rows * _ENLARGED), Image.Resampling.BICUBIC)
    return np.asarray(large)
