"""`bnonly images`: every file that is no image is named, and nothing else."""

from __future__ import annotations

from bnonly.cli import main
from tests.data.pictures import image_folder


def test_a_folder_in_order(tmp_path, capsys):
    image_folder(tmp_path, classes=2, train=5, test=2)
    assert main(["images", str(tmp_path)]) == 0
    assert capsys.readouterr().out == "14 images of 2 classes, all in order\n"


def test_broken_files_are_named(tmp_path, capsys):
    image_folder(tmp_path, classes=2, train=5, test=2)
    torn, text = tmp_path / "train" / "n0001" / "004.jpg", tmp_path / "val" / "n0000" / "001.png"
    torn.write_bytes(torn.read_bytes()[:300])
    text.write_text("no image")
    assert main(["images", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert [line.split(" cannot")[0] for line in said.out.splitlines()] == [str(torn), str(text)]
    assert "2 of 14 files" in said.err


def test_what_is_no_image_folder(tmp_path, capsys):
    assert main(["images", str(tmp_path)]) == 2
    assert "has no folder train/" in capsys.readouterr().err
