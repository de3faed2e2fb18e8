"""Whatever a study asks, a hospital reads it in its language: no sentence of `explain` is left English."""

import ast
import json
import re
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import fedcohort as fc
from fedcohort.dashboard.shared import explained as module
from fedcohort.dashboard.shared.explained import READINESS, sentence
from fedcohort.explain import explain, privacy_words, protection_words
from fedcohort.node import readiness, readiness_rows, readiness_trust, readiness_words
from fedcohort.study import SavedModel, Study
from fedcohort.texts.look_up import translated

WHERE = "age >= 18 and sex = 'f'"
ENGLISH = re.compile(r"[a-z]{3,} [a-z]{2,} [a-z]{2,}")
HAN = re.compile(r"[\u4e00-\u9fff]")
PLACES = re.compile(r"\{(\w+)")
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


def test_every_sentence_of_every_study_is_chinese() -> None:
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


def sentences(module: ModuleType) -> set[str]:
    """Every text of a module that a person reads, with numbers and names in its places."""
    tree = ast.parse(Path(str(module.__file__)).read_text(encoding="utf-8"))
    docs = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    inner = {id(part) for node in ast.walk(tree) if isinstance(node, ast.JoinedStr) for part in node.values}
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            parts = (part.value if isinstance(part, ast.Constant) else "7" for part in node.values)
            found.add("".join(map(str, parts)))
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            found |= {node.value} if id(node) not in docs | inner else set()
    return {text for text in found if re.search(r"[a-z]{2,} [a-z]{2,}", text)}


READY = (readiness, readiness_rows, readiness_words, readiness_trust)
PIECES = {"no 7 patients", " and no ", "not ready", "; the study narrows it to 7"}
"""Of which a sentence is made, or a verdict."""


def test_every_sentence_of_readiness_is_chinese() -> None:
    texts = {text for module in READY for text in sentences(module)} - PIECES
    assert len(texts) > 45
    assert {text for text in texts if not HAN.search(sentence(text, "zh", READINESS))} == set()
    told = sentence("FLOAT, 18 to 90 years; the study narrows it to 20 to 80", "zh", READINESS)
    assert told == "FLOAT，18 到 90 years；研究将其收窄为 20 到 80"


def test_a_translation_of_readiness_keeps_its_values() -> None:
    book = json.loads((Path(module.__file__).parent / "readiness_zh.json").read_text(encoding="utf-8"))
    for english, text in book.items():
        assert sorted(PLACES.findall(english)) == sorted(PLACES.findall(text)), english
    told = sentence("missing: under 5 %; outside 18 to 90: none", "zh", READINESS)
    assert told == "缺失：不足 5 %；在 18 到 90 之外：无"
    two = sentence("check the mapping, or leave the column out of the study; compare the unit with the "
                   "study's: such values count as the bound", "zh", READINESS)  # fmt: skip
    assert two == "检查映射，或在研究中不用该列；与研究的单位比较：这样的值按边界计"


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


@pytest.mark.parametrize("words", ["", "A sentence that readiness never says."])
def test_what_has_no_translation_stays_as_it_is(words: str) -> None:
    assert sentence(words, "zh", READINESS) == words
