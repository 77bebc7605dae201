"""A scanner that sends: a C-STORE SCU."""

from collections.abc import Callable, Sequence

from pydicom.dataset import Dataset
from pynetdicom import AE
from pynetdicom.association import Association
from pynetdicom.presentation import build_context

from node.dicom.identifiers import parse_ae_title
from node.dimse import NO_DELAY, await_reader
from node.errors import SimulatorError

NOT_ACCEPTED = 0x0122  # SOP Class not supported, PS3.7 annex C; here: the peer took no context for it
Progress = Callable[[int, int], None]


def push(
    datasets: Sequence[Dataset],
    host: str,
    port: int,
    *,
    called_ae: str,
    calling_ae: str = "SCANNER",
    progress: Progress | None = None,
) -> tuple[int | None, ...]:
    """Send data sets over one association, each in its own transfer syntax, and return the status of each.

    Parameters
    ----------
    datasets : sequence of Dataset
        With file meta information, as `simulate` makes them or `dcmread` reads them.
    host, port, called_ae, calling_ae : str, int, str, str
        Who calls whom.
    progress : callable, optional
        Called with how many have been answered and how many there are, after each answer.

    Returns
    -------
    tuple of int or None
        DIMSE status; 0x0122 where the peer accepted no context; None where no answer came, because the peer
        aborted or timed out: of the objects after it, too.

    Raises
    ------
    SimulatorError
        If no association could be had at all.
    """
    entity = AE(ae_title=parse_ae_title(calling_ae))
    wanted = sorted({(one.SOPClassUID, one.file_meta.TransferSyntaxUID) for one in datasets})
    contexts = [build_context(sop_class, [syntax]) for sop_class, syntax in wanted]
    association = entity.associate(host, port, contexts, ae_title=parse_ae_title(called_ae), evt_handlers=[NO_DELAY])
    if not association.is_established:
        raise SimulatorError(f"{called_ae} at {host}:{port} did not accept an association")
    statuses: list[int | None] = []
    try:
        for dataset in datasets:
            statuses.append(_store(association, dataset) if association.is_established else None)
            if progress is not None:
                progress(len(statuses), len(datasets))
    finally:
        if association.is_established:
            association.release()
    return tuple(statuses)


def _store(association: Association, dataset: Dataset) -> int | None:
    await_reader(association)
    try:
        answer = association.send_c_store(dataset)
    except ValueError:  # pynetdicom: no accepted presentation context
        return NOT_ACCEPTED
    except RuntimeError:  # pynetdicom: the peer aborted under our hands
        return None
    return int(answer.Status) if "Status" in answer else None
