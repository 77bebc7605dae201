"""Registration against movements that are known: `python -m benchmarks.analysis_registration [--quick] [--seed N]`.

Two anatomies: the project's phantom, whose tissues are formulas of the place in the patient and are sampled at six
places in every voxel; and, where the shared data are at hand, the real back TUM01, whose water and fat images are
taken for samples of a continuous object (B-splines of degree 5) that is integrated over slices of 4 mm. Neither goes
through `node.analysis.resampling`. Contrast is simulated: muscle + 40 %, all other water + 30 %, a lesion, vessels.

The patient moves before the pre-contrast series. The error is the distance, in mm, between where the found and the true
movement put the voxels of the muscle. These are figures of a simulation, not of patients.
"""

import argparse
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy import ndimage
from scipy.spatial.transform import Rotation

from benchmarks.sheet import Sheet
from node.analysis.body import body_mask
from node.analysis.grid import Grid
from node.analysis.pairing import back_region, middle_mm
from node.analysis.registration import align
from node.analysis.resampling import Movement
from node.dicom.geometry import Geometry
from node.dicom.headers import read_acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.dicom.volumes import Volume
from node.simulator import Recipe
from node.simulator.implants import implant
from node.simulator.patient import Patient
from node.simulator.planning import plan_series
from node.simulator.scan import Weighting, scan
from node.simulator.tissues import Label

Image = npt.NDArray[np.floating[Any]]
Points = npt.NDArray[np.float64]
Placed = Callable[[int], Points]  # for a slice: from LPS of the scanner to LPS of the patient at rest, shape (4, 4)

TUM01 = Path(__file__).resolve().parents[2] / "shared" / "data" / "TUM_lumbar_dixon"
FARTHEST_MM, LARGEST_DEG, SNR = 10.0, 6.0, 30.0
MUSCLE, OTHER, LESION, VESSEL, FAT = 0.40, 0.30, 1.05, 1.60, 0.03  # by which they enhance, shares
LESION_RADIUS_MM = 6.0
_PROFILE = np.polynomial.legendre.leggauss(3)  # places and weights across a slice


class Anatomy(Protocol):
    """A patient at rest, of whom images can be made."""

    name: str
    geometry: Geometry
    muscle: npt.NDArray[np.bool_]  # on `geometry`

    def grid_of(self, kind: str) -> Geometry: ...

    def image(self, kind: str, placed: Placed) -> Image:
        """Return the noise-free image, "pre", "post" or "mrv", of the patient as placed, slice by slice."""
        ...


class RealBack:
    """TUM01: the middle 21 of its slices are imaged, so that what moves into them is known too."""

    name = "TUM01"

    def __init__(self, seed: int) -> None:
        def read(name: str) -> nib.spatialimages.SpatialImage:
            return nib.as_closest_canonical(nib.load(TUM01 / f"TUM01_{name}.nii.gz"))

        fat = read("fat_img_img_L2-L5")
        turned = np.zeros((4, 4))
        turned[[2, 1, 0, 3], [0, 1, 2, 3]] = 1  # (slice, row, column) are NIfTI's (z, y, x)
        affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ fat.affine @ turned
        images = [
            np.asarray(one.dataobj, np.float64).transpose(2, 1, 0)
            for one in (read("water_img_img_L2-L5"), fat, read("fat_manual_label_segmentation_L2-L5"))
        ]
        used = np.argwhere(images[0] + images[1] > 60)
        low, high = np.maximum(used.min(axis=0) - 12, 0), used.max(axis=0) + 13
        low[0], high[0] = 0, images[0].shape[0]
        box = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
        water, fat_signal, labels = (one[box] for one in images)
        affine[:3, 3] += affine[:3, :3] @ low
        self._whole = Geometry(affine, water.shape, "1")
        self.geometry = _part(self._whole, np.array([4, 0, 0]), (21, *water.shape[1:]))
        self.muscle = labels[4:25] > 0
        rise = _rise(labels > 0, np.array(self._whole.spacing_mm), np.random.default_rng([seed, 8]))
        # A time of flight in which muscle is brighter than fat, and vessels are brightest; there is no agent yet.
        mrv = 0.5 * water * np.where(rise == VESSEL, 3, 1) + 0.15 * fat_signal
        self._splines = {
            kind: ndimage.spline_filter(one, order=5, output=np.float32)
            for kind, one in (
                ("pre", water + fat_signal),
                ("post", water * (1 + rise) + fat_signal * (1 + FAT)),
                ("mrv", mrv),
            )
        }
        thin = self.geometry.affine.copy()
        thin[:3, 0] *= 0.75  # slices of 3 mm
        self._grids = {"mrv": Geometry(thin, (28, *water.shape[1:]), "1")}

    def grid_of(self, kind: str) -> Geometry:
        return self._grids.get(kind, self.geometry)

    def image(self, kind: str, placed: Placed) -> Image:
        on = self.grid_of(kind)
        depth, rows, columns = on.shape
        image = np.zeros(on.shape)
        plane = np.stack(np.meshgrid(np.arange(rows), np.arange(columns), indexing="ij"), axis=-1).reshape(-1, 2)
        for k in range(depth):
            to_patient = placed(k)
            for place, weight in zip(*_PROFILE, strict=True):
                indices = np.column_stack([np.full(len(plane), k + place / 2), plane])
                moved = on.to_lps(indices) @ to_patient[:3, :3].T + to_patient[:3, 3]
                values = ndimage.map_coordinates(
                    self._splines[kind], self._whole.to_index(moved).T, order=5, prefilter=False, mode="nearest"
                )
                image[k] += weight / 2 * values.reshape(rows, columns)
        return image.clip(min=0)


