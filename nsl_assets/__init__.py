"""nsl: noise scaling laws for representation learning, as Dagster assets."""
