"""What the caller of `Dispatcher.run` wants to be told and asked, as the dispatchers call it."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from nsl_assets.errors import InputError
from nsl_resources.dispatch.jobs import WorkerJob, WorkerResult
from nsl_resources.dispatch.messages import Message


@dataclass(frozen=True)
class Callbacks:
    """The callbacks of one run; see `Dispatcher.run`."""

    on_result: Callable[[WorkerResult], None] | None = None
    on_message: Callable[[str, Message], None] | None = None
    should_stop: Callable[[], bool] | None = None
    repeat: Callable[[WorkerResult], WorkerJob | None] | None = None
    renew: Callable[[Sequence[WorkerJob]], Iterable[WorkerJob]] | None = None

    def tell_result(self, result: WorkerResult) -> None:
        """Calls `on_result`."""
        if self.on_result is not None:
            self.on_result(result)

    def tell_message(self, label: str, message: Message) -> None:
        """Calls `on_message`."""
        if self.on_message is not None:
            self.on_message(label, message)

    def is_stop_wanted(self) -> bool:
        """Calls `should_stop`."""
        return self.should_stop is not None and self.should_stop()

    def job_after(self, result: WorkerResult) -> WorkerJob | None:
        """Calls `repeat`. InputError where it answers with a job of another label."""
        job = None if self.repeat is None else self.repeat(result)
        if job is not None and job.label != result.label:
            raise InputError(f"{result.label!r} is to be repeated by a job labelled {job.label!r}: keep the label")
        return job

    def renewed(self, waiting: Sequence[WorkerJob]) -> list[WorkerJob]:
        """Calls `renew`. InputError where it answers with a job that does not wait."""
        jobs = [] if self.renew is None or not waiting else list(self.renew(waiting))
        strange = {job.label for job in jobs} - {job.label for job in waiting}
        if strange:
            raise InputError(
                f"jobs that do not wait are to be renewed: {sorted(strange)}. Answer with some of those asked"
            )
        return jobs
