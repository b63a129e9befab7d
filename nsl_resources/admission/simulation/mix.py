"""What is run: the workers of a mix, drawn with their errors of prediction, crashes and arrivals; foreign programs."""

import json
import math
import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

START_UP_S: Final = 20.0
"""The longest that a worker takes to start, before it uses a GPU; a fifth of its time at most."""


@dataclass(frozen=True)
class NodeSize:
    """A machine: GPUs of one size, and its host."""

    n_gpus: int
    gpu_memory_mib: int
    memory_mib: int
    cores: int


@dataclass(frozen=True)
class Faults:
    """What goes wrong.

    Attributes:
        formula_bias: predicted memory of a GPU over the true peak, in the middle.
        formula_sd_factor: e to the standard deviation of the logarithm of that ratio over models.
        size_sd_factor: likewise, over the training sizes of a model.
        replicate_sd_factor: likewise, of the peaks of replicates.
        seconds_sd_factor: likewise, of the expected over the true time, over models.
        crash_fraction: attempts that are killed at a random moment, without giving back their lease.
        foreign: programs of others on each GPU: mean times off and on (s), least and most memory (MiB).
    """

    formula_bias: float
    formula_sd_factor: float
    size_sd_factor: float
    replicate_sd_factor: float
    seconds_sd_factor: float
    crash_fraction: float
    foreign: Mapping[str, float]


@dataclass(frozen=True)
class Mix:
    """A machine, what goes wrong on it, and the kinds of workers as the file has them."""

    node: NodeSize
    faults: Faults
    arrivals: Mapping[str, float]
    workers: tuple[Mapping[str, Any], ...]


_Spec = tuple[Mapping[str, Any], Mapping[str, Any], float, float]
"""A kind of workers, one of its sizes, and by what factors the formulas of memory and time err for it."""


@dataclass(frozen=True)
class Worker:
    """One worker to run.

    Attributes:
        number: names it.
        model, n_cells: what it trains. Workers that agree in both are replicates.
        arrives_s: when it is asked for.
        seconds: how long it runs alone.
        expected_s: what a formula says of that.
        memory_mib, cores: of the host.
        n_gpus: GPUs that it needs.
        peak_mib: the most that it uses of each GPU.
        formula_mib: what the formula says of that.
        gpu_share: part of a GPU's arithmetic that it uses when alone.
        grows_at: part of its run after which it uses the last tenth of its peak.
        crashes_at: part of its run after which its first attempt is killed; None: it is not.
    """

    number: int
    model: str
    n_cells: int
    arrives_s: float
    seconds: float
    expected_s: float
    memory_mib: int
    cores: int
    n_gpus: int
    peak_mib: int
    formula_mib: int
    gpu_share: float
    grows_at: float
    crashes_at: float | None

    @property
    def starts_up_s(self) -> float:
        """Time before it uses its GPUs."""
        return min(START_UP_S, 0.2 * self.seconds)


@dataclass(frozen=True)
class Foreign:
    """A program of somebody else: it takes what it wants of a GPU, or what is left of it, for some time."""

    number: int
    gpu: int
    starts_s: float
    ends_s: float
    memory_mib: int


def read_mix(path: Path) -> Mix:
    """A mix from its JSON file."""
    stored = json.loads(path.read_text())
    return Mix(NodeSize(**stored["node"]), Faults(**stored["faults"]), stored["arrivals"], tuple(stored["workers"]))


def draw(mix: Mix, seed: int, keep_every: int = 1) -> list[Worker]:
    """All workers of a mix in the order in which they are asked for; of the rows of each model, every n-th.

    A row is what one Dagster run of a backfill holds: a noise level of a model, all training sizes, some seeds. The
    largest size of a row comes first.
    """
    chance = random.Random(seed)
    later_s = [chance.uniform(0, mix.arrivals["last_s"]) for _ in range(int(mix.arrivals["n_later"]))]
    rows: list[tuple[float, list[_Spec]]] = []
    of_time = random.Random(f"{seed} seconds")
    for kind in mix.workers:
        of_model = _lognormal(chance, mix.faults.formula_sd_factor)
        errors = [of_model * _lognormal(chance, mix.faults.size_sd_factor) for _ in kind["sizes"]]
        of_seconds = _lognormal(of_time, mix.faults.seconds_sd_factor)
        sizes = [(kind, size, error, of_seconds) for size, error in zip(kind["sizes"], errors, strict=True)][::-1]
        n_seeds = int(mix.arrivals["seeds_a_row"])
        for first in range(0, kind["n_replicates"], n_seeds * keep_every):
            n_replicates = min(n_seeds, kind["n_replicates"] - first)
            is_early = chance.random() < mix.arrivals["at_once_fraction"]
            row = [spec for spec in sizes for _ in range(n_replicates)]
            rows.append((0.0 if is_early else chance.choice(later_s), row))
    chance.shuffle(rows)
    rows.sort(key=lambda row: row[0])
    ordered = [(at_s, spec) for at_s, row in rows for spec in row]
    return [_worker(number, at_s, spec, mix, chance) for number, (at_s, spec) in enumerate(ordered)]


def _worker(number: int, at_s: float, spec: _Spec, mix: Mix, chance: random.Random) -> Worker:
    faults, largest_mib = mix.faults, 0.95 * mix.node.gpu_memory_mib
    kind, size, error, of_seconds = spec
    gpu_mib = size["gpu_memory_mib"]
    return Worker(
        number=number,
        model=kind["model"],
        n_cells=size["n_cells"],
        arrives_s=at_s,
        seconds=size["seconds"] * chance.uniform(0.8, 1.2),
        expected_s=size["seconds"] * of_seconds,
        memory_mib=size["memory_mib"],
        cores=kind["cores"],
        n_gpus=kind["n_gpus"],
        peak_mib=math.ceil(min(gpu_mib * _lognormal(chance, faults.replicate_sd_factor), largest_mib)),
        formula_mib=math.ceil(min(gpu_mib * faults.formula_bias * error, largest_mib)),
        gpu_share=kind["gpu_share"],
        grows_at=chance.uniform(0.3, 0.6),
        crashes_at=chance.uniform(0.05, 0.95) if chance.random() < faults.crash_fraction else None,
    )


def draw_foreign(mix: Mix, seed: int) -> Iterator[Iterator[Foreign]]:
    """The foreign programs of each GPU, one after the other, without end."""
    for gpu in range(mix.node.n_gpus):
        yield _foreign(gpu, mix, random.Random(f"{seed} {gpu}"))


def _foreign(gpu: int, mix: Mix, chance: random.Random) -> Iterator[Foreign]:
    load, now_s, number = mix.faults.foreign, 0.0, 0
    while True:
        starts_s = now_s + chance.expovariate(1 / load["mean_off_s"])
        now_s = starts_s + chance.expovariate(1 / load["mean_on_s"])
        number += 1
        wanted_mib = int(chance.uniform(load["least_mib"], load["most_mib"]))
        yield Foreign(gpu + mix.node.n_gpus * number, gpu, starts_s, now_s, wanted_mib)


def _lognormal(chance: random.Random, sd_factor: float) -> float:
    return math.exp(chance.gauss(0.0, math.log(sd_factor)))
