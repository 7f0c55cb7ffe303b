"""Comparison of a dataset's card with the record beside it.

:func:`card_differences` tells what a card says and the record does not give, and
:func:`card_omissions` what our own card would say and this one leaves out. Both are pure functions
from plain data to sentences, for the corpus pass and for a reader's command alike.
What is compared are facts (names, numbers with their units, files), never the wording: a card that
an earlier version wrote, or that a person has added a paragraph to, says nothing wrong. Pictures
are not looked at, nor are numbers in words.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from itertools import zip_longest
from typing import Any, Final

from inferencebench_pipeline.envelope import EnvelopeError, ReadEnvelope
from inferencebench_pipeline.errors import PermanentError
from inferencebench_pipeline.hub.dataset.card import (
    Row,
    card_title,
    front_matter,
    headline_rows,
    metric_label,
    metric_rows,
)
from inferencebench_pipeline.hub.dataset.card_text import (
    A_UNIT,
    numbers_of,
    numbers_with_units,
    page_text,
    plain_text,
    read_number,
    table_rows,
    titles,
)
from inferencebench_pipeline.hub.dataset.name_comparison import contradicted_words
from inferencebench_pipeline.untrusted import YamlDocumentError, parse_yaml, printable

CARD_KEY: Final = "inferencebench"
"""The front-matter key that repeats envelope fields for consumers that index cards."""
CLAIMING_KEYS: Final = (
    CARD_KEY, "pretty_name", "tags", "base_model", "model", "model_name", "model-index", "configs",
)  # fmt: skip
"""The keys of the front matter that say something about the record."""
MAX_CARD_BYTES: Final = 1 << 20
"""Largest card that is compared; one that is written here has some ten thousand bytes."""

_SHOWN_CHARACTERS: Final = 120
_MOST_CLAIMS: Final = 2_000
"""Rows and numbers of one card that are compared; a card with more says so itself."""
_MOST_SENTENCES: Final = 20
_FENCE: Final = re.compile(r"^---[ \t]*\n(.*?)^---[ \t]*(?:\n|\Z)", re.DOTALL | re.MULTILINE)
_MODEL_ID: Final = re.compile(r"[\w.-]+/[\w.-]+")
_TIME: Final = re.compile(r"ms|milli|sec", re.IGNORECASE)
_MULTIPLES: Final = {"k": 1e3, "thousand": 1e3, "m": 1e6, "million": 1e6}
_OF_TIME: Final = (1.0, 1e3, 1e-3)
"""Ratios of the units in which a time may be told: seconds and milliseconds."""
_OF_SHARES: Final = (1.0, 1e2, 1e-2)
"""Ratios of the units in which a share may be told: a number up to 1, and per cent."""
_COLUMNS: Final = {"value": "value", "unit": "unit", "samples": "n", "95 % interval": "interval"}


class CardError(PermanentError):
    """The card is too large, or its front matter is not YAML."""


@dataclass(frozen=True)
class Card:
    """A dataset's card: its front matter, and the page below it."""

    front: Mapping[str, Any]
    body: str

    @cached_property
    def rows(self) -> list[tuple[list[str], list[str]]]:
        """The rows of the page's tables, each with the names of its columns."""
        return list(table_rows(self.body))


def read_card(data: bytes) -> Card:
    """Return the card in the bytes of ``README.md``; one without front matter has an empty one.

    Raises:
        CardError: it is too large, not UTF-8, or its front matter is not one YAML mapping.
    """
    body, block = _split(data)
    try:
        front = parse_yaml(block, what="the card's front matter", max_bytes=MAX_CARD_BYTES).value
    except YamlDocumentError as error:
        raise CardError(str(error)) from error
    if front is None:
        front = {}
    if not isinstance(front, dict):
        raise CardError("the card's front matter is not a mapping of keys to values")
    return Card({str(key): value for key, value in front.items()}, body)


def card_body(data: bytes) -> str:
    """Return the page of a card whose front matter was read elsewhere, such as by the Hub.

    Raises:
        CardError: it is too large, or not UTF-8.
    """
    return _split(data)[0]


def _split(data: bytes) -> tuple[str, str]:
    if len(data) > MAX_CARD_BYTES:
        raise CardError(f"the card has {len(data)} bytes; at most {MAX_CARD_BYTES} are read")
    try:
        text = data.decode("utf-8").removeprefix("\ufeff").lstrip()
    except UnicodeDecodeError as error:
        raise CardError(f"the card is not UTF-8 text ({error})") from error
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    found = _FENCE.match(text)
    return (text, "") if found is None else (text[found.end() :], found[1])


