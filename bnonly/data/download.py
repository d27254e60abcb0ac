"""Files from the network: gone on with where they were cut off, checked, and in place whole or not at all."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib import request
from urllib.error import HTTPError

from filelock import FileLock, Timeout

import bnonly
from bnonly.errors import BadInput
from bnonly.progress import Transfer, console, transfer

_CHUNK = 1 << 18
# So many connections in a row may be cut off after less than this; longer ones may be cut off without end.
_SHORT, _SHORT_ONES = 1 << 20, 5


def fetch(addresses: Sequence[str], target: Path, md5: str, *, patience: float = 30.0) -> Path:
    """`target`, from the first of the addresses that serves a file of this MD5 (hexadecimal).

    A file that is there already is left as it is. What has come is kept beside it as NAME.part: the next connection,
    address or process goes on from it. patience: seconds that a server may send nothing before the next address is
    tried. Where another process fetches the same file, this one waits and takes what the other has put there.
    Raises BadInput that says why each address failed and what to do by hand, or that the disk cannot be written.
    """
    part = target.with_name(f"{target.name}.part")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target):
            if not os.path.lexists(target):
                _bring(addresses, part, target, md5, patience)
                with part.open("rb+") as file:
                    os.fsync(file.fileno())
                os.replace(part, target)
    except KeyboardInterrupt:
        if part.exists():
            console().print(f"{part} keeps what has come: the same command goes on from there", markup=False)
        raise
    except OSError as error:  # the network's own errors do not get here
        raise BadInput(
            f"{part} cannot be written ({error.strerror or error}): make room there, or set another data.path"
        ) from error
    return target


def by_hand(target: Path, md5: str) -> str:
    """What to do where nothing is fetched, as part of a sentence."""
    return f"put {target.name} (MD5 {md5}) into {target.parent} by hand"


@contextmanager
def _alone(target: Path) -> Iterator[None]:
    lock = FileLock(target.with_name(f".{target.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except Timeout:
        console().print(f"another process is fetching {target}: waiting for it", markup=False)
        lock.acquire(timeout=-1)
    try:
        yield
    finally:
        lock.release()


class _GivenUp(Exception):
    """This address will not do: why."""


class _CutOff(Exception):
    """A connection that ended before the file did: how."""


def _bring(addresses: Sequence[str], part: Path, target: Path, md5: str, patience: float) -> None:
    """The part, whole and checked. Raises BadInput where no address serves it."""
    if _size(part) and _md5(part) == md5:
        return
    faults = []
    with transfer(target.name) as meter:
        for address in addresses:
            meter.say(f"fetching {address} into {target.parent}")
            try:
                _from(address, part, md5, patience, meter)
                return
            except _GivenUp as fault:
                faults.append(f"{address} {fault}")
                meter.say(faults[-1])
    kept = f"; the {size:,} bytes in {part} are kept for the next try" if (size := _size(part)) else ""
    advice = f"{by_hand(target, md5)}, or name a mirror in data.mirrors"
    raise BadInput(f"{target.name} cannot be fetched: {'; '.join(faults)}{kept}; {advice}")


def _from(address: str, part: Path, md5: str, patience: float, meter: Transfer) -> None:
    """Complete the part from one address, over as many connections as that takes. Raises _GivenUp."""
    reached, short, anew = _size(part), 0, False
    while True:
        began, cut = -1, None
        try:
            began = _connection(address, part, patience, meter)
        except _CutOff as error:
            cut = error
        if (found := _md5(part)) == md5:
            return
        size = _size(part)
        if cut is None:
            part.unlink()
            if began == 0 or anew:
                raise _GivenUp(f"serves another file ({size:,} bytes, MD5 {found})")
            # What was there before may be at fault: once more from the start.
            meter.say(f"{part} was damaged: starting over")
            reached, short, anew = 0, 0, True
            continue
        short = short + 1 if size - reached < _SHORT else 0
        if size <= reached or short == _SHORT_ONES:
            raise _GivenUp(f"{cut} at byte {size:,}") from cut
        reached = size


def _connection(address: str, part: Path, patience: float, meter: Transfer, *, whole: bool = False) -> int:
    """Append what lies beyond the part, or write it anew where the server has no ranges (or `whole`).

    Returns the byte it began at once the file has ended. Raises _CutOff, _GivenUp, and OSError of the disk.
    """
    offset = 0 if whole else _size(part)
    headers = {"User-Agent": f"bnonly/{bnonly.__version__}"} | ({"Range": f"bytes={offset}-"} if offset else {})
    try:
        answer: HTTPResponse = _opener().open(request.Request(address, headers=headers), timeout=patience)
    except HTTPError as error:
        error.close()
        if error.code == 416 and offset:  # nothing beyond: whole, or wrong
            return offset
        raise _GivenUp(f"answers {error.code} {_line(error.reason)}") from error
    except (OSError, HTTPException, ValueError) as error:
        raise _GivenUp(_why(error, patience)) from error
    with answer:
        began, total = _span(answer)
        if began in (0, offset):
            _receive(answer, part, began, total, patience, meter)
            return began
    if whole:
        raise _GivenUp("sends a piece where the whole was asked for")
    return _connection(address, part, patience, meter, whole=True)


def _span(answer: HTTPResponse) -> tuple[int | None, int | None]:
    """The byte that the answer begins at and the file's length; None where the answer does not say.

    Raises _GivenUp for what is no file at all.
    """
    if answer.status == 206:
        said = re.fullmatch(r"bytes (\d+)-\d+/(\d+|\*)", answer.headers.get("Content-Range", "").strip())
        if said is None:
            return None, None
        start, total = int(said[1]), said[2]
        return start, int(total) if total != "*" else None if answer.length is None else start + answer.length
    if answer.status != 200:
        raise _GivenUp(f"answers {answer.status} {_line(answer.reason)}")
    if answer.headers.get_content_type() == "text/html":
        raise _GivenUp("serves a web page, not the file")  # and must not cost what was fetched already
    return 0, answer.length


def _receive(
    answer: HTTPResponse, part: Path, began: int, total: int | None, patience: float, meter: Transfer
) -> None:
    meter.begin(began, total)
    # Unbuffered: what has come is in the file, whatever becomes of this process.
    with part.open("ab" if began else "wb", buffering=0) as file:
        while chunk := _read(answer, patience):
            rest = memoryview(chunk)
            while rest:
                rest = rest[file.write(rest) :]
            meter.add(len(chunk))
    # Without an announced length only chunks tell an end from a cut.
    if _size(part) < total if total is not None else not answer.chunked:
        raise _CutOff("ended the connection")


def _read(answer: HTTPResponse, patience: float) -> bytes:
    """The next bytes, as few as there are; empty at the end."""
    try:
        return answer.read1(_CHUNK)
    except TimeoutError as error:
        raise _GivenUp(_why(error, patience)) from error
    except (OSError, HTTPException) as error:
        raise _CutOff(f"cut the connection ({_line(error)})") from error


def _why(error: Exception, patience: float) -> str:
    reason = getattr(error, "reason", error)
    if isinstance(reason, TimeoutError):
        return f"sent nothing for {patience:g} s"
    return f"cannot be reached ({_line(getattr(reason, 'strerror', None) or reason)})"


def _line(text: object) -> str:
    return " ".join(str(text).split())


def _size(part: Path) -> int:
    return part.stat().st_size if part.exists() else 0


def _md5(part: Path) -> str:
    if not part.exists():
        return ""
    with part.open("rb") as file:
        return hashlib.file_digest(file, lambda: hashlib.md5(usedforsecurity=False)).hexdigest()


def _opener() -> request.OpenerDirector:
    """urllib's, with the environment's proxies, for http and https alone: no redirect leads to ftp or a file."""
    opener = request.OpenerDirector()
    for handler in (
        request.ProxyHandler,
        request.UnknownHandler,
        request.HTTPHandler,
        request.HTTPSHandler,
        request.HTTPDefaultErrorHandler,
        request.HTTPRedirectHandler,
        request.HTTPErrorProcessor,
    ):
        opener.add_handler(handler())
    return opener