def _rise(muscle: npt.NDArray[np.bool_], step_mm: Points, random: np.random.Generator) -> Image:
    """Return by how much the water of each voxel enhances."""
    texture = ndimage.gaussian_filter(random.standard_normal(muscle.shape), 3 / step_mm)
    rise = np.where(muscle, MUSCLE * (1 + 0.12 * texture / texture.std()), OTHER)
    places = np.argwhere(muscle) * step_mm
    grid = np.stack(np.indices(muscle.shape), axis=-1) * step_mm
    lesion = np.linalg.norm(grid - places[random.integers(len(places))], axis=-1) < LESION_RADIUS_MM
    rise[lesion & muscle] = LESION
    for _ in range(12):
        start, along = places[random.integers(len(places))], random.standard_normal(3)
        offset = grid - start
        reach = offset @ (along / np.linalg.norm(along))
        away = np.sqrt(np.maximum(np.sum(np.square(offset), axis=-1) - reach**2, 0))
        rise[(away < 1) & (np.abs(reach) < 10)] = VESSEL
    return rise


class PhantomBack:
    """The phantom of `node.simulator`, T1 spin echo at 1.5 T; "mrv" is a time-of-flight image on the same grid."""

    name = "phantom"

    def __init__(self, seed: int, *, pixel_mm: float = 1.0, slice_mm: float = 4.0) -> None:
        recipe = Recipe(seed=seed, pixel_mm=pixel_mm, slice_mm=slice_mm)
        self._patient = Patient.of(recipe)
        self._plans = {kind: plan_series(recipe, self._patient.body, "1", kind, 1) for kind in ("pre", "post", "mrv")}
        self.geometry = self._plans["post"].geometries[0]
        at_rest = self._patient.body.sample(self.geometry, np.eye(4))
        self.muscle = at_rest.share(Label.LEFT_MUSCLE, Label.RIGHT_MUSCLE) > 0.9

    def image(self, kind: str, placed: Placed) -> Image:
        plan, patient = self._plans[kind], self._patient
        geometry = plan.geometries[0]
        weighting = Weighting(plan.pulse, patient.field_strength_t, fat_suppression=False, minutes=plan.minutes)
        slices = []
        for first, last, to_patient in _runs(placed, geometry.shape[0]):
            piece = _part(geometry, np.array([first, 0, 0]), (last - first, *geometry.shape[1:]))
            anatomy = implant(patient.body.sample(piece, to_patient), patient.implants)
            slices.append(scan(anatomy, patient.tissues, weighting, patient.around))
        return np.concatenate(slices)

    def grid_of(self, kind: str) -> Geometry:
        return self._plans[kind].geometries[0]


def _runs(placed: Placed, depth: int) -> Iterator[tuple[int, int, Points]]:
    """Return the runs of slices that are placed alike: first, last + 1, where."""
    first = 0
    for k in range(1, depth + 1):
        if k == depth or not np.array_equal(placed(k), placed(first)):
            yield first, k, placed(first)
            first = k


