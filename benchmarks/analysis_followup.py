"""Two examinations, registered: `python -m benchmarks.analysis_followup [--quick] [--seed N]`.

Three people of the shared data, where they are at hand: the water and fat images TUM01 (116 mm of the back), a CT of
336 mm, whose tissues are given the brightness that they have on T1, and an MR of an abdomen (60 mm). Two examinations
are made of one: the patient lies elsewhere, by up to 60 mm along the back, 30 mm across and 5 degrees, and bends by up
to 4 mm; other slices, pixels, extent, gain, coil, noise; muscle enhances otherwise, holds more fat, and has another
lesion. None of it goes through code of `node.analysis`. Contrast is simulated: these are not figures of patients.

The error is how far the found movement puts places in the muscles from where they were. *Wrong* is what was accepted
and is more than 10 mm off, and whatever was accepted of two people, or of one who was mirrored or stretched.
"""

import argparse
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import nibabel as nib
import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset
from scipy import ndimage
from scipy.spatial import cKDTree
from scipy.spatial.transform import Rotation

from benchmarks.sheet import Sheet
from node.analysis.followup import follow_up
from node.analysis.grid import Grid
from node.dicom.geometry import Geometry
from node.dicom.headers import read_acquisition
from node.dicom.identifiers import InstanceUID, SeriesUID
from node.dicom.volumes import Volume

Image = npt.NDArray[np.float32]
Points = npt.NDArray[np.float64]
Random = np.random.Generator
Warp = Callable[[Points], Points]  # from places in the scanner, LPS mm, to places in the person

DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
WRONG_MM = 10.0  # a third of a level
MUSCLE, OTHER, FAT, LESION = 0.40, 0.30, 0.03, 1.05  # by which they enhance, shares
_PROFILE = (-0.25, 0.25)  # places across a slice


@dataclass(frozen=True, slots=True, eq=False)
class Person:
    """Water and fat of a person, axes to the head, the back and the left; and where the muscles of the back lie."""

    name: str
    water: Image
    fat: Image
    muscle: npt.NDArray[np.bool_]
    geometry: Geometry

    @property
    def extent_mm(self) -> tuple[float, float]:
        first, last = self.geometry.to_lps([[-0.5, 0, 0], [self.water.shape[0] - 0.5, 0, 0]])[:, 2]
        return float(first), float(last)


def _read(*parts: str) -> tuple[Image, Points]:
    """Return a volume with axes to the head, the back and the left, and its affine in LPS."""
    image = nib.as_closest_canonical(nib.load(DATA.joinpath(*parts)))  # axes to the right, the front, the head
    array = np.asarray(image.dataobj, np.float32).transpose(2, 1, 0)[:, ::-1, ::-1]
    turned = np.zeros((4, 4))
    turned[[2, 1, 0, 3], [0, 1, 2, 3]] = 1
    affine = np.diag([-1.0, -1.0, 1.0, 1.0]) @ image.affine @ turned
    affine[:3, 3] += affine[:3, 1] * (array.shape[1] - 1) + affine[:3, 2] * (array.shape[2] - 1)
    affine[:3, 1:3] *= -1
    return np.ascontiguousarray(array), affine


def _tum01() -> Person:
    folder, name = "TUM_lumbar_dixon", "TUM01_{}_L2-L5.nii.gz"
    water, _ = _read(folder, name.format("water_img_img"))
    fat, affine = _read(folder, name.format("fat_img_img"))
    labels, _ = _read(folder, name.format("fat_manual_label_segmentation"))
    scale = np.float32(np.median(water[labels > 0]))
    used = np.argwhere((water + fat > 60).any(axis=0))  # without the air around the body
    (top, first), (bottom, last) = used.min(axis=0), used.max(axis=0) + 1
    affine[:3, 3] += affine[:3, :3] @ (0, top, first)
    water, fat, labels = (one[:, top:bottom, first:last] for one in (water / scale, fat / scale, labels))
    return Person("TUM01", water, fat, labels > 0, Geometry(affine, water.shape, "1"))


