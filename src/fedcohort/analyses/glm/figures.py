"""What a regression shows: its coefficients, how well it fits, and a forest plot."""

from collections.abc import Mapping
from typing import Any

from fedcohort.analyses.coefficient_table import coefficient_table, forest_plot
from fedcohort.figures import Column, Figure, Format, Key, Row, Table, Value

SECTION = "glm"
RATIOS = {"binomial": "odds_ratio", "poisson": "rate_ratio", "negative_binomial": "rate_ratio"}
FIT = (
    "loglik", "penalised_loglik", "reml_criterion", "null_loglik", "deviance", "null_deviance",
    "pearson_chi2", "aic", "bic", "alpha", "hospital_sd", "model_degrees", "residual_degrees", "residual_sd",
)  # fmt: skip

FORMATS: tuple[tuple[str, Format], ...] = (("i2", "share"), ("tau2", "number"), ("q", "number"), ("q_p", "p"))

Json = Mapping[str, Any]


def figures(report: Json, study: Json) -> tuple[Figure, ...]:
    """Coefficients first."""
    glm = report["glm"]
    name = RATIOS.get(glm["family"])
    ratio = None if name is None else Key(f"coefficients.{name}")
    forest = forest_plot(glm["coefficients"], SECTION, ratio)
    made = (
        coefficient_table(glm["coefficients"], SECTION, ratio, _notes(report, glm)),
        forest,
        _fit(glm),
        _heterogeneity(glm),
    )
    return tuple(figure for figure in made if figure is not None)


def _notes(report: Json, glm: Json) -> list[Key]:
    counted: dict[str, str | int | float | Key] = {"n": glm["n"], "missing": report["missing"]}
    notes = [Key("glm.model", {"formula": glm["formula"], "family": Key(f"glm.{glm['family']}")})]
    notes.append(
        Key("glm.events", {**counted, "events": glm["events"]})
        if "events" in glm
        else Key("glm.rows", counted)
    )
    if glm["se"] != "model":
        notes.append(Key("glm.robust"))
    if glm.get("firth"):
        notes.append(Key("glm.firth"))
    if glm["site"] in ("fixed", "random"):
        notes.append(Key(f"glm.{glm['site']}"))
    if glm["site"] == "meta":
        notes.append(Key("glm.meta", {"n": glm["hospitals"]}))
    test = glm.get("likelihood_ratio")
    if test and test["p"] is not None:
        said = {"statistic": f"{test['statistic']:.4g}", "degrees": test["degrees"], "p": f"{test['p']:.2g}"}
        notes.append(Key("glm.likelihood_ratio", said))
    return notes


def _heterogeneity(glm: Json) -> Table | None:
    """How far hospitals differ in each coefficient."""
    if not any("i2" in row for row in glm["coefficients"]):
        return None
    return Table(
        name="heterogeneity",
        section=SECTION,
        title=Key("glm.heterogeneity"),
        index=Column("term", Key("coefficients.term")),
        columns=tuple(Column(name, Key(f"glm.{name}"), format) for name, format in FORMATS),
        rows=tuple(
            Row(row["name"], tuple(Value(row[name]) for name, _ in FORMATS)) for row in glm["coefficients"]
        ),
    )


def _fit(glm: Json) -> Table | None:
    there = [name for name in FIT if glm.get(name) is not None]
    if not there:
        return None
    return Table(
        name="fit",
        section=SECTION,
        title=Key("glm.fit"),
        index=Column("measure", Key("glm.measure")),
        columns=(Column("value", Key("glm.value")),),
        rows=tuple(Row(name, (Value(float(glm[name])),), Key(f"glm.{name}")) for name in there),
    )
