"""What the Hugging Face Hub and its client refuse, each in one sentence."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from http import HTTPStatus

from bnonly.errors import BadInput

_LOGIN = "log in with `hf auth login`, or pass token="


@contextmanager
def told(repo: str, revision: str | None = None, file: str | None = None) -> Iterator[None]:
    """Turns what huggingface_hub raises within into a BadInput that says what to do. Imports huggingface_hub."""
    from httpx2 import HTTPError  # the client of huggingface_hub 2

    try:
        yield
    except BadInput:
        raise
    # RuntimeError and OSError are what uploads and Xet's own client raise.
    except (HTTPError, OSError, ValueError, RuntimeError) as error:
        raise BadInput(_sentence(error, repo, revision, file)) from error


def _sentence(error: Exception, repo: str, revision: str | None, file: str | None) -> str:
    from huggingface_hub import constants, errors

    at = f"{repo} on {constants.ENDPOINT}"
    version = f"revision {revision}" if revision else "its main branch"
    if isinstance(error, errors.GatedRepoError):
        return f"{at} is gated: ask for access on its page, then {_LOGIN}"
    if isinstance(error, errors.RepositoryNotFoundError):
        if file is None:
            return f"{at} cannot be written: there is no token, or it does not allow this: {_LOGIN}"
        why = "does not exist, or is private and no token opens it (and no folder has that name)"
        return f"{at} {why}: check the name, or {_LOGIN}"
    if isinstance(error, errors.RevisionNotFoundError):
        return f"{at} has no {version}: name a branch, a tag or a commit of it"
    if isinstance(error, errors.RemoteEntryNotFoundError):
        return f"{at} has no {file} in {version}: name a repository that bnonly.push_to_hub wrote"
    if isinstance(error, errors.LocalTokenNotFoundError):
        return f"token=True asks for the token of this machine, which has none: {_LOGIN}"
    if isinstance(error, errors.LocalEntryNotFoundError):
        return _unreached(error.__cause__, at, f"{file} of {at} is not in the cache ({version})")
    if isinstance(error, errors.OfflineModeIsEnabled):
        return f"{at} cannot be reached in offline mode: unset HF_HUB_OFFLINE"
    if isinstance(error, errors.HfHubHTTPError):
        return _answered(error.response.status_code, _line(error.server_message or ""), at)
    if isinstance(error, OSError) and error.errno and not isinstance(error, ConnectionError):
        place = error.filename or f"the Hub's cache, {constants.HF_HUB_CACHE},"
        return (
            f"{place} cannot be used ({os.strerror(error.errno)}): make room there, or set HF_HOME to another place"
        )
    if isinstance(error, ValueError):
        return f"{at}: huggingface_hub gives up ({_line(str(error))}): check what was asked for"
    what = f"{file} of {at} cannot be fetched" if file else f"{at} cannot be written"
    why = _line(str(error.__cause__ or error)) or type(error).__name__
    return f"{what} ({why}): check the network, and HF_ENDPOINT if it is set, and try again"


def _unreached(cause: BaseException | None, at: str, missing: str) -> str:
    """Nothing in the cache, and why the Hub was not asked or did not answer."""
    from huggingface_hub import errors

    if cause is None:
        return f"{missing}, and local_files_only allows no network: leave it out once"
    if isinstance(cause, errors.OfflineModeIsEnabled):
        return f"{missing}, and offline mode allows no network: unset HF_HUB_OFFLINE once"
    if isinstance(cause, errors.FileMetadataError):
        return f"{missing}, and what answers there is no Hub: check HF_ENDPOINT and the proxy"
    if isinstance(cause, errors.HfHubHTTPError):
        return f"{missing}; {_answered(cause.response.status_code, _line(cause.server_message or ''), at)}"
    return f"{missing}, and the Hub cannot be reached ({_line(str(cause))}): check the network and try again"


def _answered(status: int, message: str, at: str) -> str:
    said = f" ({message})" if message else ""
    if status == HTTPStatus.UNAUTHORIZED:
        return f"{at}: no token, or one that the Hub does not know{said}: {_LOGIN}"
    if status == HTTPStatus.FORBIDDEN:
        return f"{at}: the token does not allow this{said}: use one with write access, of a member of the owner's"
    if status == HTTPStatus.TOO_MANY_REQUESTS:
        return f"{at}: too many requests{said}: wait some minutes and try again"
    todo = "try again later" if status >= HTTPStatus.INTERNAL_SERVER_ERROR else "check what was asked for"
    return f"{at} answers {status}{said}: {todo}"


def _line(text: str) -> str:
    """On one line, not too long."""
    line = " ".join(text.split()).rstrip(".:")
    return line if len(line) <= 200 else f"{line[:197]}..."
