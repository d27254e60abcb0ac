"""One self-contained page: no network, no script, prints well, readable on a phone."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
from jinja2 import Environment
from markupsafe import Markup, escape

GENERATOR = "bnonly"
"""What the page names itself as, so that a later one may take its place."""

_TEMPLATE = """{% macro link(section, within=none) %}<a href="#{{ anchor(within.heading, section.heading) if within \
else anchor(section.heading) }}">{{ section.heading }}</a>{% endmacro -%}
{% macro inside(section) %}
{% for paragraph in section.text %}<p>{{ said(paragraph) }}</p>{% endfor %}
{% for sentence in section.absent %}<p class="absent">{{ said(sentence) }}</p>{% endfor %}
{% if section.table is not none %}<div class="wide">{{ table(section.table) }}</div>{% endif %}
{% if section.image %}
<figure><img src="{{ section.image }}" alt="{{ section.alt }}"><figcaption>{{ section.caption }}</figcaption></figure>
{% endif %}
{% if section.figure %}
<figure><div class="wide"><div{% if section.width %} class="drawn" style="max-width: {{ section.width }}rem; \
min-width: {{ 20 if section.width < 31 else [section.width, 38] | min }}rem"{% endif %}>\
{{ safe(section.figure) }}</div></div>
<figcaption>{{ section.caption }}</figcaption></figure>
{% endif %}
{% for name, part in section.details %}
<details><summary>{{ name }}</summary>
{% if part is string %}<pre>{{ part }}</pre>{% else %}<div class="wide">{{ table(part) }}</div>{% endif %}
</details>
{% endfor %}
{% endmacro -%}
<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="generator" content="{{ generator }}">
<title>{{ title }}</title>
<style>
body { font: 16px/1.5 system-ui, sans-serif; color: #222; max-width: 68rem; margin: 2rem auto; padding: 0 1rem;
  overflow-wrap: break-word; }
h1, h2, h3 { line-height: 1.2; }
h2 { margin-top: 2.5rem; }
a { color: #0059a1; }
nav ul { columns: 16rem; padding-left: 1.2rem; }
nav li { break-inside: avoid; }
nav ul ul { columns: auto; }
figure { margin: 1.5rem 0; }
figure svg { width: 100%; height: auto; max-width: 56rem; }
figure .drawn svg { max-width: none; display: block; }
figure img { max-width: 100%; height: auto; }
figcaption, footer, .small { color: #555; font-size: .9rem; }
.wide { overflow-x: auto; }
.absent { border-left: 4px solid #E69F00; background: #fdf6e7; padding: .5rem .75rem; }
table { border-collapse: collapse; font-size: .9rem; font-variant-numeric: tabular-nums; }
th, td { padding: .2rem .6rem; border-bottom: 1px solid #ddd; text-align: right; white-space: nowrap; }
th:first-child, td:first-child, th.text, td.text { text-align: left; }
td.long { white-space: normal; min-width: 16rem; }
th { vertical-align: bottom; }
code { font-size: .9em; }
pre { overflow-x: auto; background: #f5f5f5; padding: .5rem; font-size: .8rem; }
details { margin: 1rem 0; }
summary { cursor: pointer; }
footer { margin-top: 3rem; border-top: 1px solid #ddd; padding-top: 1rem; }
@media print {
  body { margin: 0; max-width: none; font-size: 10pt; }
  figure, tr, .absent { break-inside: avoid; }
  h2, h3 { break-after: avoid; }
  .wide { overflow: visible; }
  th, td { white-space: normal; padding: .15rem .4rem; font-size: 8pt; }
  figure .drawn { min-width: 0 !important; }
  nav { display: none; }
  details::details-content { content-visibility: visible; block-size: auto; }
  pre { white-space: pre-wrap; }
}
</style>
<h1>{{ title }}</h1>
<p>{{ lead }}</p>
{% if contents %}
<nav aria-label="Contents"><ul>
{% for section in sections %}<li>{{ link(section) }}\
{% if section.parts %}<ul>{% for part in section.parts %}<li>{{ link(part, section) }}</li>
{% endfor %}</ul>{% endif %}</li>
{% endfor %}</ul></nav>
{% endif %}
{% for section in sections %}
<section id="{{ anchor(section.heading) }}">
<h2>{{ section.heading }}</h2>
{{ inside(section) }}
{% for part in section.parts %}
<section id="{{ anchor(section.heading, part.heading) }}">
<h3>{{ part.heading }}</h3>
{{ inside(part) }}
</section>
{% endfor %}
</section>
{% endfor %}
<footer>{{ footer }}</footer>
</html>
"""
_NUMBER = re.compile(r"[-+]?[\d,.]+([eE][-+]?\d+)?( ?%| ?[KM])?( ± [\d.,]+( ?%)?)?( \[\w+\])?|-|")
_LONG = 40


@dataclass(frozen=True)
class Section:
    """A heading, paragraphs, and perhaps a table and a figure (an <svg>) with its caption.

    absent: what is missing, in sentences that stand out. details: tables or texts to unfold, by what they are.
    width: of the figure, in rem, beyond which it is not stretched. image: a data address, made here, in its place;
    alt is for those who cannot see it. parts: sections within this one. `...` in text is shown as code.
    """

    heading: str
    text: Sequence[str] = ()
    table: pd.DataFrame | None = None
    figure: str = ""
    caption: str = ""
    absent: Sequence[str] = ()
    details: Sequence[tuple[str, pd.DataFrame | str]] = ()
    width: float = 0
    image: str = ""
    alt: str = ""
    parts: Sequence[Section] = ()


def page(title: str, lead: str, sections: Sequence[Section], footer: str, *, contents: bool = False) -> str:
    """The page as HTML. Text is escaped; figures are taken as they are, since they are made here."""
    template = Environment(autoescape=True).from_string(_TEMPLATE)
    return template.render(
        title=title,
        lead=lead,
        sections=sections,
        footer=footer,
        contents=contents,
        generator=GENERATOR,
        table=_table,
        said=_said,
        anchor=_anchor,
        safe=Markup,
    )


def _anchor(*headings: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", " ".join(headings).lower()).strip("-")


def _said(text: str) -> Markup:
    """A sentence, its `commands` as code."""
    parts = [escape(part) for part in text.split("`")]
    if len(parts) % 2 == 0:  # a lonely one is itself
        return escape(text)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if odd % 2 else part for odd, part in enumerate(parts)
    )


def _table(values: pd.DataFrame) -> Markup:
    """Numbers to the right, words to the left, runs' ids as code."""
    columns = [[str(value) for value in values.iloc[:, place]] for place in range(values.shape[1])]
    kinds = ["" if all(map(_NUMBER.fullmatch, column)) else "text" for column in columns]
    heads = "".join(f'<th class="{kind}">{escape(name)}</th>' for name, kind in zip(values, kinds, strict=True))
    names = list(values)
    cells = []
    for name, kind, column in zip(names, kinds, columns, strict=True):
        shown = (f"<code>{escape(text)}</code>" if name == "run" and text else escape(text) for text in column)
        long = [f"{kind} long".strip() if len(text) > _LONG else kind for text in column]
        cells.append([f'<td class="{how}">{text}</td>' for how, text in zip(long, shown, strict=True)])
    rows = "".join(f"<tr>{''.join(row)}</tr>\n" for row in zip(*cells, strict=True))
    return Markup(f"<table><thead><tr>{heads}</tr></thead><tbody>\n{rows}</tbody></table>")
