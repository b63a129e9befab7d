"""What a fit report says beyond its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import JsonValue

if TYPE_CHECKING:
    from nsl_assets.models.geneformer.checkpoint import Parameters
    from nsl_assets.models.geneformer.settings import Geneformer
    from nsl_assets.models.geneformer.tokens import TokenRows
    from nsl_assets.models.geneformer.training import History


def training_notes(
    parameters: Parameters, tokens: TokenRows, validation: TokenRows, history: History, settings: Geneformer
) -> dict[str, JsonValue]:
    """Genes, tokens, evaluations, and whatever departs from the settings."""
    n_cells = tokens.nonempty().size
    n_genes = parameters.vocabulary.gene_tokens().size
    return {
        "n_genes": n_genes,
        "n_genes_without_token": n_genes - len(parameters.vocabulary.medians),
        "mean_tokens_per_cell": float(tokens.lengths[tokens.nonempty()].mean()),
        "n_validation_cells_with_tokens": validation.nonempty().size,
        "planned_steps": settings.planned_steps(n_cells),
        "evaluation_steps": list(history.evaluation_steps),
        "tokens_per_second": history.tokens / max(history.seconds, 1e-9),
        "departures": list(_departures(n_cells, validation, history, settings)),
    }


def _departures(n_cells: int, validation: TokenRows, history: History, settings: Geneformer) -> list[str]:
    found = []
    if n_cells < settings.batch_size:
        found.append(f"a step sees {n_cells} cells, all there are, instead of {settings.batch_size}")
    if not history.validation_loss:
        n_validation = validation.keys.size
        found.append(f"no early stopping: none of {n_validation} validation cells has a token to be predicted")
    return found
