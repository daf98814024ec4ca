"""How large a student may be: the tighter of several limits, and what no student could keep to."""

from __future__ import annotations

import pytest

from gaitforge.cost import Cost
from gaitforge.models import Sizes
from gaitforge.settings import SearchSettings
from search_spaces import SPACES
from trainers.search.budget import Budget, check_budget

COST = Cost(params=100, macs=1000, bytes=500)


def count_cost(sizes: Sizes) -> Cost:
    """A hundred parameters for the smallest TCN, a thousand for the smallest ST-GCN."""
    params = 100 if sizes == SPACES["tcn"].smallest else 1000
    return Cost(params=params, macs=10 * params, bytes=4 * params)


@pytest.mark.parametrize(
    ("budget", "allowed", "excess"),
    [
        (Budget(), True, -1.0),
        (Budget(params=100), True, 0.0),
        (Budget(params=1000), True, -1.0),
        (Budget(params=10), False, 1.0),
        (Budget(macs=100), False, 1.0),
        (Budget(bytes=5), False, 2.0),
        (Budget(params=1000, bytes=499), False, 0.00087),
        (Budget(params=10, macs=10, bytes=500), False, 2.0),
    ],
)
def test_a_student_must_keep_to_every_limit(budget: Budget, allowed: bool, excess: float) -> None:
    assert budget.allows(COST) is allowed
    assert budget.measure_excess(COST) == pytest.approx(excess, abs=1e-5)


@pytest.mark.parametrize(
    ("limits", "params"),
    [
        ({"max_params_share": 0.1}, 1999),  # of 19,999: rounded down
        ({"max_params": 500}, 500),
        ({"max_params": 5000}, 1999),
        ({"max_params": 5000, "max_params_share": None}, 5000),
        ({"max_params_share": None}, None),
    ],
)
def test_the_tighter_limit_of_parameters_counts(
    limits: dict[str, float | None], params: int | None
) -> None:
    settings = SearchSettings(**limits)  # type: ignore[arg-type]
    assert Budget.of(settings, teacher_params=19_999) == Budget(params=params)


def test_operations_and_bytes_have_limits_of_their_own() -> None:
    settings = SearchSettings(max_params_share=None, max_macs=7, max_bytes=8)
    assert Budget.of(settings, teacher_params=1) == Budget(macs=7, bytes=8)


def test_a_budget_is_said_with_all_its_limits() -> None:
    assert str(Budget(params=5000, bytes=20_000)) == "5,000 parameters and 20,000 bytes of weights"
    assert str(Budget(macs=3)) == "3 multiply-accumulates"


@pytest.mark.parametrize("families", [("tcn",), ("tcn", "stgcn")])
def test_a_budget_that_the_smallest_student_breaks_is_refused(families: tuple[str, ...]) -> None:
    settings, budget = SearchSettings(families=families), Budget(params=500, macs=5000)
    if families == ("tcn",):
        check_budget(settings, budget, count_cost)
        return
    with pytest.raises(ValueError, match="smallest stgcn student has 1,000 parameters and 10,000"):
        check_budget(settings, budget, count_cost)


def test_without_limits_nothing_is_refused() -> None:
    check_budget(SearchSettings(), Budget(), count_cost)
