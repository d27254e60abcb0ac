"""One run's configuration, validated without torch. `RunConfig` is the whole; one file a subject."""

from bnonly.config.run import RunConfig

__all__ = ["RunConfig"]
