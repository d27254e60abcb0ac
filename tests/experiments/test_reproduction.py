"""The page of the reproduction: what its tables say of runs, and that it is the one that the results make."""

from __future__ import annotations

import pandas as pd
import pytest

from bnonly.errors import BadInput
from experiments.reproduction.__main__ import main
from experiments.reproduction.beyond import choices, files, recipe, regrow, restored
from experiments.reproduction.page import PAGE, RESULTS, TABLES, filled
from experiments.reproduction.paper import accuracy, clamping, runs, sparsity, zeros
from experiments.reproduction.words import verdict


def row(label, group, seed, top1, **changes):
    who = {"id": f"{label}{group}{seed}", "label": label, "group": group, "seed": seed}
    how = {"epochs": 160, "source": "cifar10", "state": "done", "papers_recipe": True}
    return who | how | {"top1": top1, "gamma_below_0.01": 0.25} | changes


def table(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_csv(path)


@pytest.fixture
def results(tmp_path):
    paper = tmp_path / "paper"
    made = [
        row("ResNet-14", "bn", 0, 0.48), row("ResNet-14", "bn", 1, 0.49), row("ResNet-32", "bn", 0, 0.5),
        row("ResNet-14", "output", 0, 0.3), row("ResNet-56", "bn", 0, 0.9, epochs=3),
        row("ResNet-56", "all", 0, 0.9, papers_recipe=False), row("ResNet-110", "bn", 0, 0.7, state="running"),
    ]  # fmt: skip
    table(paper / "depth" / "runs.csv", made)
    table(paper / "clamp" / "runs.csv", made[:2])  # the same runs once more
    lost = [
        ("smallest", 0.0, 0.5, 0, 0.0, 0.0),
        ("below", 0.1, 0.4, 0.3, 0.1, 0.01),
        ("below", 0.01, 0.498, 0.2, 0.002, 0),
    ]
    names = ("way", "amount", "mean", "share", "lost", "lost_sd")
    own = {"label": "ResNet-14", "group": "bn", "sd": 0.01, "n": 2}
    table(paper / "clamp" / "clamp_curves.csv", [own | dict(zip(names, values, strict=True)) for values in lost])
    table(
        paper / "gamma_sparsity" / "relu_zeros.csv",
        [own | {"measure": m, "mean": v} for m, v in (("zero_outputs", 0.4), ("off", 0.2))],
    )
    return tmp_path


def test_only_finished_runs_of_the_papers_schedule_count_and_once(results):
    assert len(runs(results)) == 5
    assert accuracy(results)[1:] == [
        ["ResNet-14", "`bn`", "2", "48.5 ± 0.7", "48.2 [D]", "+0.3", "agrees"],
        ["ResNet-32", "`bn`", "1", "50.0", "57.6 [D]", "-7.6", "differs"],
        ["ResNet-14", "`output`", "1", "30.0", "no figure known", "", ""],
    ]
    assert sparsity(results)[1:] == [
        ["ResNet-14", "`bn`", "2", "25.0 ± 0.0", "confirmed"],
        ["ResNet-32", "`bn`", "1", "25.0", "not decided (one seed)"],
    ]


def test_what_clamping_costs_and_what_is_off(results):
    assert clamping(results)[1:] == [
        ["ResNet-14", "`bn`", "2", "0.01", "20.0", "49.8 ± 1.0", "0.20 ± 0.00", "confirmed"],
        ["ResNet-14", "`bn`", "2", "0.1", "30.0", "40.0 ± 1.0", "10.00 ± 1.00", ""],
    ]
    assert zeros(results)[1:] == [["ResNet-14", "`bn`", "2", "40.0 ± 1.0", "not decided", "20.0 ± 1.0", ""]]


@pytest.mark.parametrize(
    ("mean", "sd", "n", "word"),
    [
        (25, 1, 3, "confirmed"), (25, 2.1, 3, "not decided"), (25, 1, 2, "not decided"), (19, 0.1, 3, "refuted"),
        (31, 0.1, 3, "refuted"), (31, 1, 3, "not decided"), (25, float("nan"), 1, "not decided (one seed)"),
    ],
)  # fmt: skip
def test_a_claim_is_judged_by_all_seeds(mean, sd, n, word):
    """Of three seeds Student's 97.5 % point is 4.303 by the tables: 2.484 deviations of the mean; of two, 12.706."""
    assert verdict(mean, sd, n, 20, 30) == word


def test_what_goes_past_the_paper(tmp_path):
    final = {"network": "cifar_resnet14", "epochs": 30, "gamma_below_0.01": 0.1}
    both = (("paper", 0.40, 0.42), ("found", 0.44, 0.48))
    finals = [
        final | {"recipe": name, "seed": s, "top1": top1} for name, *seeds in both for s, top1 in enumerate(seeds)
    ]
    table(tmp_path / "recipe" / "finals.csv", [*finals, finals[0] | {"seed": 2}])
    assert recipe(tmp_path)[1:] == [
        ["ResNet-14", "30", "2", "41.0 ± 1.4", "46.0 ± 2.8", "5.0 ± 1.4", "10.0 ± 0.0", "10.0 ± 0.0"]
    ]
    values = (("sgd", 0.5, 0.03), ("adam", 0.4, 0.04), ("none", None, None))
    effects = [
        {"choice": "x", "value": v, "top1_mean": m, "top1_standard_error": e}
        | {"gamma_below_0.01_mean": m, "gamma_below_0.01_standard_error": 0}
        for v, m, e in values
    ]
    table(tmp_path / "recipe" / "effects.csv", effects)
    assert choices(tmp_path)[1:] == [["`x`", "`sgd`", "`adam`", "10.0 ± 5.0", "10.0 ± 0.0"]]
    put_back = [
        {"choice": name, "found": "a", "paper": "b", "seed": seed, "epochs": 10}
        | {"found_top1": 0.5, "paper_top1": top1, "found_gamma_below_0.01": 0.1, "paper_gamma_below_0.01": 0.3}
        for name, *seeds in (("x", 0.5), ("y", 0.4, 0.42))
        for seed, top1 in enumerate(seeds)
    ]
    table(tmp_path / "recipe" / "restored.csv", put_back)
    assert restored(tmp_path)[1:] == [
        ["`y`", "`a`", "`b`", "10", "2", "9.0 ± 1.4", "20.0 ± 0.0"],
        ["`x`", "`a`", "`b`", "10", "1", "0.0", "20.0"],
    ]
    best = {"at_most_bytes": 1000, "ours": "A", "ours_top1": 0.5, "rival": "B", "rival_top1": 0.51}
    best |= {"bare": "C", "bare_top1": 0.55, "ours_better_by_points": -1.0, "bare_better_by_points": 4.0}
    frontier = [best, {"at_most_bytes": 500, "ours": "A", "ours_top1": 0.5}]
    table(tmp_path / "bytes" / "frontier.csv", frontier)
    assert files(tmp_path)[1:] == [
        ["1,000", "A", "50.0", "C", "55.0", "B", "51.0", "-1.0", "+4.0"],
        ["500", "A", "50.0", "", "", "", "", "", ""],
    ]
    stage = {"network": "cifar_resnet14", "stage": 1, "trained": "all", "epochs": 3, "seed": 0, "redrawn": 7}
    table(
        tmp_path / "regrow" / "regrow.csv",
        [stage | {"way": w, "top1": t} for w, t in (("small", 0.5), ("none", 0.4))],
    )
    assert regrow(tmp_path)[1:] == [["ResNet-14", "3", "`all`", "1", "7", "50.0", "", "40.0"]]


def test_a_page_is_filled_where_it_is_marked(results, tmp_path):
    page = filled(PAGE.read_text(), results)
    assert "| ResNet-14 | `bn` | 2 | 48.5 ± 0.7 | 48.2 [D] | +0.3 | agrees |" in page
    assert filled(page, results) == page
    nothing = filled(PAGE.read_text(), tmp_path / "nothing")
    assert nothing.count("No such run is done yet.") == len(TABLES)
    with pytest.raises(BadInput, match="no place for zeros"):
        filled(page.replace("<!-- /zeros -->", ""), results)


def test_the_page_is_that_of_the_results():
    assert filled(PAGE.read_text(), RESULTS) == PAGE.read_text()
    assert main(["--check"]) == 0
