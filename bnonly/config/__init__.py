"""One run's configuration, validated without torch. `RunConfig` is the whole; one file a subject.

pydantic is imported when it is first used.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from bnonly.config.run import RunConfig

__all__ = ["RunConfig"]


def __getattr__(name: str) -> Any:
    if name == "RunConfig":
        from bnonly.config.run import RunConfig

        return RunConfig
    raise AttributeError(f"module 'bnonly.config' has no attribute {name!r}")
