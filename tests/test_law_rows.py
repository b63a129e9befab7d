"""The hash of what a law or an advice came from names everything that it depends on."""

from nsl_assets.law_rows import advice_hash
from nsl_assets.study import Study, parse_project


def study(**planning: object) -> Study:
    content = {
        "sizes": [100],
        "models": {"pca": {"kind": "pca"}},
        "noise": {"kind": "binomial_thinning", "levels": [1.0]},
        "tasks": {"cells": {"kind": "simulated_cells"}},
        "planning": planning,
    }
    return parse_project({"studies": {"one": content}}).study("one")


def test_advice_from_another_measured_panel_share_is_another_advice():
    hashes = {advice_hash([], study(), share) for share in (None, 0.25, 0.3)}
    assert len(hashes) == 3


def test_a_panel_share_of_the_settings_replaces_the_measured_one():
    named = study(panel_share=0.5)
    assert advice_hash([], named, 0.25) == advice_hash([], named, None) != advice_hash([], study(), None)


def test_the_order_in_which_an_average_was_summed_is_no_other_share():
    assert advice_hash([], study(), 0.1 + 0.2) == advice_hash([], study(), 0.3)
