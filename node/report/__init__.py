"""Room 6: findings in, DICOM objects out.

In:   findings, their regions and pictures, from analysis; headers of the measured series, from jobs.
Out:  a structured report (always) and what it refers to, complete and ready to send, to jobs.
Holds to: the same input gives the same bytes; nothing leaves that has not passed the output gate.
Knows nothing of: acquired volumes, files, the clock, the network, who gets the objects.
"""

from node.report.bundle import ResultObject, build, faults, unchecked
from node.report.sources import SeriesEvidence

__all__ = ["ResultObject", "SeriesEvidence", "build", "faults", "unchecked"]
