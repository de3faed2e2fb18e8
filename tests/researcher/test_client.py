"""The researcher's side: simulate, read the result, save it, and be told plainly what is wrong."""

import asyncio
import json
import socket
import threading
from pathlib import Path

import httpx
import numpy as np
import pandas as pd
import pytest

import fedcohort as fc
from fedcohort.analyses.kinds import KINDS
from fedcohort.dashboard.shared.application import HEADERS
from fedcohort.errors import ConfigError, FedcohortError, LinkClosedError, StudyError
from fedcohort.figures import to_json
from fedcohort.researcher.client import load_study
from fedcohort.researcher.rest import Rest, open_rest
from tests.analyses.support import FRAMES, POOLED, run, study
from tests.figures import EVERY_TYPE, of_another_version
from tests.patience import PATIENCE_SECONDS


@pytest.fixture(scope="module")
def trained() -> fc.Result:
    return run(study(fc.Train(model="logistic", rounds=4)))


@pytest.mark.training
def test_metrics_have_a_row_for_each_round_and_split(trained: fc.Result) -> None:
    assert list(trained.metrics.columns[:6]) == ["round", "split", "loss", "accuracy", "auc", "seconds"]
    assert trained.metrics["round"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]
    assert set(trained.metrics["split"]) == {"train", "test"}
    assert (trained.metrics["seconds"] > 0).all()


# Keras' own writer of weights is not yet at home in NumPy 2.
@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__ implementation doesn't accept a copy:DeprecationWarning")
def test_a_saved_result_can_be_evaluated_from_its_folder(trained: fc.Result, tmp_path: Path) -> None:
    folder = trained.save(tmp_path / "result")
    names = {path.name for path in folder.iterdir()}
    assert names == {"study.json", "report.json", "metrics.csv", "model.json", "model.keras"}
    again = run(study(fc.Evaluate(model=str(folder))))
    assert again.report["test"]["auc"] == pytest.approx(trained.report["test"]["auc"], abs=1e-6)
    assert fc.load_study(folder / "study.json") == trained.study


