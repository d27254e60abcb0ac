"""A seed+BN file in a folder as the Hugging Face Hub has them: written whole, read strictly, no network."""

from __future__ import annotations

import hashlib
import json
import os
import pickle
import re
from pathlib import Path

import pytest
import torch
import yaml
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import bnonly
from bnonly.errors import BadInput
from bnonly.seedfile import Input
from bnonly.seedfile.errors import ConfigMismatch, SeedFileError
from tests.warm import Warm

INPUT = Input((3, 8, 8), (0.5, 0.25, 1), (1, 1, 2), ("cat", "Zebra | `x`", "größer"))
INFO = {"epochs": 2, "data": "digits", "note": "</h1>\n```\n# no heading"}


def made(seed: int = 7):
    net = bnonly.network("cifar_resnet8", seed=seed, classes=3)
    bnonly.freeze_all_but(net, "bn")
    with torch.no_grad():
        net.bn1.weight.mul_(2)
    return net


@pytest.fixture(scope="module")
def net():
    return made()


@pytest.fixture
def folder(net, tmp_path):
    bnonly.save_pretrained(net, tmp_path / "net", input=INPUT, info=INFO)
    return tmp_path / "net"


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def changed(folder: Path, **fields) -> None:
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


def test_three_files_and_the_same_network(net, folder, tmp_path):
    bnonly.save(net, tmp_path / "one.safetensors", input=INPUT, info=INFO)
    files = contents(folder)
    assert set(files) == {"config.json", "model.safetensors", "README.md"}
    assert files["model.safetensors"] == (tmp_path / "one.safetensors").read_bytes()
    back = bnonly.from_pretrained(folder)
    pictures = torch.randn(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    net.eval()
    with torch.inference_mode():
        torch.testing.assert_close(back(pictures), net(pictures), rtol=1e-4, atol=1e-5)
    assert not back.training and not any(p.requires_grad for p in back.parameters())
    assert back.stored.input.labels == INPUT.labels


def test_config_says_what_the_file_says(folder):
    config = json.loads((folder / "config.json").read_text())
    with safe_open(folder / "model.safetensors", "np") as file:
        header = json.loads(file.metadata()["bnonly"])
    assert config["id2label"] == {"0": "cat", "1": "Zebra | `x`", "2": "größer"}
    assert config["input"] == {name: header["input"][name] for name in ("shape", "mean", "std")}
    assert (config["library_name"], config["format"]) == ("bnonly", header["format"])
    assert (config["architecture"], config["classes"]) == (header["arch"]["id"], header["arch"]["args"]["classes"])
    assert (config["trained"], config["seed"]) == (header["trained"], header["init"]["seed"])
    assert config["header_sha256"] == header["header_sha256"]


def test_the_card(net, folder):
    card = (folder / "README.md").read_text()
    front, text = re.fullmatch(r"---\n(.*?)---\n(.*)", card, re.DOTALL).groups()
    assert yaml.safe_load(front) == {
        "library_name": "bnonly",
        "pipeline_tag": "image-classification",
        "tags": ["bnonly", "random-features", "batch-normalization", "cifar_resnet8"],
    }
    data = (folder / "model.safetensors").read_bytes()
    whole = 4 * sum(p.numel() for p in net.parameters())
    assert hashlib.sha256(data).hexdigest() in text and f"{len(data):,} bytes" in text
    assert f"{whole / len(data):.1f} times" in text and f"({whole:,} bytes)" in text
    assert '\n      "note": "</h1>\\n```\\n# no heading"\n' in text  # in an indented block, and no line of its own
    assert "\n# no heading" not in text and max(map(len, text.splitlines())) < 140
    (code,) = re.findall(r"```python\n(.*?)```", text, re.DOTALL)
    compile(code, "card", "exec")


def test_license_stands_in_the_front_matter_and_is_an_id(net, tmp_path):
    bnonly.save_pretrained(net, tmp_path, license="apache-2.0")
    assert "\nlicense: apache-2.0\n" in (tmp_path / "README.md").read_text()
    with pytest.raises(BadInput, match="license 'My own' is no id of the Hub: use one such as mit"):
        bnonly.save_pretrained(net, tmp_path, license="My own")


def test_equal_content_gives_equal_bytes(net, folder, tmp_path):
    bnonly.save_pretrained(bnonly.from_pretrained(folder), tmp_path / "again")
    bnonly.save_pretrained(net, tmp_path / "reordered", input=INPUT, info=dict(reversed(INFO.items())))
    assert contents(tmp_path / "again") == contents(tmp_path / "reordered") == contents(folder)


def test_an_edited_card_is_kept_and_an_own_one_replaced(net, folder):
    own = (folder / "README.md").read_bytes()
    other = bnonly.save_pretrained(net, folder, dtype="fp16")
    assert other.notes == () and other.sha256 in (folder / "README.md").read_text()
    for edited in (own.replace(b"random", b"arbitrary", 1), own + b"\nMine.\n", b"", b"\xff"):
        (folder / "README.md").write_bytes(edited)
        packed = bnonly.save_pretrained(net, folder)
        assert (folder / "README.md").read_bytes() == edited
        assert packed.notes == (f"{folder / 'README.md'} was kept as it is",)
    assert bnonly.from_pretrained(folder).stored.bn.dtype == "fp32"


def test_a_disk_that_fills_up_leaves_every_old_file(folder, monkeypatch):
    before, count, flush = contents(folder), iter(range(9)), os.fsync

    def full(handle):
        if next(count) == 2:
            raise OSError(28, "No space left on device")
        flush(handle)

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(BadInput, match=r"model.safetensors cannot be written \(No space left on device\)"):
        bnonly.save_pretrained(made(8), folder)
    assert contents(folder) == before


def test_a_place_that_is_taken_leaves_every_old_file(net, tmp_path):
    for name, says in (("model.safetensors", "written: a folder"), ("README.md", r"read \(Is a directory")):
        (tmp_path / name).mkdir()
        with pytest.raises(BadInput, match=rf"{name} cannot be {says}"):
            bnonly.save_pretrained(net, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"model.safetensors", "README.md"}
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(BadInput, match=r"file/net/README.md cannot be written \(Not a directory\)"):
        bnonly.save_pretrained(net, tmp_path / "file" / "net")


@pytest.mark.parametrize("renamed", [0, 1, 2])
@pytest.mark.parametrize("fresh", [True, False])
def test_a_crash_between_renames_never_leaves_a_mixture_that_loads(net, tmp_path, monkeypatch, renamed, fresh):
    old = None if fresh else bnonly.save_pretrained(net, tmp_path).header
    count, rename = iter(range(9)), os.replace

    def crash(source, target):
        if next(count) == renamed:
            raise KeyboardInterrupt
        rename(source, target)

    monkeypatch.setattr(os, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        bnonly.save_pretrained(made(8), tmp_path)
    if fresh or renamed == 2:
        missing = "holds no model.safetensors" if renamed == 2 else "holds no config.json"
        with pytest.raises(BadInput, match=missing if fresh else "config.json: seed: expected"):
            bnonly.from_pretrained(tmp_path)
    else:
        assert bnonly.from_pretrained(tmp_path).stored == old
    assert not [path for path in tmp_path.iterdir() if path.suffix == ".tmp"]


WRONG = {
    "library_name": "timm",
    "format": "bnonly/2",
    "architecture": "cifar_resnet14",
    "classes": 10,
    "trained": ["bn", "output"],
    "seed": "7",
    "form": "full",
    "dtype": "fp16",
    "codec": "mask",
    "input": None,
    "id2label": ["cat"],
    "header_sha256": "0" * 64,
}


@pytest.mark.parametrize("field", WRONG)
def test_a_config_that_contradicts_the_header_is_refused(folder, field):
    assert set(WRONG) == set(json.loads((folder / "config.json").read_text()))
    changed(folder, **{field: WRONG[field]})
    with pytest.raises(ConfigMismatch, match=rf"config.json: {field}: expected .*, as in the header") as error:
        bnonly.from_pretrained(folder)
    assert error.value.file == str(folder / "config.json")


def test_the_field_within_is_named_and_other_fields_are_left_alone(folder):
    labels = {"0": "cat", "1": "Zebra | `x`", "2": "größer"}
    for given, named in (
        ({"id2label": labels | {"1": "dog"}}, r"id2label\.1: expected Zebra"),
        ({"id2label": labels | {"3": "dog"}}, r"id2label\.3: expected nothing.* got dog"),
        ({"id2label": {"0": "cat"}}, r"id2label\.1: .* got nothing"),
        (
            {"id2label": labels, "input": {"shape": [3, 9, 9]}},
            r"input\.shape: expected \[3, 8, 8\].* got \[3, 9, 9\]",
        ),
    ):
        changed(folder, **given)
        with pytest.raises(ConfigMismatch, match=named):
            bnonly.from_pretrained(folder)
    changed(folder, input={"shape": [3, 8, 8], "mean": [0.5, 0.25, 1], "std": [1, 1, 2]}, _commit="abc")
    bnonly.from_pretrained(folder)


class Trap:
    def __reduce__(self):
        return os.mkdir, ("opened",)


@pytest.mark.parametrize(
    ("file", "data", "sentence"),
    [
        ("config.json", None, r"{} holds no config.json: name a folder that bnonly.save_pretrained wrote"),
        ("model.safetensors", None, r"{} holds no model.safetensors: name a folder"),
        ("config.json", b"{", r"{}/config.json: file: expected an object in JSON"),
        ("config.json", b'{"classes": 3, "classes": 3}', "{}/config.json: .*'classes' stands there twice"),
        ("config.json", b"[" * 100_000, r"{}/config.json: file: expected an object in JSON"),
        ("model.safetensors", b"", r"{}/model.safetensors: file: expected at least 8 bytes"),
        ("model.safetensors", pickle.dumps([Trap()]), r"{}/model.safetensors: file: .* got a pickle, as torch.save"),
    ],
)
def test_a_folder_that_is_none_is_refused(folder, monkeypatch, tmp_path, file, data, sentence):
    monkeypatch.chdir(tmp_path)
    (folder / file).unlink()
    if data is not None:
        (folder / file).write_bytes(data)
    torch.save(Trap(), folder / "pytorch_model.bin")  # nobody looks at it
    with pytest.raises(BadInput, match=sentence.format(re.escape(str(folder)))):
        bnonly.from_pretrained(folder)
    assert not Path("opened").exists()


def test_what_torch_saves_is_no_seed_file(folder, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    torch.save({"bn.a": torch.zeros(3), "trap": Trap()}, folder / "model.safetensors")
    with pytest.raises(SeedFileError, match=r"model.safetensors: file: expected safetensors, got a pickle"):
        bnonly.from_pretrained(folder)
    assert not Path("opened").exists()


def test_other_tensors_than_its_own_are_refused(folder):
    path = folder / "model.safetensors"
    with safe_open(path, "np") as file:
        metadata = file.metadata()
    tensors = load_file(path)
    for other, facts, named in (
        (tensors | {"bn.c": tensors["bn.a"]}, metadata, "payload_sha256"),
        ({"bn.a": tensors["bn.a"]}, metadata, "payload_sha256"),
        (tensors | {"bn.b": tensors["bn.b"] + 1}, metadata, "payload_sha256"),
        ({"x": tensors["bn.a"], "y": tensors["bn.b"]}, metadata, "tensors"),  # the same bytes by other names
        (tensors, {"format": "pt"}, "__metadata__"),
        (tensors, None, "__metadata__"),
    ):
        save_file(other, path, facts)
        with pytest.raises(SeedFileError, match=rf"model.safetensors: {named}: expected .*, got") as error:
            bnonly.from_pretrained(folder)
        assert error.value.field == named


def test_what_is_no_folder_is_told(folder, tmp_path):
    for given, sentence in (
        (folder / "model.safetensors", "is a file: bnonly.load opens it"),
        (tmp_path / "none", "is neither a folder nor a repository of the Hub, owner/name"),
        (Path("owner/name"), "is neither a folder nor"),
        ("no", "is neither a folder nor"),
        ("../owner/name", "is neither a folder nor"),
        ("owner/na--me", "is neither a folder nor"),
        ("", "is neither a folder nor|holds no config.json"),
    ):
        with pytest.raises(BadInput, match=sentence):
            bnonly.from_pretrained(given)
    with pytest.raises(BadInput, match="is a folder, which has no revision 'v1': leave revision out"):
        bnonly.from_pretrained(folder, revision="v1")


def test_a_folder_needs_no_huggingface_hub(folder):
    script = """
import sys, bnonly
net = bnonly.from_pretrained(sys.argv[1])
bnonly.save_pretrained(net, "again")
bnonly.load("again/model.safetensors")
assert not {"huggingface_hub", "httpx2"} & set(sys.modules), "the Hub's client was imported"
sys.modules["huggingface_hub"] = None
for call in (lambda: bnonly.from_pretrained("owner/name"), lambda: bnonly.push_to_hub(net, "owner/name")):
    try:
        call()
    except bnonly.seedfile.hub.BadInput as error:
        print(error)
"""
    process = Warm(script, [str(folder)], folder.parent)
    out, err = process.communicate()
    assert process.returncode == 0, err
    assert out == "the Hugging Face Hub needs huggingface_hub 2: pip install 'bnonly[hub]'\n" * 2
