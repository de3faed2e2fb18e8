"""How alone a table's patients stand: k-anonymity of quasi-identifiers, l-diversity of a sensitive column.

Rows that agree in all quasi-identifiers form a class. A table is k-anonymous when no class holds
fewer than k patients (Sweeney 2002, Int. J. Uncertainty, Fuzziness and Knowledge-Based Systems
10(5)), and l-diverse when every class holds l values of a sensitive column or more (Machanavajjhala
et al. 2007, ACM TKDD 1(1)). Patients are counted, not rows: ten visits hide nobody. The database
counts and only sums come back, so that no patient's value is read, and ten million rows need no memory here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from sqlalchemy import Connection, inspect
from sqlglot import exp

from fedcohort.columns import Numeric
from fedcohort.errors import CohortError, ConfigError, SchemaError
from fedcohort.sources.catalogue.declared import tables_of
from fedcohort.sources.catalogue.schema import FEATURES, PATIENT_ID, Declared, read_declarations
from fedcohort.sources.cohort.dialects import sql_dialect, value_of
from fedcohort.storage.database import reading, select_only

MAX_COLUMNS = 12
_STEPS = (1, 2, 5)


@dataclass(frozen=True)
class Classes:
    """What one grouping of a table's rows counts.

    Attributes:
        n_classes: different combinations of the quasi-identifiers.
        smallest: patients in the smallest class: the table's k.
        n_rows: rows in all.
        rows_below: rows in classes of fewer patients than k.
        least_values: fewest values of the sensitive column in a class: the table's l; None without one.
        rows_uniform: rows in classes that share one sensitive value.
    """

    n_classes: int
    smallest: int
    n_rows: int
    rows_below: int
    least_values: int | None = None
    rows_uniform: int = 0

    @property
    def share_below(self) -> float:
        """Of all rows."""
        return self.rows_below / self.n_rows


@dataclass(frozen=True)
class Change:
    """What the table would be like after a change to one column.

    Attributes:
        column: which one.
        words: what to do.
        classes: what would be counted then.
    """

    column: str
    words: str
    classes: Classes


@dataclass(frozen=True)
class Anonymity:
    """A table's k-anonymity, for the site's engineer.

    Attributes:
        table, quasi, k, sensitive: what was asked.
        classes: as the table is.
        without: each column left out, the one that helps most first.
        coarser: each number in bands.
    """

    table: str
    quasi: tuple[str, ...]
    k: int
    sensitive: str | None
    classes: Classes
    without: tuple[Change, ...]
    coarser: tuple[Change, ...]

    def __str__(self) -> str:
        """The verdict, and a line for every remedy that was tried; counts of classes and rows, no values."""
        now = self.classes
        holds = now.smallest >= self.k
        lines = [
            f"{self.table} by {', '.join(self.quasi)}: {'' if holds else 'NOT '}{self.k}-anonymous; "
            f"the smallest of {now.n_classes:,} classes has {now.smallest:,} patients; "
            f"{_share(now)} stand in classes below {self.k}"
        ]
        if self.sensitive and now.least_values is not None:
            uniform = f"{now.rows_uniform / now.n_rows:.1%} of rows in classes that share one value"
            lines.append(f"{self.sensitive}: {now.least_values}-diverse; {uniform}")
        lines += [
            f"{option.column}: {option.words}: {_share(option.classes)} below"
            for option in self.without + self.coarser
        ]
        if not holds:
            lines.append("coarsen or leave out what helps most, in the mapping or rules, and import again")
        return "\n  ".join(lines)


def _share(classes: Classes) -> str:
    return f"{classes.share_below:.1%} of rows"


@dataclass(frozen=True)
class _Question:
    """One table, asked several times."""

    table: str
    k: int
    sensitive: str | None
    declared: Mapping[str, Declared]
    engine: str

    def sql(self, groups: Sequence[exp.Expr]) -> str:
        """The one SELECT: classes inside, their sums outside."""
        patient = exp.column(exp.to_identifier(PATIENT_ID, quoted=True))
        counts: list[exp.Expr] = [
            exp.alias_(exp.Count(this=exp.Star()), "n_rows"),
            exp.alias_(_distinct(patient), "n_patients"),
        ]
        if self.sensitive:
            counts.append(
                exp.alias_(_distinct(value_of(self.sensitive, self.engine, self.declared)), "n_values")
            )
        table = exp.Table(this=exp.to_identifier(self.table, quoted=True))
        inner = exp.select(*counts).from_(table).group_by(*groups)
        outer = [
            "COUNT(*)",
            "MIN(n_patients)",
            "SUM(n_rows)",
            f"SUM(CASE WHEN n_patients < {self.k} THEN n_rows ELSE 0 END)",
        ]
        if self.sensitive:
            outer += ["MIN(n_values)", "SUM(CASE WHEN n_values < 2 THEN n_rows ELSE 0 END)"]
        return exp.select(*outer).from_(inner.subquery("classes")).sql(dialect=sql_dialect(self.engine))

    def ask(self, connection: Connection, groups: Sequence[exp.Expr]) -> Classes:
        """Count the classes of these expressions."""
        row = connection.exec_driver_sql(self.sql(groups)).one()
        if not row[0]:
            raise CohortError(f"{self.table}: has no rows; import the data first")
        counts = [int(value or 0) for value in row]
        return Classes(*counts)


def _distinct(column: exp.Expr) -> exp.Expr:
    return exp.Count(this=exp.Distinct(expressions=[column]))


def k_anonymity(
    database: str | Path, table: str, quasi: Sequence[str], k: int = 5, sensitive: str | None = None
) -> Anonymity:
    """Count how alone the patients of a table stand.

    Args:
        database: SQLAlchemy URL, or a path of a SQLite file; it is only read.
        quasi: columns that somebody outside may know of a person, such as age, sex and zip3.
        k: patients that a class should hold at least.
        sensitive: the column whose values should differ within a class.
    Raises:
        ConfigError: no column, too many, one twice, or k below 2.
        SchemaError: the table or a column is not there.
        CohortError: the table has no rows.
        StoreError: the database is missing, locked, damaged, or takes too long.
    """
    names = [*quasi, *([sensitive] if sensitive else [])]
    if not 1 <= len(quasi) <= MAX_COLUMNS or len(set(names)) < len(names) or PATIENT_ID in names or k < 2:
        raise ConfigError(
            f"k-anonymity: name 1 to {MAX_COLUMNS} columns other than {PATIENT_ID}, each once, and "
            "a k above 1"
        )
    with reading(database) as connection:
        declared = _declared(connection, table, names)
        select_only(connection)
        question = _Question(table, k, sensitive, declared, connection.dialect.name)
        groups = {name: value_of(name, question.engine, declared) for name in quasi}
        now = question.ask(connection, list(groups.values()))
        without = list(_without(connection, question, groups)) if now.rows_below and len(quasi) > 1 else []
        coarser = list(_coarser(connection, question, groups)) if now.rows_below else []
    order = sorted(without, key=lambda change: change.classes.rows_below)
    return Anonymity(table, tuple(quasi), k, sensitive, now, tuple(order), tuple(coarser))


def _declared(connection: Connection, table: str, names: Sequence[str]) -> dict[str, Declared]:
    inspector = inspect(connection)
    if table not in tables_of(inspector):
        raise SchemaError(f"{table}: the database has no such table; correct --table")
    columns = {column["name"] for column in inspector.get_columns(table)}
    declared = read_declarations(connection, table)
    elements = {
        name for name, entry in declared.items() if entry.position is not None and FEATURES in columns
    }
    missing = sorted(({PATIENT_ID, *names} - columns) - elements)
    if missing:
        raise SchemaError(f"{table}: has no column {', '.join(missing)}; correct --quasi or --sensitive")
    return {name: entry for name, entry in declared.items() if name in columns or name in elements}


def _without(connection: Connection, question: _Question, groups: Mapping[str, exp.Expr]) -> Iterator[Change]:
    for name in groups:
        rest = [group for other, group in groups.items() if other != name]
        yield Change(name, "leave it out", question.ask(connection, rest))


def _coarser(connection: Connection, question: _Question, groups: Mapping[str, exp.Expr]) -> Iterator[Change]:
    for name in groups:
        for width in _widths(question.declared.get(name)):
            banded = exp.Round(
                this=exp.Div(this=exp.paren(groups[name].copy()), expression=exp.Literal.number(width))
            )
            changed = [banded if other == name else group for other, group in groups.items()]
            yield Change(name, f"in bands of {width:g}", question.ask(connection, changed))


def _widths(declared: Declared | None) -> list[float]:
    """Two round widths, of about a twentieth and a tenth of the declared range; none without one."""
    if declared is None or not isinstance(declared.kind, Numeric) or declared.kind.bounds is None:
        return []
    low, high = declared.kind.bounds
    rough = [(high - low) / parts for parts in (20, 10)]
    round_numbers = [step * 10.0**power for power in range(-9, 13) for step in _STEPS]
    widths = [next((number for number in round_numbers if number >= width), None) for width in rough]
    return list(dict.fromkeys(width for width in widths if width is not None))
