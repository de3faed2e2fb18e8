"""ViewDefinitions beyond the official cases: what is refused, where, and what bounds there are."""

from typing import Any

import pytest

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.fhir.view import MAX_DEPTH, MAX_NESTED, compile_view

ID = {"name": "id", "path": "id"}


def view(*selects: Any, **more: Any) -> dict[str, Any]:
    return {"resource": "Patient", "select": list(selects), **more}


@pytest.mark.parametrize(
    ("definition", "told"),
    [
        ([], "a view is a JSON object"),
        ({"select": [{"column": [ID]}]}, "resource: name the type"),
        (view(), "select: a view needs at least one"),
        (view({}), "select: has no column"),
        (view("x"), "select: an object is expected"),
        (view({"column": {}}), "column: a list is expected"),
        (view({"column": [{"path": "id"}]}), "column: needs a name"),
        (view({"column": [{"name": "a"}]}), "column a: a path is a text"),
        (view({"column": [{"name": "a", "path": "b c"}]}), "column a: b c: character 3: c is not expected"),
        (view({"column": [ID]}, {"column": [ID]}), "column id: named twice"),
        (view({"column": [ID], "forEach": "name", "repeat": ["a"]}), "exclude each other"),
        (view({"column": [ID], "repeat": "a"}), "repeat: a list is expected"),
        (view({"column": [ID]}, where=[{"path": "a("}]), "path: a"),
        (view({"column": [ID]}, constant=[{"name": "a"}]), "constant: has a name and one value"),
        (view({"column": [ID]}, constant=[{"name": "rowIndex", "valueString": "a"}]), "FHIRPath's own"),
    ],
)
def test_a_view_that_cannot_be_read_is_refused_with_its_place(definition: object, told: str) -> None:
    with pytest.raises(ConfigError) as caught:
        compile_view(definition)
    assert told in str(caught.value)


def test_selects_are_nested_only_so_deep() -> None:
    part: dict[str, Any] = {"column": [ID]}
    for _ in range(MAX_NESTED + 1):
        part = {"select": [part]}
    with pytest.raises(ConfigError, match="nested deeper"):
        compile_view(view(part))


def test_repeat_follows_only_so_deep() -> None:
    resource: dict[str, Any] = {"resourceType": "Patient", "id": "p"}
    inner = resource
    for _ in range(MAX_DEPTH + 2):
        inner["item"] = [{"id": "i"}]
        inner = inner["item"][0]
    with pytest.raises(DataError, match="repeat: nested deeper"):
        compile_view(view({"repeat": ["item"], "column": [ID]})).rows(resource)


def test_a_product_of_lists_is_bounded() -> None:
    wide = {"resourceType": "Patient", "a": [{"id": "x"}] * 2000, "b": [{"id": "y"}] * 2000}
    product = compile_view(
        view(
            {"forEach": "a", "column": [{"name": "one", "path": "id"}]},
            {"forEach": "b", "column": [{"name": "two", "path": "id"}]},
        )
    )
    with pytest.raises(DataError, match="takes more than"):
        product.rows(wide)


def test_another_type_of_resource_has_no_rows() -> None:
    assert compile_view(view({"column": [ID]})).rows({"resourceType": "Group", "id": "g"}) == []


def test_several_values_of_a_column_are_refused_even_down_a_plain_path() -> None:
    names = compile_view(view({"column": [{"name": "family", "path": "name.family"}]}))
    assert names.rows({"resourceType": "Patient", "name": [{"family": "Ng"}]}) == [("Ng",)]
    assert names.rows({"resourceType": "Patient", "name": {"family": "Ng"}}) == [("Ng",)]
    with pytest.raises(DataError, match=r"column family: more than one value; write first\(\)"):
        names.rows({"resourceType": "Patient", "name": [{"family": "Ng"}, {"family": "Ong"}]})
