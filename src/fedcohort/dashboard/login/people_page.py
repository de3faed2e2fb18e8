"""The operator's page of accounts: their list, a new one, and the link that sets a password."""

from flask import Flask, render_template, request
from flask.typing import ResponseReturnValue

from fedcohort.dashboard.login.access import AccessControl, visitor
from fedcohort.dashboard.login.people import People, fold, password_link
from fedcohort.dashboard.login.roles import ROLES
from fedcohort.dashboard.shared.settings import Settings
from fedcohort.errors import ConfigError, NotFoundError


def add_people_page(app: Flask, access: AccessControl, settings: Settings) -> None:
    """Routes for operators only (`roles`)."""

    @app.get("/people")
    def people() -> ResponseReturnValue:
        return _page(access.accounts)

    @app.post("/people")
    def change_people() -> ResponseReturnValue:
        here, asking, name = access.accounts, visitor(), request.form.get("name", "")
        what = request.form.get("what")
        by = asking.name if asking else ""
        link = ""
        try:
            if what == "add":
                link = here.add(name, request.form.get("role", ""), by)
            elif what == "reset":
                link = here.reset(name, by)
            elif what == "enable":
                here.enable(name, by)
            elif what != "disable":
                return _page(here, problem="people.nothing", status=422)
            elif fold(name) == fold(by):
                return _page(here, problem="people.not_yourself", status=422)
            else:
                here.disable(name, by)
        except (ConfigError, NotFoundError) as error:
            return _page(here, words=str(error), status=422)
        return _page(here, link=password_link(settings.address or request.url_root, link) if link else "")


def _page(
    people: People, *, link: str = "", problem: str = "", words: str = "", status: int = 200
) -> ResponseReturnValue:
    accounts = people.all()
    page = render_template(
        "people.html", people=accounts, roles=ROLES, link=link, problem=problem, words=words
    )
    return page, status
