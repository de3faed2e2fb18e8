"""Whatever a study asks, a hospital reads it in its language: no sentence of `explain` is left English."""

import ast
import inspect
import re
from collections.abc import Iterator
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import fedcohort as fc
from fedcohort.analyses import measure
from fedcohort.analyses.intervals import drawn
from fedcohort.explain import explain, privacy_words, protection_words
from fedcohort.node import policy, readiness, readiness_rows, readiness_trust, readiness_words
from fedcohort.sources.catalogue.described import Described
from fedcohort.sources.catalogue.schema import Declared
from fedcohort.study import SavedModel, Study
from fedcohort.texts import say
from fedcohort.texts.look_up import translated

WHERE = "age >= 18 and sex = 'f'"
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")
HAN = re.compile(r"[\u4e00-\u9fff]")
COLUMNS: dict[str, Any] = {
    "age": fc.Numeric(18, 90), "bmi": fc.Numeric(), "sex": fc.Categorical(("f", "m")),
    "scan": fc.Image(8, 9, 3), "mask": fc.Image(8, 9, 1), "Label": fc.Numeric(0, 1),
}  # fmt: skip
LABELS: list[Any] = [
    fc.Binary("ill"), fc.Classes("kind", ("x", "y", "z")), fc.Number(column="score", low=0, high=9),
    fc.Survival("t", "e"), None,
]  # fmt: skip


def tried(**given: Any) -> Study | None:
    """A study, where there is such a one."""
    try:
        return fc.Study(name="what: one of x; y", **given)
    except fc.FedcohortError:
        return None


def studies() -> Iterator[Study]:
    """Every kind of sentence that a study can lead to."""
    analyses: list[Any] = [
        fc.Describe(),
        fc.Train(rounds=3),
        fc.Train(rounds=3, importance=False, algorithm="fedsgd", weights="AAAA"),
    ]
    analyses += [fc.Train.private(rounds=7), fc.Train.private(rounds=7, algorithm="fedavg", importance=False)]
    private: list[Any] = [
        None,
        fc.Privacy(epsilon=1.0, dropouts=1),
        fc.Privacy(epsilon=0.05, rows_per_patient=3),
    ]
    private += [fc.Privacy(epsilon=2.0, sites_per_patient=2, cohort_test=0.1)]
    private += [fc.Privacy(epsilon=30.0, delta=1e-3)]
    splits: list[Any] = [None, fc.Holdout(0.2), "set"]
    kinds: list[Any] = [COLUMNS, {name: COLUMNS[name] for name in ("age", "sex", "Label")}, ["age"]]
    for columns, label, split, analysis, privacy in product(kinds, LABELS, splits, analyses, private):
        for protection in ("masks", "none", "paillier"):
            try:
                cohort = fc.Cohort(columns=columns, label=label, split=split, where=WHERE if split else None)
            except fc.FedcohortError:
                continue
            study = tried(cohort=cohort, analysis=analysis, privacy=privacy, protection=protection)
            if study is not None:
                yield study


def unbounded(language: str) -> str:
    """A private study of a number whose bounds neither it nor the hospital declares, as explained there."""
    asked = tried(cohort=fc.Cohort(columns=["bmi"]), analysis=fc.Describe(), privacy=fc.Privacy(epsilon=1.0))
    assert asked is not None
    return explain(asked, filled=fc.Cohort(columns={"bmi": fc.Numeric()}), language=language)


def test_every_sentence_of_every_study_is_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    # How wide an interval will be is in a sentence as a number, whatever number it is.
    monkeypatch.setattr(measure, "drawn", partial(drawn, draws=5))
    whole = unbounded("zh")
    assert not ENGLISH.search(whole), whole
    seen, english = 0, set()
    for study in studies():
        units = dict.fromkeys(study.cohort.schema_, "kg")
        lines = explain(study, "ada", b"k" * 32, language="zh").split("\n")
        lines += explain(study, units=units, language="zh").split("\n")
        for n_sites in (2, 3, 9):
            said = [*protection_words(study, n_sites), *privacy_words(study, n_sites)]
            lines += [translated(one, "zh") for one in said]
        english |= {line for line in lines if line and not HAN.search(line)}
        english |= {
            line for line in lines if re.search(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}", line.split("满足")[0])
        }
        seen += 1
    assert seen > 200
    assert english == set()


