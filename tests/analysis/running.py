"""Short ways to run the analysis in tests, and to judge what it says."""

from pathlib import Path

import nibabel as nib
import numpy as np
import numpy.typing as npt
import pytest

from node.analysis import CompartmentSegmenter, MultiscaleDetector, measure
from node.dicom.geometry import Geometry
from node.dicom.volumes import Volume
from node.findings import Findings, LesionFindings, Measurement, MuscleFindings, Side, StudyVolumes
from node.settings import AnalysisSettings
from tests.analysis.phantom import FRAME, volume

SHARED = Path(__file__).resolve().parents[3] / "shared" / "data"
_RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def run(
    pre: Volume | None = None, post: Volume | None = None, mrv: Volume | None = None, **settings: float
) -> Measurement:
    return measure(
        StudyVolumes(pre, post, mrv),
        settings=AnalysisSettings.model_validate(settings),
        segmenter=CompartmentSegmenter(),
        detector=MultiscaleDetector(),
    )


def side(findings: Findings, wanted: Side) -> MuscleFindings:
    return next(one for one in findings.muscles if one.side is wanted)


def only_lesion(findings: Findings) -> LesionFindings:
    assert len(findings.lesions) == 1, findings.lesions
    return findings.lesions[0]


def codes(findings: Findings) -> set[str]:
    return {one.code for one in findings.refusals}


def dice(one: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> float:
    return 2 * float((one & other).sum()) / max(1, int(one.sum() + other.sum()))


def shared_file(*parts: str) -> Path:
    """Return a file of the shared data, or skip the test where they are not at hand."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        pytest.skip(f"shared/data/{'/'.join(parts)} is not at hand")
    return path


def read(path: Path) -> tuple[npt.NDArray[np.float32], Geometry]:
    """Return a NIfTI volume in DICOM's order (slices, rows, columns), and its geometry."""
    image = nib.as_closest_canonical(nib.load(path))
    array = np.asarray(image.dataobj).astype(np.float32)
    reorder = np.zeros((4, 4))
    reorder[[2, 1, 0, 3], [0, 1, 2, 3]] = 1  # (slice, row, column) are NIfTI's (z, y, x)
    affine = _RAS_TO_LPS @ image.affine @ reorder
    return np.ascontiguousarray(array.transpose(2, 1, 0)), Geometry(affine, array.shape[::-1], FRAME)


class RealBack:
    """The water and fat images and the muscle masks of a real back (TUM01), and T1 like images made of them."""

    def __init__(self) -> None:
        self.water, _ = read(shared_file("TUM_lumbar_dixon", "TUM01_water_img_img_L2-L5.nii.gz"))
        self.fat, self.geometry = read(shared_file("TUM_lumbar_dixon", "TUM01_fat_img_img_L2-L5.nii.gz"))
        labels, _ = read(shared_file("TUM_lumbar_dixon", "TUM01_fat_manual_label_segmentation_L2-L5.nii.gz"))
        self.muscle_signal = float(np.median(self.water[labels > 0]))
        x = self.geometry.to_lps(np.argwhere(labels > 0))[:, 0]  # the right side's labels are 1 and 2 (SOURCE.txt)
        assert x[np.isin(labels[labels > 0], (3, 4))].mean() > x[np.isin(labels[labels > 0], (1, 2))].mean()
        self.sides = np.where(np.isin(labels, (3, 4)), 1, np.where(np.isin(labels, (1, 2)), 2, 0)).astype(np.uint8)

    def crop(self, *, slices: int | None = None) -> None:
        """Leave out the air around the body, and all but the first `slices`, for speed."""
        where = np.argwhere(self.water + self.fat > 60)
        _, top, first = (int(one) for one in np.maximum(where.min(axis=0) - 5, 0))
        _, bottom, last = (int(one) for one in where.max(axis=0) + 6)
        box = np.s_[:slices, top:bottom, first:last]
        self.water, self.fat, self.sides = self.water[box], self.fat[box], self.sides[box]
        affine = self.geometry.affine.copy()
        affine[:3, 3] = self.geometry.to_lps([0, top, first])
        depth, rows, columns = self.water.shape
        self.geometry = Geometry(affine, (depth, rows, columns), FRAME)

    def series(
        self, water: npt.NDArray[np.floating], fat: npt.NDArray[np.floating], *, snr: float, seed: int
    ) -> Volume:
        """Return the magnitude of water plus fat with noise; snr of muscle whose water is untouched."""
        random = np.random.default_rng(seed)
        sigma = self.muscle_signal / snr
        noise = [random.normal(0, sigma, water.shape) for _ in range(2)]
        return volume(np.hypot(water + fat + noise[0], noise[1]), self.geometry)
