"""The notebook: as a file, and run from its first cell to its last."""

from __future__ import annotations

import json
import os
import re
from pathlib import Path

import pytest

from tests.warm import Warm

TOUR = Path(__file__).parents[1] / "docs" / "tour.ipynb"
NOTEBOOK = json.loads(TOUR.read_text(encoding="utf-8"))
CODE = [cell for cell in NOTEBOOK["cells"] if cell["cell_type"] == "code"]

# Each cell in one namespace, as a kernel does; at the end, what the reader has seen.
RUN = """
import json, sys
seen = {"__name__": "__main__"}
for source in json.loads(sys.argv[1]):
    exec(compile(source, "<cell>", "exec"), seen)
top1 = {group: [epoch["test"]["top1"] for epoch in run.metrics()] for group, run in seen["runs"].items()}
files = {path.stem: path.stat().st_size for path in seen["place"].glob("*.safetensors")}
points = [point["top1"] for point in seen["clamped"]["points"]]
figures = len(seen["plt"].get_fignums())
print(json.dumps({"top1": top1, "files": files, "sizes": seen["sizes"], "points": points, "figures": figures}))
"""


def test_it_is_a_notebook_of_format_4_5_and_holds_no_outputs():
    """https://nbformat.readthedocs.io/en/latest/format_description.html"""
    assert NOTEBOOK.keys() == {"cells", "metadata", "nbformat", "nbformat_minor"}
    assert (NOTEBOOK["nbformat"], NOTEBOOK["nbformat_minor"]) == (4, 5)
    assert NOTEBOOK["metadata"]["kernelspec"].keys() == {"display_name", "language", "name"}
    ids = [cell["id"] for cell in NOTEBOOK["cells"]]
    assert len(set(ids)) == len(ids) and all(re.fullmatch(r"[a-zA-Z0-9_-]{1,64}", name) for name in ids)
    for cell in NOTEBOOK["cells"]:
        more = {"execution_count", "outputs"} if cell["cell_type"] == "code" else set()
        assert cell.keys() == {"cell_type", "id", "metadata", "source"} | more and cell["metadata"] == {}
        assert cell["cell_type"] in ("code", "markdown") and all(isinstance(line, str) for line in cell["source"])
        assert all(line.endswith("\n") for line in cell["source"][:-1]) and len(max(cell["source"], key=len)) <= 119
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)
    text = json.dumps(NOTEBOOK, indent=1, ensure_ascii=False) + "\n"
    assert TOUR.read_text(encoding="utf-8") == text, "as nbformat writes it, so that changes can be read"


def test_it_is_ten_cells_with_words_before_each():
    assert [cell["cell_type"] for cell in NOTEBOOK["cells"]] == ["markdown", "code"] * 10 + ["markdown"]
    assert not any(re.search(r"^\s*[%!?]", "".join(cell["source"]), re.MULTILINE) for cell in CODE), "plain Python"


def test_its_links_lead_somewhere():
    text = "".join(line for cell in NOTEBOOK["cells"] if cell["cell_type"] == "markdown" for line in cell["source"])
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", text)
    assert links and not [link for link in links if not (TOUR.parent / link).exists()]


def test_it_shows_what_it_says(tmp_path):
    sources = json.dumps(["".join(cell["source"]) for cell in CODE])
    env = os.environ | {"MPLBACKEND": "Agg", "TMPDIR": str(tmp_path), "PYTHONPATH": str(TOUR.parents[1])}
    process = Warm(RUN, [sources], tmp_path, env)
    out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err[-3000:]
    said, facts = out.splitlines()[:-1], json.loads(out.splitlines()[-1])
    bn, output = facts["top1"]["bn"], facts["top1"]["output"]
    assert max(bn[0], output[0]) < 0.2 and bn[-1] > output[-1] + 0.1, "scaling does more than reading off"
    assert facts["points"][0] == pytest.approx(bn[-1]) and facts["points"][-1] < bn[-1] - 0.1
    assert {name: size for name, size in facts["sizes"].items() if name in facts["files"]} == {
        name: size for name, size in facts["files"].items() if name != "damaged"
    }
    assert facts["sizes"]["float32 weights"] == 4 * 175_258 and facts["sizes"]["rans"] < 4000
    digests = [line.split()[-1] for line in said if line.startswith("frozen weights")]
    assert len(digests) == 2 and len(set(digests)) == 1 and len(digests[0]) == 64
    assert "first filters equal to the bit: True" in said and said[-1].startswith("PayloadDigestMismatch - ")
    assert facts["figures"] == 6
