"""What only the author knows: title, authors, sources and rights of the data."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any, TypeVar

from deepdml.errors import OptionError, unknown_option

LICENCES = ("MIT", "BSD-3-Clause", "CC-BY-4.0", "CC0-1.0")

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Author:
    """An author of the paper.

    Parameters
    ----------
    family, given : str
    affiliation, email, orcid : str
        Empty where unknown; `orcid` as ``"0000-0002-1825-0097"``.
    """

    family: str
    given: str = ""
    affiliation: str = ""
    email: str = ""
    orcid: str = ""

    @property
    def name(self) -> str:
        """Given and family name."""
        return f"{self.given} {self.family}".strip()


@dataclass(frozen=True, slots=True)
class DataSource:
    """Where data come from, and who may have them.

    Parameters
    ----------
    name : str
        As the text calls them, "Survey of Income and Program Participation, 1991".
    citation : str
        The entry of the list of references.
    licence : str
        Under which they were obtained, and may be passed on.
    access : str
        How another researcher obtains them: where, at what cost, in what time.
    url : str
    public : bool or None
        Whether anybody may download them; None where not said.
    """

    name: str
    citation: str = ""
    licence: str = ""
    access: str = ""
    url: str = ""
    public: bool | None = None


@dataclass(frozen=True, slots=True)
class Metadata:
    """What a package says about the paper; every field left empty is listed in its README as still to be filled.

    Parameters
    ----------
    title : str
        Of the paper.
    authors : tuple of Author
        Also from texts "Given Family" and dicts.
    overview : str
        A paragraph on what the package does.
    sources : tuple of DataSource
        Also from dicts.
    rights : str
        The statement that the authors had legitimate access to the data and may redistribute them.
    labels : dict
        What each variable is, by name; for the codebook.
    licence : str
        Of the code: "MIT", "BSD-3-Clause", "CC-BY-4.0" or "CC0-1.0".
    version, date : str
        Of the package; the date as ``"2026-01-31"``.
    doi, contact : str
    references : tuple of str
        Entries of the list of references beyond the data's and the method's.
    acknowledgements : str
    """

    title: str = ""
    authors: tuple[Author, ...] = ()
    overview: str = ""
    sources: tuple[DataSource, ...] = ()
    rights: str = ""
    labels: Mapping[str, str] = field(default_factory=dict)
    licence: str = ""
    version: str = "1.0"
    date: str = ""
    doi: str = ""
    contact: str = ""
    references: tuple[str, ...] = ()
    acknowledgements: str = ""

    def __post_init__(self) -> None:
        for f in fields(self):
            wanted = {"authors": tuple, "sources": tuple, "references": tuple, "labels": Mapping}.get(f.name, str)
            if not isinstance(getattr(self, f.name), wanted):
                kind = type(getattr(self, f.name)).__name__
                raise OptionError(f"metadata: {f.name} is a {kind}; a {wanted.__name__} is needed.")
        if self.licence and self.licence not in LICENCES:
            raise unknown_option("licence in metadata", self.licence, LICENCES)


def as_metadata(given: object) -> Metadata:
    """Return metadata from themselves, a dict or None.

    Raises
    ------
    OptionError
        For an unknown field or a value of another type.
    """
    if given is None:
        return Metadata()
    if isinstance(given, Metadata):
        return given
    if not isinstance(given, Mapping):
        raise OptionError(f"metadata is a {type(given).__name__}; pass a replication.Metadata or a dict of its fields.")
    values = dict(given)
    values["authors"] = tuple(_author(item) for item in _listed("authors", values.get("authors", ())))
    values["sources"] = tuple(_made(DataSource, "sources", s) for s in _listed("sources", values.get("sources", ())))
    values["references"] = tuple(_listed("references", values.get("references", ())))
    return _made(Metadata, "metadata", values)


def _listed(name: str, value: Any) -> list[Any]:
    if isinstance(value, str | Mapping) or not hasattr(value, "__iter__"):
        raise OptionError(f"metadata: {name} is {value!r}; a list is needed.")
    return list(value)


def _author(given: Any) -> Author:
    if isinstance(given, str):
        first, _, family = given.strip().rpartition(" ")
        return Author(family, first)
    return _made(Author, "authors", given)


def _made(kind: type[T], where: str, given: Any) -> T:
    """Return a dataclass from a mapping of its fields."""
    if isinstance(given, kind):
        return given
    if not isinstance(given, Mapping):
        raise OptionError(f"metadata: an entry of {where} is {given!r}; a dict is needed.")
    allowed = [f.name for f in fields(kind)]  # type: ignore[arg-type]  # kind is one of the dataclasses above
    for name in given:
        if name not in allowed:
            raise unknown_option(f"field of {where}", name, allowed)
    try:
        return kind(**given)
    except TypeError as error:
        raise OptionError(f"metadata: {where} lacks something: {error}.") from error


def to_fill(metadata: Metadata) -> list[str]:
    """Return what the author must still fill, one sentence each."""
    missing = [
        (not metadata.title, "The title of the paper (metadata: title)."),
        (not metadata.authors, "The authors (metadata: authors)."),
        (not metadata.overview, "A paragraph that says what the package does (metadata: overview)."),
        (not metadata.sources, "The source of every data file, with citation, licence and access (metadata: sources)."),
        (not metadata.rights, "A statement of rights: access to the data and redistribution (metadata: rights)."),
        (
            not metadata.licence,
            "The licence of the code; LICENSE holds the MIT licence until then (metadata: licence).",
        ),
        (not metadata.date, "The date of release (metadata: date)."),
        (not metadata.contact, "Whom to write to (metadata: contact)."),
    ]
    found = [sentence for absent, sentence in missing if absent]
    for source in metadata.sources:
        empty = [f for f in ("citation", "licence", "access") if not getattr(source, f)]
        if source.public is None:
            empty.append("public")
        if empty:
            found.append(f"Of the data source {source.name!r}: {', '.join(empty)}.")
    return found
