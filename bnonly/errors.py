"""What goes wrong on purpose: every error a user may meet is one sentence, and one of these."""


class BnonlyError(Exception):
    """The package's own errors. The command line prints the sentence and exits with `status`."""

    status = 1


class BadInput(BnonlyError, ValueError):
    """What was asked for cannot be: the sentence says what, where, what is allowed and what to do."""

    status = 2


class GeneratorBroken(BnonlyError):
    """This machine does not reproduce the generator's published answers."""


class RunRefused(BadInput):
    """A run's folder cannot be used: another process has it, or it belongs to another run."""


class TrainingFailed(BnonlyError):
    """Training cannot go on, for example on a loss that is no number."""


class Interrupted(BnonlyError):
    """Training was asked to stop, has saved, and can go on."""

    status = 130