@pytest.mark.training
def test_a_folder_that_cannot_be_written_is_named_and_the_result_is_kept(
    trained: fc.Result, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("no folder")
    with pytest.raises(
        fc.StudyError, match=r"file.*: Not a directory; save into a folder that can be written"
    ):
        trained.save(tmp_path / "file" / "result")
    assert trained.metrics["round"].tolist() == [1, 1, 2, 2, 3, 3, 4, 4]


@pytest.mark.training
def test_a_result_draws_and_shows_itself(trained: fc.Result) -> None:
    assert [axes.get_title() for axes in trained.plot().axes] == ["Loss", "Accuracy", "ROC AUC"]
    assert "test auc" in repr(trained)
    described = run(study(fc.Describe()).model_copy(update={"name": "<b>bold</b>"}))
    html = described._repr_html_()
    assert "&lt;b&gt;" in html
    assert "<b>" not in html
    with pytest.raises(fc.StudyError, match="trains no model"):
        described.model  # noqa: B018
    assert [axes.get_title() for axes in described.plot().axes][:1] == ["age"]


@pytest.mark.training
def test_the_main_table_is_a_frame_of_numbers(trained: fc.Result) -> None:
    assert trained.table.loc["auc", "test"] == trained.report["test"]["auc"]
    assert (trained.table.index.name, trained.table.columns[0]) == ("metric", "train")
    described = run(study(fc.Describe()))
    age, smoker = (described.report["describe"][name] for name in ("age", "smoker"))
    assert list(described.table.columns) == ["n", "missing", "mean", "std", "levels"]
    assert described.table.loc["age", "mean"] == age["mean"]
    assert described.table.loc["smoker", "levels"] == smoker["levels"]


def test_a_kind_that_nothing_here_knows_is_shown_by_the_types_of_its_figures() -> None:
    result = of_another_version({"figures": to_json(EVERY_TYPE)})
    assert list(result.table.columns) == ["coef", "coef_low", "coef_high", "se", "p", "low", "high"]
    assert [result.table.loc["age", name] for name in ("coef", "se", "p")] == [0.031, 0.004, 0.00001]
    assert (result.table.loc["bmi", "coef_low"], result.table.loc["bmi", "high"]) == (0.05, "reference")
    html = result._repr_html_()
    for words in ("&lt; 0.001", "<td>placebo</td>", "<td>true b</td>", "<td>0.9 (0.7 to 1.2)</td>"):
        assert words in html
    assert "coef age (years) 0.031" in repr(result)
    drawn = result.plot()
    titles = [axes.get_title() for axes in drawn.axes]
    assert titles == ["Survival", "Weights", "Spread", "Matrix", "Odds ratios", ""]
    assert drawn._repr_png_().startswith(b"\x89PNG")
    nothing = of_another_version({"hazard": 1.5})
    with pytest.raises(fc.StudyError, match="its results have no table"):
        nothing.table  # noqa: B018
    assert nothing.report["hazard"] == 1.5, "as the message says"
    with pytest.raises(fc.StudyError, match="nor another figure"):
        nothing.plot()


def test_it_works_inside_a_running_event_loop() -> None:
    async def notebook() -> fc.Result:
        return run(study(fc.Describe()))

    assert asyncio.run(notebook()).report["rows"] == len(POOLED)


def test_columns_and_label_may_be_bare_names() -> None:
    asked = fc.Study(
        name="bare", cohort=fc.Cohort(columns=["age", "pressure"], label="disease"), analysis=fc.Describe()
    )
    result = run(asked)
    assert result.report["describe"]["pressure"]["mean"] == pytest.approx(POOLED["pressure"].mean(), rel=1e-6)
    assert result.study.cohort.is_explicit


def test_two_hundred_hospitals() -> None:
    draw = np.random.default_rng(0)
    frames = {f"site{index:03d}": pd.DataFrame({"x": draw.normal(size=3)}) for index in range(200)}
    cohort = fc.Cohort(columns={"x": fc.Numeric(-9, 9)}, split=None)
    report = run(fc.Study(name="x", cohort=cohort, analysis=fc.Describe()), frames).report
    expected = pd.concat(frames.values())["x"].mean()
    assert report["describe"]["x"]["mean"] == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda frame: frame.drop(columns="age"), "age"),
        (lambda frame: frame.assign(age=np.inf), "age"),
        (lambda frame: frame.assign(age="old"), "age"),
        (lambda frame: frame.assign(disease=2), "disease"),
        (lambda frame: frame.assign(smoker="sometimes"), "smoker"),
        (lambda frame: frame.assign(set="holiday"), "set"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused_by_column(change: object, said: str) -> None:
    assert callable(change)
    frames = {**FRAMES, "b": change(FRAMES["b"])}
    with pytest.raises(FedcohortError, match=said):
        run(study(fc.Train(model="logistic", rounds=1)), frames)


def test_a_cohort_that_selects_nobody_is_refused() -> None:
    with pytest.raises(FedcohortError, match="nothing"):
        run(study(fc.Describe(), where="age > 200"))


@pytest.mark.training
def test_hospitals_without_a_training_row_cannot_train() -> None:
    with pytest.raises(FedcohortError, match="train"):
        run(study(fc.Train(model="logistic", rounds=1)), {"a": FRAMES["a"].assign(set="test")})


def test_a_single_hospital_is_tried_without_a_protection_that_could_hide_nothing() -> None:
    asked = study(fc.Describe()).model_copy(update={"protection": "paillier", "key_bits": 2048})
    result = run(asked, {"a": FRAMES["a"]})
    assert result.report["protection"]["kind"] == "none"
    assert result.study.min_sites == 1


def test_no_hospital_is_no_federation() -> None:
    with pytest.raises(fc.StudyError, match="at least one frame"):
        fc.simulate({})


def test_a_coordinator_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(LinkClosedError, match="cannot be reached"):
        fc.connect("http://127.0.0.1:9", key_file=tmp_path / "r.key")
    with pytest.raises(FedcohortError, match="https://"):
        fc.connect("coordinator:8760", key_file=tmp_path / "r.key")


@pytest.mark.parametrize("body", ["{}", "[]", "hello", '{"sites": 1}'])
def test_another_server_at_the_address_is_told_apart(body: str) -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(200, text=body))
    rest = Rest(httpx.Client(base_url="http://127.0.0.1:9", transport=transport))
    with pytest.raises(LinkClosedError, match="is no coordinator of this version"):
        rest.get("/api/studies")["studies"]


@pytest.mark.parametrize(
    "url",
    [
        "http://192.0.2.2:18999",
        "http://localhost.example:8760",
        "http://127.0.0.1.example",
        "http://[2001:db8::1]",
    ],
)
def test_no_token_goes_in_plain_text_to_another_machine(tmp_path: Path, url: str) -> None:
    with pytest.raises(ConfigError, match="plain text is only allowed on this machine itself; use https://"):
        fc.connect(url, token="secret", key_file=tmp_path / "r.key")


def test_no_proxy_is_shown_the_token_for_this_machine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        proxy.setblocking(False)
        monkeypatch.setenv("HTTP_PROXY", f"http://127.0.0.1:{proxy.getsockname()[1]}")
        monkeypatch.delenv("NO_PROXY", raising=False)
        with pytest.raises(LinkClosedError, match="ConnectError"):
            fc.connect("http://127.0.0.1:9", token="secret", key_file=tmp_path / "r.key")
        with pytest.raises(BlockingIOError):
            proxy.accept()


def test_every_public_name_is_there() -> None:
    assert sorted(fc.__all__) == fc.__all__
    questions = {question.__name__ for question in KINDS.values()}
    assert questions <= set(dir(fc))
    assert all(getattr(fc, name).__doc__ for name in {*fc.__all__, *questions})
    with pytest.raises(AttributeError):
        fc.nothing  # noqa: B018


