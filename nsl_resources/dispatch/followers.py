"""Jobs of a run that wait until another job of it has ended: see `WorkerJob.after`."""

from collections.abc import Sequence

from nsl_assets.errors import InputError
from nsl_resources.dispatch.jobs import WorkerJob


class Followers:
    """Those jobs of a run that may not start yet.

    Raises:
        InputError: a job waits for one that is not in the run, or that waits itself.
    """

    def __init__(self, jobs: Sequence[WorkerJob]) -> None:
        self._of: dict[str, list[WorkerJob]] = {}
        first = {job.label for job in jobs if job.after is None}
        for job in jobs:
            if job.after is not None:
                _require_first(job, first)
                self._of.setdefault(job.after, []).append(job)

    def release(self, label: str) -> list[WorkerJob]:
        """Those that waited for this job."""
        return self._of.pop(label, [])

    def release_all(self) -> list[WorkerJob]:
        """Everybody."""
        return [job for label in list(self._of) for job in self.release(label)]


def _require_first(job: WorkerJob, first: set[str]) -> None:
    if job.after not in first:
        raise InputError(
            f"{job.label!r} is to start after {job.after!r}: expected the label of a job of the same run that waits for"
            " no other"
        )
