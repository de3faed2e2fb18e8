"""The language in which a page answers, and every answer in it.

A reader's language is the one chosen on the page, kept in a cookie, or else the browser's
(RFC 9110, section 12.5.4, "Accept-Language"), or else English.
"""

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import SupportsInt
from urllib.parse import urlencode

from flask import Flask, Response, abort, request

from fedcohort.texts.look_up import languages, page_texts, received, translated

LANGUAGES = languages()
COOKIE = "fedcohort_language"
COOKIE_SECONDS = 365 * 24 * 3600


def spoken() -> dict[str, str]:
    """The texts of the language in which this request is answered."""
    return page_texts(_language())


def speak(app: Flask) -> None:
    """Answer in the reader's language: `t` in templates; `?language=zh` on any page changes it for good."""
    app.context_processor(lambda: {"t": spoken(), "languages": LANGUAGES, "in_language": _in_language})
    app.add_template_filter(lambda iso: date(iso, spoken()), "date")
    app.add_template_filter(whole, "whole")
    app.add_template_filter(lambda text: translated(text, _language()), "translated")
    app.add_url_rule("/static/texts/<language>.json", "texts", _file)
    app.after_request(_translated)
    app.after_request(_remember)


def _file(language: str) -> Response:
    """The pages' own texts, for scripts in a browser."""
    if language not in LANGUAGES:
        abort(404)
    answer = Response(json.dumps(page_texts(language), ensure_ascii=False), mimetype="application/json")
    answer.add_etag()
    answer.make_conditional(request)
    return answer


def date(iso: str, texts: Mapping[str, str], form: str = "date.whole") -> str:
    """A moment in UTC as the language writes it; what is no date stays as it is.

    Args:
        form: `date.whole` with the time of day, or `date.day`.
    """
    try:
        at = datetime.fromisoformat(iso).astimezone(UTC)
    except ValueError:
        return iso
    month = texts[f"date.month.{at.month}"]
    return texts[form].format(year=at.year, month=month, day=at.day, time=f"{at:%H:%M:%S}")


def whole(number: SupportsInt | str) -> str:
    """A whole number with its thousands parted, which both languages do alike."""
    return f"{int(number):,}" if str(number).isdigit() else str(number)


def _language() -> str:
    for chosen in (request.args.get("language"), request.cookies.get(COOKIE)):
        if chosen in LANGUAGES:
            return str(chosen)
    accepted = (tag.partition("-")[0].lower() for tag in request.accept_languages.values())
    return next((language for language in accepted if language in LANGUAGES), "en")


def _in_language(language: str) -> str:
    """The query of this very page in another language."""
    return "?" + urlencode({**request.args.to_dict(), "language": language})


def _translated(response: Response) -> Response:
    """What is wrong, where an answer says so: with a request, or with the study that it is about."""
    language = _language()
    whole = response.is_json and not response.is_streamed and "Content-Encoding" not in response.headers
    if language == "en" or not whole or request.endpoint == "texts":
        return response
    body = response.get_json()
    faults = [body, body.get("error")] if isinstance(body, dict) else []
    told = [one for one in faults if isinstance(one, dict) and isinstance(one.get("message"), str)]
    for one in told:
        one["message"] = translated(received(one) or one["message"], language)
    if told:
        response.set_data(json.dumps(body, ensure_ascii=False))
    return response


def _remember(response: Response) -> Response:
    if request.args.get("language") in LANGUAGES:
        response.set_cookie(
            COOKIE,
            request.args["language"],
            max_age=COOKIE_SECONDS,
            secure=request.is_secure,
            httponly=True,
            samesite="Strict",
        )
    return response
