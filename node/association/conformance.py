"""The one table of SOP Classes and Transfer Syntaxes that we accept."""

from pydicom import uid
from pynetdicom import AllStoragePresentationContexts
from pynetdicom.presentation import PresentationContext, build_context

from node.dimse import VERIFICATION

# Scanners send these among their images, and some give up the whole study when one is refused.
PRIVATE_STORAGE_CLASSES = (
    "1.3.12.2.1107.5.9.1",  # Siemens CSA Non-Image Storage
    "1.3.46.670589.11.0.0.12.1",  # Philips Private MR Spectrum Storage
    "1.3.46.670589.11.0.0.12.2",  # Philips Private MR Series Data Storage
    "1.3.46.670589.11.0.0.12.4",  # Philips Private MR Examcard Storage
)
STORAGE_CLASSES = (
    *(str(context.abstract_syntax) for context in AllStoragePresentationContexts),
    *PRIVATE_STORAGE_CLASSES,
)
TRANSFER_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
    uid.DeflatedExplicitVRLittleEndian,
    uid.ExplicitVRBigEndian,
    uid.RLELossless,
    uid.JPEGBaseline8Bit,
    uid.JPEGExtended12Bit,
    uid.JPEGLossless,
    uid.JPEGLosslessSV1,
    uid.JPEGLSLossless,
    uid.JPEGLSNearLossless,
    uid.JPEG2000Lossless,
    uid.JPEG2000,
)


def contexts() -> list[PresentationContext]:
    """Return what the Receiver accepts: storage in every syntax of the table, verification uncompressed."""
    every: list[str | uid.UID] = list(TRANSFER_SYNTAXES)
    uncompressed: list[str | uid.UID] = [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian]
    storage = [build_context(storage_class, every) for storage_class in STORAGE_CLASSES]
    return [build_context(VERIFICATION, uncompressed), *storage]
