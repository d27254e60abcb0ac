"""The page of the reproduction: what its tables say of runs, and that it is the one that the results make."""

from __future__ import annotations

import pandas as pd
import pytest

from bnonly.errors import BadInput
from experiments.reproduction import PAGE, RESULTS, accuracy, clamping, filled, main, runs, sparsity, zeros


def row(label, group, seed, top1, **changes):
    who = {"id": f"{label}{group}{seed}", "label": label, "group": group, "seed": seed}
    how = {"epochs": 160, "source": "cifar10", "state": "done", "papers_recipe": True}
    return who | how | {"top1": top1, "gamma_below_0.01": 0.25} | changes


@pytest.fixture
def results(tmp_path):
    for name in ("depth", "clamp", "gamma_sparsity"):
        (tmp_path / name).mkdir()
    table = [
        row("ResNet-14", "bn", 0, 0.48), row("ResNet-14", "bn", 1, 0.49), row("ResNet-32", "bn", 0, 0.5),
        row("ResNet-14", "output", 0, 0.3), row("ResNet-56", "bn", 0, 0.9, epochs=3),
        row("ResNet-56", "all", 0, 0.9, papers_recipe=False), row("ResNet-110", "bn", 0, 0.7, state="running"),
    ]  # fmt: skip
    pd.DataFrame(table).to_csv(tmp_path / "depth" / "runs.csv")
    pd.DataFrame(table[:2]).to_csv(tmp_path / "clamp" / "runs.csv")  # the same runs once more
    curves = [("smallest", 0.0, 0.5, 0.0), ("below", 0.1, 0.4, 0.3), ("below", 0.01, 0.498, 0.2)]
    pd.DataFrame(
        [{"label": "ResNet-14", "group": "bn", "way": w, "amount": a, "mean": m, "share": s} for w, a, m, s in curves]
    ).to_csv(tmp_path / "clamp" / "clamp_curves.csv")
    pd.DataFrame(
        [{"label": "ResNet-14", "group": "bn", "measure": m, "mean": v} for m, v in (("zero", 0.4), ("off", 0.2))]
    ).to_csv(tmp_path / "gamma_sparsity" / "relu_zeros.csv")
    return tmp_path


def test_only_finished_runs_of_the_papers_schedule_count_and_once(results):
    assert len(runs(results)) == 5
    assert accuracy(results)[1:] == [
        ["ResNet-14", "`bn`", "2", "48.5 ± 0.7", "48.2 [D]", "+0.3", "agrees"],
        ["ResNet-32", "`bn`", "1", "50.0", "57.6 [D]", "-7.6", "differs"],
        ["ResNet-14", "`output`", "1", "30.0", "no figure known", "", ""],
    ]
    assert [line[:2] for line in sparsity(results)[1:]] == [["ResNet-14", "`bn`"], ["ResNet-32", "`bn`"]]


def test_what_clamping_costs_and_what_is_off(results):
    assert clamping(results)[1:] == [
        ["ResNet-14", "`bn`", "0.01", "20.0", "49.8", "0.2"],
        ["ResNet-14", "`bn`", "0.1", "30.0", "40.0", "10.0"],
    ]
    assert zeros(results)[1:] == [["ResNet-14", "`bn`", "40.0", "20.0", ""]]


def test_a_page_is_filled_where_it_is_marked(results, tmp_path):
    page = filled(PAGE.read_text(), results)
    assert "| ResNet-14 | `bn` | 2 | 48.5 ± 0.7 | 48.2 [D] | +0.3 | agrees |" in page
    assert filled(page, results) == page
    assert page.count("No run of the paper's schedule is done yet.") == 0
    assert filled(PAGE.read_text(), tmp_path / "nothing").count("No run of the paper's schedule is done yet.") == 4
    with pytest.raises(BadInput, match="no place for zeros"):
        filled(page.replace("<!-- /zeros -->", ""), results)


def test_the_page_is_that_of_the_results():
    assert filled(PAGE.read_text(), RESULTS) == PAGE.read_text()
    assert main(["--check"]) == 0
