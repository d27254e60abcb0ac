"""docs/configuration.md, made from the schema; what no field says of itself is written here by hand."""

from __future__ import annotations

from collections.abc import Iterable

from bnonly.config.run import NOT_IN_ID
from bnonly.config.schema import Entry, entries, sections
from bnonly.config.words import allowed, default
from bnonly.groups import GROUPS
from bnonly.networks.registry import LISTED

HEAD = """\
# Configuration

<!-- Made by `bnonly schema --markdown -o docs/configuration.md`: change the field's docstring, then run it again. -->

A run is described by the fields below, each of which has a default: `bnonly fit` alone trains. Give fields in
YAML files, as flags, or both:

```sh
bnonly fit -c configs/resnet14_bn.yaml configs/presets/cpu.yaml --data.path ~/cifar --training.lr 0.05
```

**Files** hold fields under their sections, as much or as little as you like:

```yaml
# yaml-language-server: $schema=schema.json
group: bn+output
network: {name: cifar_resnet56}
training:
  epochs: 20
  lr: 0.05
```

`-c` takes several files, `-c a.yaml b.yaml` or `-c a.yaml -c b.yaml`. They are merged in that order, field by
field: a later file replaces the fields it names and leaves the others, and a list is replaced as a whole.
**Flags** come last, wherever they stand; a section's field is written with a dot, `--training.epochs 20` or
`--training.epochs=20`. A list is written `--training.milestones 10,15`, a mapping as JSON,
`--training.optimizer_options '{"nesterov": true}'`. No environment variable is read. `null` in a file unsets
a field whose default the table puts in words (but not `speed`).

`speed` is a shorthand and is not stored: it stands for the two fields it names, in the file or among the
flags where it is given, and either field given beside it wins.

Some values do not go together, milestones beyond the last epoch for example: those are refused when the run
starts, all mistakes at once, each with the file it stands in. `--print-config` shows the outcome of it all
and stops.

**Editors** check a file against [configs/schema.json](../configs/schema.json) where its first line names the
schema, as above (a path from the file's own folder); `bnonly schema -o FILE` writes the schema elsewhere. In
YAML 1.1 a bare `off` is false: `tracking: "off"` is safe everywhere, and `off` is understood.

## A run's id

A run is kept in `out/experiment/id`. The id is a digest of the fields that decide numbers, those with their
default value left out, so that the same configuration, however it was said, finds the same folder and goes on
there. These fields do not enter it, and are marked \u2020 below:
"""

_COLUMNS = "| field | allowed | default | unit | |\n|---|---|---|---|---|\n"


_GROUPS = """\
Values of `group` and `training.decay_group`. They join with +, `all` and `none` apart: `bn+output`,
`bn+random:2`. K is a whole number from 1 up; a channel with fewer scalars trains all it has, but K beyond the
largest filter is refused. `random:1%` trains that share of each channel's scalars, rounded up.

| group | trains |
|---|---|
"""

_NETWORKS = """\
Values of `network.name`, with the depths and widths of the paper; `cifar_resnetD` and `cifar_wrnD_K` take any
depth D of the form 6n+2 from 8 up and any width factor K from 1 up, and in `cifar_resnetD_wW` the first stage has W
channels in the place of 16. `bnonly networks` counts their parameters.
"""


def page() -> str:
    """The whole page, Markdown, the same bytes for the same schema."""
    outside = ", ".join(f"`{name}`" for name in NOT_IN_ID) + ".\n"
    fields = list(entries().values())
    top = [entry for entry in fields if "." not in entry.name]
    parts = [HEAD + outside, _table("The run", "Fields outside any section.", top)]
    for name, says in sections().items():
        parts.append(_table(f"`{name}`", says, [entry for entry in fields if entry.name.startswith(f"{name}.")]))
    groups = "".join(f"| `{name}` | {_plain(what)} |\n" for name, what in GROUPS.items())
    networks = ", ".join(f"`{name}`" for name in LISTED)
    parts += [f"## Groups\n\n{_GROUPS}{groups}", f"## Networks\n\n{_NETWORKS}\n{networks}.\n"]
    return "\n".join(parts)


def _table(title: str, says: str, fields: Iterable[Entry]) -> str:
    return f"## {title}\n\n{_plain(says)}\n\n{_COLUMNS}" + "".join(map(_row, fields))


def _row(entry: Entry) -> str:
    mark = "" if entry.in_id else " \u2020"
    taken = ", ".join(f"`{value}`" for value in entry.values) if "enum" in entry.schema else _plain(allowed(entry))
    unset = _plain(default(entry)) if entry.unset is not None else f"`{default(entry)}`"
    unit = entry.schema.get("x-unit", "")
    return f"| `{entry.name}`{mark} | {taken} | {unset} | {unit} | {_plain(entry.says)} |\n"


def _plain(text: str) -> str:
    """Text whose every sign stands for itself in a Markdown table, but for `code`."""
    pieces = text.split("`")
    for place in range(0, len(pieces), 2):
        for sign, safe in (("&", "&amp;"), ("<", "&lt;"), ("*", "\\*"), ("_", "\\_"), ("|", "\\|")):
            pieces[place] = pieces[place].replace(sign, safe)
    return "`".join(pieces)
