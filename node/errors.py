"""Every error the node raises on purpose; callers decide by class, never by text.

A message says what was expected, what was found and what to do. It never holds patient data.
"""

import os
import traceback


class NodeError(Exception):
    """Anything the node raises on purpose."""


def shown(error: Exception) -> str:
    """Return what may be shown of an error: our own words; of others the class name, for their texts quote patients."""
    if isinstance(error, NodeError):
        return str(error)
    if isinstance(error, OSError) and type(error).__module__ == "builtins" and error.errno:
        return f"{type(error).__name__} ({os.strerror(error.errno)})"  # the system's words, without the file's name
    return type(error).__name__


def raised_at(error: BaseException) -> str:
    """Return the last line of ours that an error came through, "node.module:line"; "" if it came through none."""
    ours = ""
    for frame, line in traceback.walk_tb(error.__traceback__):
        module = frame.f_globals.get("__name__", "")
        if module.partition(".")[0] == "node":
            ours = f"{module}:{line}"
    return ours


class SettingsError(NodeError):
    """The settings are not usable; the message lists every fault."""


class SpoolError(NodeError):
    """Bytes could not be written to or read from the spool."""


class SpoolFullError(SpoolError):
    """The disk is (nearly) full."""


class LedgerError(NodeError):
    """The ledger cannot be used: held by another process, or of another version."""


class HeaderError(NodeError):
    """A data set lacks or garbles what we rely on."""


class VolumeError(NodeError):
    """Instances do not make one regular volume.

    Parameters
    ----------
    code : str
        The refusal code of `docs/analysis.md`, e.g. "IN-2".
    text : str
        What was expected and what was found.
    """

    def __init__(self, code: str, text: str) -> None:
        super().__init__(f"{code}: {text}")
        self.code = code
        self.text = text


class UnplacedError(VolumeError):
    """An instance has frames of which nothing says where they lie: it is no part of a volume, its series may be."""


class StatementError(NodeError):
    """What is said of an EMG finding cannot be taken; the message quotes no value."""


class ReportError(NodeError):
    """A result object could not be built, or did not pass the output gate."""


class GateError(ReportError):
    """Result objects must not be sent; the message lists every fault, one a line, each with its code."""


class JobError(NodeError):
    """A job has not come to the results that it should have; its study was told so."""


class ReplayError(NodeError):
    """A report cannot be made again."""


class RulingError(NodeError):
    """What a person decided or asked for cannot be done as things are; nothing of it was."""


class SandboxError(NodeError):
    """A step that runs in a process of its own did not end well."""


class SandboxTimeoutError(SandboxError):
    """It ran past its time limit and was killed."""


class SandboxMemoryError(SandboxError):
    """It held more memory than allowed and was killed."""


class SandboxCancelledError(SandboxError):
    """Its job was cancelled while it ran, and it was killed."""


class FolderError(NodeError):
    """A folder that was named cannot take what is to be written; nothing in it was touched."""


class DeliveryError(NodeError):
    """A destination did not take what is owed to it; worth trying again."""


class RefusedError(DeliveryError):
    """A destination will not have us at all, and says that this is for good: somebody has to change its settings."""


class RetrievalError(NodeError):
    """An archive did not answer, or did not send what was asked of it; worth trying again."""


class SimulatorError(NodeError):
    """A study cannot be simulated as asked."""


class PluginError(NodeError):
    """A plug-in is missing, or does not fit its port."""
