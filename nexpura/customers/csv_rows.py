"""The customer file: a CSV read once from front to back, each fault with its line and column.

    bytes -> lines of UTF-8 -> records -> Row

Whatever makes the file unreadable or ambiguous raises `Refused`; no message repeats what stands in the file.
What is merely unusable for one customer (a mistyped address) is not judged here.
"""

from __future__ import annotations

import csv
import operator
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from pathlib import Path
from typing import BinaryIO, NamedTuple

from nexpura.audience.address import TRIMMED, address_of
from nexpura.audience.fold import fold
from nexpura.customers import intake

COLUMNS = (
    "external_id",
    "first_name",
    "last_name",
    "email",
    "phone",
    "marketing_consent",
    "consent_at",
    "consent_source",
    "consent_wording",
    "tags",
)
NEEDED = ("email",)
SHORT = COLUMNS[:5]
"""The columns of limited length; the others are judged by themselves."""
MOST_PROBLEMS = 20
LONGEST_LINE = 1_000_000
AS_UTF8 = 'save it as "CSV UTF-8 (comma delimited)" and import that file'

_MOMENT = re.compile(
    r"(?P<day>\d{4}-\d\d-\d\d)(?P<clock>[T ]\d\d:\d\d(:\d\d(\.\d{1,6})?)?(Z|[+-]\d\d:?\d\d)?)?", re.ASCII
)
_FIELD = re.compile(r'(?:"(?:[^"]|"")*"|(?!")[^,\r\n]*)(?=,|\r?\n|\Z)')


@dataclass(frozen=True, slots=True)
class Problem:
    """What is wrong, and where; `column` is blank where it is about a whole line."""

    line: int
    column: str
    message: str

    def __str__(self) -> str:
        where = f"line {self.line}, column {self.column}" if self.column else f"line {self.line}"
        return f"{where}: {self.message}"


class Refused(Exception):  # reads as a sentence where it is caught
    """The file cannot be imported as it is. Nothing was."""

    def __init__(self, *problems: Problem) -> None:
        super().__init__("\n".join(map(str, problems)))
        self.problems = problems


class Row(NamedTuple):  # made a million times: a frozen dataclass takes three times as long
    """One line of the file: what it says about one customer."""

    line: int
    external_id: str = ""
    first_name: str = ""
    last_name: str = ""
    email: str = ""
    phone: str = ""
    granted: bool | None = None
    claimed_at: datetime | None = None
    source: str = ""
    wording: str = ""
    tags: tuple[str, ...] = ()
    address: str = ""
    """What the e-mail stands for, worked out once."""
    names: tuple[str, str] = ("", "")
    """First and last name, folded as one looks them up."""


@dataclass(frozen=True, slots=True)
class Header:
    """Which column of ours stands where, and which columns are not ours."""

    names: tuple[str, ...]
    extra: tuple[str, ...] = field(default=())


def read_header(path: Path) -> Header:
    """Return the header of the file."""
    with path.open("rb") as file:
        return _header(next(_records(_Lines(file), ()), None))


def read(path: Path, *, zone: tzinfo, now: datetime) -> Iterator[Row]:
    """Yield the rows of the file, holding one in memory.

    Dates without a zone are read in `zone`. A day without a time of day is, for a grant, its beginning, and for
    a withdrawal its end: doubt is the person's, not the shop's. Raises `Refused`, with the first few problems.
    """
    problems: list[Problem] = []
    with path.open("rb") as file:
        lines = _Lines(file)
        header = _header(next(_records(lines, ()), None))
        row_of = _Rows(header, zone, now).row
        for line, fields in _records(lines, header.names):
            row = row_of(line, fields)
            if isinstance(row, Row):
                yield row
                continue
            problems.extend(row)
            if len(problems) >= MOST_PROBLEMS:
                break
    if problems:
        raise Refused(*problems)


# --- lines and records ----------------------------------------------------------------------------


