"""Seed+BN files by the conventions of the Hugging Face Hub: a folder or a repository of three files.

model.safetensors is the seed+BN file, config.json says what its header says, README.md is the model card. Folders
need nothing beside bnonly; the Hub needs the extra `hub` (https://huggingface.co/docs/huggingface_hub, version 2).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypedDict, Unpack

from torch import nn

import bnonly
from bnonly.errors import BadInput
from bnonly.files import write_together
from bnonly.seedfile import card
from bnonly.seedfile.container import parse_json
from bnonly.seedfile.contents import Limits, open_file
from bnonly.seedfile.errors import FETCH_AGAIN, SeedFileError, TooLarge
from bnonly.seedfile.header import Input
from bnonly.seedfile.hub_errors import told
from bnonly.seedfile.loading import network_of
from bnonly.seedfile.saving import Codec, Dtype, Form, How, Outliers, Packed, pack

CONFIG, MODEL, CARD = "config.json", "model.safetensors", "README.md"

CONFIG_LIMIT = 1 << 24
"""Bytes of config.json: the header's own limit and room to indent it."""

_REPO = re.compile(r"[A-Za-z0-9_](?:[\w.-]*\w)?/\w(?:[\w.-]*\w)?", re.ASCII)


class Options(TypedDict, total=False):
    """What `bnonly.save` may be told, too."""

    form: Form
    dtype: Dtype
    codec: Codec
    clamp: float
    step: int
    outliers: Outliers
    input: Input | None
    info: dict[str, Any] | None


def save_pretrained(
    net: nn.Module, folder: str | os.PathLike[str], *, license: str | None = None, **options: Unpack[Options]
) -> Packed:
    """Write model.safetensors, config.json and README.md into `folder`, made if missing: all three, or none.

    options: as of `bnonly.save`. license: an id of the Hub for the card, such as "mit". Equal content gives equal
    bytes. A README.md that is there is replaced only if it is, to the byte, one that bnonly wrote; else it is kept,
    and the result's notes say so. Raises as `bnonly.save`.
    """
    packed, files = _files(net, options, license)
    here = Path(folder)
    try:
        old = (here / CARD).read_bytes()
    except (FileNotFoundError, NotADirectoryError):  # a folder that cannot be is told when it is written
        old = None
    except OSError as error:
        raise BadInput(f"{here / CARD} cannot be read ({error.strerror}): make it readable, or remove it") from error
    if old is not None and not card.is_own_card(old):
        del files[CARD]
        packed = Packed(packed.data, packed.header, packed.zeros, (*packed.notes, f"{here / CARD} was kept as it is"))
    # The file itself last: until then the folder has none, or one that its config.json contradicts.
    write_together({here / name: data for name, data in files.items()})
    return packed


def from_pretrained(
    folder_or_repo: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | bool | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    force_download: bool = False,
    local_files_only: bool = False,
    verify: bool = True,
    limits: Limits | None = None,
) -> nn.Module:
    """The network of a folder that `save_pretrained` wrote, or of a repository "owner/name" of the Hub, verified.

    A text that names an existing folder is a folder. Of a repository config.json and model.safetensors are fetched,
    of one commit, and nothing else; what the Hub's cache has is not fetched again. revision: a branch, tag or commit.
    token, cache_dir, force_download, local_files_only: as in huggingface_hub; without a token the one you are logged
    in with is used. The rest as in `bnonly.load`: the network is in eval mode, `net.stored` is the header.
    Raises `seedfile.errors.SeedFileError` for a file that is damaged, and ConfigMismatch of that family where
    config.json contradicts it; BadInput for what is not there or cannot be fetched.
    """
    if (folder := _folder(folder_or_repo)) is not None:
        if revision is not None:
            raise BadInput(f"{folder} is a folder, which has no revision {revision!r}: leave revision out")
        return _opened(folder / CONFIG, folder / MODEL, verify, limits)
    repo, fetch = str(folder_or_repo), _fetcher(token, cache_dir, force_download, local_files_only)
    config = fetch(repo, CONFIG, revision)
    # The cache's folder of a commit bears its name; by it the second file is of the same commit.
    model = fetch(repo, MODEL, config.parent.name)
    try:
        return _opened(config, model, verify, limits)
    except SeedFileError as error:
        if error.todo == FETCH_AGAIN:
            error.todo = "the file is damaged or was not written by bnonly: force_download=True fetches it again"
        raise


def push_to_hub(
    net: nn.Module,
    repo_id: str,
    *,
    private: bool | None = None,
    token: str | bool | None = None,
    revision: str | None = None,
    commit_message: str | None = None,
    license: str | None = None,
    **options: Unpack[Options],
) -> str:
    """Put what `save_pretrained` writes into the repository "owner/name" of the Hub in one commit; return its URL.

    The repository is made where there is none. private: whether it must be; None leaves that to the Hub's default or
    to the repository. revision: the branch, made where there is none. A README.md that is there and that was edited,
    or not written by bnonly, is kept. Raises as `bnonly.save`, and BadInput where the Hub refuses or is not reached.
    """
    repo_id = _repo_id(repo_id)
    _, files = _files(net, options, license, repo_id)
    _check_token(token)
    huggingface_hub = _library()
    api = huggingface_hub.HfApi(token=token, library_name=card.LIBRARY, library_version=bnonly.__version__)
    with told(repo_id, revision):
        api.create_repo(repo_id, private=private, exist_ok=True)
        if private is not None and bool(is_so := api.model_info(repo_id).private) != private:
            raise BadInput(
                f"{repo_id} is there already and {'private' if is_so else 'public'}: change that in its settings on "
                "the Hub, or leave private out"
            )
        # Of names like refs/pr/1 the Hub itself makes the branch.
        if revision not in (None, "main") and not revision.startswith("refs/"):
            api.create_branch(repo_id, branch=revision, exist_ok=True)
    if (old := _remote_card(api, repo_id, revision)) is not None and not card.is_own_card(old):
        del files[CARD]
    with told(repo_id, revision):
        add = [huggingface_hub.CommitOperationAdd(name, data) for name, data in files.items()]
        message = commit_message or "A seed+BN network, written by bnonly"
        return str(api.create_commit(repo_id, add, commit_message=message, revision=revision).commit_url)