@pytest.mark.training
@pytest.mark.filterwarnings("ignore:__array__")  # of Keras, which converts its variables in an old way
def test_a_saved_folder_loads_as_the_result_that_it_was(tmp_path: Path) -> None:
    frames = {site: ward_frame(number) for number, site in enumerate("ab")}
    cohort = fc.Cohort(columns={"x": fc.Numeric(-9, 9)}, label=fc.Binary("y"))
    train = fc.Train(model="logistic", rounds=2, importance=False)
    result = fc.simulate(frames).run(fc.Study(name="kept", cohort=cohort, analysis=train), progress=False)
    loaded = fc.load_result(result.save(tmp_path / "kept"))
    assert (loaded.study, loaded.report) == (result.study, json.loads(json.dumps(result.report)))
    pd.testing.assert_frame_equal(loaded.metrics, result.metrics, check_dtype=False, check_exact=True)
    assert loaded.saved_model == result.saved_model
    assert loaded.predict(frames["a"]).tobytes() == result.predict(frames["a"]).tobytes()
    assert repr(loaded) == repr(result)
    for name in ("report.json", "metrics.csv", "study.json"):
        text = (tmp_path / "kept" / name).read_text()
        (tmp_path / "kept" / name).write_text("")
        with pytest.raises(fc.StudyError, match=r"kept"):
            fc.load_result(tmp_path / "kept")
        (tmp_path / "kept" / name).write_text(text)
    with pytest.raises(fc.StudyError, match=r"study\.json.*give the folder that result\.save wrote"):
        fc.load_result(tmp_path)


@pytest.mark.training
def test_a_hold_out_of_nobody_is_no_split_in_python_and_in_toml(tmp_path: Path) -> None:
    path = tmp_path / "study.toml"
    path.write_text(
        'name = "all train"\n[cohort]\ncolumns = ["x"]\nlabel = "y"\nsplit = { fraction = 0 }\n'
        '[analysis]\nkind = "train"\nmodel = "logistic"\nrounds = 2\nimportance = false\n'
    )
    study = fc.load_study(path)
    assert study.cohort.split is None
    assert study.cohort == fc.Cohort(columns=["x"], label="y", split=fc.Holdout(0))
    frames = {site: ward_frame(number) for number, site in enumerate("ab")}
    result = fc.simulate(frames).run(study, progress=False)
    assert {row["split"] for row in result.rows} == {"train"}
    assert "auc" in result.report["train"]
    assert "test" not in result.report
    with pytest.raises(fc.StudyError, match="fraction: is missing; write it"):
        fc.Holdout()


def ward_frame(seed: int) -> pd.DataFrame:
    """Sixty patients whose illness goes with x."""
    draw = np.random.default_rng(seed)
    x = draw.normal(0, 2, 60).clip(-9, 9)
    ids = [f"s{seed}p{number}" for number in range(60)]
    return pd.DataFrame({"patient_id": ids, "x": x, "y": (x + draw.normal(0, 1, 60) > 0).astype(int)})


def test_what_is_python_or_empty_is_not_called_wrong_json(tmp_path: Path) -> None:
    with pytest.raises(StudyError, match=r"x\.py: a study is read from TOML or JSON; run what is Python"):
        load_study(tmp_path / "x.py")
    for name in ("empty.toml", "empty.json"):
        (tmp_path / name).write_text("\n")
        with pytest.raises(StudyError, match="is empty; write name"):
            load_study(tmp_path / name)


def test_the_address_of_a_page_is_told_from_the_coordinators() -> None:
    transport = httpx.MockTransport(lambda request: httpx.Response(401, json={}, headers=HEADERS))
    rest = Rest(httpx.Client(base_url="http://127.0.0.1:9", transport=transport))
    with pytest.raises(ConfigError, match=r"address of a page for people.*give the coordinator's own"):
        rest.get("/api/federation")


def test_a_connection_that_the_server_is_about_to_close_is_not_used_again(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The server answers once a connection, and resets it where it is asked again."""
    monkeypatch.setattr("fedcohort.researcher.rest.IDLE_SECONDS", 0.0)

    def serve(listener: socket.socket) -> None:
        for _ in range(2):
            connection, _ = listener.accept()
            connection.recv(65536)
            connection.sendall(b'HTTP/1.1 200 OK\r\nContent-Length: 8\r\n\r\n{"a": 1}')
            kept.append(connection)

    kept: list[socket.socket] = []
    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve, args=(listener,), daemon=True)
        thread.start()
        rest = open_rest(f"http://127.0.0.1:{listener.getsockname()[1]}", "token", None)
        with rest.client:
            assert [rest.get("/api/federation")["a"] for _ in range(2)] == [1, 1]
        thread.join(PATIENCE_SECONDS)
    assert len(kept) == 2
    for connection in kept:
        connection.close()
