"""Seed+BN files to and from the Hugging Face Hub, which a server of this machine plays."""

from __future__ import annotations

import os
import time

import pytest

import bnonly
from bnonly.errors import BadInput
from bnonly.seedfile.errors import ConfigMismatch, PayloadDigestMismatch
from tests.seedfile.hub_server import TOKEN, Hub, Repository, running
from tests.warm import Warm

NAME = "someone/tiny"


def made(seed: int = 7):
    net = bnonly.network("cifar_resnet8", seed=seed)
    bnonly.freeze_all_but(net, "bn")
    return net


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """The three files of a network of seed 7, and of one of seed 8."""
    folders = [tmp_path_factory.mktemp("net") for _ in range(2)]
    for seed, folder in zip((7, 8), folders, strict=True):
        bnonly.save_pretrained(made(seed), folder)
    return [{path.name: path.read_bytes() for path in folder.iterdir()} for folder in folders]


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A Hub without repositories, an empty cache and nobody logged in; huggingface_hub waits for nothing."""
    from huggingface_hub import close_session, constants

    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_OIDC_RESOURCE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    wait = time.sleep
    monkeypatch.setattr(time, "sleep", lambda seconds: wait(min(seconds, 0.001)))
    with running() as hub:
        own = {
            "ENDPOINT": hub.url,
            "HUGGINGFACE_CO_URL_TEMPLATE": hub.url + "/{repo_id}/resolve/{revision}/{filename}",
            "HF_HUB_CACHE": str(tmp_path / "cache"),
            "HF_TOKEN_PATH": str(tmp_path / "token"),
            "HF_STORED_TOKENS_PATH": str(tmp_path / "stored_tokens"),
            "AGENT_HARNESSES_PATH": str(tmp_path / "programs.json"),
            "HF_HUB_OFFLINE": False,
            "HF_HUB_DISABLE_XET": True,  # its client speaks to servers of its own
        }
        for name, value in own.items():
            monkeypatch.setattr(constants, name, value)
        close_session()
        yield hub
        close_session()


def offline(monkeypatch):
    from huggingface_hub import close_session

    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", True)
    close_session()


@pytest.fixture
def repository(hub, files):
    """One that holds the network of seed 7."""
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit(files[0] | {"pytorch_model.bin": b"never asked for"})
    return hub.repositories[NAME]


def refused(*given, **options) -> str:
    with pytest.raises(BadInput) as error:
        bnonly.from_pretrained(*given or (NAME,), **options)
    said = str(error.value)
    assert "\n" not in said and len(said) < 600 and TOKEN not in said
    return said


def test_two_files_of_one_commit_are_fetched_and_nothing_else(hub, repository, files):
    first = repository.branches["main"]
    # The branch moves on between the two files.
    hub.after = lambda name: repository.commit(files[1]) if name == "config.json" else None
    assert bnonly.from_pretrained(NAME).origin.seed == 7
    assert hub.files() == [
        f"HEAD /{NAME}/resolve/main/config.json",
        f"GET /{NAME}/resolve/main/config.json",
        f"HEAD /{NAME}/resolve/{first}/model.safetensors",
        f"GET /{NAME}/resolve/{first}/model.safetensors",
    ]
    hub.after = lambda name: None
    assert bnonly.from_pretrained(NAME).origin.seed == 8
    assert bnonly.from_pretrained(NAME, revision=first).origin.seed == 7


def test_what_the_cache_has_is_not_fetched_again_and_serves_without_a_network(hub, repository, monkeypatch):
    bnonly.from_pretrained(NAME)
    asked = len(hub.files())
    bnonly.from_pretrained(NAME)
    assert [request.split()[0] for request in hub.files()[asked:]] == ["HEAD"]  # whether the branch has moved
    hub.status = 503
    assert bnonly.from_pretrained(NAME).origin.seed == 7
    offline(monkeypatch)
    asked = len(hub.asked)
    assert bnonly.from_pretrained(NAME).origin.seed == 7
    assert bnonly.from_pretrained(NAME, local_files_only=True).origin.seed == 7
    assert len(hub.asked) == asked


def test_a_private_repository_opens_to_its_token(hub, repository, tmp_path):
    repository.private = True
    assert "does not exist, or is private and no token opens it" in refused()
    assert "hf auth login" in refused(token="hf_of_nobody")
    assert bnonly.from_pretrained(NAME, token=TOKEN).origin.seed == 7


def test_what_is_not_there_is_told(hub, repository):
    assert refused("someone/else").startswith(f"someone/else on {hub.url} does not exist, or is private")
    assert "no folder has that name" in refused("someone/else")
    assert refused(revision="v9") == f"{NAME} on {hub.url} has no revision v9: name a branch, a tag or a commit of it"
    repository.commit({"README.md": b""}, "bare")
    assert f"{NAME} on {hub.url} has no config.json in revision bare" in refused(revision="bare")
    repository.gated = True
    assert f"{NAME} on {hub.url} is gated: ask for access on its page, then log in" in refused()
    assert "token=True asks for the token of this machine, which has none" in refused(token=True)
    assert "token is no token of the Hub" in refused(token="hf_of a\nmember")
    assert "leave one of them out" in refused(force_download=True, local_files_only=True)


def test_a_hub_that_does_not_answer_is_told(hub, repository, monkeypatch):
    missing = f"config.json of {NAME} on {hub.url} is not in the cache (its main branch)"
    for status, why in ((500, "answers 500: try again later"), (429, "too many requests: wait some minutes")):
        hub.status = status
        said = refused()
        assert said.startswith(missing) and why in said
    hub.status = None
    assert refused(local_files_only=True) == f"{missing}, and local_files_only allows no network: leave it out once"
    hub.bare = True
    assert "what answers there is no Hub: check HF_ENDPOINT and the proxy" in refused()
    offline(monkeypatch)
    assert refused() == f"{missing}, and offline mode allows no network: unset HF_HUB_OFFLINE once"


def test_no_network_is_told(hub, monkeypatch):
    for address, why in (
        ("http://127.0.0.1:9", "the Hub cannot be reached (.*refused.*): check the network"),
        ("nowhere", "cannot be fetched .*: check the network, and HF_ENDPOINT if it is set"),
    ):
        template = address + "/{repo_id}/resolve/{revision}/{filename}"
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", address)
        monkeypatch.setattr("huggingface_hub.constants.HUGGINGFACE_CO_URL_TEMPLATE", template)
        with pytest.raises(BadInput, match=why):
            bnonly.from_pretrained(NAME)


def test_a_download_that_is_cut_off_is_told_and_leaves_nothing_to_trip_over(hub, repository):
    hub.altered["model.safetensors"] = lambda data: data[:1000]
    assert f"model.safetensors of {NAME} on {hub.url} cannot be fetched (" in refused()
    hub.altered.clear()
    assert bnonly.from_pretrained(NAME).origin.seed == 7


def test_a_cache_that_cannot_be_written_is_told(hub, repository, tmp_path):
    (tmp_path / "file").write_bytes(b"")
    said = refused(cache_dir=tmp_path / "file" / "cache")
    assert str(tmp_path / "file") in said and "set HF_HOME to another place" in said


def test_a_damaged_file_is_refused_until_it_is_fetched_again(hub, repository):
    hub.altered["model.safetensors"] = lambda data: data[:-1] + bytes([data[-1] ^ 1])
    for _ in range(2):  # the second time from the cache
        with pytest.raises(PayloadDigestMismatch, match="force_download=True fetches it again"):
            bnonly.from_pretrained(NAME)
    hub.altered.clear()
    assert bnonly.from_pretrained(NAME, force_download=True).origin.seed == 7
    assert bnonly.from_pretrained(NAME).origin.seed == 7


def test_files_of_two_networks_are_refused(hub, repository, files):
    repository.commit({"config.json": files[1]["config.json"]})
    with pytest.raises(ConfigMismatch, match=r"config.json: seed: expected 0+7, .* got 0+8"):
        bnonly.from_pretrained(NAME)


# huggingface_hub's own upload by LFS calls its client in a way that the client deprecates.
@pytest.mark.filterwarnings("ignore:Use 'content=<...>':DeprecationWarning")
@pytest.mark.parametrize("lfs", [(), ("model.safetensors",)])
def test_a_network_goes_up_in_one_commit_and_comes_back(hub, files, lfs):
    hub.lfs = lfs
    address = bnonly.push_to_hub(made(), NAME, token=TOKEN, private=True, commit_message="first")
    repository = hub.repositories[NAME]
    assert repository.private and repository.messages == ["", "first"]
    assert address == f"{hub.url}/{NAME}/commit/{repository.branches['main']}"
    there = repository.at("main")
    assert {name: there[name] for name in ("config.json", "model.safetensors")} == {
        name: files[0][name] for name in ("config.json", "model.safetensors")
    }
    assert there["README.md"].count(NAME.encode()) == 1
    assert set(there) == {".gitattributes", "config.json", "model.safetensors", "README.md"}
    assert bool(hub.stored) == bool(lfs)
    assert bnonly.from_pretrained(NAME, token=TOKEN).stored.trained == ("bn",)


def test_going_up_again_replaces_the_own_card_and_keeps_an_edited_one(hub):
    bnonly.push_to_hub(made(), NAME, token=TOKEN)
    repository = hub.repositories[NAME]
    first = repository.at("main")["README.md"]
    bnonly.push_to_hub(made(8), NAME, token=TOKEN, license="mit")
    second = repository.at("main")["README.md"]
    assert second != first and b"\nlicense: mit\n" in second
    repository.commit({"README.md": second + b"\nMine.\n"})
    bnonly.push_to_hub(made(), NAME, token=TOKEN)
    assert repository.at("main")["README.md"] == second + b"\nMine.\n"
    assert bnonly.from_pretrained(NAME).origin.seed == 7
    commits = len(repository.commits)
    bnonly.push_to_hub(made(), NAME, token=TOKEN)  # nothing new
    assert len(repository.commits) == commits


def test_a_branch_is_made_and_leaves_main_alone(hub):
    bnonly.push_to_hub(made(), NAME, token=TOKEN)
    for _ in range(2):
        bnonly.push_to_hub(made(8), NAME, token=TOKEN, revision="eight")
    assert bnonly.from_pretrained(NAME).origin.seed == 7
    assert bnonly.from_pretrained(NAME, revision="eight").origin.seed == 8


def test_what_cannot_go_up_is_told(hub, repository, monkeypatch):
    def said(**options) -> str:
        with pytest.raises(BadInput) as error:
            bnonly.push_to_hub(made(), **{"repo_id": NAME, "token": TOKEN} | options)
        assert "\n" not in str(error.value) and TOKEN not in str(error.value)
        return str(error.value)

    count = len(repository.commits)
    assert "'no name' is no repository of the Hub: use owner/name" in said(repo_id="no name")
    assert "hf auth login" in said(repo_id="someone/new", token=None)
    assert "hf auth login" in said(repo_id="someone/new", token="hf_of_nobody")
    assert f"{NAME} is there already and public: change that in its settings" in said(private=True)
    assert "license 'X Y' is no id" in said(license="X Y")
    hub.refused_card = '"license" must be one of\n[mit, ...]'
    assert 'gives up (Invalid metadata in README.md. - "license" must be one of [mit, ...])' in said(license="mitt")
    hub.refused_card = ""
    for status, why in ((403, "the token does not allow this"), (400, "answers 400"), (500, "try again later")):
        hub.status = status
        assert why in said()
    hub.status = None
    offline(monkeypatch)
    assert said() == f"{NAME} on {hub.url} cannot be reached in offline mode: unset HF_HUB_OFFLINE"
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:9")
    assert "cannot be written (" in said() and len(repository.commits) == count
    assert "someone/new" not in hub.repositories


def test_a_network_that_cannot_be_stored_makes_no_repository(hub):
    net = made()
    bnonly.freeze_all_but(net, "all")
    with pytest.raises(BadInput, match="all: every weight was trained"):
        bnonly.push_to_hub(net, NAME, token=TOKEN)
    assert not hub.asked


def test_the_environment_is_heeded(hub: Hub, repository, tmp_path):
    """As users set it, in processes of their own: the Hub's address, the cache's home, offline mode."""
    script = f"import bnonly; print(bnonly.from_pretrained({NAME!r}).origin.seed)"
    home = tmp_path / "home"
    own = {
        "HF_ENDPOINT": hub.url,
        "HF_HOME": str(home),
        "HF_HUB_DISABLE_PROGRESS_BARS": "1",
        "HF_HUB_DISABLE_XET": "1",
    }
    for extra, status in ({"HF_HUB_OFFLINE": "1"}, 1), ({}, 0), ({"HF_HUB_OFFLINE": "1"}, 0):
        process = Warm(script, cwd=tmp_path, env=dict(os.environ) | own | extra)
        out, err = process.communicate()
        assert process.returncode == status, err
        assert out == ("7\n" if status == 0 else "")
        assert status == 0 or "and offline mode allows no network: unset HF_HUB_OFFLINE once" in err
    assert list(home.glob("hub/models--someone--tiny/snapshots/*/model.safetensors"))
