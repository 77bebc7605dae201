"""The step that says whether instances are the same in other encodings; for the sandbox, because it decodes pixels."""

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread

from node.dicom.likeness import difference
from node.errors import NodeError
from node.jobs.steps import InputFile
from node.spool import as_file

Stretch = Sequence[str | int]  # path of a file; SHA-256, offset and length of the Part 10 bytes in it


def first_difference(pairs: Sequence[tuple[Stretch, Stretch]]) -> str:
    """Return in which element the first pair of instances that is not alike differs; "" if all pairs are alike."""
    for pair in pairs:
        one, other = (
            dcmread(as_file(memoryview(InputFile(Path(str(path)), str(sha256), int(offset), int(length)).read())))
            for path, sha256, offset, length in pair
        )
        try:
            found = difference(one, other)
        except NodeError as error:
            return str(error)
        if found:
            return found
    return ""
