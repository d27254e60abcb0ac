"""One self-contained page: no network, no script, prints well, readable on a phone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup

_TEMPLATE = """<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 60rem; margin: 2rem auto; padding: 0 1rem; }
h1, h2 { line-height: 1.2; }
figure { margin: 1.5rem 0; }
figure svg { width: 100%; height: auto; max-width: 48rem; }
figcaption, footer { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .75rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child { text-align: left; }
@media print { body { margin: 0; max-width: none; } section { break-inside: avoid; } }
</style>
<h1>{{ title }}</h1>
<p>{{ lead }}</p>
{% for section in sections %}
<section>
<h2>{{ section.heading }}</h2>
{% for paragraph in section.text %}<p>{{ paragraph }}</p>{% endfor %}
{% if section.table is not none %}<div class="wide">{{ table(section.table) }}</div>{% endif %}
{% if section.figure %}
<figure>{{ safe(section.figure) }}<figcaption>{{ section.caption }}</figcaption></figure>
{% endif %}
</section>
{% endfor %}
<footer>{{ footer }}</footer>
</html>
"""


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and perhaps a table and a figure (an <svg>) with its caption."""

    heading: str
    text: Sequence[str] = ()
    table: pd.DataFrame | None = None
    figure: str = ""
    caption: str = ""


def page(title: str, lead: str, sections: Sequence[Section], footer: str) -> str:
    """The page as HTML. Text is escaped; figures are taken as they are, since they are made here."""
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(title=title, lead=lead, sections=sections, footer=footer, table=_table, safe=Markup)


def _table(values: pd.DataFrame) -> Markup:
    return Markup(values.to_html(index=False, border=0, escape=True))
