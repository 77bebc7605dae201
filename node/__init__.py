"""A DICOM node that measures contrast enhancement of the paraspinal muscles and the vascularity of focal lesions.

Start reading in `daemon.py`: it runs two processes, each with a composition root (`reception.py`, `worker.py`).
"""

__version__ = "0.1.0"