def card_differences(card: Card, read: ReadEnvelope, *, verified: bool) -> Iterator[str]:
    """Yield a sentence for each fact of the card that the record does not give; 20 at most.

    What the card leaves out is no difference. Nothing can be compared with an envelope whose own
    notes are malformed, which is a difference where its verdict is good all the same.

    Args:
        card: the card.
        read: the envelope beside it.
        verified: whether the verdict on those bytes is good, which ``signature_verified`` has to
            say. A rejection is a finding of its own, and is not said again.
    """
    try:
        record = _Record(read, verified)
        record.prepare()
    except EnvelopeError as error:
        # Without raw data nothing else reads the notes, and any card would pass beside them.
        if verified:
            yield f"the card cannot be compared: the record's own notes are malformed ({error})"
        return
    sentences = (
        sentence
        for part in (
            _block,
            _names,
            _model_index,
            _files,
            _headings,
            _tables,
            _tables_of_units,
            _claims,
        )
        for sentence in part(card, record)
    )
    for number, sentence in enumerate(dict.fromkeys(sentences)):
        if number == _MOST_SENTENCES:
            yield "the card says more that the record does not give"
            return
        yield sentence


def card_omissions(card: Card, read: ReadEnvelope) -> Iterator[str]:
    """Yield what the card of a record of this pipeline leaves out of what its publisher wrote.

    Such a card misleads nobody who reads it, but it is not the one that was published: consumers
    find no block, and readers no numbers. The card of a foreign record may leave out anything.
    """
    try:
        record = _Record(read, verified=False)
        record.prepare()
    except EnvelopeError:
        return
    if not record.is_ours:
        return
    if not isinstance(card.front.get(CARD_KEY), dict):
        yield f"the card has no block `{CARD_KEY}`, which the publisher of this record writes"
    labels = {plain_text(metric_label(key)) for key in read.envelope.metrics}
    if not any(cells["metric"] in labels for cells in _metric_cells(card)):
        yield "the card's page does not show the metrics of the record"


class _Record:
    """The facts of a record as a card may state them."""

    def __init__(self, read: ReadEnvelope, verified: bool) -> None:
        self.read = read
        self._verified = verified

    def prepare(self) -> None:
        """Parse the parts that may be malformed.

        Raises:
            EnvelopeError: one of them is.
        """
        _ = self.read.extension, self.read.traces

    @property
    def is_ours(self) -> bool:
        """True for a record of this pipeline, whose card has a form that is known."""
        return self.read.extension is not None

    @cached_property
    def front(self) -> Mapping[str, Any]:
        """The front matter that would be written for it now."""
        return front_matter(self.read, verified=self._verified)

    @cached_property
    def block(self) -> Mapping[str, Any]:
        """The right value of each field of the machine-readable block."""
        facts = dict(self.front[CARD_KEY])
        if not self._verified:
            del facts["signature_verified"]
        if not self.is_ours:
            del facts["hardware_class"]  # a foreign writer's classes are its own
        return facts

    @cached_property
    def rows(self) -> Mapping[str, Row]:
        """The rows of a table of metrics, by their labels as :func:`plain_text` gives them."""
        rows = [*metric_rows(self.read), *headline_rows(self.read)]
        return {plain_text(row.label): row for row in rows}

    @cached_property
    def cells(self) -> Mapping[str, Mapping[str, str]]:
        """The cells of a whole row of our own table, by its label and by the columns' names."""
        return {
            label: {"metric": label}
            | {column: plain_text(getattr(row, name)) for column, name in _COLUMNS.items()}
            for label, row in self.rows.items()
        }

    @cached_property
    def measured(self) -> list[float]:
        """The numbers of the metrics and their notes, in order."""
        notes = self.read.extension.metric_notes if self.read.extension else {}
        numbers = [*_numbers_in(dict(self.read.envelope.metrics))]
        for note in notes.values():
            numbers.append(float(note.n))
            if note.interval is not None:
                numbers += [note.interval.low, note.interval.high]
        return sorted(numbers)

    @cached_property
    def all_numbers(self) -> list[float]:
        """Every number that the envelope states anywhere but in its hardware and signature."""
        document = self.read.envelope.model_dump(
            mode="json", exclude={"signature", "hardware_fingerprint", "software_provenance"}
        )
        return sorted([*_numbers_in(document), *self.measured])

    def gives(self, number: float, unit: float, scales: tuple[float, ...] = (1.0,)) -> bool:
        """Return whether a number that is told to a last place of ``unit`` is the record's.

        Args:
            number: as it is told.
            unit: the worth of one in its last place.
            scales: in which other units the record may have it.
        """
        return _is_among(number, unit, self.measured, scales) or _is_among(
            number, unit, self.all_numbers
        )


