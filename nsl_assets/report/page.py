"""The report as one page that needs nothing else: sections composed, rendered, and written with its files."""

import base64
import csv
import hashlib
import io
import json
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cache, partial
from importlib import resources
from itertools import count
from typing import Any, Final

from nsl_assets.report.advice_section import advice_section
from nsl_assets.report.blocks import Block, Gallery, PageTable, Section
from nsl_assets.report.canvas import looks_of
from nsl_assets.report.comparison_sections import joint_section, laws_section, models_section
from nsl_assets.report.content import ReportContent
from nsl_assets.report.drawn import Drawn, Inliner, Record
from nsl_assets.report.law_sections import cells_section, depth_section
from nsl_assets.report.measurement_sections import calibration_section, leakage_section, training_section
from nsl_assets.report.methods import methods_section
from nsl_assets.report.noise_matrix_section import noise_matrix_section
from nsl_assets.report.selection import models_of, tasks_of
from nsl_assets.report.summary import answers

PAGE_NAME: Final = "report.html"


@dataclass(frozen=True)
class Picker:
    """A choice of the reader: one task or model, or all."""

    key: str
    label: str
    names: Sequence[str]


def report_files(content: ReportContent) -> dict[str, Callable[[], bytes]]:
    """The page and all that lies beside it: what makes each file, by relative path.

    The same content gives the same bytes.
    """
    sections = sections_of(content)
    figures = {figure.name: figure for figure in _figures(sections)}
    svg = cache(lambda name: figures[name].svg())
    files: dict[str, Callable[[], bytes]] = {}
    for name, figure in figures.items():
        files[f"figures/{name}.svg"] = partial(svg, name)
        files[f"figures/{name}.pdf"] = figure.pdf
        if figure.records:
            files[f"data/{name}.csv"] = partial(csv_of, figure.records)
    for table in _tables(sections):
        files[f"data/{table.name}.csv"] = partial(csv_of, table.records)
    files[PAGE_NAME] = lambda: _page(content, sections, {name: svg(name) for name in figures}).encode()
    return files


def sections_of(content: ReportContent) -> list[Section]:
    """All sections, each with its tables and figures, or with why it has none; that of crossed noise where there is."""
    looks = looks_of(models_of(content))
    sections = [
        advice_section(content),
        depth_section(content, looks),
        cells_section(content, looks),
        noise_matrix_section(content),
        joint_section(content),
        models_section(content),
        laws_section(content),
        calibration_section(content),
        training_section(content),
        leakage_section(content),
        methods_section(content),
    ]
    return _with_distinct_files([section for section in sections if section is not None])


def _with_distinct_files(sections: Sequence[Section]) -> list[Section]:
    """Figures of tasks or models whose names differ only in signs that file names do not have get numbers."""
    taken = {table.name for table in _tables(sections)}

    def renamed(figure: Drawn) -> Drawn:
        name = next(
            name for place in count(1) if (name := f"{figure.name}-{place}" if place > 1 else figure.name) not in taken
        )
        taken.add(name)
        return replace(figure, name=name)

    def with_distinct_files(block: Block) -> Block:
        return replace(block, figures=[renamed(one) for one in block.figures]) if isinstance(block, Gallery) else block

    return [replace(section, blocks=[with_distinct_files(block) for block in section.blocks]) for section in sections]


def _figures(sections: Sequence[Section]) -> Iterator[Drawn]:
    for section in sections:
        for block in section.blocks:
            if isinstance(block, Gallery):
                yield from block.figures


def _tables(sections: Sequence[Section]) -> Iterator[PageTable]:
    for section in sections:
        yield from (block for block in section.blocks if isinstance(block, PageTable))


def _page(content: ReportContent, sections: Sequence[Section], svgs: Mapping[str, bytes]) -> str:
    from jinja2 import Environment
    from markupsafe import Markup

    figures = {figure.name: f"f{place}" for place, figure in enumerate(_figures(sections))}
    names = {"task": tasks_of(content), "model": models_of(content)}
    inliner = Inliner()
    inlined = {
        figure.name: Markup(inliner.inline(svgs[figure.name], figures[figure.name], figure.title, figure.marks))
        for figure in _figures(sections)
    }
    script = _asset("page.js")
    environment = Environment(autoescape=True, trim_blocks=True)
    environment.filters["code"] = _with_code
    return environment.from_string(_asset("page.html")).render(
        content=content,
        answers=answers(content),
        sections=sections,
        pickers=[Picker(key, key, values) for key, values in names.items() if len(values) > 1],
        svgs=inlined,
        marks=Markup(_marks_json(sections, figures)),
        css=Markup(f"{_asset('page.css')}{inliner.css}"),
        script=Markup(script),
        script_hash=Markup(f"sha256-{base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()}"),
    )


def _with_code(text: str) -> str:
    """Text in which what stands between backticks is shown as code."""
    from markupsafe import Markup, escape

    parts = text.split("`")
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if place % 2 and place + 1 < len(parts) else escape(part)
        for place, part in enumerate(parts)
    )


def _marks_json(sections: Sequence[Section], prefixes: Mapping[str, str]) -> str:
    """What can be pointed at, by figure and id; safe to stand inside a script element."""
    marks = {}
    for figure in _figures(sections):
        prefix = prefixes[figure.name]
        marks[prefix] = {
            f"{prefix}-{gid}": {
                **({"tips": one.tips} if one.tips else {}),
                **({"model": one.model} if one.model else {}),
            }
            for gid, one in figure.marks.items()
        }
    text = json.dumps(marks, ensure_ascii=False, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")


def csv_of(records: Sequence[Record]) -> bytes:
    """Records as CSV, columns in the order of appearance; what is not known is empty, infinite is `inf`."""
    columns = list(dict.fromkeys(name for record in records for name in record))
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, lineterminator="\n")
    writer.writeheader()
    writer.writerows({name: _written(value) for name, value in record.items()} for record in records)
    return text.getvalue().encode()


def _written(value: Any) -> Any:
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if isinstance(value, list | tuple):
        return "; ".join(str(one) for one in value)
    return value


def _asset(name: str) -> str:
    return resources.files(__package__).joinpath(name).read_text(encoding="utf-8")
