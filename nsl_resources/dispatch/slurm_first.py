"""The first task of a run on Slurm: it looks for the storage folder, and all others wait for it in the queue."""

import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from nsl_assets.errors import NslError
from nsl_resources.dispatch.slurm_commands import Account, SlurmError, TaskId
from nsl_resources.dispatch.storage_probe import not_shared

NOT_SHARED_EXIT_CODE: Final = 66
"""Of a task that does not see the storage folder."""


@dataclass
class FirstTask:
    """That task.

    Attributes:
        id: of it.
        answer: a file that it makes in the storage folder.
        storage: that folder.
    """

    id: TaskId
    answer: Path
    storage: Path
    _gone_since_s: float = field(default_factory=lambda: float("inf"), init=False)

    def has_passed(self, account: Account | None, settle_s: float) -> bool:
        """Whether the folder was seen: asked once the task has left the queue; `account` is None where none is known.

        Raises:
            StorageError: it was not, or no answer came within `settle_s`.
            SlurmError: the task ended for another reason.
        """
        self._gone_since_s = min(self._gone_since_s, time.monotonic())
        if self.answer.exists() or (account is not None and account.state == "COMPLETED"):
            return True
        if account is not None and account.is_over:
            raise self._error(account)
        if time.monotonic() - self._gone_since_s > settle_s:
            raise not_shared(self.storage, ["a node"])
        return False

    def _error(self, account: Account) -> NslError:
        if account.returncode == NOT_SHARED_EXIT_CODE:
            return not_shared(self.storage, [account.node])
        return SlurmError(
            f"the first task of the run, which only looks for the storage folder, ended on {account.node} with"
            f" {account.state} (exit code {account.returncode}): nothing was started. Correct slurm_options, or run it"
            " again."
        )
