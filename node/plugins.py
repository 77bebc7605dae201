"""Plug-ins: found by entry point, ours and others' alike."""

from functools import partial
from importlib.metadata import entry_points
from typing import Any, Literal

from node.errors import PluginError, SettingsError
from node.settings import Settings

_MEASURING_S = 60.0  # of the step, beside what its commands take: a study takes about half of that. Chosen

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


def check_times(settings: Settings) -> str:
    """Return in words how long the commands of a measurement may take; they run one after the other in one step.

    Raises
    ------
    PluginError
        If one of them cannot be loaded.
    SettingsError
        If the step is ended before they are: then even the one that may fail, the labeller, costs the measurement.
    """
    asked: dict[Kind, str] = {"segmenters": settings.analysis.segmenter, "labellers": settings.analysis.labeller}
    limits_s = {
        name: float(load(kind, name)().time_limit_s)
        for kind, name in asked.items()
        if name.partition(":")[0] == "command"
    }
    if not limits_s:
        return "no commands"
    told = " + ".join(f"{limit_s:g} s of {name}" for name, limit_s in limits_s.items())
    wanted_s, limit_s = sum(limits_s.values()) + _MEASURING_S, settings.jobs.step_time_limit_s
    if limit_s < wanted_s:
        raise SettingsError(
            f"[jobs] step_time_limit_s must be at least {wanted_s:g}, not {limit_s:g}: {told}, and {_MEASURING_S:g} s "
            "for the rest of the measurement; or lower time_limit_s of the commands"
        )
    return f"{told} within the {limit_s:g} s of a step"
