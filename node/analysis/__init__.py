"""Room 5: measures enhancement of the paraspinal muscles, looks for foci in them, and says when it cannot.

In:   the series of one study as volumes; settings; segmenter, detector, labeller; what EMG suspects.
Out:  findings and their regions. A refusal, with its code, is a finding too.
Holds to: arrays in, values out; the same input gives the same bits; left is the patient's left.
Knows nothing of: files, clocks, the network, report objects.
"""

from node.analysis.detection import MultiscaleDetector
from node.analysis.fallback import FirstAccepted, with_fallback
from node.analysis.levels import NoLabeller
from node.analysis.measure import measure
from node.analysis.segmentation import CompartmentSegmenter

__all__ = ["CompartmentSegmenter", "FirstAccepted", "MultiscaleDetector", "NoLabeller", "measure", "with_fallback"]
