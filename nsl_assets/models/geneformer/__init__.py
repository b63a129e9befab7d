"""Geneformer: rank-value tokens, a small BERT, masked language modelling. Importing this reads the settings alone."""

from nsl_assets.models.geneformer.settings import Geneformer

__all__ = ["Geneformer"]
