"""Downloads from servers of every kind: what arrives is whole, what has come is not asked for again."""

from __future__ import annotations

import hashlib
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from bnonly import progress
from bnonly.data.download import fetch
from bnonly.errors import BadInput
from tests.data.server import file, says, status

DATA = random.Random(3).randbytes(300_000)
MD5 = hashlib.md5(DATA).hexdigest()
OTHER = random.Random(4).randbytes(300_000)


@pytest.fixture
def target(tmp_path):
    return tmp_path / "new" / "f.tar.gz"


def part_of(target, data=None):
    part = target.with_name(f"{target.name}.part")
    if data is not None:
        part.parent.mkdir(exist_ok=True)
        part.write_bytes(data)
    return part


def fetched(server, target, *paths, patience=10.0):
    """`fetch` from these paths; whether what it left is the file and nothing else."""
    assert fetch([server.url + path for path in paths or ("/f",)], target, MD5, patience=patience) == target
    left = {path.name for path in target.parent.iterdir() if not path.name.startswith(".")}
    return target.read_bytes() == DATA and left == {target.name}


def refused(server, target, *paths, patience=10.0):
    """The sentence of a fetch that fails."""
    with pytest.raises(BadInput) as caught:
        fetch([server.url + path for path in paths or ("/f",)], target, MD5, patience=patience)
    assert not target.exists() and "\n" not in str(caught.value)
    return str(caught.value)


def wait_for(condition):
    for _ in range(1500):
        if condition():
            return
        time.sleep(0.02)
    raise AssertionError("it did not come to pass within 30 s")


