"""A DICOM node that measures contrast enhancement of the paraspinal muscles and the vascularity of focal lesions.

Start reading in `daemon.py`, the only module that knows all rooms.
"""

__version__ = "0.1.0"
