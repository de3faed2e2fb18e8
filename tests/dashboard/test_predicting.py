"""A trained model on the hospital's own page: a patient's values in, an answer out, and nothing kept."""

import base64
import io
import logging
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from flask.testing import FlaskClient
from playwright.sync_api import Browser

import fedcohort as fc
from fedcohort.columns import Binary, Categorical, Numeric
from fedcohort.dashboard.hospital.app import build_hospital_page
from fedcohort.dashboard.shared.application import close_app
from fedcohort.dashboard.shared.serve import Listen, address_of, open_server
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.node.store import SqlNodeStore
from fedcohort.researcher.inference import Predictor
from fedcohort.researcher.result import Result
from fedcohort.sources.catalogue.stored_images import encode_image
from tests.build import cohort, frame_of, ward_rows
from tests.node.test_ledger import policy

from .accounts import Browser as Users
from .accounts import csrf_of, write_people
from .browser import watched

HOSTILE = '<img src=x onerror="document.title=1">'
VALUES = {"age": 81, "bp": 150, "sex": "m"}
HERE = {"base_url": "http://127.0.0.1:5001"}


@pytest.fixture(scope="module")
def trained() -> Result:
    analysis = fc.Train(model="logistic", rounds=10, importance=False)
    frames = {site: frame_of(ward_rows(index)) for index, site in enumerate("ab")}
    return fc.simulate(frames).run(fc.Study(name=HOSTILE, cohort=cohort(), analysis=analysis), progress=False)


@pytest.fixture
def client(trained: Result, tmp_path: Path) -> Iterator[FlaskClient]:
    app = build_hospital_page(policy(tmp_path), SqlNodeStore(tmp_path / "node.db"), [trained.predictor])
    yield app.test_client()
    close_app(app)


@pytest.fixture
def key(trained: Result) -> str:
    return trained.study.hash[:12]


@pytest.mark.training
def test_a_program_asks_about_a_patient_and_hears_what_the_result_itself_says(
    trained: Result, client: FlaskClient, key: str
) -> None:
    (model,) = client.get("/api/models", **HERE).get_json()["models"]
    assert (model["key"], model["study"], list(model["columns"])) == (key, trained.study.hash, list(VALUES))
    found = client.post(f"/api/models/{key}/predict", json={"values": VALUES}, **HERE).get_json()
    expected = trained.predictor.predict_one(VALUES)
    assert found["value"] == pytest.approx(expected.value)
    assert found["baseline"] + sum(found["contributions"].values()) == pytest.approx(found["value"], abs=1e-6)


@pytest.mark.training
@pytest.mark.parametrize(
    "body",
    [
        {"values": {"age": 181}},
        {"values": {"age": "old"}},
        {"values": {"age": "6_3"}},
        {"values": {"age": "６３"}},
        {"values": {"age": "63,5"}},
        {"values": {"age": True}},
        {"values": {"age": [1]}},
        {"values": {"height": 1}},
        {"values": []},
        {"values": {}, "more": 1},
        [],
    ],
)
def test_values_that_do_not_fit_are_refused_in_words_without_them(
    client: FlaskClient, key: str, body: object
) -> None:
    answer = client.post(f"/api/models/{key}/predict", json=body, **HERE)
    assert answer.status_code == 400
    assert answer.get_json().keys() <= {"code", "message", "template", "values"}
    assert "181" not in answer.text
    assert "old" not in answer.text


@pytest.mark.training
def test_what_is_no_json_or_too_long_or_for_no_model_is_refused(client: FlaskClient, key: str) -> None:
    asked = f"/api/models/{key}/predict"
    assert client.post(asked, data="{}", content_type="text/plain", **HERE).status_code == 415
    assert client.post(asked, data="{", content_type="application/json", **HERE).status_code == 400
    assert client.post(asked, json={"values": {"age": "1" * 2**17}}, **HERE).status_code == 413
    assert client.post("/api/models/0123/predict", json={"values": {}}, **HERE).status_code == 404
    assert client.get("/models/0123", **HERE).status_code == 404


@pytest.mark.training
def test_the_form_is_taken_from_its_own_page_only(client: FlaskClient, key: str) -> None:
    away = {"Origin": "http://evil.example"}
    assert client.post(f"/models/{key}", data={"column.age": "60"}, headers=away, **HERE).status_code == 403


