"""The base of all settings: typed, immutable, and without silently ignored keys."""

from typing import Any

from pydantic import BaseModel, ConfigDict


class Settings(BaseModel):
    """Settings of one room. Every field has a default where one is sensible, and a description with units."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True)

    def identity(self) -> dict[str, Any]:
        """What of these settings decides the numbers, as JSON values: it goes into the content hash."""
        return self.model_dump(mode="json")
