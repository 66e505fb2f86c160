"""Does `posagent check` in the till name what was broken, whom to send for and whether cards can be taken?"""

from __future__ import annotations

import pytest

from tests.lab.confusion import look
from tests.lab.faults import Fault
from tests.lab.healthy import Variant
from tests.lab.store import Store
from tests.lab.wider import FAULTS, VARIANTS


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_a_fault_is_named_with_its_party_and_verdict(store: Store, fault: Fault) -> None:
    with store.fault(fault):
        seen = look(store, fault)
    assert not seen.problems


@pytest.mark.parametrize("variant", VARIANTS.values(), ids=VARIANTS)
def test_a_healthy_store_gets_no_diagnosis(store: Store, variant: Variant) -> None:
    with store.fault(variant):
        seen = look(store, variant)
    assert not seen.problems