@pytest.mark.training
def test_a_form_says_what_is_wrong_in_its_readers_language(client: FlaskClient, key: str) -> None:
    answer = client.post(f"/models/{key}?language=zh", data={"column.age": "181"}, **HERE)
    assert answer.status_code == 400
    assert "age：在 18 到 100 之外；请检查该值" in answer.text


@pytest.mark.training
def test_a_form_names_what_is_wrong_and_a_hostile_name_stays_text(client: FlaskClient, key: str) -> None:
    answer = client.post(f"/models/{key}", data={"column.age": "181"}, **HERE)
    assert answer.status_code == 400
    assert "age: outside 18 to 100" in answer.text
    assert "<img src=x" not in answer.text
    assert "&lt;img src=x" in answer.text


def with_units(trained: Result) -> Predictor:
    """The same model as a study over sites that declare units would have it."""
    kinds = {"age": Numeric(18, 100, unit="years"), "bp": Numeric(80, 200), "sex": Categorical(("f", "m"))}
    label = Binary("ill", positive="case", negative="control")
    asked = trained.study.cohort.model_copy(update={"columns": kinds, "label": label})
    return Predictor(trained.study.model_copy(update={"cohort": asked}), trained.saved_model)


@pytest.mark.training
def test_the_form_says_unit_and_range_of_each_number_and_what_its_classes_are_called(
    trained: Result, tmp_path: Path
) -> None:
    predictor = with_units(trained)
    app = build_hospital_page(policy(tmp_path), SqlNodeStore(tmp_path / "node.db"), [predictor])
    page, key = app.test_client(), predictor.study.hash[:12]
    shown = page.get(f"/models/{key}", **HERE)
    form = shown.text
    assert 'id="column.age.hint">18 to 100 years</span>' in form
    assert 'aria-describedby="column.age.hint"' in form
    assert 'id="column.bp.hint">80 to 200; unit not declared</span>' in form
    values = {"column.age": "81", "csrf": csrf_of(shown)}
    answered = page.post(f"/models/{key}", data=values, **HERE).text
    assert "Probability of ill = case: " in answered
    assert "case counts as yes, control as no (ill)." in answered
    assert "Counted as missing: bp, sex." in answered
    refused = page.post(f"/models/{key}", data=values | {"column.age": "8100"}, **HERE)
    assert refused.status_code == 400
    assert "age: outside 18 to 100 in years; check the value and its unit" in refused.text
    assert "Probability of" not in refused.text
    (told,) = page.get("/api/models", **HERE).get_json()["models"]
    assert told["columns"]["age"] == {"low": 18.0, "high": 100.0, "unit": "years"}
    assert told["label"] == {"column": "ill", "positive": "case", "negative": "control"}
    chinese = {"Accept-Language": "zh-CN"}
    assert "18 至 100 years" in page.get(f"/models/{key}", headers=chinese, **HERE).text
    close_app(app)


