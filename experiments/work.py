"""What a worker does, whichever engine it belongs to: a job's stages, one after another, in the run's folder."""

from __future__ import annotations

from bnonly.config import RunConfig
from bnonly.runs import RunFolder
from experiments.engines import Job
from experiments.tasks import TASKS


def perform(job: Job) -> None:
    """Do the stages that are not done. Raises what they raise."""
    config = RunConfig.model_validate(dict(job.config))
    folder = RunFolder.of(config)
    for stage in job.stages:
        task = TASKS[stage["task"]]
        if not task.answered(config, folder, stage["options"]):
            task.run(config, folder, stage["options"])
