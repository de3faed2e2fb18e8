"""What a finished study shows: its figures as JSON for the page, and each picture as a PNG."""

import threading
from collections.abc import Mapping
from typing import Any

from flask import Flask, Response, jsonify
from flask.typing import ResponseReturnValue

from fedcohort.analyses.figures import figures_of
from fedcohort.dashboard.federation.upstream import Upstream, study_path
from fedcohort.dashboard.shared.texts import spoken
from fedcohort.errors import NotFoundError
from fedcohort.figure_texts import Texts, heading
from fedcohort.figures import Figure, to_json

_drawing = threading.Lock()


def add_figures(app: Flask, upstream: Upstream) -> None:
    """Routes below /api/studies/ID/."""

    def figures(study_id: str) -> tuple[str, tuple[Figure, ...]]:
        path = study_path(study_id)
        study: Mapping[str, Any] = upstream.read(path)
        return str(study["name"]), figures_of(study["study"], upstream.read(f"{path}/report"))

    @app.get("/api/studies/<study_id>/figures")
    def study_figures(study_id: str) -> ResponseReturnValue:
        return jsonify(figures=to_json(figures(study_id)[1]))

    @app.get("/api/studies/<study_id>/figures/<name>.png")
    def study_picture(study_id: str, name: str) -> ResponseReturnValue:
        from fedcohort.researcher.picture import drawable

        study, made = figures(study_id)
        found = next((figure for figure in drawable(made) if figure.name == name), None)
        if found is None:
            raise NotFoundError("the study has no such picture")
        return Response(figure_png(found, study, spoken()), mimetype="image/png")


def figure_png(figure: Figure, study: str, texts: Texts) -> bytes:
    """The figure below the study's name; one at a time, for matplotlib shares its fonts between threads.

    Args:
        study: plain text; nothing in it is read as a formula.
    """
    from fedcohort.researcher.picture import alone

    with _drawing:
        return alone(figure, f"{study}: {heading(figure, texts)}", texts).png()
