"""One rank of a training on several devices, started by torchrun: `-m nsl_assets.models.geneformer.distributed DIR`.

Standard output carries lines of progress of the first rank and nothing else.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import torch

from nsl_assets.errors import NslError
from nsl_assets.models.geneformer.masking import Masking
from nsl_assets.models.geneformer.orders import read_order, write_error, write_result
from nsl_assets.models.geneformer.training import Training
from nsl_assets.models.training import peak_device_memory_mib, seeded


def main(folder: Path) -> int:
    """Train this rank's part; the first rank writes the result. Exit code 1 after an error, which is written too."""
    say = _progress_alone_on_stdout(is_shown=os.environ["RANK"] == "0")
    try:
        _train(folder, say)
    except NslError as error:
        write_error(error, folder)
        return 1
    return 0


def _train(folder: Path, say: Callable[[str], None]) -> None:
    if os.environ["DS_ACCELERATOR"] == "cuda":
        torch.cuda.set_device(int(os.environ["LOCAL_RANK"]))
    from nsl_assets.models.geneformer.zero import ZeroRank, join_ranks

    order = read_order(folder)
    runtime = replace(order.runtime, say=say)
    join_ranks(runtime)
    network = order.parameters.network
    with seeded(runtime, "geneformer dropout", order.seed, int(os.environ["RANK"])):
        training = Training(
            network=network,
            masking=Masking.of(order.parameters.vocabulary, order.settings.mask_fraction),
            tokens=order.tokens,
            validation=order.validation,
            settings=order.settings,
            seed=order.seed,
            runtime=runtime,
            optimiser=ZeroRank(network, order.settings),
        )
        history = training.run()
    history.peak_device_memory_mib = peak_device_memory_mib(runtime)
    if training.optimiser.rank == 0:
        write_result(order.parameters, history, folder)
    torch.distributed.barrier()
    torch.distributed.destroy_process_group()


def _progress_alone_on_stdout(*, is_shown: bool) -> Callable[[str], None]:
    """Send all that libraries print to standard error; returns what writes a line to standard output."""
    shown = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)

    def say(line: str) -> None:
        if is_shown:
            shown.write(line + "\n")

    return say


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
