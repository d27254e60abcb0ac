"""wandb as a mirror of the run folder. Whatever goes wrong with it is said once and never stops a run."""

from __future__ import annotations

import netrc
import os
import ssl
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal
from urllib.error import HTTPError, URLError
from urllib.parse import urlparse
from urllib.request import urlopen

from torch import Tensor, nn

from bnonly.config import RunConfig
from bnonly.progress import console
from bnonly.runs import RunFolder
from bnonly.trainable import trained_of
from bnonly.training.environment import environment
from bnonly.training.wandb_files import Row, mend, rows
from bnonly.training.wandb_values import ByLayer, again, flat, histograms, of_file, of_network

_SECONDS_TO_REACH = 10
_SECONDS_TO_BEGIN = 30
_SECONDS_TO_FINISH = 120  # for what is still to be sent; the files stay, and `wandb sync` sends the rest
_LONGEST_TAG = 64


@contextmanager
def mirror(config: RunConfig) -> Iterator[tuple[Wandb, ...]]:
    """The listeners that `tracking` asks for: none when it is off, or auto where WANDB_MODE is disabled."""
    if config.tracking == "off" or (config.tracking == "auto" and os.environ.get("WANDB_MODE") == "disabled"):
        yield ()
        return
    tracked = Wandb(config)
    try:
        yield (tracked,)
    except BaseException:
        tracked.close(exit_code=1)  # wandb shows the run as failed until it goes on
        raise
    tracked.close(exit_code=0)


