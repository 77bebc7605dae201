"""How the shipped segmenter is made: slices drawn from shapes and numbers, and a small U-Net that learns them.

Not part of the wheel. No patient image takes part in training, so what comes out may be shipped; real images serve to
test only (`evaluate.py`). Read `anatomy.py` first: what it does not draw, the network does not know.
"""
