"""The plan of the house: the rooms of the package from the roof down, and what each may import.

A room is a package or a module directly below ``inferencebench_pipeline``. The test of the layers
holds this plan, and the diagram in ``docs/architecture.md`` is drawn from it; no other list of the
rooms exists.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Storey:
    """Neighbouring floors with a title, as the diagram groups them.

    Attributes:
        title: heading of the group.
        floors: from the top down. A room imports from rooms on lower floors only, so two rooms on
            one floor know nothing of each other.
    """

    title: str
    floors: tuple[tuple[str, ...], ...]


@dataclass(frozen=True)
class Annexe:
    """A room beside the house, which the product does not need.

    Attributes:
        room: its name.
        imports: the only rooms that it may import.
        imported_by: the only rooms that may import it.
    """

    room: str
    imports: frozenset[str]
    imported_by: frozenset[str]


@dataclass(frozen=True)
class House:
    """The rules of dependence between the rooms of one package.

    Attributes:
        storeys: the floors, from the top down.
        annexes: rooms beside the floors.
        open_rooms: rooms whose files are all public, because each file holds one thing that is
            picked by its name.
        libraries: for the first word of a library's name, the rooms that alone may import it. A
            library whose name goes on after the word (``dagster_webserver``) belongs to it.
        roads: for a room or a module, the libraries that importing it must not load, directly or
            through what it imports.
        standalone: packages that are used without the rest and so import nothing of it.
    """

    storeys: tuple[Storey, ...]
    annexes: tuple[Annexe, ...] = ()
    open_rooms: frozenset[str] = frozenset()
    libraries: Mapping[str, frozenset[str]] = field(default_factory=dict)
    roads: Mapping[str, frozenset[str]] = field(default_factory=dict)
    standalone: tuple[str, ...] = ()

    @property
    def floors(self) -> tuple[tuple[str, ...], ...]:
        """All floors, from the top down."""
        return tuple(floor for storey in self.storeys for floor in storey.floors)

    def height(self, room: str) -> int | None:
        """Returns the floor that a room is on, counted from 0 at the bottom; None beside them."""
        for height, floor in enumerate(reversed(self.floors)):
            if room in floor:
                return height
        return None

    def annexe(self, room: str) -> Annexe | None:
        """Returns the annexe of that name; None for a room of the house."""
        return next((annexe for annexe in self.annexes if annexe.room == room), None)


_DAGSTER = frozenset({"definitions", "demo", "automation", "lifecycle", "resources"})
_HEAVY = frozenset(
    {
        *("apprise", "dagster", "duckdb", "fsspec", "matplotlib", "msgspec", "starlette"),
        *("uvicorn", "xllamacpp"),
    }
)
"""Libraries that a skeptic's or a GPU host's installation does without, or seldom loads."""
_ENGINES = frozenset({"httptools", "pynvml"})
"""Libraries that only measuring needs."""
_HUB = frozenset({"httpx2", "huggingface_hub"})
_COLUMNS = frozenset({"numpy", "pyarrow"})

THE_HOUSE = House(
    storeys=(
        Storey("Front door", (("demo",), ("definitions",))),
        Storey("Dagster", (("automation",), ("lifecycle",), ("resources",))),
        Storey(
            "Domain",
            (
                ("cli",),
                ("deployment",),
                ("leaderboard",),
                ("takedown",),
                ("community_results", "corpus"),
                ("hub",),
                ("trust",),
                ("envelope",),
                ("inbox",),
                ("measure",),
            ),
        ),
        Storey(
            "Ground",
            (
                ("alerts", "parking"),
                ("settings", "runs"),
                ("files",),
                ("untrusted",),
                ("documents", "errors", "worker_pool"),
            ),
        ),
    ),
    annexes=(Annexe("sandbox", frozenset({"errors", "files", "runs"}), frozenset({"demo"})),),
    open_rooms=frozenset({"automation", "lifecycle"}),
    libraries={"dagster": _DAGSTER},
    roads={
        "files": _HEAVY | {"pyarrow", "numpy", "pydantic"},
        "envelope": _HEAVY | {"huggingface_hub", "sigstore"},
        "trust": _HEAVY | {"huggingface_hub"},
        "trust.verify.verifier": _HEAVY | _HUB | _ENGINES | _COLUMNS,
        "trust.verify.traces_checks": _HEAVY | _HUB | _ENGINES,
        "cli.commands": _HEAVY | _HUB | _ENGINES | _COLUMNS | {"pydantic", "sigstore"},
        "cli.verification.verifying": _HEAVY | _HUB | _ENGINES | _COLUMNS,
        "cli.measurement.measuring": _HEAVY,
        "cli.publication.publishing": _HEAVY,
        "measure.client": _HEAVY | {"huggingface_hub", "pyarrow", "pynvml", "sigstore"},
    },
    standalone=("automation.instance.webserver",),
)