def _ct() -> Person:
    hounsfield, affine = _read("TotalSegmentator_samples", "example_ct.nii.gz")
    fat = np.interp(hounsfield, (-300, -200, -80, -20), (0, 2.4, 2.4, 0)).astype(np.float32)
    # Marrow holds fat, and is brighter than muscle; the denser the bone, the darker.
    water = np.interp(hounsfield, (-60, 0, 80, 150, 300, 900), (0, 1, 1, 1.6, 1.2, 0.1)).astype(np.float32)
    return Person("CT as T1", water, fat, _behind(hounsfield > -30), Geometry(affine, fat.shape, "1"))


def _abdomen() -> Person:
    signal, affine = _read("TotalSegmentator_samples", "example_mr_sm.nii.gz")
    signal = signal.clip(0) / np.float32(np.percentile(signal, 60) + 1)
    fat = np.where(signal > np.percentile(signal, 93), signal, np.float32(0))
    return Person("MR abdomen", signal - fat, fat, _behind(signal > 0.2), Geometry(affine, fat.shape, "1"))


def _behind(body: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return what lies 25 to 75 mm in front of the back, within 70 mm of the middle; of voxels of 3 mm."""
    kept = ndimage.binary_opening(body, iterations=2)
    last = kept.shape[1] - 1 - kept[:, ::-1].argmax(axis=1)
    depth = 3.0 * (last[:, None, :] - np.arange(kept.shape[1])[None, :, None])
    middle = np.argwhere(kept)[:, 2].mean()
    near = np.abs(np.arange(kept.shape[2]) - middle) * 3.0 < 70
    found: npt.NDArray[np.bool_] = body & (depth > 25) & (depth < 75) & near[None, None, :]
    return found


def people() -> list[Person]:
    """Return those at hand."""
    made = {"TUM_lumbar_dixon": (_tum01,), "TotalSegmentator_samples": (_ct, _abdomen)}
    return [one() for folder, readers in made.items() if (DATA / folder).is_dir() for one in readers]


@dataclass(frozen=True, slots=True)
class Protocol:
    """How an examination is made: slices and pixels in mm, how far it reaches, and where its middle lies."""

    slice_mm: float
    pixel_mm: float
    long_mm: float
    middle_mm: float

    @classmethod
    def drawn(cls, random: Random, first_mm: float, last_mm: float) -> "Protocol":
        slice_mm, pixel_mm = float(random.choice([3.0, 4.0, 5.0])), float(random.uniform(1.2, 1.8))
        return cls(slice_mm, pixel_mm, last_mm - first_mm, (first_mm + last_mm) / 2)


def examine(person: Person, protocol: Protocol, warp: Warp, random: Random, *, atrophy: float, mirrored: bool) -> Grid:
    """Return the post-contrast series of a person who lies as `warp` says; `atrophy` is the share that fat replaced."""
    texture = ndimage.gaussian_filter(random.standard_normal(person.water.shape, np.float32), 1.5)
    rise = np.where(person.muscle, MUSCLE * (1 + 0.12 * texture / texture.std()), OTHER)
    places = np.argwhere(person.muscle)
    centre = person.geometry.to_lps(places[random.integers(len(places))])
    inside = np.linalg.norm(person.geometry.to_lps(places) - centre, axis=1) < random.uniform(4, 12)
    rise[tuple(places[inside].T)] = LESION
    lost = np.where(person.muscle, np.float32(atrophy), np.float32(0))
    water, fat = person.water * (1 - lost), person.fat + 2.2 * lost * person.water
    shown = (water * (1 + rise) + fat * (1 + FAT)).astype(np.float32)

    width_mm = np.array(person.water.shape[1:]) * person.geometry.spacing_mm[1:] + 60
    shape = (round(protocol.long_mm / protocol.slice_mm), *(round(float(one) / protocol.pixel_mm) for one in width_mm))
    affine = np.eye(4)
    affine[:3, :3] = np.diag([protocol.pixel_mm, protocol.pixel_mm, protocol.slice_mm])[:, ::-1]
    middle = person.geometry.to_lps((np.array(person.water.shape) - 1) / 2)
    middle[2] = protocol.middle_mm
    affine[:3, 3] = middle - affine[:3, :3] @ ((np.array(shape) - 1) / 2)
    geometry = Geometry(affine, shape, "2")
    return _acquired(person, shown, geometry, warp, random, mirrored=mirrored)


def _acquired(person: Person, shown: Image, geometry: Geometry, warp: Warp, random: Random, *, mirrored: bool) -> Grid:
    """Return the series as a scanner shows it: mean over each slice, coil, noise, gain."""
    image = np.zeros(geometry.shape, np.float32)
    rows, columns = np.indices(geometry.shape[1:]).reshape(2, -1)
    for k in range(geometry.shape[0]):
        for place in _PROFILE:
            indices = np.column_stack([np.full(rows.size, k + place), rows, columns])
            within = person.geometry.to_index(warp(geometry.to_lps(indices)))
            values = ndimage.map_coordinates(shown, within.T, order=1, mode="constant")
            image[k] += values.reshape(image[k].shape) / len(_PROFILE)
    back = np.indices(image.shape)[1] * geometry.spacing_mm[1]
    left = np.linspace(-1, 1, image.shape[2])
    coil = np.exp((back - back.max()) / random.uniform(150, 300)) * (1 + random.uniform(-0.2, 0.2) * left)
    noise = 1.4 / random.uniform(12, 30)
    image = image * coil.astype(np.float32) + random.normal(0, noise, image.shape).astype(np.float32)
    magnitude = np.hypot(image, random.normal(0, noise, image.shape)).astype(np.float32)
    if mirrored:
        magnitude = magnitude[:, :, ::-1]
    slices = range(len(magnitude))
    return Grid.of(
        Volume(
            array=np.float32(random.uniform(50, 800)) * magnitude, geometry=geometry, series=SeriesUID("1.2.3"),
            instances=tuple(InstanceUID(f"1.2.3.{k}") for k in slices), frames=tuple(0 for _ in slices),
            acquisition=read_acquisition(Dataset()),
        )
    )  # fmt: skip


def lie_down(person: Person, random: Random, along_mm: float) -> Warp:
    """Return how a person lies the second time: moved, turned, and a little bent."""
    turn = Rotation.from_rotvec(np.deg2rad(random.uniform(-5, 5, 3) / np.sqrt(3))).as_matrix()
    shift = np.array([*random.uniform(-30, 30, 2), along_mm])
    centre = person.geometry.to_lps((np.array(person.water.shape) - 1) / 2)
    bend, phase, wave = random.uniform(0, 4, 2), random.uniform(0, 2 * np.pi, 2), random.uniform(180, 300, 2)

    def warp(points: Points) -> Points:
        within = (points - centre - shift) @ turn + centre
        for axis in range(2):
            within[:, axis] += bend[axis] * np.sin(2 * np.pi * within[:, 2] / wave[axis] + phase[axis])
        return within

    return warp


def _stays(points: Points) -> Points:
    return points.copy()


@dataclass(frozen=True, slots=True)
class Case:
    """Which two examinations: `shared_mm` from ... to of the back are in both; None: of two people."""

    name: str
    shared_mm: tuple[float, float] | None = (60, 110)
    mirrored: bool = False
    stretched: bool = False


CASES = (
    Case("one person, most in common"),
    Case("one person, little in common", (20, 55)),
    Case("one person, nothing in common", (-40, -5)),
    Case("one person, mirrored", mirrored=True),
    Case("two people", None),
    Case("a person, and one stretched", stretched=True),
)


def trial(case: Case, persons: list[Person], random: Random) -> dict[str, Any]:
    """Return what came of one pair of examinations."""
    able = persons if case.shared_mm is None else _able(persons)
    person = able[random.integers(len(able))]
    other = person
    along_mm = float(random.uniform(-60, 60))
    if case.shared_mm is None:
        other = [one for one in persons if one is not person][random.integers(len(persons) - 1)]
    if case.stretched:
        other = _stretched(person, random)
    then_at, now_at = _protocols(person, other, case, along_mm, random)
    warp = lie_down(other, random, along_mm)
    then = examine(person, then_at, _stays, random, atrophy=0.0, mirrored=False)
    now = examine(other, now_at, warp, random, atrophy=float(random.uniform(0, 0.25)), mirrored=case.mirrored)
    began = time.process_time()
    found = follow_up(now, then)
    seconds = time.process_time() - began
    made: dict[str, Any] = {"accepted": found.movement is not None, "wrong": False, "error_mm": [], "seconds": seconds}
    if found.movement is not None:
        shown, was = _muscle(person, now, then, warp)
        made["error_mm"] = np.linalg.norm(found.movement.apply(shown) - was, axis=1)
        made["wrong"] = person is not other or case.mirrored or bool(np.median(made["error_mm"]) > WRONG_MM)
    return made


def _stretched(person: Person, random: Random) -> Person:
    """Return somebody who looks like a person, and is 8 or 12 % longer or shorter, and 6 % wider or narrower."""
    scale = [random.choice([0.88, 0.92, 1.08, 1.12]), *random.choice([0.94, 1.06], 2)]
    affine = person.geometry.affine @ np.diag([*scale, 1.0])
    middle = (np.array(person.water.shape) - 1) / 2
    affine[:3, 3] = person.geometry.to_lps(middle) - affine[:3, :3] @ middle
    return replace(person, geometry=replace(person.geometry, affine=affine))


def _able(persons: list[Person]) -> list[Person]:
    """Return those of whom enough was imaged to be examined twice."""
    return [one for one in persons if one.extent_mm[1] - one.extent_mm[0] > 110]


def _muscle(person: Person, now: Grid, then: Grid, warp: Warp) -> tuple[Points, Points]:
    """Return places in muscle that both examinations show: in this one, and in the earlier one."""
    shown = now.geometry.to_lps(np.indices(now.geometry.shape)[:, :, ::4, ::4].reshape(3, -1).T)
    was = warp(shown)
    away, _ = cKDTree(person.geometry.to_lps(np.argwhere(person.muscle))).query(was, distance_upper_bound=2.0)
    indices = then.geometry.to_index(was)
    inside = np.isfinite(away) & ((indices >= 0) & (indices < then.geometry.shape)).all(axis=1)
    return shown[inside], was[inside]


def _protocols(person: Person, other: Person, case: Case, along_mm: float, random: Random) -> tuple[Protocol, Protocol]:
    """Return where the two examinations lie, so that they share what the case wants."""
    if case.shared_mm is None:
        then, now = (_window(one, random) for one in (person, other))
    else:
        low, high = person.extent_mm
        shared = min(float(random.uniform(*case.shared_mm)), 0.9 * (high - low))
        most = min(140.0, (high - low + shared) / 2)
        least = min(max(shared, 45.0), most)
        first, second = random.uniform(least, most, 2)
        start = low + random.uniform(0, 1) * (high - low - first - second + shared)
        then, now = (start, start + first), (start + first - shared, start + first - shared + second)
        if random.random() < 0.5:
            then, now = now, then
    now = now[0] + along_mm, now[1] + along_mm
    return Protocol.drawn(random, *then), Protocol.drawn(random, *now)


def _window(person: Person, random: Random) -> tuple[float, float]:
    low, high = person.extent_mm
    long_mm = min(float(random.uniform(80, 140)), high - low)
    start = low + random.uniform(0, 1) * (high - low - long_mm)
    return start, start + long_mm


def rows(quick: bool, seed: int) -> list[dict[str, Any]]:
    """Return one row for each case."""
    persons = people()
    made = []
    for number, case in enumerate(CASES):
        is_possible = len(persons) > 1 if case.shared_mm is None else len(_able(persons)) > 0
        if not is_possible or (quick and number % 2):
            continue
        random = np.random.default_rng([seed, number])
        trials = [trial(case, persons, random) for _ in range(1 if quick else 16)]
        made.append(summary(case, trials))
    return made


def summary(case: Case, trials: list[dict[str, Any]]) -> dict[str, Any]:
    """Return what the pairs of one case have in common."""
    errors = np.concatenate([one["error_mm"] for one in trials if not one["wrong"]])
    median, most = np.percentile(errors, (50, 95)) if errors.size else (np.nan, np.nan)
    return {
        "case": case.name, "pairs": len(trials), "accepted": sum(one["accepted"] for one in trials),
        "wrong": sum(one["wrong"] for one in trials), "error, mm: median": float(median), "95 %": float(most),
        "CPU s": float(np.median([one["seconds"] for one in trials])),
    }  # fmt: skip


def _told(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.2f}" if np.isfinite(value) else ""
    return str(value)


def sheet(found: list[dict[str, Any]]) -> Sheet:
    texts = [[_told(value) for value in row.values()] for row in found]
    return Sheet("Two examinations, registered (contrast is simulated)", tuple(found[0]), texts)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="1 pair of three cases instead of 16 of each")
    parser.add_argument("--seed", type=int, default=1)
    wanted = parser.parse_args()
    print(sheet(rows(wanted.quick, wanted.seed)).as_markdown())


if __name__ == "__main__":
    main()
