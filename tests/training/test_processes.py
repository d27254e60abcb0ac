"""Several processes: equal to one where BatchNorm is synchronised, with their own statistics where it is not."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.numpy import load_file

from bnonly.config import RunConfig
from bnonly.errors import BadInput, Interrupted, TrainingFailed
from bnonly.runs import RunFolder
from bnonly.training import checkpoint
from bnonly.training import team as teams
from bnonly.training.fit import fit
from bnonly.training.team import Team
from tests.data.pictures import image_folder
from tests.training import small
from tests.training.test_resume import Stops
from tests.training.test_resume import assert_equal as assert_bit_equal
from tests.warm import Warm


@pytest.fixture(scope="module")
def pictures(tmp_path_factory):
    return image_folder(tmp_path_factory.mktemp("pictures"), classes=4, train=12, test=5)


def imagenet(out, pictures, **training):
    """Three epochs of six steps, the last of 3 images: shares of 4 and 4, and of 2 and 1 (so no 1x1 maps)."""
    training = {"epochs": 3, "batch_size": 9, "device": "cpu", "threads": 1, "lr": 0.1} | training
    data = {"source": "imagenet", "path": pictures, "size": 16, "resize": 18, "workers": 1}
    network = {"name": "cifar_resnet8"}
    values = {"out": out, "group": "bn+output", "data": data, "network": network, "tracking": "off"}
    return RunConfig.model_validate(values | {"training": training})


@pytest.fixture(scope="module")
def alone(tmp_path_factory, pictures):
    return fit(imagenet(tmp_path_factory.mktemp("alone"), pictures))


@pytest.fixture(scope="module")
def synced(tmp_path_factory, pictures):
    return fit(imagenet(tmp_path_factory.mktemp("synced"), pictures, devices=2, sync_bn=True))


def test_with_synchronised_bn_two_processes_equal_one(alone, synced):
    """Uneven shares in the last step included; rounding is all that differs."""
    one, two = load_file(alone.final), load_file(synced.final)
    assert one.keys() == two.keys()
    for name in one:
        np.testing.assert_allclose(two[name], one[name], rtol=2e-4, atol=2e-5, err_msg=name)
    for a, b in zip(alone.metrics(), synced.metrics(), strict=True):
        assert b["test"]["loss"] == pytest.approx(a["test"]["loss"], rel=1e-4)
        for split in ("train", "test"):
            if a[split] is not None:
                assert b[split]["top1"] == pytest.approx(a[split]["top1"], abs=0.05)
    result = synced.result()
    assert result is not None and result["environment"]["devices"] == 2


def test_by_default_each_process_takes_its_own_statistics(tmp_path, pictures, synced):
    """As DistributedDataParallel over stock BatchNorm does: the first step equals one by hand on two halves."""
    run = imagenet(tmp_path, pictures, devices=2, epochs=1, batch_size=48)
    folder = fit(run)
    from bnonly.training.build import run_batches, run_data, run_network

    net, data = run_network(run, 4), run_data(run)
    images, labels = next(run_batches(run, data, torch.device("cpu"))[0].epoch(0))
    trained = [parameter for parameter in net.parameters() if parameter.requires_grad]
    start = {name: buffer.clone() for name, buffer in net.named_buffers()}
    after = []
    for rank in (1, 0):  # running statistics are those of the first, which comes last here
        net.load_state_dict(start, strict=False)
        net.train()
        (torch.nn.functional.cross_entropy(net(images[rank::2]), labels[rank::2]) / 2).backward()
        after.append({name: buffer.clone() for name, buffer in net.named_buffers()})
    torch.optim.SGD(trained, lr=0.1, momentum=0.9, weight_decay=1e-4).step()
    final = load_file(folder.final)
    for name, parameter in net.named_parameters():
        if parameter.requires_grad:
            np.testing.assert_allclose(final[f"trained/{name}"], parameter.detach(), rtol=1e-4, atol=1e-6)
    for name, buffer in after[1].items():
        np.testing.assert_allclose(final[f"buffer/{name}"], buffer, rtol=1e-5, atol=1e-6)
    assert not torch.equal(after[0]["bn1.running_mean"], after[1]["bn1.running_mean"])


def test_stopped_in_an_epoch_and_gone_on(tmp_path, pictures, synced):
    """A signal to the first process stops both after the same step, the second from then; images go on from there."""
    run = imagenet(tmp_path, pictures, devices=2, sync_bn=True)
    for epoch, step in ((0, 2), (1, 3)):
        with pytest.raises(Interrupted, match=f"in epoch {epoch + 1} of 3, after step {step + 2}"):
            fit(run, (Stops(epoch, step, signal.SIGTERM),))
    assert_bit_equal(fit(run), synced)


def test_one_process_stopped_in_an_epoch_of_files_goes_on(tmp_path, pictures, alone):
    run = imagenet(tmp_path, pictures)
    with pytest.raises(Interrupted, match="after step 3"):
        fit(run, (Stops(1, 3),))
    assert_bit_equal(fit(run), alone)


@pytest.mark.slow
@pytest.mark.parametrize(("group", "more"), [("random:2", {}), ("all", {}), ("bn", {"average": 0.5})])
def test_other_groups_from_memory(tmp_path, group, more):
    """random:K's own parameters, the mean of the last steps, and batches from memory."""
    changes = {"epochs": 1, "sync_bn": True, "lr": 0.01, **more}
    one, two = (fit(small.config(tmp_path / str(n), group=group, training={**changes, "devices": n})) for n in (1, 2))
    a, b = load_file(one.final), load_file(two.final)
    for name in a:
        np.testing.assert_allclose(b[name], a[name], rtol=2e-3, atol=2e-4, err_msg=name)


