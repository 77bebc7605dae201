"""The step that says whether instances are the same in other encodings; for the sandbox, because it decodes pixels."""

from collections.abc import Sequence
from pathlib import Path

from pydicom import dcmread

from node.dicom.likeness import difference
from node.errors import NodeError
from node.jobs.steps import InputFile
from node.spool import as_file


def first_difference(pairs: Sequence[Sequence[tuple[str, str, int, int]]]) -> str:
    """Return in which element the first pair of instances that is not alike differs; "" if all pairs are alike.

    Parameters
    ----------
    pairs : sequence of sequence of tuple
        Of each instance what an `InputFile` is made of: path, SHA-256, offset and length.
    """
    for pair in pairs:
        one, other = (
            dcmread(as_file(memoryview(InputFile(Path(path), sha256, offset, length).read())))
            for path, sha256, offset, length in pair
        )
        try:
            found = difference(one, other)
        except NodeError as error:
            return str(error)
        if found:
            return found
    return ""
