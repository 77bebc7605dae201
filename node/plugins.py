"""Plug-ins: found by entry point, ours and others' alike."""

from importlib.metadata import entry_points
from typing import Any, Literal

from node.errors import PluginError

Kind = Literal["segmenters", "detectors", "labellers", "destinations", "triggers"]


def load(kind: Kind, name: str) -> Any:
    """Return the object that entry point `name` of group `paraspinal_node.<kind>` stands for (a class, or a factory).

    Raises
    ------
    PluginError
        If there is none of that name, or it cannot be imported.
    """
    found = entry_points(group=f"paraspinal_node.{kind}")
    if name not in found.names:
        raise PluginError(
            f"no plug-in {name!r} among {kind}; installed are: {', '.join(sorted(found.names)) or 'none'}"
        )
    try:
        return found[name].load()
    except (ImportError, AttributeError) as error:
        raise PluginError(f"plug-in {name!r} of {kind} cannot be loaded: {type(error).__name__}") from error
