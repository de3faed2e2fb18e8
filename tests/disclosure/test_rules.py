"""The rules as site.toml, a study and an approval say them."""

from dataclasses import replace
from typing import Any

import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.disclosure.magnitudes import coarse_step, dominated, to_step
from fedcohort.disclosure.rules import Disclosure, read_rules, rules_text, strictest
from fedcohort.errors import StudyError, WireError
from fedcohort.handed_in import check_handed_in
from fedcohort.wire.codec import decode, encode
from fedcohort.wire.messages import Approval
from fedcohort.wire.signing import approval_signing_bytes


def test_the_strictest_of_each_rule_wins() -> None:
    one = Disclosure(min_cell=5, min_dof=20, max_share=0.9, rounding=2)
    other = Disclosure(min_cell=20, p_percent=0.2, max_parameters=0.05, rounding=5)
    both = strictest([one, other])
    assert both.model_dump() == {
        "min_cell": 20,
        "min_dof": 20,
        "max_share": 0.85,
        "p_percent": 0.2,
        "max_parameters": 0.05,
        "rounding": 10,
    }
    assert strictest([]) == Disclosure()


def test_the_default_is_said_by_nothing() -> None:
    assert rules_text(Disclosure()) == ""
    assert read_rules("") == Disclosure()
    assert read_rules(rules_text(Disclosure(min_cell=3))) == Disclosure(min_cell=3)


@pytest.mark.parametrize("text", ["{", "[]", '{"min_cell":0}', '{"min_cells":3}', '{"max_share":NaN}'])
def test_rules_that_are_none_are_refused(text: str) -> None:
    with pytest.raises(WireError, match="rules of disclosure"):
        read_rules(text)


def study(**more: Any) -> fc.Study:
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 100)})
    return fc.Study(name="ages", cohort=cohort, analysis=fc.Describe(), **more)


def test_a_study_asks_for_stricter_rules_and_keeps_its_hash_without() -> None:
    assert b"disclosure" not in study().canonical
    asked = study(disclosure=fc.Disclosure(min_cell=20))
    assert asked.hash != study().hash
    assert fc.Study.model_validate_json(asked.canonical) == asked


def test_rules_under_privacy_are_refused() -> None:
    with pytest.raises(StudyError, match="leave it out"):
        check_handed_in(study(disclosure=fc.Disclosure(), privacy=fc.Privacy(epsilon=1.0)))
    check_handed_in(study(privacy=fc.Privacy(epsilon=1.0)))


def test_a_simulation_takes_rules_and_nothing_else() -> None:
    frames = {"a": pd.DataFrame({"patient_id": ["1"], "age": [50.0]})}
    rules: Any = 10
    with pytest.raises(StudyError, match=r"give fc\.Disclosure"):
        fc.simulate(frames, disclosure=rules)
    assert fc.simulate(frames, disclosure=fc.Disclosure(min_cell=rules)).disclosure == fc.Disclosure()


def test_two_values_that_are_most_of_a_total_dominate_it() -> None:
    values = [100.0, 90.0, 1.0, 2.0]
    assert dominated(sum(values), sum(value**2 for value in values), Disclosure())
    even = [10.0] * 20
    assert not dominated(sum(even), sum(value**2 for value in even), Disclosure())


def test_a_mean_is_rounded_to_what_ten_patients_could_move_it_by() -> None:
    assert coarse_step(9.0, 920, 10) == pytest.approx(0.1)
    assert to_step(53.51, 0.1) == pytest.approx(53.5)
    assert coarse_step(9.0, 920, 1) == 0.0


YES = Approval("a" * 64, "north", approved=True, max_rounds=5, expires_at=9, signature=bytes(64))


def approval(rules: Disclosure) -> Approval:
    return replace(YES, disclosure=rules_text(rules))


def test_an_approval_carries_a_sites_rules_and_its_signature_covers_them() -> None:
    default, own = approval(Disclosure()), approval(Disclosure(min_cell=3))
    assert decode(encode(own)) == own
    assert decode(encode(default)) == default
    assert approval_signing_bytes(own) != approval_signing_bytes(default)
    assert approval_signing_bytes(own) != approval_signing_bytes(approval(Disclosure(min_cell=4)))


def test_the_default_leaves_the_bytes_that_earlier_versions_signed() -> None:
    assert encode(approval(Disclosure())) == encode(YES)
    assert approval_signing_bytes(approval(Disclosure())) == approval_signing_bytes(YES)


def test_rules_that_are_too_long_are_no_message() -> None:
    with pytest.raises(WireError, match="disclosure"):
        decode(encode(replace(YES, disclosure="x" * 2_000)))
