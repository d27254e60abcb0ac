"""The configuration: ids that stay, errors all at once, files and flags in their order."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from bnonly.config import RunConfig
from bnonly.config.command_line import parse_run, run_parser
from bnonly.config.layers import read_yaml, validated
from bnonly.errors import BadInput

CONFIGS = Path(__file__).parents[2] / "configs"

CIFAR = {"source": "cifar10", "path": "somewhere"}

# Runs are found by these: an id that changes loses every run made before it.
GOLDEN_IDS = [
    ({}, "2430f1a2ad"),
    ({"seed": 1}, "4c90efff41"),
    ({"data": CIFAR}, "e55021ae23"),
    ({"data": {"source": "cifar10"}}, "e55021ae23"),
    (
        {
            "data": CIFAR,
            "group": "bn+output",
            "training": {"precision": "bf16", "memory_format": "channels_last"},
        },
        "825870e623",
    ),
    ({"data": CIFAR, "speed": "fast", "group": "bn+output"}, "bdd4b60fb7"),
    ({"group": "output", "training": {"bn_statistics": "frozen"}}, "bc6d255f4c"),
]


def parse(*argv: str) -> RunConfig:
    return parse_run(run_parser("bnonly fit", ""), list(argv))[0]


@pytest.mark.parametrize(("values", "id"), GOLDEN_IDS)
def test_ids_are_as_ever(values, id):
    assert RunConfig.model_validate(values).id == id


def test_what_decides_no_number_is_not_in_the_id():
    base = RunConfig.model_validate({"data": CIFAR})
    same = RunConfig.model_validate(
        {
            "experiment": "other",
            "out": "elsewhere",
            "tracking": "off",
            "project": "p",
            "data": {**CIFAR, "path": "/other", "mirrors": ["http://host/"], "download": False},
            "training": {"device": "cuda:1", "threads": 3, "keep_gamma_every": 1},
        }
    )
    assert same.id == base.id
    for different in (
        {"seed": 2},
        {"group": "all"},
        {"network": {"gamma": "ones"}},
        {"data": {**CIFAR, "holdout": 5}},
        {"training": {"precision": "bf16"}},
        {"training": {"optimizer_options": {"nesterov": True}}},
    ):
        assert RunConfig.model_validate({"data": CIFAR} | different).id != base.id


def test_ids_do_not_depend_on_how_it_was_said():
    explicit = {
        "data": {**CIFAR, "crop": 4, "flip": True},
        "training": {"milestones": [80, 120]},
        "speed": "paper",
    }
    assert RunConfig.model_validate(explicit).id == RunConfig.model_validate({"data": CIFAR}).id
    assert RunConfig.model_validate(yaml.safe_load(RunConfig(seed=3).to_yaml())).id == RunConfig(seed=3).id
    assert RunConfig(group="bn + output").id == RunConfig(group="bn+output").id


def test_defaults_depend_on_the_source_and_the_epochs():
    assert (RunConfig().data.crop, RunConfig().data.flip) == (1, False)
    cifar = RunConfig.model_validate({"data": CIFAR, "training": {"epochs": 10}})
    assert (cifar.data.crop, cifar.data.flip, cifar.training.milestones) == (4, True, (5.0, 7.5))
    cosine = RunConfig.model_validate({"training": {"schedule": "cosine"}})
    assert cosine.training.milestones is None


def test_the_papers_recipe_is_the_default():
    training = RunConfig().training
    assert (training.epochs, training.batch_size, training.optimizer, training.lr) == (160, 128, "sgd", 0.1)
    assert (training.momentum, training.weight_decay, training.milestones) == (0.9, 1e-4, (80.0, 120.0))
    assert (training.decay_group, training.precision, training.memory_format) == ("all", "fp32", "contiguous")


def test_speed_expands_and_gives_way():
    fast = RunConfig.model_validate({"speed": "fast"}).training
    assert (fast.precision, fast.memory_format, fast.engine) == ("bf16", "channels_last", "fused")
    mixed = RunConfig.model_validate({"speed": "fast", "training": {"precision": "fp32"}}).training
    assert (mixed.precision, mixed.memory_format) == ("fp32", "channels_last")
    assert "speed" not in RunConfig.model_validate({"speed": "fast"}).plain()


def test_a_later_speed_wins_over_an_earlier_file(tmp_path):
    (tmp_path / "fast.yaml").write_text("speed: fast")
    (tmp_path / "layout.yaml").write_text("training: {memory_format: channels_last}")
    fast, layout = str(tmp_path / "fast.yaml"), str(tmp_path / "layout.yaml")
    assert parse("-c", fast, "--speed", "paper").id == RunConfig().id
    assert parse("-c", fast, "-c", layout).training.precision == "bf16"
    mixed = parse("--speed", "paper", "-c", layout, "--training.precision", "bf16").training
    assert (mixed.precision, mixed.memory_format) == ("bf16", "contiguous")


def test_mistakes_are_laid_at_the_right_door(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: -1\nspeed: warp\ntraining: {lr: 0.2}")
    (tmp_path / "b.yaml").write_text("training: {epochs: 0}")
    with pytest.raises(BadInput) as caught:
        parse("-c", str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml"), "--training.lr", "-3")
    by_door = str(caught.value)
    a, b, flags = (by_door.index(door) for door in ("a.yaml: ", "b.yaml: ", "the flags: "))
    order = sorted([(a, "a"), (b, "b"), (flags, "flags")])
    places = {"seed = -1": "a", "speed = 'warp': use paper or fast": "a", "epochs = 0": "b", "lr = '-3'": "flags"}
    for said, door in places.items():
        assert [name for place, name in order if place < by_door.index(said)][-1] == door


def test_files_merge_in_order_and_flags_come_last(tmp_path):
    (tmp_path / "a.yaml").write_text("seed: 1\ntraining: {lr: 0.2, epochs: 5}\ntracking: off\n")
    (tmp_path / "b.yaml").write_text("training:\n  lr: 3e-1\n")
    a, b = str(tmp_path / "a.yaml"), str(tmp_path / "b.yaml")
    assert parse("-c", a, "-c", b).training.lr == 0.3
    assert parse("-c", b, a).training.lr == 0.2
    run = parse("-c", a, "-c", b, "--training.lr", "0.4", "--seed=9", "--network.name", "cifar_wrn14_2")
    assert (run.training.lr, run.training.epochs, run.seed, run.tracking) == (0.4, 5, 9, "off")
    assert parse("--training.milestones", "2,3", "--data.flip", "true").training.milestones == (2.0, 3.0)


def test_the_environment_decides_nothing(monkeypatch):
    monkeypatch.setenv("SEED", "5")
    monkeypatch.setenv("GROUP", "all")
    assert (parse().seed, parse().group) == (0, "bn")


def test_every_mistake_of_a_file_is_listed_at_once(tmp_path):
    path = tmp_path / "bad.yaml"
    path.write_text(
        "group: bm\nsed: 3\nnetwork: {name: cifar_resnet15}\ntraining: {lr: -1, epochs: many, moment: 1}\n"
    )
    with pytest.raises(BadInput) as caught:
        parse("-c", str(path))
    said = str(caught.value)
    for part in (
        str(path), "did you mean bn?", "sed is unknown, did you mean seed?", "not 6n+2", "training.lr = -1",
        "training.epochs = 'many'", "training.moment is unknown, did you mean momentum?",
    ):  # fmt: skip
        assert part in said
    assert "\n" not in said and "pydantic" not in said


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("{", "is no YAML"),
        ("- a\n- b\n", "must hold a mapping"),
        ("x: !!python/object/apply:os.system [ls]", "is no YAML"),
        ("\x00", "is no YAML"),
        ("training: 3", "training = 3"),
        ("data: {source: folder}", r"needs data\.path"),
        ("data: {mirrors: ['ftp://host/']}", r"data\.mirrors: 'ftp://host/' is no mirror: give http:// or https://"),
        ("data: {mirrors: ['http://host/', /local/file]}", "'/local/file' is no mirror"),
        ("data: {mirrors: ['http:///file']}", "is no mirror"),
        ("data: {mirrors: ['http://host:port/']}", "is no mirror"),
        ("data: {mirrors: ['http://me:word@host/']}", "is no mirror"),
        ("data: {mirrors: ['http://host/a b']}", "is no mirror"),
        ("data: {mirrors: ['http://höst/']}", "is no mirror"),
        ("data: {download: perhaps}", r"data\.download"),
        ("training: {warmup: 200}", "longer than the 160 epochs"),
        ("training: {milestones: [3, 2]}", "must rise"),
        ("training: {lr: .nan}", r"training\.lr"),
        ("training: {lr: 0}", r"training\.lr"),
        ("training: {milestones: [80, 120], epochs: 10}", "unset them to have them"),
        ("training: {optimizer_options: {lr: 1}}", "has a field of its own"),
        ("training: {optimizer_options: {momentum: 0.5}}", "has a field of its own"),
        ("training: {lr: 1, lr: 2}", "lr is given twice"),
        ("data: {size: 64}", "size is for source: folder"),
        ("network: {weights: orthogonal, scale: fan_out}", "no fan"),
        ("speed: [a]", "use paper or fast"),
        ("training: {device: tpu}", "use auto, cpu"),
        ("seed: -1", "seed = -1"),
        ("experiment: ../x", "experiment"),
        ("version: 2", "version"),
        ("tracking: sometimes", "tracking"),
        ("data: {std: [0, 1, 1]}", r"data\.std"),
        ("data: {holdout: -1}", r"data\.holdout"),
        ("data: {source: [a]}", r"data\.source"),
        ("data: {source: imagenet, path: x, size: .inf}", r"data\.size = inf"),
        (f"training: {{epochs: {'9' * 400}}}", r"training\.epochs = 9{197}\.\.\.: "),
        ("seed: 2001-13-45", "line 1, column 7: '2001-13-45' is no timestamp"),
        ("seed: 0x_", "'0x_' is no int"),
        ("seed: !!bool maybe", "'maybe' is no bool"),
        ("seed: " + "9" * 5000, r"'9{97}\.\.\.' is no int"),
        ("seed: !!timestamp noon", "'noon' is no timestamp"),
        ("? [1]\n: 2", "unhashable key"),
        ("seed: " + "[" * 3000, "line 1, column 71: brackets are nested too deep"),
        ("seed: " + "[" * 64 + "]" * 64, r"seed = \["),  # which is deep enough
        ("\n".join(" " * depth + "a:" for depth in range(500)), "it is nested too deep"),
        ("seed: &a [*a]", "aliases make it more than 65536 values"),
        ("a0: &a0 0\n" + "".join(f"a{i + 1}: &a{i + 1} [{f'*a{i}, ' * 9}]\n" for i in range(6)), "aliases make it"),
        ("x: " + "y" * (1 << 18), "longer than 262144 bytes"),
        ("? " + "k" * 5000 + "\n: 1", r"k{497}\.\.\.$"),
        ("\n".join(f"k{i}: 1" for i in range(1000)), "; and 980 mistakes more$"),
        ('"a\\nb": 1', r"a\\nb is unknown"),
    ],
)
def test_bad_files(tmp_path, text, says):
    path = tmp_path / "bad.yaml"
    path.write_text(text)
    with pytest.raises(BadInput, match=says) as caught:
        parse("-c", str(path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--trainin.lr", "1"], r"did you mean --training\.lr"),
        (["--training.lr"], "expected one argument"),
        (["-c", "nowhere.yaml"], "nowhere.yaml cannot be read"),
        (["stray"], "unrecognized arguments: stray"),
    ],
)
def test_bad_flags(argv, says):
    with pytest.raises(BadInput, match=says):
        parse(*argv)


@pytest.mark.parametrize("path", sorted(CONFIGS.glob("*.yaml")), ids=lambda path: path.stem)
@pytest.mark.parametrize("preset", [None, *sorted((CONFIGS / "presets").glob("*.yaml"))], ids=lambda p: p and p.stem)
def test_the_shipped_files_are_valid_alone_and_with_every_preset(path, preset):
    files = ["-c", str(path)] + (["-c", str(preset)] if preset else [])
    run = parse(*files, "--data.path", "somewhere")
    assert run.network.name.replace("cifar_", "").replace("_", "") in path.stem.replace("_", "")


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["--network", "resnet18"], r"--network is a section and holds fields, as network.name$"),
        (["--training", "5"], r"training = .?5.?: training is a section and holds fields, as training.epochs$"),
        (["--data.mean", "0.5"], r"data.mean = \[0.5\]: these are too few values$"),
    ],
)
def test_sections_and_short_lists(argv, says):
    with pytest.raises(BadInput, match=says):
        parse(*argv)


def test_a_section_with_nothing_in_it_is_empty_and_a_mistake_has_its_line(tmp_path):
    path = tmp_path / "a.yaml"
    path.write_text("group: all\ntraining:\n#  epochs: 5\n")
    assert parse("-c", str(path)) == parse("--group", "all")
    path.write_text("group: all\ntraining:\n  lr: 1\n  lr: 2\n")
    with pytest.raises(BadInput, match=r"a.yaml is no YAML: line 4, column 3: lr is given twice"):
        parse("-c", str(path))


def test_imagenets_recipe_is_the_papers():
    """open_lth's defaults for imagenet_resnet, as the paper used them."""
    run = parse(
        "-c", str(CONFIGS / "resnet50_bn.yaml"), str(CONFIGS / "presets" / "imagenet.yaml"), "--data.path", "x"
    )
    training = run.training
    assert (training.epochs, training.batch_size, training.lr, training.momentum) == (90, 1024, 0.4, 0.9)
    assert (training.milestones, training.lr_factor, training.warmup) == ((30, 60, 80), 0.1, 5)
    assert (training.weight_decay, training.sync_bn, training.devices) == (1e-4, False, 1)
    assert (run.data.source, run.data.size, run.data.crop_scale, run.data.flip) == ("imagenet", 224, (0.1, 1), True)


