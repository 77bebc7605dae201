"""Room 5: measures enhancement of the paraspinal muscles, looks for foci in them, and says when it cannot.

In:   the series of one study as volumes; settings; a segmenter and a detector.
Out:  findings and their regions. A refusal, with its code, is a finding too.
Holds to: arrays in, values out; the same input gives the same bits; left is the patient's left.
Knows nothing of: files, clocks, threads, the network, report objects.
"""

from node.analysis.detection import MultiscaleDetector
from node.analysis.levels import NoLabeller, name_levels
from node.analysis.measure import measure
from node.analysis.segmentation import CompartmentSegmenter

__all__ = ["CompartmentSegmenter", "MultiscaleDetector", "NoLabeller", "measure", "name_levels"]
