"""dcm2niix as the oracle: where it puts the voxels of a stack, and which values it gives them."""

import shutil
import subprocess
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import nibabel
import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.dicom.stacks import Stack, split
from node.dicom.volumes import Volume, read_volume
from node.errors import VolumeError
from tests.conftest import needs

_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # NIfTI's axes run to right, anterior, superior; DICOM's to left, posterior
_SAME_PLACE_MM = 1e-3
_EVEN = 1e-3  # of the slice distance

FloatArray = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True, eq=False)
class Nifti:
    """One 3D volume of one file that dcm2niix wrote: its affine (i, j, k to RAS), and its scaled values."""

    affine: FloatArray
    values: FloatArray
    slope: float
    intercept: float


def series_in(folder: Path) -> dict[str, dict[str, Path]]:
    """Return for each series below a folder its instances: SOP Instance UID and file."""
    found: dict[str, dict[str, Path]] = defaultdict(dict)
    for path in sorted(one for one in folder.rglob("*") if one.is_file()):
        header = dcmread(path, stop_before_pixels=True)
        found[str(header.SeriesInstanceUID)][str(header.SOPInstanceUID)] = path
    return found


def stacks_of(files: Mapping[str, Path]) -> tuple[tuple[Stack, ...], dict[str, Dataset]]:
    """Return the stacks of a series, none if it holds no image, and its instances."""
    instances = {uid: dcmread(path) for uid, path in files.items()}
    try:
        return split(list(instances.values())), instances
    except VolumeError as error:
        if error.text != "the series holds no image":
            raise
        return (), instances


def largest_even_part(stack: Stack) -> list[str]:
    """Return the instances of a stack's largest part that has even slice distances; all, where all have.

    The published packs are subsets of series, and NIfTI has no words for uneven distances: dcm2niix then takes the
    first one for all.
    """
    places = [frame.place_mm for frame in stack.frames]
    best: list[int] = [0]
    for a in range(len(places)):
        for b in range(a + 1, len(places)):
            step, chosen = places[b] - places[a], [a, b]
            if step <= 0 or len(places) - a <= len(best):
                continue
            for k in range(b + 1, len(places)):
                if abs(places[k] - places[chosen[-1]] - step) < _EVEN * step:
                    chosen.append(k)
            best = max(best, chosen, key=len)
    return [stack.frames[k].instance for k in best]


def convert(files: Sequence[Path], folder: Path) -> list[Nifti]:
    """Return what dcm2niix makes of files."""
    program = needs("dcm2niix", "dcm2niix")
    source, out = folder / "in", folder / "out"
    for path in (source, out):
        shutil.rmtree(path, ignore_errors=True)
        path.mkdir(parents=True)
    for number, path in enumerate(files):
        shutil.copy(path, source / f"{number}.dcm")
    subprocess.run(
        [program, "-z", "n", "-b", "n", "-f", "%s_%e_%r", "-o", str(out), str(source)],
        check=False,  # it says 1 and more for warnings as well: what it wrote is looked at
        capture_output=True,
        timeout=60,
    )
    made = []
    for path in sorted(out.glob("*.nii")):
        if path.stem.split("_Eq")[0] != path.stem:  # a resampled second version
            continue
        image = nibabel.load(path)
        values = np.asanyarray(image.dataobj).astype(np.float64)
        made += [
            Nifti(np.asarray(image.affine), one, float(image.dataobj.slope), float(image.dataobj.inter))
            for one in np.moveaxis(values.reshape(*values.shape[:3], -1), 3, 0)
        ]
    return made


def differences(volume: Volume, nifti: Nifti) -> tuple[float, float]:
    """Return how far a volume is from one of dcm2niix: in place, in mm; in value, as a share of what is allowed.

    (inf, inf) if it has another matrix, or its axes are not those of the volume, turned or mirrored.
    """
    mapping = np.linalg.inv(nifti.affine) @ _TO_RAS @ volume.geometry.affine
    axes = np.round(mapping[:3, :3])
    if sorted(np.abs(axes).sum(axis=0)) != [1, 1, 1] or sorted(np.abs(axes).sum(axis=1)) != [1, 1, 1]:
        return np.inf, np.inf
    order = [int(np.argmax(np.abs(row))) for row in axes]
    turned = volume.array.transpose(order)
    for axis in range(3):
        if axes[axis, order[axis]] < 0:
            turned = np.flip(turned, axis)
    if turned.shape != nifti.values.shape:
        return np.inf, np.inf
    last = np.array(volume.array.shape) - 1
    corners = np.array(np.meshgrid(*([0, end] for end in last), [1.0])).reshape(4, -1)
    there = np.clip(np.round(mapping @ corners), 0, [[one - 1] for one in (*turned.shape, 2)])
    apart = (nifti.affine @ there - _TO_RAS @ volume.geometry.affine @ corners)[:3]
    return float(np.linalg.norm(apart, axis=0).max()), _value_difference(turned, nifti)


def _value_difference(turned: npt.NDArray[np.float32], nifti: Nifti) -> float:
    """dcm2niix takes Philips' slope from the difference of two single-precision numbers as large as the intercept."""
    largest_stored = np.abs((nifti.values - nifti.intercept) / nifti.slope).max()
    allowed = 1e-6 * np.abs(nifti.values).max() + largest_stored * np.spacing(np.float32(abs(nifti.intercept)))
    return float(np.abs(turned - nifti.values).max() / allowed)


def agrees(volume: Volume, candidates: Sequence[Nifti]) -> tuple[bool, str]:
    """Return whether one of the candidates has the place and the values of a volume, and what was found."""
    found = sorted((differences(volume, one) for one in candidates), key=lambda one: (one[1], one[0]))
    if not found:
        return False, "dcm2niix wrote nothing"
    place_mm, value = found[0]
    good = place_mm < _SAME_PLACE_MM and value <= 1
    return good, f"{place_mm:.2g} mm, {value:.2g} of the allowed difference in value"


def volume_of(stack: Stack, instances: Mapping[str, Dataset]) -> Volume:
    return read_volume(stack, lambda uid: instances[uid])
