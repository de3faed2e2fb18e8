"""A SQL-on-FHIR v2 ViewDefinition, compiled: a resource in, rows out, tuples in the order of its columns.

Source: SQL-on-FHIR v2 (sql-on-fhir.org), "ViewDefinition" and its processing algorithm: columns, select,
forEach, forEachOrNull, repeat, unionAll, where and constants.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from fedcohort.errors import ConfigError, DataError
from fedcohort.sources.fhir.path.compiled import OWN_VARIABLES, compile_path, plain_names
from fedcohort.sources.fhir.path.functions import Path
from fedcohort.sources.fhir.path.values import MAX_STEPS, Items, Scope, truth

Row = tuple[Any, ...]
_Rows = Callable[[Items, Scope], list[Row]]
_Cell = Callable[[Items, Scope], Any]
MAX_DEPTH = 100
"""Of elements that `repeat` follows."""
MAX_NESTED = 20
"""Selects within selects."""


@dataclass(frozen=True)
class View:
    """A compiled view.

    Attributes:
        name: empty where it has none.
        resource: the resource type that it reads.
        columns: names, in the order of a row's values.
    """

    name: str
    resource: str
    columns: tuple[str, ...]
    constants: Mapping[str, Any]
    conditions: tuple[Path, ...]
    make: _Rows

    def rows(self, resource: Mapping[str, Any]) -> list[Row]:
        """The rows of a resource; none where it is of another type, or a condition does not hold.

        Raises:
            DataError: a column has more than one value, a path is not applicable, or it takes too long.
        """
        if resource.get("resourceType") != self.resource:
            return []
        scope = Scope({**self.constants, "resource": resource, "context": resource}, 0, [MAX_STEPS])
        for condition in self.conditions:
            found = condition([resource], scope)
            if any(item.__class__ is not bool for item in found):
                raise DataError("where: a path that is neither true nor false; write exists() behind it")
            if not truth(found):
                return []
        return self.make([resource], scope)


def compile_view(definition: object) -> View:
    """Compile a ViewDefinition.

    Args:
        definition: as its JSON is.
    Raises:
        ConfigError: it is no view, or has a path that is not offered; says where.
    """
    if not isinstance(definition, dict):
        raise ConfigError("a view is a JSON object, a ViewDefinition")
    resource = definition.get("resource")
    if not isinstance(resource, str) or not resource:
        raise ConfigError("resource: name the type that the view reads, such as Observation")
    if not definition.get("select"):
        raise ConfigError("select: a view needs at least one, with columns")
    constants = _constants(definition)
    selects = {"select": definition["select"]}
    columns = _columns(selects, 0)
    doubled = {name for name in columns if columns.count(name) > 1}
    if doubled:
        raise ConfigError(f"column {min(doubled)}: named twice; give one another name")
    compiler = _Compiler(constants)
    conditions = tuple(compiler.path(_dict(one, "where"), "path") for one in _list(definition, "where"))
    name = definition.get("name")
    make = compiler.part(selects)
    return View(str(name or ""), resource, tuple(columns), constants, conditions, make)


def _constants(definition: Mapping[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for entry in _list(definition, "constant"):
        one = _dict(entry, "constant")
        name, values = one.get("name"), [value for key, value in one.items() if key.startswith("value")]
        if not isinstance(name, str) or len(values) != 1 or not isinstance(values[0], str | int | float):
            raise ConfigError("constant: has a name and one value[x], such as valueString")
        if name in OWN_VARIABLES:
            raise ConfigError(f"constant {name}: FHIRPath's own; give another name")
        found[name] = values[0]
    return found


def _list(part: Mapping[str, Any], key: str) -> list[Any]:
    value = part.get(key, [])
    if not isinstance(value, list):
        raise ConfigError(f"{key}: a list is expected")
    return value


def _dict(value: object, place: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ConfigError(f"{place}: an object is expected")
    return value


def _columns(part: Mapping[str, Any], depth: int) -> list[str]:
    """The names of a select's columns, in order.

    Raises:
        ConfigError: one has no name, or the parts of a unionAll differ.
    """
    if depth > MAX_NESTED:
        raise ConfigError(f"select: nested deeper than {MAX_NESTED}; write it flatter")
    names: list[str] = []
    for column in _list(part, "column"):
        name = _dict(column, "column").get("name")
        if not isinstance(name, str) or not name:
            raise ConfigError("column: needs a name")
        names.append(name)
    for inner in _list(part, "select"):
        names += _columns(_dict(inner, "select"), depth + 1)
    unions = [_columns(_dict(union, "unionAll"), depth + 1) for union in _list(part, "unionAll")]
    if any(union != unions[0] for union in unions):
        raise ConfigError("unionAll: its parts have the same columns in the same order; these differ")
    return names + (unions[0] if unions else [])


class _Compiler:
    """Makes closures of the parts of one view."""

    def __init__(self, constants: Mapping[str, Any]) -> None:
        self._constants = constants

    def path(self, part: Mapping[str, Any], key: str) -> Path:
        return self._compiled(part.get(key), key)

    def _compiled(self, text: object, place: str) -> Path:
        try:
            return compile_path(text, self._constants)
        except ConfigError as error:
            raise ConfigError(f"{place}: {error}") from None

    def part(self, part: Mapping[str, Any]) -> _Rows:
        """A select: its columns, its inner selects and its union, for each element that it goes over."""
        makers: list[_Rows] = []
        if columns := _list(part, "column"):
            makers.append(_one_row([self._cell(column) for column in columns]))
        makers += [self.part(inner) for inner in _list(part, "select")]
        if unions := [self.part(union) for union in _list(part, "unionAll")]:
            makers.append(lambda items, scope: [row for union in unions for row in union(items, scope)])
        if not makers:
            raise ConfigError("select: has no column, select or unionAll")
        inner = makers[0] if len(makers) == 1 else _product(makers)
        ways = [key for key in ("forEach", "forEachOrNull", "repeat") if key in part]
        if len(ways) > 1:
            raise ConfigError(f"select: {' and '.join(ways)} exclude each other; nest one in another select")
        if "repeat" in part:
            return _repeated([self._compiled(path, "repeat") for path in _list(part, "repeat")], inner)
        return _each(self.path(part, ways[0]), inner, or_null=ways == ["forEachOrNull"]) if ways else inner

    def _cell(self, column: Mapping[str, Any]) -> _Cell:
        name, path = column["name"], self._compiled(column.get("path"), f"column {column['name']}")
        if column.get("collection"):
            return path

        def cell(items: Items, scope: Scope) -> Any:  # noqa: ANN401 - JSON
            found = path(items, scope)
            if len(found) > 1:
                raise DataError(f"column {name}: more than one value; write first(), or collection: true")
            return found[0] if found else None

        names = plain_names(column["path"]) if "%" not in column["path"] else None
        return _quick_cell(names, cell) if names else cell


def _quick_cell(names: Sequence[str], general: _Cell) -> _Cell:
    """One value down single elements, the frequent case, without a list between; lists go the general way."""

    def cell(items: Items, scope: Scope) -> Any:  # noqa: ANN401 - JSON
        if not items:
            return None
        value = items[0]
        for name in names:
            if value.__class__ is not dict:
                return general(items, scope)
            value = value.get(name)
            if value is None:
                return None
        return general(items, scope) if value.__class__ is list else value

    return cell


def _one_row(cells: Sequence[_Cell]) -> _Rows:
    return lambda items, scope: [tuple([cell(items, scope) for cell in cells])]


def _product(makers: Sequence[_Rows]) -> _Rows:
    """Every row of one beside every row of the next."""

    def product(items: Items, scope: Scope) -> list[Row]:
        rows: list[Row] = [()]
        for make in makers:
            more = make(items, scope)
            if not more:
                return []
            if len(rows) == 1 and len(more) == 1:
                rows = [rows[0] + more[0]]
            else:
                scope.spend(len(rows) * len(more))
                rows = [one + other for one in rows for other in more]
        return rows

    return product


def _each(path: Path, inner: _Rows, *, or_null: bool) -> _Rows:
    def each(items: Items, scope: Scope) -> list[Row]:
        found = path(items, scope)
        if not found:
            return inner([], scope.at(0)) if or_null else []
        scope.spend(len(found))
        return [row for index, item in enumerate(found) for row in inner([item], scope.at(index))]

    return each


def _repeated(paths: Sequence[Path], inner: _Rows) -> _Rows:
    """Every element that the paths reach, each before what it leads to."""

    def reached(item: object, scope: Scope, depth: int) -> list[Any]:
        if depth > MAX_DEPTH:
            raise DataError(f"repeat: nested deeper than {MAX_DEPTH}; leave it out")
        found: list[Any] = []
        for path in paths:
            children = path([item], scope)
            scope.spend(len(children))
            for child in children:
                found += [child, *reached(child, scope, depth + 1)]
        return found

    def repeated(items: Items, scope: Scope) -> list[Row]:
        elements = [one for item in items for one in reached(item, scope, 0)]
        return [row for index, item in enumerate(elements) for row in inner([item], scope.at(index))]

    return repeated