def _block(card: Card, record: _Record) -> Iterator[str]:
    """Compare the machine-readable block, which consumers read instead of the envelope."""
    block = card.front.get(CARD_KEY)
    if not isinstance(block, dict):
        return
    for key, expected in record.block.items():
        if key in block and str(block[key]) != str(expected):
            yield f"card says {key}: {_shown(block[key])}, the record gives {_shown(expected)}"


def _names(card: Card, record: _Record) -> Iterator[str]:
    """Compare what names the model, the suite, the engine and the hardware."""
    model = record.read.envelope.model.id
    for key in ("base_model", "model", "model_name"):
        for name in _texts(card.front.get(key)):
            if not _is_model(name, model):
                yield f"card says {key}: {_shown(name)}, the record is of {_shown(model)}"
    pretty = card.front.get("pretty_name")
    if pretty is not None:
        for problem in _misnamed(str(pretty), record.front["pretty_name"], record):
            yield f"card says pretty_name: {_shown(pretty)}, {problem}"
    expected_tags = {tag.partition(":")[0]: tag for tag in record.front["tags"] if ":" in tag}
    if not record.is_ours:
        del expected_tags["hw"]
    for tag in _texts(card.front.get("tags")):
        known = expected_tags.get(tag.partition(":")[0])
        if ":" in tag and known is not None and tag != known:
            yield f"card says the tag {_shown(tag)}, the record gives {_shown(known)}"


def _model_index(card: Card, record: _Record) -> Iterator[str]:
    """Compare the results that evaluation tools read."""
    for entry in _mappings(card.front.get("model-index")):
        name, model = entry.get("name"), record.read.envelope.model.id
        if name is not None and not _is_model(str(name), model):
            yield f"card says model-index name: {_shown(name)}, the record is of {_shown(model)}"
        for result in _mappings(entry.get("results")):
            for metric in _mappings(result.get("metrics")):
                value = metric.get("value")
                number = read_number(plain_text(str(value)))
                if number is not None and not record.gives(*number, _OF_SHARES):
                    what = _shown(metric.get("type") or metric.get("name") or "a metric")
                    yield (
                        f"card's model-index says {what}: {_shown(value)}, which the record does "
                        "not have"
                    )


def _files(card: Card, record: _Record) -> Iterator[str]:
    """Compare the files that the Hub's viewer shows with those that the envelope binds."""
    bound = record.read.envelope.distributions
    if not record.is_ours or not bound:
        return
    for config in _mappings(card.front.get("configs")):
        for path in _paths(config.get("data_files")):
            if path not in bound:
                yield f"card shows the file {_shown(path)}, which the record does not bind"


def _headings(card: Card, record: _Record) -> Iterator[str]:
    """Compare the title, which names the model and the suite."""
    expected = plain_text(card_title(record.read))
    for title in titles(card.body):
        for problem in _misnamed(title, expected, record):
            yield f"card's title is {_shown(title)}, {problem}"


def _misnamed(text: str, expected: str, record: _Record) -> Iterator[str]:
    """Yield why a name or a title is none of the record's; one that names nothing is no lie."""
    envelope = record.read.envelope
    if text == expected:
        return
    ids = [word for word in text.split() if _MODEL_ID.fullmatch(word)]
    in_our_form = record.is_ours and " · " in text
    if in_our_form or any(not _is_model(word, envelope.model.id) for word in ids):
        yield f"the record gives {_shown(expected)}"
        return
    for problem in contradicted_words(text, envelope):
        yield f"but {problem}"


def _tables(card: Card, record: _Record) -> Iterator[str]:
    """Compare each row of each table of metrics."""
    for number, cells in enumerate(_metric_cells(card)):
        if number == _MOST_CLAIMS:
            yield f"the card's tables have more than {_MOST_CLAIMS} rows"
            return
        label = cells["metric"]
        if cells == record.cells.get(label):
            continue
        row = record.rows.get(label)
        if row is None:
            found = read_number(cells.get("value", ""))
            if found is not None and not record.gives(*found, _OF_SHARES):
                yield (
                    f"card's table says {_shown(label)}: {_shown(cells['value'])}, which the "
                    "record does not have"
                )
            continue
        for column, attribute in _COLUMNS.items():
            said, given = cells.get(column), plain_text(getattr(row, attribute))
            if said is not None and said != given and not _is_same(said, row, attribute, given):
                what = "" if column == "value" else f", {column}"
                yield (
                    f"card's table says {_shown(label)}{what}: {_shown(said)}, the record gives "
                    f"{_shown(given) or 'nothing'}"
                )