def _part(geometry: Geometry, start: npt.NDArray[np.intp], shape: tuple[int, ...]) -> Geometry:
    affine = geometry.affine.copy()
    affine[:3, 3] = geometry.to_lps(start)
    return Geometry(affine, (shape[0], shape[1], shape[2]), geometry.frame_of_reference)


# ---------------------------------------------------------------- cases


@dataclass(frozen=True, slots=True)
class Case:
    """What moves, and what is compared with what."""

    name: str
    moving: str = "pre"
    farthest_mm: float = FARTHEST_MM
    largest_deg: float = LARGEST_DEG
    drift_mm: float = 0.0  # in-plane movement during the moving series, standard deviation per axis
    offset_mm: float = 0.0  # between the origins of two frames of reference


CASES = (
    Case("rigid"),
    Case("rigid and drift", farthest_mm=3, largest_deg=2, drift_mm=0.6),
    Case("other frame of reference", offset_mm=30),
    Case("MRV", moving="mrv", farthest_mm=5, largest_deg=3),
)


def movement(case: Case, centre: Points, random: np.random.Generator) -> Movement:
    """Return a movement from the points of the post-contrast series to those of the other one."""
    axis, way = (one / np.linalg.norm(one) for one in random.standard_normal((2, 3)))
    turn = Rotation.from_rotvec(axis * np.deg2rad(case.largest_deg * random.uniform()))
    return Movement(turn.as_matrix(), way * case.farthest_mm * random.uniform(), centre)


def drift(case: Case, depth: int, slice_mm: float, random: np.random.Generator) -> Points:
    """Return by how much each slice is displaced within its plane, in mm, shape (slices, 2), smooth over 12 mm."""
    walk = ndimage.gaussian_filter1d(random.standard_normal((depth + 40, 2)), 12 / slice_mm, axis=0)[20:-20]
    return case.drift_mm * (walk - walk.mean(axis=0)) / max(float(walk.std()), 1e-9)


def matrix(one: Movement) -> Points:
    affine = np.eye(4)
    affine[:3, :3] = one.rotation
    affine[:3, 3] = one.centre + one.shift - one.rotation @ one.centre
    return affine


def grid(image: Image, on: Geometry, noise: float, gain: float, random: np.random.Generator) -> Grid:
    """Return a noisy series in canonical order."""
    magnitude = np.hypot(image + random.normal(0, noise, image.shape), random.normal(0, noise, image.shape))
    return Grid.of(
        Volume(
            array=(gain * magnitude).astype(np.float32), geometry=on, series=SeriesUID("1.2.3"),
            instances=tuple(InstanceUID(f"1.2.3.{k}") for k in range(on.shape[0])), frames=(0,) * on.shape[0],
            acquisition=read_acquisition(Dataset()),
        )
    )  # fmt: skip


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """Two series, and places in the muscle of the first with where they are in the second; LPS mm, shape (n, 3)."""

    fixed: Grid
    moving: Grid
    same_contrast: bool
    where: Points
    there: Points
    moved_mm: float  # median


def draw(anatomy: Anatomy, case: Case, post: Image, random: np.random.Generator) -> Drawn:
    """Return the pair of a case."""
    on = anatomy.grid_of(case.moving)
    where = anatomy.geometry.to_lps(np.argwhere(anatomy.muscle)[::37])
    truth = movement(case, where.mean(axis=0), random)
    slices_mm = drift(case, on.shape[0], on.spacing_mm[0], random)
    back = matrix(truth.inverse())

    def placed(k: int) -> Points:
        displaced = np.eye(4)
        displaced[:3, 3] = on.directions[:, 1:] @ slices_mm[k]
        return back @ displaced

    image = anatomy.image(case.moving, placed)
    muscle_signal = float(np.median(post[anatomy.muscle]))
    noise = muscle_signal / (1 + MUSCLE) / SNR
    gain = float(2 ** random.uniform(-1, 1))
    fixed = grid(post, anatomy.geometry, noise, 1.0, random)
    scale = float(np.percentile(image, 99) / np.percentile(post, 99)) if case.moving == "mrv" else 1.0
    offset = case.offset_mm * random.choice([-1.0, 1.0], 3)
    affine = on.affine.copy()
    affine[:3, 3] += offset
    shown = replace(on, affine=affine, frame_of_reference="2" if case.offset_mm else "1")
    moving = grid(image, shown, noise * scale, gain, random)

    there = truth.apply(where)
    moved_mm = float(np.median(np.linalg.norm(there - where, axis=1)))
    heights = on.to_index(there)[:, 0]
    for axis in range(2):  # where the slice that shows it was displaced to
        slipped = np.interp(heights, np.arange(on.shape[0]), slices_mm[:, axis])
        there = there - np.outer(slipped, on.directions[:, 1 + axis])
    return Drawn(fixed, moving, case.moving != "mrv", where, there + offset, moved_mm)


