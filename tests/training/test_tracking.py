"""wandb mirrors a run, and whatever is wrong with it never stops one."""

from __future__ import annotations

import sys
import types

import pytest

from bnonly.errors import TrainingFailed
from bnonly.training import tracking
from bnonly.training.fit import fit
from bnonly.training.tracking import mirror
from tests.training import small
from tests.training.test_resume import interrupted


class Recorder:
    """Stands for wandb: remembers what it is told."""

    def __init__(self):
        self.logged, self.settings, self.exit_code = {}, {}, None
        self.axes, self.summary, self.starting_step = {}, {}, 0

    def init(self, **settings):
        self.settings = settings
        return self

    def define_metric(self, name, step_metric=None, hidden=False):
        self.axes[name] = step_metric

    def log(self, values, step, commit):
        assert commit and step not in self.logged
        self.logged[step] = values

    def finish(self, exit_code):
        self.exit_code = exit_code


@pytest.fixture
def wandb(monkeypatch):
    recorder = Recorder()
    module = types.SimpleNamespace(
        init=recorder.init,
        Settings=lambda **settings: settings,
        Histogram=lambda np_histogram: ("histogram", np_histogram[0].sum(), len(np_histogram[0])),
    )
    monkeypatch.setitem(sys.modules, "wandb", module)
    return recorder


@pytest.fixture(autouse=True)
def _logged_in(monkeypatch):
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    monkeypatch.setattr(tracking, "_unreachable", lambda url: None)


def tracked(run):
    with mirror(run) as listeners:
        return fit(run, listeners)


def test_what_is_logged(tmp_path, wandb):
    folder = tracked(small.config(tmp_path, tracking="offline"))
    assert wandb.exit_code == 0 and sorted(wandb.logged) == [0, 1, 2, 3]
    assert wandb.axes == {"epoch": None, "*": "epoch"}
    settings, last, record = wandb.settings, wandb.logged[3], folder.metrics()[3]
    assert (settings["mode"], settings["group"], settings["id"]) == ("offline", "fit", folder.path.name)
    assert settings["dir"] == folder.path
    assert last["test/top1"] == record["test"]["top1"] and last["train/loss"] == record["train"]["loss"]
    assert last["gamma sparsity 0.01/all"] == record["gamma"]["below"][1]
    assert last["gamma sparsity 0.01/layer1.0.bn1"] == record["gamma"]["layers"]["layer1.0.bn1"][1]
    assert last["gamma/all"] == ("histogram", 336, 64) and last["beta/layer3.0.bn2"] == ("histogram", 64, 64)


@pytest.mark.parametrize("server_has", [0, 1, 2, 3])
def test_a_resumed_run_says_what_the_server_has_not(tmp_path, wandb, server_has):
    run = small.config(tmp_path, tracking="online")
    interrupted(run, 1, 6)
    wandb.starting_step = server_has
    folder = tracked(run)
    assert sorted(wandb.logged) == list(range(server_has, 4))
    assert all(wandb.logged[epoch]["test/top1"] == folder.metrics()[epoch]["test"]["top1"] for epoch in wandb.logged)
    best = max(folder.metrics(), key=lambda record: record["test"]["top1"])
    assert (
        wandb.summary["test/best_top1"] == best["test"]["top1"] and wandb.summary["test/best_epoch"] == best["epoch"]
    )


def test_a_run_that_was_stopped_ends_as_failed(tmp_path, wandb):
    run = small.config(tmp_path, tracking="offline", training={"lr": 1e30})
    with pytest.raises(TrainingFailed):
        tracked(run)
    assert wandb.exit_code == 1 and sorted(wandb.logged) == [0]


@pytest.mark.parametrize(("wanted", "environment", "mode"), [("auto", "offline", "offline"),
                         ("auto", "disabled", None), ("online", "offline", "online")])  # fmt: skip
def test_auto_heeds_wandb_mode(tmp_path, wandb, monkeypatch, wanted, environment, mode):
    monkeypatch.setenv("WANDB_MODE", environment)
    tracked(small.config(tmp_path, tracking=wanted, training={"epochs": 1}))
    assert wandb.settings.get("mode") == mode


def test_online_without_a_key_is_offline_and_asks_nobody(tmp_path, wandb, monkeypatch, capsys):
    monkeypatch.delenv("WANDB_API_KEY")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    tracked(small.config(tmp_path, tracking="online"))
    assert wandb.settings["mode"] == "offline"
    assert "nobody is logged in" in capsys.readouterr().err


@pytest.mark.parametrize("where", ["init", "log", "finish"])
def test_an_error_of_wandb_is_said_once_and_the_run_goes_on(tmp_path, wandb, capsys, monkeypatch, where):
    def fails(*args, **kwargs):
        raise RuntimeError("api_key not configured\nand more")

    monkeypatch.setattr(sys.modules["wandb"] if where == "init" else wandb, where, fails)
    folder = tracked(small.config(tmp_path, tracking="online"))
    assert folder.result() is not None
    said = capsys.readouterr().err
    assert said.count("wandb is left out") == 1 and "api_key not configured" in said and "and more" not in said


def test_without_the_package_the_run_goes_on(tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "wandb", None)
    assert tracked(small.config(tmp_path, tracking="auto")).result() is not None
    assert capsys.readouterr().err.count("wandb is left out") == 1


def test_off_imports_nothing(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "wandb", None)
    with mirror(small.config(tmp_path)) as listeners:
        assert listeners == ()


def test_who_is_logged_in(tmp_path, monkeypatch):
    from bnonly.training.tracking import _logged_in

    monkeypatch.delenv("WANDB_API_KEY", raising=False)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    assert not _logged_in()
    (tmp_path / "netrc").write_text("machine api.wandb.ai login user password " + "k" * 40 + "\n")
    (tmp_path / "netrc").chmod(0o600)
    assert _logged_in()
    monkeypatch.setenv("WANDB_BASE_URL", "https://wandb.example.org")
    assert not _logged_in()
    monkeypatch.setenv("WANDB_API_KEY", "k" * 40)
    assert _logged_in()