@pytest.mark.slow
def test_a_bad_loss_in_one_process_ends_both(tmp_path):
    run = small.config(tmp_path, training={"devices": 2, "lr": 1e30, "save_every": 1e-9})
    with pytest.raises(TrainingFailed, match="no finite number in epoch 1, step 2 of 6; the last good state is kept"):
        fit(run)
    state, _ = checkpoint.read(RunFolder.of(run).checkpoint)
    assert state is not None and all(torch.isfinite(value).all() for value in state.tensors.values())


def wait_for(condition, seconds=60.0):
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until
        time.sleep(0.05)


def members_of(pid):
    """Processes that the process started to train with it, which are still running."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):  # it may end while one looks
            state, parent = (process / "stat").read_text().rpartition(") ")[2].split()[:2]
            if parent == str(pid) and state != "Z" and "training.member" in (process / "cmdline").read_text():
                found.append(int(process.name))
    return found


SLOWLY = """
import time
step = module.GroupTraining.step
def slow(self, *a):
    print("step", flush=True); time.sleep(0.3); step(self, *a)
module.GroupTraining.step = slow
"""


def test_a_process_that_dies_ends_the_run_in_a_sentence(tmp_path):
    run = small.config(tmp_path, training={"devices": 2})
    process = small.run_process(run, SLOWLY)
    assert process.stdout is not None
    process.stdout.readline()
    (member,) = members_of(process.pid)
    os.kill(member, signal.SIGKILL)
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 1 and "TrainingFailed: process 2 of 2 ended: exit status -9" in errors
    assert RunFolder.of(run).checkpoint.exists()


@pytest.mark.slow
def test_without_the_first_the_others_end(tmp_path):
    run = small.config(tmp_path, training={"devices": 2})
    process = small.run_process(run, SLOWLY)
    assert process.stdout is not None
    process.stdout.readline()
    (member,) = members_of(process.pid)
    process.kill()
    process.communicate()
    wait_for(lambda: not os.path.exists(f"/proc/{member}/fd/0"), 20)  # noqa: PTH110  a zombie has no open files


@pytest.mark.slow
def test_a_process_that_cannot_start_is_quoted(tmp_path, monkeypatch):
    """Data that the second process does not find any more."""
    root = image_folder(tmp_path / "pictures", classes=2, train=4, test=2)
    run = imagenet(tmp_path / "runs", root, devices=2, batch_size=8)
    enter = teams._Members.__enter__

    def vanishing(self):
        root.rename(tmp_path / "elsewhere")
        return enter(self)

    monkeypatch.setattr(teams._Members, "__enter__", vanishing)
    with pytest.raises(TrainingFailed, match=r"process 2 of 2 ended: data.path .* does not exist"):
        fit(run)


@pytest.mark.slow
def test_torchrun(tmp_path, synced, pictures):
    """Processes that somebody else started find one another through the environment."""
    run = imagenet(tmp_path, pictures, devices=2, sync_bn=True)
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(run.plain()))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2", "-m", "bnonly"]
    done = subprocess.run([*command, "fit", "-c", str(config)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    assert_bit_equal(RunFolder.of(run), synced)
    assert done.stdout.count(str(RunFolder.of(run).path)) == 1


@pytest.mark.slow
def test_processes_that_do_not_share_a_disk_are_told(tmp_path):
    """As torchrun starts them on two machines, each with a folder of its own, one of which has been trained in."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    runs = [small.config(tmp_path / str(rank), training={"devices": 2}) for rank in range(2)]
    with pytest.raises(Interrupted):
        fit(runs[0], (Stops(1, 2),))
    processes = []
    for rank, run in enumerate(runs):
        facts = {"RANK": rank, "WORLD_SIZE": 2, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
        facts |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        environment = {**os.environ, **{name: str(value) for name, value in facts.items()}}
        processes.append(small.run_process(run, "", environment))
    for process in processes:
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 1 and "must be on a disk that all of them share" in errors


def test_torchruns_number_must_be_the_configurations(tmp_path, monkeypatch):
    facts = {"RANK": 0, "WORLD_SIZE": 4, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 2, "MASTER_ADDR": "", "MASTER_PORT": 1}
    for name, value in facts.items():
        monkeypatch.setenv(name, str(value))
    with pytest.raises(BadInput, match=r"torchrun started 4 processes, and training.devices is 2"):
        fit(small.config(tmp_path, training={"devices": 2}))
    assert Team.of(small.config(tmp_path, training={"devices": 4})) == Team(0, 4, 0, 2, None, True)


@pytest.mark.parametrize(
    ("training", "group", "says"),
    [
        ({"devices": 2}, "none", "trains nothing that devices could share"),
        ({"devices": 400, "batch_size": 1400}, "bn", "too few for 400 processes"),
        ({"devices": 2, "device": "cuda"}, "bn", "GPUs of this machine"),
    ],
)
def test_what_cannot_be_shared_is_refused(tmp_path, training, group, says):
    if training.get("device") == "cuda" and torch.cuda.device_count() > 1:
        pytest.skip("there are two GPUs")
    run = small.config(tmp_path, group=group, training=training)
    with pytest.raises(BadInput, match=says):
        fit(run)
    assert not (tmp_path / "fit").exists()


def test_the_number_of_processes_is_in_the_id(tmp_path):
    ids = {small.config(tmp_path, training=training).id for training in ({}, {"devices": 2}, {"sync_bn": True})}
    assert len(ids) == 3


def test_a_members_orders_are_plain_json(tmp_path):
    run = small.config(tmp_path, training={"devices": 2})
    assert RunConfig.model_validate(json.loads(json.dumps(run.plain()))) == run


def test_the_command_line_speaks_once_and_quotes_top5(tmp_path, pictures):
    """As a user has it: the last line is the folder, whatever other processes there are."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(imagenet(tmp_path / "runs", pictures, devices=2, epochs=1).plain()))
    process = Warm("import sys; from bnonly.cli import main; sys.exit(main())", ["fit", "-c", str(config)])
    out, errors = process.communicate(timeout=120)
    assert process.returncode == 0, errors
    assert (tmp_path / "runs" / "fit").joinpath(out.strip().split("/")[-1], "result.json").exists()
    assert len(out.splitlines()) == 1 and errors.count("epoch 1/1") == 1
    assert errors.count("2 devices; BatchNorm takes its statistics over each device's share") == 1
    assert errors.count("top-5") == 3  # of epoch 0's test images; of epoch 1's, both splits
