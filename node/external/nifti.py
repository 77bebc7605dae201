"""NIfTI files as commands want them: a volume out, a label map in."""

from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt

from node.errors import PluginError
from node.ports import Array

_TOLERANCE = 1e-3  # of an affine, mm: headers are float32
_LARGEST_LABEL = 65535


def affine_of(spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.float64]:
    """Return the affine (RAS+, as NIfTI has it) of the array (left, back, head) that `write` stores."""
    head, back, left = spacing_mm
    return np.diag([-left, -back, head, 1.0])


def write(path: Path, volume: Array, spacing_mm: tuple[float, float, float]) -> None:
    """Write a volume in canonical order; its place in the patient is not told, nor anything else of the patient."""
    array = np.ascontiguousarray(volume.transpose(2, 1, 0))
    image: Any = nib.Nifti1Image(array, affine_of(spacing_mm))  # type: ignore[no-untyped-call]
    image.header.set_xyzt_units("mm")
    nib.save(image, path)


def read_labels(path: Path, shape: tuple[int, ...], spacing_mm: tuple[float, float, float]) -> npt.NDArray[np.uint16]:
    """Return a label map in canonical order, if it is of the volume that was written.

    Raises
    ------
    PluginError
        If it is no NIfTI file, of another geometry, or holds other than whole numbers.
    """
    try:
        image: Any = nib.load(path)
        found, affine = tuple(image.shape), np.asarray(image.affine, dtype=np.float64)
    except Exception as error:  # of a hostile file: nibabel raises many
        raise PluginError(f"its result is no NIfTI file that can be read ({type(error).__name__})") from error
    wanted = shape[::-1]
    if found != wanted:  # before a voxel is read: a small file can claim to be a large one
        raise PluginError(f"its result has the shape {found}, not {wanted} as it was given")
    if not np.allclose(affine, affine_of(spacing_mm), atol=_TOLERANCE):
        raise PluginError("its result has another affine than it was given: voxels could be of other places")
    try:
        values = np.asanyarray(image.dataobj)
    except Exception as error:  # truncated, or not what its header says
        raise PluginError(f"its result cannot be read to the end ({type(error).__name__})") from error
    if values.dtype.kind not in "uif" or not np.isfinite(values).all():
        raise PluginError("its result holds other than labels")
    labels = np.rint(values)
    if (labels != values).any() or labels.min(initial=0) < 0 or labels.max(initial=0) > _LARGEST_LABEL:
        raise PluginError(f"its result holds other than whole numbers from 0 to {_LARGEST_LABEL}")
    return np.ascontiguousarray(labels.astype(np.uint16).transpose(2, 1, 0))