def judge(drawn: Drawn) -> dict[str, Any]:
    """Return the errors of one registration."""
    fixed = drawn.fixed
    body, other_body = (body_mask(one.signal, one.spacing_mm) for one in (fixed, drawn.moving))
    region, start_mm = back_region(body, fixed.spacing_mm), None
    if fixed.geometry.frame_of_reference != drawn.moving.geometry.frame_of_reference:
        start_mm = middle_mm(other_body, drawn.moving) - middle_mm(body, fixed)
    began = time.process_time()
    found = align(fixed, drawn.moving, region, same_contrast=drawn.same_contrast, start_mm=start_mm)
    seconds = time.process_time() - began
    if found is None:
        return {"found": False, "seconds": seconds}
    missed = found.movement.apply(drawn.where) - drawn.there
    along = missed @ fixed.geometry.directions[:, 0]
    return {
        "found": True,
        "moved_mm": drawn.moved_mm,
        "error_mm": np.linalg.norm(missed, axis=1),
        "in_plane_mm": np.sqrt(np.maximum(np.sum(np.square(missed), axis=1) - along**2, 0)),
        "along_mm": np.abs(along),
        "residual_mm": found.residual_mm,
        "inconsistency_mm": found.inconsistency_mm,
        "seconds": seconds,
    }


def anatomies(seed: int) -> list[Anatomy]:
    """Return the anatomies at hand."""
    return [PhantomBack(seed), *([RealBack(seed)] if TUM01.exists() else [])]


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return one row of figures for each anatomy and case; each movement counts with all its muscle voxels."""
    figures = []
    for anatomy in anatomies(seed):
        post = anatomy.image("post", lambda _: np.eye(4))
        for number, case in enumerate(CASES):
            random = np.random.default_rng([seed, number])
            trials = [judge(draw(anatomy, case, post, random)) for _ in range(2 if quick else 16)]
            figures.append({"anatomy": anatomy.name, "case": case.name, **summary(trials)})
    return figures


_NOT_FOUND: dict[str, Any] = dict.fromkeys(("error_mm", "in_plane_mm", "along_mm"), np.array([np.nan])) | dict.fromkeys(
    ("residual_mm", "inconsistency_mm"), np.nan
)


def summary(trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the trials of one row have in common."""
    found = [one for one in trials if one["found"]] or [_NOT_FOUND]
    errors = np.concatenate([one["error_mm"] for one in found])
    true_rms = [float(np.sqrt(np.mean(np.square(one["in_plane_mm"])) / 2)) for one in found]
    return {
        "movements": len(trials),
        "found": sum(one["found"] for one in trials),
        "median_mm": float(np.median(errors)),
        "p95_mm": float(np.percentile(errors, 95)),
        "max_mm": float(errors.max()),
        "in_plane_median_mm": float(np.median(np.concatenate([one["in_plane_mm"] for one in found]))),
        "along_median_mm": float(np.median(np.concatenate([one["along_mm"] for one in found]))),
        "true_residual_mm": float(np.median(true_rms)),
        "residual_mm": float(np.median([one["residual_mm"] for one in found])),
        "inconsistency_mm": float(np.median([one["inconsistency_mm"] for one in found])),
        "cpu_s": float(np.median([one["seconds"] for one in trials])),
    }


def sheet(figures: list[dict[str, Any]]) -> Sheet:
    columns = tuple(figures[0])
    texts = [[f"{value:.2f}" if isinstance(value, float) else str(value) for value in row.values()] for row in figures]
    return Sheet("Registration: error in the muscle against the true movement", columns, texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="2 movements a row instead of 16")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    print(sheet(rows(wanted.quick, wanted.seed)).as_markdown())


if __name__ == "__main__":
    main()