READY = (readiness, readiness_rows, readiness_words, readiness_trust)


def shown(node: ast.expr) -> bool:
    """Whether a part of a line is a text, or what comes from elsewhere: a type of SQL, or nothing."""
    if isinstance(node, ast.IfExp):
        return shown(node.body) and shown(node.orelse)
    return not isinstance(node, ast.JoinedStr | ast.BinOp | ast.Constant) or is_empty(node)


def is_empty(node: ast.expr) -> bool:
    return isinstance(node, ast.Constant) and node.value == ""


def test_every_line_of_readiness_is_made_of_texts() -> None:
    lines = 0
    for module in READY:
        for node in ast.walk(ast.parse(Path(str(module.__file__)).read_text("utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Line":
                lines += 1
                assert all(shown(part) for part in (node.args[0], *node.args[2:])), ast.unparse(node)
    assert lines > 30


def test_every_rule_of_a_site_has_a_name_in_chinese() -> None:
    tree = ast.parse(inspect.getsource(policy.rules))
    names = [ast.literal_eval(one.value.elts[0]) for one in ast.walk(tree)
             if isinstance(one, ast.Yield) and isinstance(one.value, ast.Tuple)]  # fmt: skip
    assert len(names) > 6
    assert [name for name in names if translated(name, "zh") == name] == []


def test_what_readiness_found_is_told_in_chinese() -> None:
    bounds, narrow = (18.0, 90.0), (20.0, 80.0)
    column = described(fc.Numeric(*bounds), "years")
    line = readiness_words._fit(say("column {name}", name="age"), fc.Numeric(*narrow), column)
    assert translated(line.what, "zh") == "列 age"
    assert line.found == "FLOAT, 18 to 90 years; the study narrows it to 20 to 80"
    assert translated(line.found, "zh") == "FLOAT，18 到 90 years；研究将其收窄为 20 到 80"
    gaps = np.array([*[20.0] * 96, *[np.nan] * 4])
    told = readiness_rows._values("age", fc.Numeric(*bounds), gaps)
    assert translated(told.found, "zh") == "缺失：不足 5 %；在 18 到 90 之外：无"
    wrong = readiness_rows._values("age", fc.Numeric(*bounds), np.array([1.0, np.nan, np.nan]))
    assert translated(wrong.remedy, "zh") == (
        "检查映射，或在研究中不用该列；与研究的单位比较：这样的值按边界计"
    )


def described(kind: fc.Numeric, unit: str) -> Described:
    return Described("FLOAT", {"kind": "numeric"}, Declared(kind, unit))


def test_a_model_of_the_researchers_own_is_explained() -> None:
    saved = SavedModel(model="logistic", weights="", mean=(0.0,), deviation=(1.0,))
    cohort = fc.Cohort(columns={"age": fc.Numeric(0, 1)}, label=fc.Binary("ill"), split=fc.Holdout(0.2))
    asked = tried(cohort=cohort, analysis=fc.Evaluate(saved))
    assert asked is not None
    words = explain(asked, language="zh")
    assert "用本院的患者评估一个已训练的模型；该模型是研究的一部分。" in words
    assert "一次，对研究中的模型：按划分的损失之和、判断正确的行数" in words
    assert not ENGLISH.search(words)
    private = asked.model_copy(update={"privacy": fc.Privacy(epsilon=1.0)})
    assert "一次，对研究中的模型，全部带噪声：按划分，" in explain(private, language="zh")
    own = {"class_name": "Functional", "config": {}}
    trained = asked.model_copy(update={"analysis": fc.Train.model_construct(model=own, rounds=3)})
    assert "以 fedavg 训练研究者自己的 Keras 模型，共 3 轮。" in explain(trained, language="zh")


def test_what_a_researcher_writes_is_not_translated_and_fills_no_place() -> None:
    study = fc.Study(
        name="{name} \\1 What is asked",
        cohort=fc.Cohort(columns={"age": fc.Numeric(0, 1)}),
        analysis=fc.Describe(),
    )
    assert "研究：{name} \\1 What is asked" in explain(study, language="zh")
    assert "Study: {name} \\1 What is asked" in explain(study)
