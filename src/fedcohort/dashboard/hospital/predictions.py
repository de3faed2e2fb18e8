"""Predictions of trained models on the hospital page, for one patient at a time.

A form for people and a REST route for programs of the hospital. They are computed in this process;
neither values nor predictions leave it, are stored or logged.
"""

import base64
import binascii
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from threading import Lock

from flask import Blueprint, Response, abort, jsonify, render_template, request
from flask.typing import ResponseReturnValue
from markupsafe import Markup

from fedcohort.columns import Categorical, Column, Image, Numeric
from fedcohort.dashboard.shared.svg import svg
from fedcohort.dashboard.shared.texts import spoken
from fedcohort.errors import DataError, FedcohortError, StudyError
from fedcohort.figure_texts import said
from fedcohort.figures import Bars, Key, Named, Value
from fedcohort.researcher.inference import Prediction, Predictor
from fedcohort.texts import say
from fedcohort.texts.look_up import carried

FIELD = "column."
"""Before a column's name in the form, so that no column can take another field's place."""
TEXT_BYTES = 64 * 2**10
"""The size of everything in a request that is not an image."""

_wrong_input = (StudyError, DataError)


@dataclass
class PredictionService:
    """The models of one hospital, by the first characters of their study's hash; one prediction at a time."""

    models: Mapping[str, Predictor]
    lock: Lock = field(default_factory=Lock)

    def predict(self, key: str, values: Mapping[str, object]) -> Prediction:
        """The model's prediction for one patient.

        Raises:
            StudyError, DataError: a value does not fit; says which column, and never the value.
        """
        with self.lock:
            return self.models[key].predict_one(values)

    @property
    def most_bytes(self) -> int:
        """The largest request that a model can need: its images in base64, and their names."""
        images = (
            sum(2 * kind.most_bytes for kind in model.cohort.schema_.values() if isinstance(kind, Image))
            for model in self.models.values()
        )
        return TEXT_BYTES + max(images, default=0)


def prediction_service(predictors: Sequence[Predictor]) -> PredictionService:
    """The service of these models, under names that fit an address."""
    return PredictionService({model.study.hash[:12]: model for model in predictors})


def prediction_routes(service: PredictionService) -> Blueprint:
    """The routes: a form a model, `GET /api/models` and `POST /api/models/KEY/predict`."""
    pages = Blueprint("predictions", __name__)

    def model(key: str) -> Predictor:
        return service.models.get(key) or abort(404, say("there is no such model here"))

    def form(key: str, status: int = 200, **more: object) -> ResponseReturnValue:
        predictor = model(key)
        return render_template(
            "predict.html",
            study=predictor.study,
            label=predictor.label,
            fields=_fields(predictor),
            **more,
        ), status

    @pages.get("/models/<key>")
    def ask(key: str) -> ResponseReturnValue:
        return form(key)

    @pages.post("/models/<key>")
    def answer(key: str) -> ResponseReturnValue:
        values = _of_form(model(key))
        try:
            prediction = service.predict(key, values)
        except _wrong_input as error:
            return form(key, 400, given=values, wrong=str(error))
        title, log_odds = _title(prediction), prediction.log_odds
        return form(
            key,
            given=values,
            found=prediction,
            missing=prediction.missing,
            heading=said(title, spoken()),
            chart=_chart(title, prediction.contributions),
            log_odds=_chart(Key("predict.log_odds"), log_odds) if log_odds else None,
        )

    @pages.get("/api/models")
    def models() -> ResponseReturnValue:
        return jsonify(models=[_described(key, model) for key, model in service.models.items()])

    @pages.post("/api/models/<key>/predict")
    def predict(key: str) -> ResponseReturnValue:
        try:
            return jsonify(vars(service.predict(key, _of_json(model(key)))))
        except _wrong_input as error:
            return _refused(error)

    return pages


def _title(prediction: Prediction) -> Key:
    """What the bars are, and in which unit."""
    number: Key | str = Key("predict.in_unit") if prediction.unit is None else prediction.unit
    unit = number if prediction.outcome == prediction.label else Key("predict.in_probability")
    return Key("predict.contributions", {"unit": unit})


def _chart(title: Key, contributions: Mapping[str, float]) -> Markup | None:
    moved = sorted(contributions.items(), key=lambda item: -abs(item[1]))
    bars = tuple(Named(name, Value(value)) for name, value in moved)
    return svg(Bars(name="contributions", section="predict", title=title, bars=bars), spoken())


def _fields(predictor: Predictor) -> list[dict[str, object]]:
    """The form's field of each column."""
    fields: list[dict[str, object]] = []
    for name, kind in predictor.cohort.schema_.items():
        levels = [str(level) for level in kind.levels] if isinstance(kind, Categorical) else []
        shape = kind.shape if isinstance(kind, Image) else None
        fields.append(
            {"name": name, "field": FIELD + name, "levels": levels, "hint": _hint(kind), "shape": shape}
        )
    return fields


def _hint(kind: Column) -> str:
    """A number's unit and range, or that they are not declared."""
    if not isinstance(kind, Numeric):
        return ""
    low, high = (f"{end:g}" for end in kind.bounds or (0.0, 0.0))
    with_unit, without = (
        ("predict.range", "predict.range_without_unit")
        if kind.bounds
        else ("predict.number_of", "predict.number_of_without_unit")
    )
    return spoken()[with_unit if kind.unit else without].format(low=low, high=high, unit=kind.unit)


def _of_form(predictor: Predictor) -> dict[str, object]:
    values: dict[str, object] = {}
    for name, kind in predictor.cohort.schema_.items():
        sent = request.files.get(FIELD + name) if isinstance(kind, Image) else None
        if sent is not None:
            values[name] = sent.read(kind.most_bytes + 1) or None if isinstance(kind, Image) else None
        elif not isinstance(kind, Image):
            values[name] = request.form.get(FIELD + name, "").strip() or None
    return values


def _of_json(predictor: Predictor) -> dict[str, object]:
    """The body's `values`: numbers, texts and null; an image is its PNG file in base64.

    Only a body of type JSON is read: another site's page may not send that.
    """
    body = request.get_json()
    values = body.get("values") if isinstance(body, dict) and body.keys() == {"values"} else None
    if not isinstance(values, dict):
        raise StudyError('the body is not {"values": {COLUMN: VALUE, …}}')
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, str | int | float | None):
            raise StudyError("{name}: give a number, a text or null", name=name)
    schema = predictor.cohort.schema_
    return {name: _image(name, value) if isinstance(schema.get(name), Image) else value
            for name, value in values.items()}  # fmt: skip


def _image(name: str, value: object) -> bytes | None:
    if value is None:
        return None
    try:
        return base64.b64decode(str(value), validate=True)
    except (binascii.Error, ValueError):
        raise StudyError("{name}: give a PNG file in base64", name=name) from None


def _described(key: str, predictor: Predictor) -> dict[str, object]:
    columns = {name: kind.model_dump(mode="json") for name, kind in predictor.cohort.schema_.items()}
    label = predictor.label.model_dump(mode="json")
    study = predictor.study
    return {"key": key, "name": study.name, "study": study.hash, "columns": columns, "label": label}


def _refused(error: FedcohortError) -> tuple[Response, int]:
    return jsonify(code=error.code, **carried(str(error))), 400
