"""Plug-ins: found by entry point, ours and others' alike."""

from functools import partial
from importlib.metadata import entry_points
from typing import Any, Literal

from node.errors import PluginError

Kind = Literal["segmenters", "detectors", "labellers", "destinations", "triggers"]


def load(kind: Kind, name: str) -> Any:
    """Return the object that entry point `name` of group `paraspinal_node.<kind>` stands for (a class, or a factory).

    What stands behind a colon in the name is given to it: "onnx:/srv/model" is "onnx" with "/srv/model".

    Raises
    ------
    PluginError
        If there is none of that name, or it cannot be imported.
    """
    found = entry_points(group=f"paraspinal_node.{kind}")
    plain, colon, argument = name.partition(":")
    if plain not in found.names:
        raise PluginError(
            f"no plug-in {plain!r} among {kind}; installed are: {', '.join(sorted(found.names)) or 'none'}"
        )
    try:
        loaded = found[plain].load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"plug-in {plain!r} of {kind} cannot be loaded: {type(error).__name__}") from error
    return partial(loaded, argument) if colon else loaded