def _files(
    net: nn.Module, options: Options, license: str | None, repo_id: str | None = None
) -> tuple[Packed, dict[str, bytes]]:
    """The three files' bytes by name, the seed+BN file last."""
    how: dict[str, Any] = {name: value for name, value in options.items() if name not in ("input", "info")}
    packed = pack(net, How(**how), options.get("input"), options.get("info"))
    named = {"repo_id": repo_id} if repo_id else {}
    readme = card.model_card(packed, license=license, **named)
    return packed, {CARD: readme, CONFIG: card.config_json(packed), MODEL: packed.data}


def _folder(given: str | os.PathLike[str]) -> Path | None:
    """The folder that is meant, or None for a repository's id."""
    path = Path(given)
    if path.is_dir():
        return path
    if path.is_file():
        raise BadInput(f"{path} is a file: bnonly.load opens it; from_pretrained takes a folder or owner/name")
    if isinstance(given, str) and _is_repo_id(given):
        return None
    raise BadInput(f"{path} is neither a folder nor a repository of the Hub, owner/name: give one of the two")


def _is_repo_id(text: str) -> bool:
    odd = "--" in text or ".." in text or text.endswith(".git") or len(text) > 96
    return not odd and _REPO.fullmatch(text) is not None


def _repo_id(given: str) -> str:
    if not isinstance(given, str) or not _is_repo_id(given):
        raise BadInput(f"{given!r} is no repository of the Hub: use owner/name, of letters, digits, '-', '_' and '.'")
    return given


def _opened(config: Path, model: Path, verify: bool, limits: Limits | None) -> nn.Module:
    """The network of two files that must agree."""
    said = _config(config)
    if not model.is_file():
        raise BadInput(
            f"{model.parent} holds no {MODEL}: name a folder that bnonly.save_pretrained wrote"
            " (other kinds of weights are not opened)"
        )
    contents = open_file(model, limits)
    card.check_config(said, contents.header, str(config))
    try:
        return network_of(contents, verify=verify)
    except SeedFileError as error:
        error.file = str(model)
        raise


def _config(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise BadInput(
            f"{path.parent} holds no {CONFIG}: name a folder that bnonly.save_pretrained wrote, or open a single "
            "seed+BN file with bnonly.load"
        )
    try:
        with path.open("rb") as file:
            data = file.read(CONFIG_LIMIT + 1)
    except OSError as error:
        raise BadInput(f"{path} cannot be read ({error.strerror}): make it readable, or save again") from error
    try:
        if len(data) > CONFIG_LIMIT:
            raise TooLarge(
                "file", f"at most {CONFIG_LIMIT} bytes", "more", "it was not written by bnonly: save again"
            )
        return parse_json(data, "file")
    except SeedFileError as error:
        error.file = str(path)
        raise


def _check_token(token: str | bool | None) -> None:
    # What a header cannot hold would be told in an error, the token with it.
    if isinstance(token, str) and not re.fullmatch("[!-~]+", token):
        raise BadInput("token is no token of the Hub: it is one word of letters, digits and signs, such as hf_...")


def _fetcher(
    token: str | bool | None,
    cache_dir: str | os.PathLike[str] | None,
    force_download: bool,
    local_files_only: bool,
) -> Callable[[str, str, str | None], Path]:
    """fetch(repository, file, revision) -> where it lies in the Hub's cache."""
    if force_download and local_files_only:
        raise BadInput("force_download fetches anew and local_files_only forbids it: leave one of them out")
    _check_token(token)
    download = _library().hf_hub_download

    def fetch(repo: str, name: str, revision: str | None) -> Path:
        with told(repo, revision, name):
            place = download(
                repo,
                name,
                revision=revision,
                token=token,
                cache_dir=cache_dir,
                force_download=force_download,
                local_files_only=local_files_only,
                library_name=card.LIBRARY,
                library_version=bnonly.__version__,
            )
        return Path(place)

    return fetch


def _remote_card(api: Any, repo: str, revision: str | None) -> bytes | None:
    """The repository's README.md, or None."""
    errors = _library().errors
    with told(repo, revision, CARD):
        try:
            return Path(api.hf_hub_download(repo, CARD, revision=revision)).read_bytes()
        except errors.RemoteEntryNotFoundError:
            return None


def _library() -> Any:
    try:
        import httpx2  # of version 2 on; its errors are told, too  # noqa: F401
        import huggingface_hub
        import huggingface_hub.errors
    except ImportError as error:
        raise BadInput("the Hugging Face Hub needs huggingface_hub 2: pip install 'bnonly[hub]'") from error
    return huggingface_hub
