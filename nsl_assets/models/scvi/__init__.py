"""scVI: settings, training by our own loop, and checkpoints of scvi-tools."""

from nsl_assets.models.scvi.settings import Scvi

__all__ = ["Scvi"]