class _Lines:
    """The file's lines as text; keeps those of the record being read, to say where it went wrong."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._number = 0
        self.record: list[str] = []

    def __iter__(self) -> _Lines:
        return self

    def __next__(self) -> str:
        raw = self._file.readline(LONGEST_LINE + 1)
        if not raw:
            raise StopIteration
        self._number += 1
        if self._number == 1:
            raw = _without_mark(raw)
        if len(raw) > LONGEST_LINE:
            raise Refused(Problem(self._number, "", "the line is longer than a million bytes; is this a CSV file?"))
        try:
            text = raw.decode()
        except UnicodeDecodeError as error:
            self.record.append(raw[: error.start].decode())
            raise _BrokenError(f"byte {error.start + 1} is not UTF-8; {AS_UTF8}") from None
        nul = text.find("\0")
        self.record.append(text if nul < 0 else text[:nul])
        if nul >= 0:
            raise _BrokenError(f"character {nul + 1} is a NUL byte, which no text has; {AS_UTF8}")
        return text

    @property
    def begun_at(self) -> int:
        """The line on which the record being read began."""
        return self._number - len(self.record) + 1


class _BrokenError(Exception):
    """The record being read ends here: the place is the end of what was kept of it."""


def _without_mark(raw: bytes) -> bytes:
    if raw.startswith((b"\xff\xfe", b"\xfe\xff")):
        raise Refused(Problem(1, "", f"the file is in UTF-16, not UTF-8; {AS_UTF8}"))
    return raw.removeprefix(b"\xef\xbb\xbf")


def _records(lines: _Lines, names: Sequence[str]) -> Iterator[tuple[int, list[str]]]:
    """Yield each record with the line it begins on; blank lines are none."""
    reader = csv.reader(lines, strict=True)
    while True:
        lines.record.clear()
        try:
            fields = next(reader, None)
        except _BrokenError as error:
            raw = "".join(lines.record)
            line = lines.begun_at + raw.count("\n")
            raise Refused(Problem(line, _name(names, _field_at_end(raw)), str(error))) from None
        except csv.Error:
            raise Refused(_quoting_problem(lines, names)) from None
        if fields is None:
            return
        if fields:
            yield lines.begun_at, fields


def _quoting_problem(lines: _Lines, names: Sequence[str]) -> Problem:
    """Find the field whose quotation marks do not add up."""
    raw = "".join(lines.record)
    place = number = 0
    while (match := _FIELD.match(raw, place)) and raw[match.end() : match.end() + 1] == ",":
        place, number = match.end() + 1, number + 1
    line = lines.begun_at + raw.count("\n", 0, place)
    if raw[place : place + 1] != '"':
        return Problem(line, _name(names, number), "a line ends in the middle of a field; " + AS_UTF8)
    return Problem(
        line,
        _name(names, number),
        'the quotation marks do not match; a field begins and ends with one, and one inside it is doubled ("")',
    )


def _field_at_end(raw: str) -> int:
    """Return the number of the field in which this beginning of a record ends."""
    quoted, number = False, 0
    for letter in raw:
        if letter == '"':
            quoted = not quoted
        elif letter == "," and not quoted:
            number += 1
    return number


def _name(names: Sequence[str], number: int) -> str:
    return names[number] if number < len(names) else str(number + 1)


# --- header and rows ------------------------------------------------------------------------------


def _header(record: tuple[int, list[str]] | None) -> Header:
    if record is None:
        raise Refused(Problem(1, "", f"the file is empty; its first line names the columns: {', '.join(COLUMNS)}"))
    line, fields = record
    names = tuple(name.strip(TRIMMED).lower() for name in fields)
    problems = [Problem(line, str(place), "the column has no name") for place, name in enumerate(names, 1) if not name]
    twice = sorted({name for name in names if name and names.count(name) > 1})
    problems += [Problem(line, name, "there are two columns of this name") for name in twice]
    problems += [
        Problem(line, name, f"the column is missing; known columns are {', '.join(COLUMNS)}.{_hint(fields)}")
        for name in NEEDED
        if name not in names
    ]
    if problems:
        raise Refused(*problems[:MOST_PROBLEMS])
    return Header(names, tuple(name for name in names if name not in COLUMNS))


def _hint(fields: Sequence[str]) -> str:
    if len(fields) == 1 and (";" in fields[0] or "\t" in fields[0]):
        return f" The columns of this file are not separated by commas; {AS_UTF8}."
    return ""


class _Rows:
    """Makes rows of records: what can be worked out once for the whole file is."""

    def __init__(self, header: Header, zone: tzinfo, now: datetime) -> None:
        self._header = header
        self._places = [header.names.index(name) if name in header.names else -1 for name in COLUMNS]
        self._limits = [intake.LONGEST[name] for name in SHORT]
        self._when: Callable[[str, bool], _When] = lru_cache(10_000)(  # a file names few days, again and again
            lambda text, end_of_day: _when(text, zone, now, end_of_day=end_of_day)
        )

    def row(self, line: int, fields: list[str]) -> Row | list[Problem]:
        header = self._header
        if len(fields) != len(header.names):
            place = _name(header.names, min(len(fields), len(header.names)))
            message = f"the line has {len(fields)} fields and the header {len(header.names)}; is a comma unquoted?"
            return [Problem(line, place, message)]
        said = [fields[place].strip(TRIMMED) if place >= 0 else "" for place in self._places]
        external_id, first_name, last_name, email, phone, consent, at, source, wording, tagged = said
        tags = intake.tags_of(tagged) if tagged else ()
        granted = _SAID.get(consent.lower()) if consent else None
        when = self._when(at, granted is False) if at else _AT_NO_TIME
        if (
            any(map(operator.gt, map(len, said), self._limits))
            or (tags and max(map(len, tags)) > intake.LONGEST_TAG)
            or (granted is None and consent)
            or when.problem
        ):
            return _row_problems(line, said, tags, granted, when)
        first_name, last_name = intake.words(first_name), intake.words(last_name)
        return Row(
            line,
            intake.words(external_id),
            first_name,
            last_name,
            email,
            phone,
            granted,
            when.moment,
            source.lower(),
            wording,
            tags,
            address_of(email),
            (fold(first_name), fold(last_name)),
        )


_SAID = {"yes": True, "no": False}


def _row_problems(
    line: int, said: Sequence[str], tags: Sequence[str], granted: bool | None, when: _When
) -> list[Problem]:
    text = dict(zip(COLUMNS, said, strict=True))
    problems = [
        Problem(line, name, f"the field is longer than {longest} characters")
        for name, longest in intake.LONGEST.items()
        if len(text[name]) > longest
    ]
    if any(len(tag) > intake.LONGEST_TAG for tag in tags):
        problems.append(Problem(line, "tags", f"a tag is longer than {intake.LONGEST_TAG} characters"))
    if granted is None and text["marketing_consent"]:
        problems.append(Problem(line, "marketing_consent", "write yes, no, or leave it empty"))
    if when.problem:
        problems.append(Problem(line, "consent_at", when.problem))
    return problems


class _When(NamedTuple):
    """The moment a consent_at stands for, or what is wrong with it."""

    moment: datetime | None = None
    problem: str = ""


_AT_NO_TIME = _When()


def _when(text: str, zone: tzinfo, now: datetime, *, end_of_day: bool) -> _When:
    moment = _moment(text, zone, end_of_day=end_of_day)
    problem = _date_problem(moment, zone, now)
    return _When(None, problem) if moment is None or problem else _When(moment.astimezone(UTC))


def _moment(text: str, zone: tzinfo, *, end_of_day: bool) -> datetime | None:
    """Return the moment a consent_at stands for; None for one that is blank or no date."""
    match = _MOMENT.fullmatch(text)
    if not match:
        return None
    try:
        if not match["clock"]:
            whole = time.max if end_of_day else time.min
            return datetime.combine(date.fromisoformat(text), whole, zone)
        moment = datetime.fromisoformat(text)
        return moment if moment.tzinfo else moment.replace(tzinfo=zone)
    except ValueError:
        return None


def _date_problem(claimed_at: datetime | None, zone: tzinfo, now: datetime) -> str:
    if claimed_at is None:
        return "this is not a date; write 2026-03-14 or 2026-03-14T10:30"
    if claimed_at.year < 1970:
        return "the date lies before 1970; check its year"
    if claimed_at > now + timedelta(minutes=5) and claimed_at.date() > now.astimezone(zone).date():
        return "the date lies in the future"
    if claimed_at > now + timedelta(minutes=5) and claimed_at.time() != time.max:
        return "the time lies in the future"
    return ""