def _tables_of_units(card: Card, record: _Record) -> Iterator[str]:
    """Compare the numbers of other tables that stand under or behind a unit of speed or time."""
    rows = 0
    for columns, cells in card.rows:
        if columns and columns[0] == "metric":
            continue
        rows += 1
        if rows > _MOST_CLAIMS:
            yield f"the card's other tables have more than {_MOST_CLAIMS} rows"
            return
        for name, cell in zip_longest(columns, cells, fillvalue=""):
            found = read_number(cell.strip("* "))
            if found is None:
                continue
            label = next((text for text in (name, cells[0]) if A_UNIT.search(text)), None)
            if label is not None and not record.gives(*found, _OF_TIME):
                yield (
                    f"card's table says {_shown(label)}: {_shown(cell)}, which the record does "
                    "not have"
                )


def _claims(card: Card, record: _Record) -> Iterator[str]:
    """Look for every number with a unit of speed or time, wherever it stands, in the record."""
    for number, (said, unit, claim) in enumerate(numbers_with_units(page_text(card.body))):
        if number == _MOST_CLAIMS:
            yield f"the card's page states more than {_MOST_CLAIMS} numbers with units"
            return
        read = read_number(claim["number"])
        if read is None:
            continue
        times = _MULTIPLES.get((claim["times"] or "").lower(), 1.0)
        scales = _OF_TIME if _TIME.match(unit) else (1.0,)
        if not record.gives(read[0] * times, read[1] * times, scales):
            yield f"card says {_shown(' '.join(said.split()))}, which the record does not have"


def _metric_cells(card: Card) -> Iterator[dict[str, str]]:
    """Yield the cells of each row of tables of metrics, by the names of their columns."""
    for columns, cells in card.rows:
        if columns and columns[0] == "metric":
            row = dict(zip(columns, cells, strict=False))
            if row.get("metric"):
                yield row


def _is_same(said: str, row: Row, attribute: str, given: str) -> bool:
    """Return whether a cell that is spelt otherwise says the same, such as to fewer digits."""
    if attribute == "unit":
        return said == ""
    if attribute == "value":
        number = read_number(said)
        raw = row.number
        return number is not None and raw is not None and _is_among(*number, [raw])
    # An earlier version had no intervals, and left a count out that it did not know.
    numbers, ours = numbers_of(said), numbers_of(given)
    return not numbers or (
        len(numbers) == len(ours)
        and all(
            abs(one - other) <= max(last, lastly)
            for (one, last), (other, lastly) in zip(numbers, ours, strict=True)
        )
    )


def _is_among(
    number: float, unit: float, known: list[float], scales: tuple[float, ...] = (1.0,)
) -> bool:
    """Return whether one of ``known``, which is in order, is told by the number in some unit."""
    for scale in scales:
        low, high = (number - unit) / scale, (number + unit) / scale
        at = bisect_left(known, low)
        if at < len(known) and known[at] <= high:
            return True
    return False


def _numbers_in(document: object) -> Iterator[float]:
    """Yield the numbers of plain data, and those that its texts speak of."""
    if isinstance(document, dict):
        for value in document.values():
            yield from _numbers_in(value)
    elif isinstance(document, list):
        for value in document:
            yield from _numbers_in(value)
    elif _is_number(document):
        yield float(document)  # type: ignore[arg-type]
    elif isinstance(document, str) and len(document) < 10_000:
        yield from (number for number, _ in numbers_of(document))


def _is_number(value: object) -> bool:
    # A number that no float holds, or that is none, is in no order.
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _is_model(name: str, model: str) -> bool:
    last = model.rstrip("/").rpartition("/")[2]
    return name.strip().casefold() in (model.casefold(), last.casefold())


def _texts(value: object) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        yield from (str(item) for item in value)


def _mappings(value: object) -> Iterable[Mapping[str, Any]]:
    items = value if isinstance(value, list) else [value]
    return (item for item in items if isinstance(item, dict))


def _paths(value: object) -> Iterator[str]:
    """Yield the paths of ``data_files``, which the Hub takes in several forms."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for item in value:
            yield from _paths(item)
    elif isinstance(value, dict):
        yield from _paths(value.get("path", list(value.values())))


def _shown(value: object) -> str:
    return printable(str(value), _SHOWN_CHARACTERS)