class Wandb:
    """A listener that logs every epoch's numbers and histograms, each epoch once over all sessions of a run."""

    def __init__(self, config: RunConfig):
        self._config, self._folder = config, RunFolder.of(config)
        self._run: Any = None
        self._gone = False
        self._said: set[int] = set()  # epochs that wandb has from earlier sessions
        self._lost: dict[int, Row] = {}  # what earlier sessions logged and the server did not get
        self._best = -1.0  # test top-1

    def begin(self, images: int, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None:
        self._try(lambda: self._begin(record, sums, net))

    def step(self, epoch: int, step: int, sums: Tensor) -> None:
        pass

    def epoch(self, record: dict[str, Any], net: nn.Module) -> None:
        self._try(lambda: self._log(record, of_network(net)))

    def close(self, exit_code: int) -> None:
        """Finish wandb's run, as one that ended well (0) or did not."""
        if self._run is not None:
            self._try(lambda: self._run.finish(exit_code=exit_code))

    def _begin(self, record: dict[str, Any] | None, sums: Tensor, net: nn.Module) -> None:
        """Begin, and tell again what a killed session recorded and wandb lost."""
        self._start()
        self._run.define_metric("epoch", hidden=True)
        self._run.define_metric("*", step_metric="epoch")
        trained, total = trained_of(net)
        facts = environment(next(net.parameters()).device)
        self._run.summary.update({"trained_parameters": trained, "parameters": total, "environment": facts})
        position = record["epoch"] if record is not None else None
        for earlier in self._folder.metrics() if record is not None else ():
            now = earlier["epoch"] == position and not sums.any()
            self._log(earlier, of_network(net) if now else self._kept(earlier["epoch"]))

    def _kept(self, epoch: int) -> dict[str, ByLayer]:
        """gamma and beta of an epoch gone by: in the run's folder at the epochs kept, else not known."""
        path = self._folder.gamma(epoch)
        return of_file(path) if path.exists() else {}

    def _log(self, record: dict[str, Any], values: dict[str, ByLayer]) -> None:
        """One epoch, unless wandb has it; `step` keeps wandb's own count at the epoch."""
        epoch, score = record["epoch"], record["test"]["top1"]
        if epoch not in self._said:
            drawn = again(self._lost.get(epoch, {})) or histograms(values)
            self._run.log(drawn | flat(record), step=epoch, commit=True)
        if score > self._best:
            self._best = score
            self._run.summary.update({"test/best_top1": score, "test/best_epoch": epoch})

    def _start(self) -> None:
        """Begin wandb's run, online where that is asked for and possible, and learn which epochs it has.

        Offline it has what earlier sessions left in their files; online, what the server got of them.
        """
        path = self._folder.path
        if self._online():
            self._run = self._init("online")
            first = self._run.starting_step
            self._said = set(range(first))
            self._lost = {epoch: row for epoch, row in rows(path) if epoch >= first}
        else:
            mend(path)
            self._said = {epoch for epoch, _ in rows(path)}
            self._run = self._init("offline")

    def _online(self) -> bool:
        tracking = self._config.tracking
        if tracking == "offline" or (tracking == "auto" and os.environ.get("WANDB_MODE") in ("offline", "dryrun")):
            return False
        if not _logged_in():  # without a key wandb would wait for one to be typed
            if tracking == "online":
                _say("wandb: nobody is logged in, so this run is mirrored offline (`wandb login`)")
            return False
        if (fault := _unreachable(_server())) is not None:
            _say(f"wandb: {_server()} cannot be reached ({fault}), so this run is mirrored offline")
            return False
        return True

    def _init(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        try:
            return self._ask(mode)
        except Exception as error:
            if not isinstance(error, ConnectionError) and type(error).__name__ != "MailboxClosedError":
                raise
        with suppress(Exception):  # the service of an earlier run in this process has died
            wandb.teardown()
        return self._ask(mode)

    def _ask(self, mode: Literal["online", "offline"]) -> Any:
        import wandb

        config = self._config
        settings: dict[str, Any] = {
            "silent": True,
            "console": "off",
            "init_timeout": _SECONDS_TO_BEGIN,
            "finish_timeout": _SECONDS_TO_FINISH,
            "x_transaction_log_flush_interval": 1.0,  # what a kill can lose
        }
        known = getattr(wandb.Settings, "model_fields", settings)
        return wandb.init(
            project=config.project,
            group=config.experiment,
            job_type="fit",
            id=config.id,
            name=f"{config.network.name} {config.group} seed {config.seed} {config.id}",
            tags=[tag[:_LONGEST_TAG] for tag in (config.group, config.network.name, config.data.source)],
            config=config.plain(),
            dir=self._folder.path,
            mode=mode,
            resume="allow",
            reinit="create_new",  # else a run that the caller has under way would be taken for this one
            settings=wandb.Settings(**{name: value for name, value in settings.items() if name in known}),
        )

    def _try(self, act: Callable[[], None]) -> None:
        if self._gone:
            return
        try:
            act()
        except Exception as error:  # wandb may raise anything; the run folder has the numbers
            self._gone = True
            _say(f"wandb is left out of this run from here on: {_reason(error)}")
            self._let_go()

    def _let_go(self) -> None:
        """End what is left of wandb's run. A dead service would be asked to end again, loudly, when Python exits."""
        if self._run is None:
            return
        try:
            self._run.finish(exit_code=1)
        except Exception:
            with suppress(Exception):
                import wandb

                wandb.teardown()


def _say(sentence: str) -> None:
    console().print(sentence, markup=False)


def _reason(error: Exception) -> str:
    return str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__


def _server() -> str:
    return os.environ.get("WANDB_BASE_URL", "https://api.wandb.ai")


def _logged_in() -> bool:
    """Whether a key is at hand where wandb keeps it. Not asked of wandb itself, which might prompt for one."""
    if os.environ.get("WANDB_API_KEY") or os.environ.get("WANDB_IDENTITY_TOKEN_FILE"):
        return True
    try:
        path = os.environ.get("NETRC") or Path.home() / ".netrc"
        return netrc.netrc(path).authenticators(urlparse(_server()).netloc) is not None
    except (OSError, netrc.NetrcParseError, RuntimeError):
        return False


def _unreachable(url: str) -> str | None:
    """Why no server answers there, or None. wandb itself would try for long and then keep the run's name taken."""
    try:
        urlopen(url, timeout=_SECONDS_TO_REACH).close()
    except HTTPError as error:
        error.close()
    except (URLError, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        return None if isinstance(reason, ssl.SSLError) else str(reason)  # wandb has certificates of its own
    return None
