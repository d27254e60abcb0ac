"""The published schema and page: what is committed is what the models make, and the schema judges as they do."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from bnonly.cli import main
from bnonly.config import RunConfig
from bnonly.config.run import NOT_IN_ID
from bnonly.config.schema import Layer, entries, layer_schema
from bnonly.config.training import TrainingConfig
from bnonly.errors import BadInput
from bnonly.groups import EXAMPLES, PATTERN, parse_group
from bnonly.networks.registry import LISTED
from bnonly.training.optimizers import optimizer

ROOT = Path(__file__).parents[2]
MADE = {"configs/schema.json": [], "docs/configuration.md": ["--markdown"]}
FILES = sorted((ROOT / "configs").rglob("*.yaml"))


@pytest.fixture(scope="module")
def judge():
    schema = json.loads((ROOT / "configs/schema.json").read_text())
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


@pytest.mark.parametrize("name", MADE)
def test_what_is_committed_is_what_the_models_make(name, tmp_path, capsys):
    argv = ["schema", *MADE[name]]
    assert main([*argv, "-o", str(tmp_path / "made")]) == 0
    made = (tmp_path / "made").read_bytes()
    assert made == (ROOT / name).read_bytes(), f"{name} is stale: run `bnonly {' '.join([*argv, '-o', name])}`"
    capsys.readouterr()
    assert main(argv) == 0
    assert capsys.readouterr().out.encode() == made


def test_a_place_that_cannot_be_written_is_one_sentence(tmp_path, capsys):
    (tmp_path / "file").touch()
    assert main(["schema", "-o", str(tmp_path / "file" / "schema.json")]) == 2
    assert "cannot be written" in capsys.readouterr().err


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_the_shipped_files_name_the_schema_and_keep_it(path, judge):
    text = path.read_text()
    first = text.splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("=")[2]).resolve() == ROOT / "configs/schema.json"
    judge.validate(yaml.safe_load(text))


def test_a_whole_configuration_and_nothing_at_all_keep_it(judge):
    for values in ({}, RunConfig().plain(), {"training": {}}, {"data": {"crop": None}}, {"tracking": False}):
        judge.validate(values)
        RunConfig.model_validate(values)


WRONG = {
    "unknown key": "sed: 3",
    "unknown key of a section": "training: {moment: 0.9}",
    "key of another section": "lr: 0.1",
    "wrong type": "training: {epochs: many}",
    "number for a section": "training: 3",
    "no whole number": "training: {epochs: 1.5}",
    "too small": "seed: -1",
    "too large": "seed: 340282366920938463463374607431768211456",
    "zero rate": "training: {lr: 0}",
    "momentum of one": "training: {momentum: 1}",
    "crop beyond": "data: {crop: 65}",
    "two colours": "data: {mean: [0.1, 0.2]}",
    "no deviation": "data: {std: [0, 1, 1]}",
    "unknown choice": "data: {source: cifar11}",
    "unknown speed": "speed: warp",
    "no speed": "speed: null",
    "unknown tracking": "tracking: sometimes",
    "tracking of true": "tracking: on",
    "unknown group": "group: bm",
    "random without a number": "group: random",
    "all in a sum": "group: all+bn",
    "unknown network": "network: {name: lenet}",
    "unknown device": "training: {device: tpu}",
    "folder above": "experiment: ../x",
    "other version": "version: 2",
    "null where there is always a value": "group: null",
    "wrong option": "training: {optimizer_options: {betas: many}}",
}


@pytest.mark.parametrize("text", WRONG.values(), ids=WRONG)
def test_wrong_files_are_refused_by_the_schema_as_by_the_models(text, judge):
    values = yaml.safe_load(text)
    assert not judge.is_valid(values)
    with pytest.raises(ValidationError):
        RunConfig.model_validate(values)


@given(st.lists(st.sampled_from([*EXAMPLES, "random:K", "random:0", "random:12", "bm", "", "bn "]), max_size=3))
@settings(max_examples=200, deadline=None)
def test_the_groups_pattern_takes_what_the_parser_takes(parts):
    text = "+".join(parts)
    said = refusal(text)
    # A pattern cannot count: it takes sums that name a part twice.
    assert bool(re.search(PATTERN, text)) == (said is None or "twice" in said or "two random" in said)


def refusal(group: str) -> str | None:
    try:
        parse_group(group)
    except BadInput as error:
        return str(error)
    return None


def test_examples_are_what_they_say(judge):
    for name, entry in entries().items():
        section, _, field = name.rpartition(".")
        for value in entry.values:
            if field != "flip":
                values = {field: value}
                judge.validate({section: values} if section else values)
    assert entries()["network.name"].values == LISTED
    for name in entries()["training.optimizer"].values:
        training = TrainingConfig(optimizer=name, weight_decay=0)
        net = torch.nn.Linear(1, 1)
        assert type(optimizer(net, training)).__name__.lower() == name


def test_every_field_is_described_and_says_what_holds_when_it_is_unset():
    for name, entry in entries().items():
        assert entry.says.endswith(".") and len(entry.says) > 10, f"{name} has no docstring"
        assert "run's id" not in entry.schema["description"], f"{name}: NOT_IN_ID says that already"
        kinds = entry.schema.get("type", [])
        optional = isinstance(kinds, list) and "null" in kinds
        if optional:
            assert entry.unset, f"{name} may be None: end its docstring with `; unset: ...`"
        elif name != "speed":
            assert entry.unset is None and "default" in entry.schema, f"{name} always has a value"


def test_every_field_of_the_models_stands_in_the_schema_once():
    plain = RunConfig().plain()
    flat = [f"{section}.{name}" for section, own in plain.items() if isinstance(own, dict) for name in own]
    flat += [name for name, value in plain.items() if not isinstance(value, dict)]
    assert sorted(entries()) == sorted([*flat, "speed"]) == sorted(set(entries()))
    assert set(NOT_IN_ID) == {name for name, entry in entries().items() if not entry.in_id}
    assert set(Layer.model_fields) - set(RunConfig.model_fields) == {"speed"}


def test_the_schema_is_for_editors():
    schema = layer_schema()
    assert schema["$schema"].endswith("2020-12/schema") and schema["title"]
    said = json.dumps(schema)
    assert "x-" not in said.replace("max-", "") and "$ref" not in said and '"required"' not in said
    crop = schema["properties"]["data"]["properties"]["crop"]["description"]
    assert crop.endswith("Unit: pixels. Unset: 4, for digits 1.")
    assert schema["properties"]["out"]["description"].endswith("Does not change a run's id.")
    for section in ("network", "data", "training"):
        assert schema["properties"][section]["additionalProperties"] is False


def test_the_page_is_a_table_of_every_field():
    page = (ROOT / "docs/configuration.md").read_text()
    rows = {row.split("|")[1].strip(): row for row in page.splitlines() if row.startswith("| `")}
    for name in entries():
        mark = " \u2020" if name in NOT_IN_ID else ""
        row = rows[f"`{name}`{mark}"]
        assert len(re.findall(r"(?<!\\)\|", row)) == 6, f"{name}: a sign of its text breaks the table"
    assert "| whole number, 0 to 64 | 4, for digits 1 | pixels |" in rows["`data.crop`"]
    links = re.findall(r"\]\((?!https?:)([^)#]+)\)", page)
    assert links and all((ROOT / "docs" / link).exists() for link in links)


def test_what_the_page_shows_is_understood(judge, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    page = (ROOT / "docs/configuration.md").read_text()
    commands = re.findall(r"^bnonly (.+)$", page, re.MULTILINE)
    examples = re.findall(r"```yaml\n(.*?)```", page, re.DOTALL)
    assert commands and examples
    for command in commands:
        assert main([*shlex.split(command), "--print-config"]) == 0
    for example in examples:
        judge.validate(yaml.safe_load(example))
        RunConfig.model_validate(yaml.safe_load(example))
    options = re.search(r"`--training.optimizer_options '(.+?)'`", page)
    assert options and RunConfig.model_validate({"training": {"optimizer_options": json.loads(options[1])}})
