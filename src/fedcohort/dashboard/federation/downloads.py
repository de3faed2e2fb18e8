"""Routes of one study: its curves for the page, and all its files as a ZIP archive."""

import io
import json
import zipfile
from typing import Any, cast

from flask import Flask, Response, jsonify
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.federation.curves import Curves
from fedcohort.dashboard.federation.upstream import Upstream, study_path


def add_downloads(app: Flask, upstream: Upstream) -> None:
    """Routes below /api/studies/ID/."""
    curves = Curves(upstream.read)

    @app.get("/api/studies/<study_id>/curves")
    def study_curves(study_id: str) -> ResponseReturnValue:
        return jsonify(curves.of(study_path(study_id, "/metrics"), study_id))

    @app.get("/api/studies/<study_id>/files")
    def study_files(study_id: str) -> ResponseReturnValue:
        path = study_path(study_id)
        study, report = upstream.read(path), upstream.read(f"{path}/report")
        rows = upstream.read(f"{path}/metrics")["rows"]
        body = packed(study["study"], report, cast("list[Any]", rows), upstream.get_bytes(f"{path}/model"))
        attached = {"Content-Disposition": f'attachment; filename="study-{study_id[:12]}.zip"'}
        return Response(body, mimetype="application/zip", headers=attached)


def packed(study: Any, report: dict[str, Any], rows: list[Any], model: bytes | None) -> bytes:  # noqa: ANN401
    """A finished study as a ZIP file of what `result.save` writes, but for Keras' own format.

    Unpacked it is the folder that `fedcohort predict` and `fc.Evaluate(model=…)` take.

    Args:
        study, report, rows, model: as the coordinator's REST gives them; `model` where it has trained one.
    """
    from fedcohort.arrays import arrays_from_bytes
    from fedcohort.researcher.result import Result
    from fedcohort.study import parse_study

    result = Result(parse_study(study), report, rows, arrays_from_bytes(model) if model else {})
    files = {
        "study.json": result.study.canonical,
        "report.json": json.dumps(report, indent=2).encode(),
        "metrics.csv": result.metrics.to_csv(index=False).encode(),
    }
    if result.has_model:
        files["model.json"] = result.saved_model.model_dump_json().encode()
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return out.getvalue()
