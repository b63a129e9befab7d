"""Rows as workers would have left them."""

import uuid
from datetime import UTC, datetime
from typing import Any

from nsl_resources.results import RunRow


def run_row(**fields: Any) -> RunRow:
    """A failed attempt, with some fields set."""
    row = {
        "run_id": uuid.uuid4().hex,
        "task": "simulated",
        "model": "random_projection",
        "seed": 0,
        "status": "failed",
        "reason": "no convergence",
        "finished_at": datetime.now(UTC),
    }
    return RunRow(**row | fields)
