"""Real series of seven makers have the geometry, the order of pixels and the scale that dcm2niix gives them."""

from pathlib import Path

import pytest

from tests.conftest import needs, shared
from tests.dicom.oracle import agrees, convert, differences, largest_even_part, series_in, stacks_of, volume_of

# Folder, and of each of its stacks how many slices it has and how many of them are compared. Fewer are compared where
# the publisher left out slices so that the distances are uneven: then those evenly spaced. A single slice is no
# volume.
_PACK = {
    "canon_classic_3000": [(1, 0), (9, 9)],
    "canon_enhanced_3000": [(40, 40)] * 13,
    "enh_philips_fmap_siemens_XA10": [(6, 6)] * 4 + [(32, 32)] * 2,
    "ge_premier_3plane_FF": [(2, 2)] * 3,
    "philips_classic_1301": [(12, 6)],
    "philips_dualecho": [(3, 3)] * 2,
    "philips_enhanced": [(40, 40)] + [(53, 53)] * 4,
    "siemens_E11_mosaic": [(48, 48)],
    "siemens_XA30_classic": [(6, 3)],
    "siemens_XA30_enhanced": [(63, 63)] * 3,
    "siemens_XA60": [(10, 10)] * 3,
    "siemens_prisma_gre": [(4, 2), (2, 2)],
    "uih_dti": [(20, 20)] * 3,
    "uih_t1_gre_fsp_3d_sag": [(12, 4)],
}


def test_every_folder_of_the_pack_is_compared() -> None:
    root = shared("data", "vendor_pack_dcm_qa")

    assert sorted(one.name for one in root.iterdir() if one.is_dir()) == sorted(_PACK)


@pytest.mark.slow
@pytest.mark.parametrize("folder", _PACK)
def test_voxels_lie_and_are_scaled_as_dcm2niix_has_them(folder: str, tmp_path: Path) -> None:
    needs("dcm2niix", "dcm2niix")
    compared = []
    for files in series_in(shared("data", "vendor_pack_dcm_qa", folder)).values():
        stacks, instances = stacks_of(files)
        for stack in stacks:
            one_each = len({frame.instance for frame in stack.frames}) == len(stack.frames)
            uids = largest_even_part(stack) if one_each else [frame.instance for frame in stack.frames]
            if len(uids) < 2:
                assert [fault.code for fault in stack.faults] == ["IN-1"]
                compared.append((len(stack.frames), 0))
                continue
            stack_of_part = stack
            if len(uids) < len(stack.frames):
                (stack_of_part,), _ = stacks_of({uid: files[uid] for uid in uids})
                if not stack.faults:  # uneven by less than 10 %: dcm2niix misplaces it, but orders it alike
                    whole = volume_of(stack, instances)
                    every = convert([files[frame.instance] for frame in stack.frames], tmp_path)
                    assert min(differences(whole, one)[1] for one in every) <= 1
            niftis = convert(sorted({files[uid] for uid in uids}), tmp_path)

            good, found = agrees(volume_of(stack_of_part, instances), niftis)

            assert good, f"stack {stack.number} {dict(stack.splits)}: {found}"
            compared.append((len(stack.frames), len(stack_of_part.frames)))
    assert sorted(compared) == sorted(_PACK[folder])
