"""The rules of dependence between the rooms hold.

The plan of the rooms is ``tools/house.py``, the rules are ``tools/layer_rules.py``; that each rule
fires is shown in ``tests/tools/test_layer_rules.py``. To see every broken rule at once, run
``python -m tools.layer_rules``, which also lists names of faces that nobody imports.
"""

from __future__ import annotations

import pytest

from tools.house import THE_HOUSE
from tools.import_graph import PACKAGE, ROOT, read_package
from tools.layer_rules import RULES


@pytest.fixture(scope="module")
def graph():
    return read_package(PACKAGE, ROOT / "definitions.py")


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_the_rooms_keep_the_rule(graph, rule):
    broken = rule(graph, THE_HOUSE)
    assert not broken, "\n".join(["", *broken])
