"""Encoding: the transfer syntaxes a study can be written in."""

from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from node.simulator.recipe import Syntax

_UIDS: dict[Syntax, UID] = {
    "explicit": ExplicitVRLittleEndian,
    "implicit": ImplicitVRLittleEndian,
    "rle": RLELossless,
    "jpeg2000": JPEG2000Lossless,
    "jpegls": JPEGLSLossless,
}


def encode(dataset: Dataset, syntax: Syntax) -> Dataset:
    """Turn an uncompressed data set into `syntax`, in place and without loss, and return it."""
    uid = _UIDS[syntax]
    if uid.is_compressed:
        dataset.compress(uid, generate_instance_uid=False)
    else:
        dataset.file_meta.TransferSyntaxUID = uid
    dataset["PixelData"].VR = "OB" if uid.is_compressed else "OW"  # PS3.5 annex A
    return dataset
