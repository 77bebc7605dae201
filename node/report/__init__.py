"""Room 6: findings in, DICOM objects out.

In:   findings and their regions, from analysis; headers of the measured series, from jobs.
Out:  a structured report (always) and segmentations, complete and ready to send, to jobs.
Holds to: the same input gives the same bytes; nothing leaves that has not passed the output gate.
Knows nothing of: pixels, files, the clock, the network, who gets the objects.
"""

from node.report.bundle import ResultObject, build
from node.report.sources import SeriesEvidence

__all__ = ["ResultObject", "SeriesEvidence", "build"]
