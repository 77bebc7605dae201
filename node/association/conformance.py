"""The one table of SOP Classes and Transfer Syntaxes that we accept."""

from functools import cache

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
STORAGE_COMMITMENT = "1.2.840.10008.1.20.1"  # Push Model: PS3.4 annex J
PROCEDURE_STEP = "1.2.840.10008.3.1.2.3.3"  # Modality Performed Procedure Step: PS3.4 annex F.7
# Not offered: Deflated (a small object may inflate without limit; MR does not use it).
TRANSFER_SYNTAXES = (
    uid.ExplicitVRLittleEndian,
    uid.ImplicitVRLittleEndian,
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
BULK_CLASSES = frozenset((VERIFICATION, *STORAGE_CLASSES))
# Whoever proposes one of them gets the careful lane for all.
CAREFUL_CLASSES = frozenset((STORAGE_COMMITMENT, PROCEDURE_STEP))


@cache
def bulk_contexts() -> tuple[PresentationContext, ...]:
    """Return what the bulk lane accepts: storage in every syntax of the table, verification uncompressed."""
    every: list[str | uid.UID] = list(TRANSFER_SYNTAXES)
    storage = [build_context(storage_class, every) for storage_class in STORAGE_CLASSES]
    contexts = (_uncompressed(VERIFICATION), *storage)
    for one in contexts:  # whoever negotiates roles may be SCU; we are no C-STORE SCU here (PS3.7 section D.3.3.4)
        one.scu_role, one.scp_role = True, False
    return contexts


def careful_contexts() -> list[PresentationContext]:
    """Return what the careful lane accepts: the same, and what only it can do."""
    commitment = _uncompressed(STORAGE_COMMITMENT)
    # Who asks is SCU; who reports on what we asked is SCP, and says so (PS3.4 section J.3.3, PS3.7 section D.3.3.4).
    commitment.scu_role = commitment.scp_role = True
    return [*bulk_contexts(), commitment, _uncompressed(PROCEDURE_STEP)]


def _uncompressed(sop_class: str) -> PresentationContext:
    return build_context(sop_class, [uid.ExplicitVRLittleEndian, uid.ImplicitVRLittleEndian])