def process(server, target):
    """`fetch` in a process of its own."""
    script = (
        "import sys; from pathlib import Path; from bnonly.cli import guarded; from bnonly.data.download import fetch"
    )
    script += "\nsys.exit(guarded(lambda: fetch([sys.argv[1]], Path(sys.argv[2]), sys.argv[3]) and 0))"
    argv = [sys.executable, "-c", script, f"{server.url}/f", str(target), MD5]
    return subprocess.Popen(argv, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("length", [True, False])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_file_arrives_whole_and_is_not_fetched_again(server, target, length, ranges):
    server.answers["/f"] = file(DATA, length=length, ranges=ranges)
    assert fetched(server, target)
    assert fetched(server, target)
    assert server.asked == [("/f", None)] and server.sent == len(DATA)


def test_a_part_is_gone_on_with(server, target):
    server.answers["/f"] = file(DATA)
    part_of(target, DATA[:200_000])
    assert fetched(server, target)
    assert server.asked == [("/f", 200_000)] and server.sent == 100_000


def test_a_part_that_was_whole_needs_no_server(server, target):
    part_of(target, DATA)
    assert fetched(server, target)
    assert server.asked == []


@pytest.mark.parametrize("ranges", [True, False])
@pytest.mark.parametrize(
    "wrong", [OTHER[:1000], OTHER, OTHER + b"more", b""], ids=["piece", "same", "longer", "empty"]
)
def test_a_part_that_proves_wrong_is_fetched_anew(server, target, ranges, wrong):
    server.answers["/f"] = file(DATA, ranges=ranges)
    part_of(target, wrong)
    assert fetched(server, target)
    assert len(server.asked) <= 2


def test_fetched_anew_it_may_be_cut_off_again(server, target):
    server.answers["/f"] = file(DATA, cuts=(100_000, 100_000))
    part_of(target, OTHER + b"more")
    assert fetched(server, target)
    assert [start for _, start in server.asked] == [300_004, None, 100_000, 200_000]


def test_a_wrong_file_is_fetched_once_and_a_lying_server_does_not_keep_us(server, target):
    server.answers["/wrong"] = file(OTHER)
    refused(server, target, "/wrong")
    assert len(server.asked) == 1
    lie = says(206, DATA[:200_000], Content_Range="bytes 100000-299999/300000", Content_Length=200_000)
    cut = file(DATA, cuts=(100_000,) * 100)
    server.answers["/f"] = lambda handler, start: (cut if start is None else lie)(handler, start)
    assert "serves another file" in refused(server, target)
    assert len(server.asked) == 5


@pytest.mark.parametrize("reset", [True, False])
@pytest.mark.parametrize("length", [True, False])
def test_a_cut_off_connection_is_continued(server, target, reset, length):
    server.answers["/f"] = file(DATA, cuts=(100_000, 50_000, 1), reset=reset, length=length)
    assert fetched(server, target)
    assert server.asked == [("/f", None), ("/f", 100_000), ("/f", 150_000), ("/f", 150_001)]
    assert server.sent == len(DATA)


def test_cut_off_without_ranges_it_starts_over_while_it_gets_farther(server, target):
    server.answers["/f"] = file(DATA, ranges=False, cuts=(100_000, 200_000))
    assert fetched(server, target)
    assert len(server.asked) == 3
    target.unlink()
    server.answers["/f"] = file(DATA, ranges=False, cuts=(100_000,) * 9)
    assert "ended the connection at byte 100,000" in refused(server, target)
    assert len(server.asked) == 5


def test_connections_that_bring_next_to_nothing_come_to_an_end(server, target):
    server.answers["/f"] = file(DATA, cuts=(10,) * 100)
    server.answers["/b"] = file(DATA)
    assert fetched(server, target, "/f", "/b")
    assert [path for path, _ in server.asked].count("/f") == 5 and server.asked[-1] == ("/b", 50)


def test_a_slow_server_is_waited_for_and_a_silent_one_is_not(server, target):
    server.answers["/slow"] = file(DATA, piece=50_000, pause=0.15)
    assert fetched(server, target, "/slow", patience=0.5)  # slower than the patience as a whole
    target.unlink()
    server.answers["/silent"] = file(DATA, hold=120_000)
    began = time.monotonic()
    assert fetched(server, target, "/silent", "/slow", patience=0.5)
    assert time.monotonic() - began < 10
    assert server.asked[-2:] == [("/silent", None), ("/slow", 120_000)]


def test_what_a_silent_server_sent_is_kept(server, target):
    server.answers["/f"] = file(DATA, hold=120_000)
    said = refused(server, target, patience=0.3)
    assert (
        f"{server.url}/f sent nothing for 0.3 s; the 120,000 bytes in {part_of(target)} are kept for the next try"
        in said
    )
    assert part_of(target).read_bytes() == DATA[:120_000]


def no_headers(handler, start):
    handler.server.go_on.wait(30)


def hangs_up(handler, start):
    handler.reset()


def raw(text):
    return lambda handler, start: handler.wfile.write(text)


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (status(404), "answers 404 Not Found"),
        (status(500), "answers 500 Internal Server Error"),
        (status(416), "answers 416"),
        (status(204), "answers 204 No Content"),
        (status(302, Location="/bad"), "answers 302 The HTTP server returned a redirect error"),
        (
            status(302, Location="ftp://127.0.0.1/f"),
            "to URL 'ftp://127.0.0.1/f' is not allowed|unknown url type: ftp",
        ),
        (status(302, Location="file:///etc/passwd"), "is not allowed"),
        (file(OTHER), f"serves another file (300,000 bytes, MD5 {hashlib.md5(OTHER).hexdigest()})"),
        (file(b"<html>", kind="text/html; charset=utf-8"), "serves a web page"),
        (says(200, b"no such file", Content_Length=12), "serves another file (12 bytes"),
        (says(200, b"no such file"), "ended the connection at byte 12"),
        (says(200, b"", Content_Length=0), "serves another file (0 bytes"),
        (says(206, DATA[5:], Content_Range="bytes 5-299999/300000"), "sends a piece where the whole was asked for"),
        (no_headers, "sent nothing for 0.5 s"),
        (hangs_up, "cannot be reached"),
        (raw(b"what?\r\n\r\n"), "cannot be reached (what?"),
        (
            raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n"),
            "serves another file (5 b",
        ),
        (raw(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\nhello"), "cut the connection"),
    ],
)
def test_an_address_that_will_not_do_is_named_and_the_next_one_tried(server, target, answer, reason):
    server.answers["/bad"], server.answers["/f"] = answer, file(DATA)
    said = refused(server, target, "/bad", patience=0.5)
    assert any(f"{server.url}/bad" in said and part in said for part in reason.split("|")), said
    assert f"put f.tar.gz (MD5 {MD5}) into {target.parent} by hand, or name a mirror in data.mirrors" in said
    assert fetched(server, target, "/bad", "/f", patience=0.5)


def test_a_web_page_does_not_cost_what_was_fetched(server, target):
    server.answers["/page"] = file(b"<html>" * 100, ranges=False, kind="text/html")
    server.answers["/f"] = file(DATA)
    part_of(target, DATA[:200_000])
    assert fetched(server, target, "/gone", "/page", "/f")
    assert server.asked[-1] == ("/f", 200_000)


@pytest.mark.parametrize(
    "ranged",
    [
        says(206, DATA, Content_Range="bytes 0-299999/300000", Content_Length=300_000),
        says(206, DATA, Content_Range="bytes 1000-299999/300000", Content_Length=300_000),
        says(206, DATA, Content_Length=300_000),
        says(206, DATA, Content_Range="pages 7", Content_Length=300_000),
        says(206, DATA[:100_000], Content_Range="bytes 200000-299999/300000", Content_Length=100_000),
        says(416, b"", Content_Length=0),
    ],
    ids=["from 0", "from elsewhere", "unsaid", "nonsense", "a lie", "refused"],
)
def test_a_wrong_answer_to_a_range_makes_it_start_over(server, target, ranged):
    server.answers["/f"] = lambda handler, start: (file(DATA) if start is None else ranged)(handler, start)
    part_of(target, DATA[:200_000])
    assert fetched(server, target)


def test_a_server_may_answer_in_slices(server, target):
    def slices(handler, start):
        end = min((start or 0) + 100_000, len(DATA))
        span = f"bytes {start or 0}-{end - 1}/{len(DATA)}"
        says(206, DATA[start or 0 : end], Content_Range=span, Content_Length=end - (start or 0))(handler, start)

    server.answers["/f"] = slices
    assert fetched(server, target)
    assert [start for _, start in server.asked] == [None, 100_000, 200_000]


def test_redirects_keep_the_range_and_proxies_are_used(server, target, monkeypatch):
    server.answers["/old"] = status(302, Location=f"{server.url}/f")
    server.answers["/f"] = server.answers["http://nowhere.invalid/f"] = file(DATA)
    part_of(target, DATA[:200_000])
    assert fetched(server, target, "/old")
    assert server.asked == [("/old", 200_000), ("/f", 200_000)]
    target.unlink()
    monkeypatch.setenv("http_proxy", server.url)
    assert fetch(["http://nowhere.invalid/f"], target, MD5).read_bytes() == DATA


@pytest.mark.parametrize("end", [signal.SIGKILL, signal.SIGINT])
def test_a_killed_fetch_asks_only_for_the_rest(server, target, end):
    server.answers["/f"] = file(DATA, hold=1_000)
    with process(server, target) as victim:
        wait_for(lambda: part_of(target).exists() and part_of(target).stat().st_size == 1_000)
        victim.send_signal(end)
        said = victim.communicate(timeout=30)[1]
    assert victim.returncode == (-end if end == signal.SIGKILL else 130)
    assert "Traceback" not in said and not target.exists()
    server.answers["/f"] = file(DATA)
    server.sent = 0
    assert fetched(server, target)
    assert server.asked[-1] == ("/f", 1_000) and server.sent == 299_000


@pytest.mark.parametrize("first_dies", [False, True])
def test_of_two_processes_one_fetches(server, target, first_dies):
    server.answers["/f"] = file(DATA, hold=180_000)
    with process(server, target) as first:
        wait_for(lambda: server.sent)
        with process(server, target) as second:
            assert f"another process is fetching {target}: waiting" in second.stderr.readline()
            assert len(server.asked) == 1
            if first_dies:
                first.kill()
            server.go_on.set()
            assert second.wait(30) == 0
        assert first.wait(30) == (-signal.SIGKILL if first_dies else 0)
    assert target.read_bytes() == DATA
    assert len(server.asked) == 1 + first_dies


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_one_sentence(server, target):
    server.answers["/f"] = file(DATA)
    target.parent.mkdir()
    part_of(target).symlink_to("/dev/full")
    said = refused(server, target)
    assert said.startswith(f"{part_of(target)} cannot be written (No space left on device): make room there")


def test_a_folder_that_cannot_be_made_is_one_sentence(server, tmp_path):
    (tmp_path / "file").touch()
    assert "cannot be written (" in refused(server, tmp_path / "file" / "sub" / "f.tar.gz")


def test_progress_in_lines_and_as_a_bar(server, target, monkeypatch, capsys):
    server.answers["/f"] = file(DATA, piece=100_000, pause=0.05)
    monkeypatch.setattr(progress, "_SECONDS_A_LINE", 0.01)
    assert fetched(server, target)
    lines = capsys.readouterr().err.splitlines()
    assert lines[0] == f"fetching {server.url}/f into {target.parent}"
    assert any("f.tar.gz: 0.2 MB at" in line and "0.3 MB in all, 0:00 left" in line for line in lines)
    target.unlink()
    monkeypatch.setenv("FORCE_COLOR", "1")
    assert fetched(server, target)
    assert "300.0/300.0 kB" in capsys.readouterr().err
