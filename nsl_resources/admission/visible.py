"""The variable by which CUDA is told which GPUs a process sees: read from our launcher, written for our workers."""

import logging
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from typing import Final

VISIBLE_VARIABLE: Final = "CUDA_VISIBLE_DEVICES"
_SEPARATOR: Final = ","
_NO_MORE: Final = frozenset({"", "-1", "NoDevFiles"})  # what people and job schedulers write to hide all GPUs
_LOG: Final = logging.getLogger(__name__)


def environment_of(ids: Iterable[str]) -> dict[str, str]:
    """The environment of a worker that sees these devices and no others."""
    return {VISIBLE_VARIABLE: _SEPARATOR.join(ids)}


def visible_ids(gpus: Mapping[str, Sequence[str]], variable: str | None) -> list[str]:
    """The ids of the devices that CUDA would show, in its order.

    Entries are indices of GPUs, or ids or unique beginnings of ids. As in CUDA the first one that names nothing ends
    the list. Indices count as in `nvidia-smi`, which is CUDA's order where all GPUs are of one model.

    Args:
        gpus: id of each GPU in the order of their indices -> its MIG devices, or itself.
        variable: the variable's value; None: it is not set, everything is visible.
    """
    if variable is None:
        return [name for members in gpus.values() for name in members]
    chosen: dict[str, None] = {}
    for entry in map(str.strip, variable.split(_SEPARATOR)):
        named = _named(entry, gpus)
        if not named:
            _note_unknown(entry, variable)
            break
        chosen |= dict.fromkeys(named)
    return list(chosen)


def _named(entry: str, gpus: Mapping[str, Sequence[str]]) -> Sequence[str]:
    """The devices of one entry; empty if it names none, or more than one GPU."""
    if entry in _NO_MORE:
        return ()
    if entry.isdecimal():
        return list(gpus.values())[int(entry)] if int(entry) < len(gpus) else ()
    matches = [members for gpu, members in gpus.items() if gpu.startswith(entry)]
    matches += [[name] for gpu, members in gpus.items() for name in members if name != gpu and name.startswith(entry)]
    return matches[0] if len(matches) == 1 else ()


@cache
def _note_unknown(entry: str, variable: str) -> None:
    if entry not in _NO_MORE:
        _LOG.warning(
            "%s is %r, and %r is no GPU that can be used here: like CUDA, nsl uses only those named before it.",
            VISIBLE_VARIABLE,
            variable,
            entry,
        )
