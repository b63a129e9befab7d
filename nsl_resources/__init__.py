"""Where work runs and results live: admission, dispatch, artifacts, results. Never imports the rooms."""
