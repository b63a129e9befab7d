"""Takes the order from Dagster Pipes, does it, and says how it went by exit code and message."""

import sys
from datetime import UTC, datetime

from dagster_pipes import open_dagster_pipes

from nsl_assets.errors import NslError
from nsl_assets.memory import is_out_of_memory, peak_device_mib
from nsl_assets.worker.order import WorkerOrder
from nsl_assets.worker.work import CellWork
from nsl_resources.artifacts import Artifacts
from nsl_resources.dispatch import OUT_OF_MEMORY_EXIT_CODE


def main() -> int:
    """0 where everything is stored, 1 after an error that was reported, the code of "out of memory" after that."""
    with open_dagster_pipes() as pipes:
        order = WorkerOrder.model_validate(pipes.extras)

        def say(step: str) -> None:
            now = datetime.now(UTC).isoformat(timespec="seconds")
            pipes.report_custom_message({"step": step, "cell": order.cell.label, "at": now})

        try:
            with Artifacts(order.storage).scratch() as scratch:
                CellWork(order, scratch, say).run()
        except NslError as error:
            pipes.report_custom_message({"failure": str(error), "peak_device_memory_mib": peak_device_mib()})
            return 1
        except (MemoryError, OSError, RuntimeError) as error:
            if not is_out_of_memory(error):
                raise
            text = str(error) or type(error).__name__
            pipes.report_custom_message({"out_of_memory": text, "peak_device_memory_mib": peak_device_mib()})
            return OUT_OF_MEMORY_EXIT_CODE
    return 0


if __name__ == "__main__":
    sys.exit(main())
