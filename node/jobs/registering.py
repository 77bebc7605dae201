"""Registering: reads the earlier images that a job was given, and brings the lesions outlined on them into the study.

It runs in the sandboxed step, for an archive may have sent what it reads. What cannot be read, or is not what the
earlier report speaks of, is left alone (`priors`): recognition then does without it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
from pydicom import dcmread
from pydicom.dataset import Dataset

from node.dicom.dynamics import is_one_dynamic, time_points, times_s
from node.dicom.identifiers import InstanceUID
from node.dicom.stacks import split
from node.dicom.volumes import Volume, by_uid, read_volume
from node.findings import EarlierResult

if TYPE_CHECKING:
    from node.analysis.brought import Brought
    from node.jobs.steps import InputFile


@dataclass(frozen=True, slots=True, eq=False)
class Present:
    """The series of a study that earlier ones are registered with.

    Parameters
    ----------
    volume : Volume
        The post-contrast series.
    muscles : ndarray of uint8
        On its grid, as it was acquired: those that were searched for foci.
    largest_bytes : int
        Memory that the volume of an earlier series may take.
    thickest_mm : float
        Slices that an earlier series may have, as this one.
    """

    volume: Volume
    muscles: npt.NDArray[np.uint8]
    largest_bytes: int
    thickest_mm: float


def brought(result: EarlierResult, files: Sequence["InputFile"], header: Dataset, present: Present) -> "Brought | None":
    """Return where the lesions of an earlier result would lie now; None if its images are not there, or are of no use.

    Parameters
    ----------
    files : sequence of InputFile
        The instances of the series on which the lesions were outlined.
    header : Dataset
        Of an instance of the study, to tell the patient by.

    Raises
    ------
    Exception
        Of any kind: what peers send may break pydicom anywhere, and a volume may have faults, or be gone from the disk.
    """
    from node.analysis.brought import bring_lesions  # scipy, SimpleITK: only where a step runs

    if not files or not result.lesions:
        return None
    then = _volume(files, result, header, present)
    return None if then is None else bring_lesions(result.lesions, then, present.volume, present.muscles)


def _volume(files: Sequence["InputFile"], result: EarlierResult, header: Dataset, present: Present) -> Volume | None:
    """Return the volume that instances make; of a dynamic the last time point that is whole."""
    from node.report.earlier import is_of_patient  # highdicom: only where a step runs

    places: dict[InstanceUID, InputFile] = {}
    headers = []
    for one in files:
        found = dcmread(one.open(), stop_before_pixels=True)
        places[InstanceUID(str(found.SOPInstanceUID))] = one
        headers.append(found)
    if any(str(one.StudyInstanceUID) != result.study or not is_of_patient(one, header) for one in headers):
        return None
    stacks = split(headers)
    if not is_one_dynamic(stacks):
        return None  # nobody can say on which of several volumes the lesions were outlined
    points = time_points(stacks, 1)
    moments = times_s(points, by_uid(headers).__getitem__)
    last = points[-1 if moments is None else int(np.argmax(moments))]
    volume = read_volume(last, lambda uid: dcmread(places[uid].open()), largest_bytes=present.largest_bytes)
    return volume if _is_of_use(volume, present.thickest_mm) else None


def _is_of_use(volume: Volume, thickest_mm: float) -> bool:
    """Return whether a volume may be registered: none of the gates of a study was asked of it."""
    shows_something = bool(np.isfinite(volume.array).all()) and float(np.ptp(volume.array)) > 0
    thickness_mm = max(volume.geometry.spacing_mm[0], volume.acquisition.slice_thickness_mm or 0.0)
    return shows_something and thickness_mm <= thickest_mm
