"""Room 9: segmenters and labellers of others, without code of ours: an ONNX folder, a command.

In:   a volume in canonical order, and what a file of the site says of the model or the command.
Out:  a segmentation that has passed the same gates as any, or labelled vertebrae; PluginError in words otherwise.
Holds to: nothing is loaded that is not what its description says; a command sees one volume in a private folder.
Knows nothing of: studies, DICOM, the network.
"""

from node.external.command import CommandLabeller, CommandSegmenter
from node.external.onnx_folder import OnnxSegmenter

__all__ = ["CommandLabeller", "CommandSegmenter", "OnnxSegmenter"]
