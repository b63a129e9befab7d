"""What a fit report says beyond its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.geneformer.tokens import TokenRows
    from nsl_assets.models.geneformer.training import History
    from nsl_assets.models.geneformer.vocabulary import GeneTable


def gene_notes(table: GeneTable) -> dict[str, JsonValue]:
    """How many genes there are, and how many of them no training cell has or the network does not know."""
    n_genes = table.medians.size
    return {"n_genes": n_genes, "n_genes_without_token": n_genes - table.n_with_token}


def training_notes(
    tokens: TokenRows,
    validation: TokenRows,
    history: History,
    settings: Geneformer,
) -> dict[str, JsonValue]:
    """Tokens, evaluations, and whatever departs from the settings."""
    n_cells = tokens.nonempty().size
    return {
        "mean_tokens_per_cell": float(tokens.lengths[tokens.nonempty()].mean()),
        "n_validation_cells_with_tokens": validation.nonempty().size,
        "planned_steps": 0 if settings.is_frozen else settings.planned_steps(n_cells),
        "evaluation_steps": list(history.evaluation_steps),
        "tokens_per_second": history.tokens / max(history.seconds, 1e-9),
        "departures": list(_departures(n_cells, validation, history, settings)),
    }


def _departures(n_cells: int, validation: TokenRows, history: History, settings: Geneformer) -> list[str]:
    found: list[str] = []
    if settings.is_frozen:
        return found
    if n_cells < settings.batch_size:
        found.append(f"a step sees {n_cells} cells, all there are, instead of {settings.batch_size}")
    planned = settings.planned_steps(n_cells)
    if settings.warmup_steps >= planned:
        found.append(f"the learning rate is still rising at the end: {planned} steps, {settings.warmup_steps} warm-up")
    if not history.validation_loss:
        n_validation = validation.keys.size
        found.append(f"no early stopping: of {n_validation} validation cells none has a token to be predicted")
    return found
