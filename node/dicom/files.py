"""Files: Part 10 bytes that did not come over the network, where nothing deflated is taken."""

import io
import zlib
from typing import BinaryIO

from pydicom import dcmread
from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset, read_preamble
from pydicom.uid import DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from node.dicom import part10
from node.errors import HeaderError

LARGEST_INFLATED = 512 << 20  # bytes; deflate makes up to a thousand of one; chosen: the largest Enhanced MR in use


def inflated(file: BinaryIO, *, largest: int = LARGEST_INFLATED) -> BinaryIO:
    """Return a Part 10 file as it would be without the deflating of PS3.5 A.5; one that is not deflated as it is.

    pydicom inflates whatever it is given, all at once.

    Raises
    ------
    HeaderError
        If it would become larger than `largest` bytes, or is no whole deflate stream.
    """
    begin = file.tell()
    read_preamble(file, force=False)
    meta = read_dataset(file, False, True, stop_when=lambda tag, _vr, _length: tag.group != 2)
    if str(meta.get("TransferSyntaxUID", "")) != DeflatedExplicitVRLittleEndian:
        file.seek(begin)
        return file
    stream = zlib.decompressobj(-zlib.MAX_WBITS)
    try:
        content = stream.decompress(file.read(), largest)
    except zlib.error as error:
        raise HeaderError("a deflated data set is damaged") from error
    if not stream.eof:
        # Either the bytes end before the stream does, or more of them would come out of it.
        raise HeaderError(f"a deflated data set is not whole, or becomes larger than {largest >> 20} MB")
    head = part10.head(
        str(meta.get("MediaStorageSOPClassUID", "")),
        str(meta.get("MediaStorageSOPInstanceUID", "")),
        ExplicitVRLittleEndian,
    )
    return io.BytesIO(head + content)


def read_file_header(file: BinaryIO) -> Dataset:
    """Return the header of a file: all in front of its pixels; HeaderError as of `inflated`, pydicom's errors else."""
    return dcmread(inflated(file), stop_before_pixels=True)