@pytest.mark.training
def test_neither_values_nor_answers_are_kept_or_logged(
    client: FlaskClient, key: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with caplog.at_level(logging.DEBUG):
        answer = client.post(f"/api/models/{key}/predict", json={"values": {"age": 87.654321}}, **HERE)
    assert answer.headers["Cache-Control"] == "no-store"
    assert "87.654321" not in caplog.text
    assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before


@pytest.mark.training
def test_a_picture_comes_as_a_png_file(tmp_path: Path) -> None:
    draw = np.random.default_rng(3)
    frame = pd.DataFrame({"patient_id": [f"p{n}" for n in range(40)], "ill": [n % 2 for n in range(40)]})
    scans = [draw.integers(0, 256, (8, 8, 1)).astype(np.uint8) // (1 + n % 2) for n in range(40)]
    frame["scan"] = pd.Series(scans, dtype=object)
    columns = {"scan": fc.Image(8, 8)}
    study = fc.Study(
        name="scans",
        cohort=fc.Cohort(columns=columns, label=fc.Binary("ill")),
        analysis=fc.Train(model="cnn_medical", rounds=1, importance=False),
        protection="none",
    )
    predictor = fc.simulate({"a": frame}).run(study, progress=False).predictor
    app = build_hospital_page(policy(tmp_path), SqlNodeStore(tmp_path / "node.db"), [predictor])
    client, key = app.test_client(), predictor.study.hash[:12]
    png = encode_image(scans[0])
    text = base64.b64encode(png).decode()
    answer = client.post(f"/api/models/{key}/predict", json={"values": {"scan": text}}, **HERE)
    assert answer.status_code == 200, answer.text
    assert answer.get_json()["value"] == pytest.approx(predictor.predict_one({"scan": png}).value)
    for wrong, said in (
        ("no base64!", "scan: give a PNG file in base64"),
        (base64.b64encode(b"x").decode(), ""),
    ):
        answer = client.post(f"/api/models/{key}/predict", json={"values": {"scan": wrong}}, **HERE)
        assert (answer.status_code, said in answer.get_json()["message"]) == (400, True), answer.text
    sent = client.post(f"/models/{key}", data={"column.scan": (io.BytesIO(png), "scan.png")}, **HERE)
    assert "Probability of ill = 1" in sent.text
    close_app(app)


@pytest.mark.browser
def test_a_clinician_fills_the_form_and_reads_the_answer(
    trained: Result, key: str, tmp_path: Path, browser: Browser
) -> None:
    app = build_hospital_page(policy(tmp_path), SqlNodeStore(tmp_path / "node.db"), [trained.predictor])
    listen = Listen("127.0.0.1", 0)
    server = open_server(app, Settings(), listen)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    try:
        with watched(browser) as seen:
            seen.page.goto(address_of(listen, server.port))
            seen.page.get_by_role("link", name=HOSTILE).click()
            seen.page.get_by_label("age").fill("81")
            seen.page.get_by_label("sex").select_option("m")
            seen.page.get_by_role("button", name="Predict").click()
            seen.page.get_by_role("status").wait_for()
            expected = trained.predictor.predict_one({"age": 81, "sex": "m"}).value
            assert f"Probability of ill = 1: {100 * expected:.1f} %" in seen.text("main")
            assert seen.page.title() == "fedcohort"
            assert seen.complaints == []
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
        close_app(app)


@pytest.mark.training
def test_with_accounts_people_log_in_to_ask_and_programs_show_the_token(
    trained: Result, key: str, tmp_path: Path
) -> None:
    people, token = write_people(tmp_path / "people.db"), "a token for programs"
    settings = Settings(people=people, dashboard_token=token)
    store = SqlNodeStore(tmp_path / "node.db")
    app = build_hospital_page(policy(tmp_path), store, [trained.predictor], settings)
    asked, body = f"/api/models/{key}/predict", {"values": VALUES}
    bearer = {"Authorization": f"Bearer {token}"}
    assert app.test_client().post(asked, json=body).status_code == 401
    assert app.test_client().post(asked, json=body, headers=bearer).status_code == 200
    owner = Users(app, people, "data-owner")
    assert owner.client.post(asked, json=body).get_json()["code"] == "not-own-page"
    form = csrf_of(owner.get(f"/models/{key}"))
    assert len(form) == 64
    answer = owner.post(f"/models/{key}", {"column.age": "81"})
    assert (answer.status_code, "Probability of ill = 1" in answer.text) == (200, True)
    assert Users(app, people, "researcher").post(f"/models/{key}").status_code == 403
    close_app(app)


def test_the_page_shows_what_each_column_of_a_score_adds_in_both_units(tmp_path: Path) -> None:
    score = fc.Coefficients({"age": 0.03, "sex=m": 0.4}, intercept=-5.1, missing={"age": 60})
    study = fc.Study(name="a score", cohort=cohort(), analysis=fc.Evaluate(model=score))
    predictor = Predictor(study, score)
    app = build_hospital_page(policy(tmp_path), SqlNodeStore(tmp_path / "node.db"), [predictor])
    key = study.hash[:12]
    said = app.test_client().post(f"/api/models/{key}/predict", json={"values": VALUES}, **HERE).get_json()
    assert said["log_odds"] == pytest.approx({"age": 0.63, "bp": 0.0, "sex": 0.4})
    assert said["value"] == pytest.approx(1 / (1 + np.exp(5.1 - 0.03 * 81 - 0.4)), rel=1e-12)
    form = {f"column.{name}": str(value) for name, value in VALUES.items()}
    page = app.test_client().post(f"/models/{key}", data=form, **HERE).text
    assert "Contribution of each column, in probability (0 to 1)" in page
    assert "log-odds" in page
    assert "+0.63" in page
    close_app(app)
