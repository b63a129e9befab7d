"""Protocol, provenance, and a paragraph of methods to paste into a paper."""

from typing import Final

import numpy as np

from nsl_assets.report.blocks import Block, Folded, PageTable, Paragraph, Row, Section, text_cell
from nsl_assets.report.content import ReportContent
from nsl_assets.report.selection import models_of, tasks_of

ESTIMATORS: Final = {
    "pooled": "a cross-fitted held-out lower bound plus half of its measured overfitting",
    "infonce": "a cross-fitted held-out InfoNCE lower bound",
    "lmi": "latent mutual information (Gowri et al. 2024), cross-fitted",
    "ksg": "the nearest-neighbour estimator of Kraskov, Stögbauer and Grassberger (2004)",
    "gaussian_copula": "the Gaussian copula estimator",
}
INTERVALS: Final = {
    "profile_likelihood": (
        "on seed means, every level counted once, with {confidence:.3g} % intervals by profile likelihood, widened "
        "by the variance between seeds, and that of Imax by what each measurement by itself leaves open"
    ),
    "one_sigma_published": "on the points of all seeds, with intervals of ± 1 σ without covariance, as published",
}


def methods_section(content: ReportContent) -> Section:
    """What was done, in words, and everything that decides the numbers."""
    blocks: list[Block] = [Folded("Methods, to paste", methods_text(content), is_open=True, is_prose=True)]
    if content.notes:
        blocks.append(Paragraph(" ".join(content.notes), "warning"))
    provenance = content.provenance
    if provenance is None:
        said = (
            "A table of measurements does not say how they came about: seeds, versions and settings are in its source."
        )
        return Section("methods", "Methods and provenance", [*blocks, Paragraph(said, "absent")])
    seeds = ", ".join(map(str, provenance.seeds)) or "none"
    versions = {"protocol": content.protocol, "seeds": seeds}
    versions |= {f"code of {name}": version for name, version in provenance.code_versions.items()}
    versions |= dict(provenance.library_versions)
    rows = [Row((text_cell(name), text_cell(version))) for name, version in versions.items()]
    records = [{"what": name, "is": version} for name, version in versions.items()]
    blocks.append(PageTable("provenance", "Protocol, seeds, versions", ("what", "is"), rows, records))
    blocks.append(Folded("The study, every setting", provenance.definition))
    return Section("methods", "Methods and provenance", blocks)


def methods_text(content: ReportContent) -> str:
    """A paragraph of methods."""
    curves = [one.measured for one in content.curves]
    sizes = sorted({one.n_cells for one in curves if one.n_cells is not None})
    levels = max(len(np.unique(one.curve.depth if one.curve.level is None else one.curve.level)) for one in curves)
    seeds = max(len(np.unique(one.curve.seed)) for one in curves)
    estimator = ESTIMATORS.get(content.headline, f"estimator '{content.headline}'")
    parts = [
        f"We measured how much the representations of {_counted(len(models_of(content)), 'model')} "
        f"({', '.join(models_of(content))}) keep about {_counted(len(tasks_of(content)), 'hidden signal')} "
        f"({', '.join(tasks_of(content))}), with {levels} noise levels"
        + (f", {_counted(len(sizes), 'training size')} ({_range(sizes)} cells)" if sizes else "")
        + f" and {_counted(seeds, 'replicate')}.",
    ]
    if content.kind == "study":
        parts.append(
            "Counts were thinned binomially, molecule by molecule, to each level; cells were split once by identity "
            "into train pool, validation and probe cells, and mutual information was measured on probe cells that no "
            "model had seen. Every replicate changed the thinning, the subsample, the initialisation and the probe."
        )
    parts.append(f"Mutual information was estimated by {estimator}.")
    if content.noise_matrices:
        parts.append(
            "Trained models also embedded the probe cells of other noise levels; each was compared, replicate by "
            "replicate, with the model that was trained at the level of the probe (95 % intervals by Student's t)."
        )
    parts.append(_law_sentence(content))
    if any(one.fit for one in content.cells):
        parts.append("The cell-number law I(N) = I∞ − (N/Nsat)⁻ˢ was fitted in the same way at each noise level.")
    if any(one.fit for one in content.surfaces):
        parts.append("Depth and cells together were described by a joint law with a weak prior.")
    if any(one.comparison for one in content.laws):
        parts.append("The noise law was compared with five rivals by AICc and by its error on held-out levels.")
    if any(one.comparison for one in content.models):
        parts.append("Models were compared by paired differences, with seeds resampled as blocks.")
    parts.append(f"Protocol: {content.protocol}. Software: nsl (noise scaling laws).")
    return " ".join(parts)


def _law_sentence(content: ReportContent) -> str:
    fit = next((one.fit for one in content.curves if one.fit is not None), None)
    if fit is None:
        return "No noise law could be fitted."
    how = INTERVALS[fit.interval].format(confidence=100 * fit.confidence)
    return (
        "The noise law I(u) = Imax − ½ log2((1 + u/ū)/(u/ū + 2^(−2 Imax))), with u the realised mean number of UMIs "
        f"per cell, was fitted to each curve by least squares {how}. The target depth is where {fit.target_label} is "
        "reached."
    )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" + "s" * (n != 1)


def _range(sizes: list[int]) -> str:
    return f"{sizes[0]:,}" if len(sizes) == 1 else f"{sizes[0]:,} to {sizes[-1]:,}"
