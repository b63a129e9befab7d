"""Ordered stages, such as time points: their order, and which label of a file is which stage."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

from nsl_assets.errors import InputError

ALPHABETICAL: Final = "alphabetical"
_NUMBER: Final = re.compile(r"(?:^-)?\d+(?:\.\d+)?")


def number_in(label: str) -> float | None:
    """The number that a label holds, such as 8.5 in "E8.5"; None where it holds none, or several."""
    found = _NUMBER.findall(label)
    return float(found[0]) if len(found) == 1 else None


def alphabetical(labels: Iterable[str], where: str) -> tuple[str, ...]:
    """All labels in alphabetical order. InputError where labels that differ in a number alone are then out of order."""
    ordered = tuple(sorted(labels))
    earlier: dict[str, str] = {}
    for label in ordered:
        number, text = number_in(label), _NUMBER.sub("#", label)
        before = earlier.get(text)
        if number is not None and before is not None and number <= (number_in(before) or 0.0):
            raise InputError(
                f"{where} holds {before!r} and {label!r}: in alphabetical order they are not in the order of their"
                " numbers. Name the stages, earliest first."
            )
        earlier[text] = label
    return ordered


def require_order(stages: Sequence[str]) -> None:
    """Raise InputError where a stage occurs twice, or where all hold a number and these do not ascend."""
    repeated = [stage for stage in stages if stages.count(stage) > 1]
    if repeated:
        raise InputError(f"stage {repeated[0]!r} is named {stages.count(repeated[0])} times: name each once")
    numbers = [number for stage in stages if (number := number_in(stage)) is not None]
    if len(numbers) < len(stages):
        return
    for i in range(1, len(numbers)):
        if numbers[i] <= numbers[i - 1]:
            raise InputError(
                f"stage {stages[i]!r} comes after {stages[i - 1]!r}: the stages are not in order. Name the earliest"
                f" first, as in {', '.join(sorted(stages, key=lambda stage: number_in(stage) or 0.0))}"
            )


def stage_of_labels(labels: Iterable[str], stages: Sequence[str], where: str) -> Mapping[str, int]:
    """Position among the stages of every label of a column.

    A label is the stage of the same text, else the one whose number it holds. Raises InputError, naming it, for a
    label that is no stage, a stage without a label, and two labels of one stage.
    """
    by_number = {number: i for i, stage in enumerate(stages) if (number := _plain_number(stage)) is not None}
    found: dict[str, int] = {}
    for label in labels:
        number = number_in(label)
        place = stages.index(label) if label in stages else None if number is None else by_number.get(number)
        if place is None:
            raise InputError(
                f"{where} holds {label!r}, which is not among the stages {', '.join(stages)}: add it where it belongs,"
                " or name it in unknown_labels (--unknown) if the stage of these cells is not known."
            )
        twin = next((other for other, i in found.items() if i == place), None)
        if twin is not None:
            raise InputError(
                f"{where} holds {twin!r} and {label!r}, which are both stage {stages[place]!r}: name"
                " each label in full among the stages, or make them one label in the file."
            )
        found[label] = place
    for i, stage in enumerate(stages):
        if i not in found.values():
            present = ", ".join(found) or "none"
            raise InputError(f"no cell of {where} is of stage {stage!r}: take it out. Present: {present}.")
    return found


def _plain_number(stage: str) -> float | None:
    """The number that a stage is, without any other text."""
    return float(stage) if _NUMBER.fullmatch(stage) else None
