"""Time points of simulated dynamic series, as four makers write them, classic and Enhanced."""

from collections.abc import Callable
from copy import deepcopy
from functools import cache

import numpy as np
import pytest
from pydicom.dataset import Dataset

from node.dicom.dynamics import read_time_points, time_points
from node.dicom.stacks import split
from node.dicom.volumes import Volume, by_uid
from node.errors import VolumeError
from node.simulator import simulate
from node.simulator.recipe import Vendor
from tests.simulator.studies import undisturbed

_POINTS, _STEP_S, _SLICES = 5, 7.5, 3
_ENOUGH_BYTES = 1 << 26


@cache
def _made(vendor: Vendor, multiframe: bool) -> tuple[Dataset, ...]:
    recipe = undisturbed(
        series=("dynamic",), vendor=vendor, multiframe=multiframe, time_points=_POINTS, points_before=2,
        time_step_s=_STEP_S, pixel_mm=6.0, slices=_SLICES, lesions=(),
    )  # fmt: skip
    return simulate(recipe).of("dynamic")


def _series(vendor: Vendor, *, multiframe: bool = False) -> list[Dataset]:
    return deepcopy(list(_made(vendor, multiframe)))


def _read(instances: list[Dataset], *, largest_bytes: int = _ENOUGH_BYTES) -> tuple[Volume, ...]:
    points = time_points(split(instances), 1)
    return read_time_points(points, by_uid(instances).__getitem__, largest_bytes=largest_bytes)


def _moments(volumes: tuple[Volume, ...]) -> list[float | None]:
    first = volumes[0].acquisition.acquired_at_s
    return [None if (at_s := one.acquisition.acquired_at_s) is None else at_s - (first or 0) for one in volumes]


@pytest.mark.parametrize("multiframe", [False, True])
@pytest.mark.parametrize("vendor", ["siemens", "philips", "ge", "canon"])
def test_all_time_points_are_read_in_the_order_of_time_and_dated(vendor: Vendor, multiframe: bool) -> None:
    volumes = _read(_series(vendor, multiframe=multiframe))

    assert [one.array.shape[0] for one in volumes] == [_SLICES] * _POINTS
    assert _moments(volumes) == pytest.approx([_STEP_S * number for number in range(_POINTS)])
    means = [float(one.array.mean()) for one in volumes]
    assert means[0] == means[1] < means[2] < means[3]  # contrast comes at the third


def test_a_shuffled_series_gives_the_same_time_points() -> None:
    ordered, shuffled = _series("siemens"), _series("siemens")
    np.random.default_rng(1).shuffle(shuffled)  # type: ignore[arg-type]

    for one, other in zip(_read(ordered), _read(shuffled), strict=True):
        assert np.array_equal(one.array, other.array)


def test_time_points_that_are_numbered_against_time_are_put_in_the_order_of_time() -> None:
    series = _series("siemens")
    for one in series:
        one.AcquisitionNumber = 10 - one.AcquisitionNumber

    assert _moments(_read(series)) == pytest.approx([_STEP_S * number for number in range(_POINTS)])


@pytest.mark.parametrize("there", [lambda at_mm: at_mm > 0, lambda at_mm: at_mm != 0])
def test_a_time_point_that_lacks_slices_is_left_out(there: Callable[[float], bool]) -> None:
    broken = [one for one in _series("siemens") if one.AcquisitionNumber < _POINTS or there(one.SliceLocation)]

    volumes = _read(broken)

    assert len(broken) < _POINTS * _SLICES
    assert len(volumes) == _POINTS - 1


def test_temporal_resolution_dates_what_has_no_other_time() -> None:
    series = _series("ge")
    for one in series:
        del one.TriggerTime
        one.TemporalResolution = 1000 * _STEP_S

    assert _moments(_read(series)) == pytest.approx([_STEP_S * number for number in range(_POINTS)])


def test_time_points_without_any_time_keep_their_order_and_are_not_dated() -> None:
    series = _series("ge")
    for one in series:
        del one.TriggerTime

    volumes = _read(series)

    assert _moments(volumes) == [None] * _POINTS
    assert volumes[1].array.mean() < volumes[2].array.mean() < volumes[3].array.mean()


def test_a_series_that_takes_too_much_memory_is_refused_before_a_pixel_is_read() -> None:
    series = _series("siemens")
    for one in series:
        del one.PixelData

    with pytest.raises(VolumeError) as refused:
        _read(series, largest_bytes=1 << 14)

    assert refused.value.code == "DYN-1"
