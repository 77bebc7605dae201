"""The headers of dicom2nifti's test data, failing cases included: what each folder is, and why."""

from pathlib import Path

import numpy as np
import pytest

from tests.conftest import needs, shared
from tests.dicom.oracle import agrees, convert, series_in, stacks_of, volume_of

# Folder; for each stack its slices, slice distance in mm, and what tells it from others; and why.
_EXPECTED = [
    (
        "failing/sliceorientation",  # two scans under one Series Instance UID, in two planes: dicom2nifti failed on it
        [
            (2, 3.30, {"orientation": "sagittal, 1 of 2", "pixel spacing": "0.320 x 0.320 mm"}),
            (2, 4.40, {"orientation": "axial, 2 of 2", "pixel spacing": "0.556 x 0.556 mm"}),
        ],
    ),
    ("ge", [(4, 1.0, {})]),
    ("generic/compressed_j2k", [(4, 1.0, {})]),
    ("generic/compressed_jpeg", [(4, 1.0, {})]),
    ("generic/compressed_jpegls", [(4, 1.0, {})]),  # not by dcm2niix of Debian: it has no JPEG-LS
    ("generic/compressed_rle", [(4, 1.0, {})]),
    ("hitachi", [(4, 4.0, {})]),  # implicit VR, signed, oblique
    ("hyperfine", [(8, 5.0, {})]),  # Enhanced MR that also has a position at the top level, for which no frame is
    ("philips", [(4, 0.6, {})]),
    ("philips_enhanced/anatomical/001", [(8, 1.2, {})]),
    ("philips_enhanced/anatomical/001_implicit", [(8, 1.0, {})]),
    ("siemens", [(4, 1.0, {})]),
    ("siemens_multiframe", [(8, 0.9, {})]),
]
_WITHOUT_ORACLE = ("generic/compressed_jpegls",)


def test_every_folder_of_headers_is_looked_at() -> None:
    root = shared("data", "dicom2nifti_vendor_headers")
    folders = {path.parent.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()} - {"."}

    assert all(sum(f"{one}/".startswith(f"{name}/") for name, *_ in _EXPECTED) == 1 for one in folders)


@pytest.mark.parametrize(("folder", "expected"), _EXPECTED)
def test_headers_of_vendors_make_the_stacks_that_they_are(
    folder: str, expected: list[tuple[int, float, dict[str, str]]]
) -> None:
    (files,) = series_in(shared("data", "dicom2nifti_vendor_headers") / folder).values()
    stacks, instances = stacks_of(files)

    found = [(len(one.frames), dict(one.splits)) for one in stacks]
    spacings = [volume_of(one, instances).geometry.spacing_mm[0] for one in stacks]

    assert found == [(slices, splits) for slices, _mm, splits in expected]
    assert np.allclose(spacings, [mm for _slices, mm, _splits in expected], atol=0.01)


@pytest.mark.slow
@pytest.mark.parametrize("folder", [name for name, *_ in _EXPECTED if name not in _WITHOUT_ORACLE])
def test_headers_of_vendors_give_the_volumes_that_dcm2niix_gives(folder: str, tmp_path: Path) -> None:
    needs("dcm2niix", "dcm2niix")
    (files,) = series_in(shared("data", "dicom2nifti_vendor_headers") / folder).values()
    stacks, instances = stacks_of(files)

    niftis = convert(sorted(files.values()), tmp_path)

    for stack in stacks:
        good, found = agrees(volume_of(stack, instances), niftis)
        assert good, f"stack {stack.number}: {found}"
