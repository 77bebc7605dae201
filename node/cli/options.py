"""Options that several verbs share, and the settings that they make."""

from pathlib import Path
from typing import Annotated, Any

import typer

from node.settings import Settings, read_settings

DataOption = Annotated[Path | None, typer.Option("--data", help="Data folder; wins over the settings file.")]
PortOption = Annotated[int | None, typer.Option("--port", help="TCP port to listen on; 0 takes any free one.")]
AeOption = Annotated[str | None, typer.Option("--ae", help="Our AE title.")]
SupervisedOption = Annotated[bool, typer.Option("--supervised", hidden=True, help="Started by `serve`.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON instead of tables.")]
RulesOption = Annotated[
    Path | None, typer.Option("--rules", help="A site's rules (TOML) to try, instead of \\[completion] roles.")
]
DaysOption = Annotated[float, typer.Option("--days", help="How far back, in days.")]
ByOption = Annotated[str, typer.Option("--by", help="Who does it, for the log; else who called this.")]
StudyArgument = Annotated[str, typer.Argument(help="A study by its alias or Study Instance UID; see: status.")]


def settings_of(context: typer.Context, **association_or_node: Any) -> Settings:
    """Return the settings of the file, with what the options say instead."""
    settings = read_settings(context.find_root().obj)
    changes: dict[str, dict[str, Any]] = {"node": {}, "association": {}}
    for key, value in association_or_node.items():
        if value is not None:
            changes["node" if key == "data_dir" else "association"][key] = value
    values = settings.model_dump()
    for table, changed in changes.items():
        values[table] |= changed
    return Settings.checked(values)