def test_mirrors_are_written_in_three_ways(tmp_path):
    (tmp_path / "a.yaml").write_text("data: {source: cifar10, mirrors: ['http://a/', 'https://b/c.tar.gz']}")
    from_file = parse("-c", str(tmp_path / "a.yaml"))
    assert from_file.data.mirrors == ("http://a/", "https://b/c.tar.gz") and from_file.data.path is None
    assert parse("--data.mirrors", '["http://a/", "http://b/"]').data.mirrors == ("http://a/", "http://b/")
    assert parse("--data.mirrors", "http://a/").data.mirrors == ("http://a/",)


def test_aliases_are_taken_where_they_are_few(tmp_path):
    (tmp_path / "a.yaml").write_text("training: {lr: &rate 0.2, weight_decay: *rate}\n")
    training = parse("-c", str(tmp_path / "a.yaml")).training
    assert (training.lr, training.weight_decay) == (0.2, 0.2)


def test_a_file_that_is_not_there_and_values_from_python():
    with pytest.raises(BadInput, match="cannot be read: embedded null byte"):
        read_yaml(Path("a\0b"))
    with pytest.raises(BadInput, match="cannot be read"):
        read_yaml(Path("nowhere.yaml"))
    with pytest.raises(BadInput, match="here: seed"):
        validated({"here": {"seed": "x"}})
