"""Reads sources, and sorts what they yield."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from graph.retrieval.company import Company, Desk
from graph.retrieval.sources import Deleted, Document, LeftOut, Source, Unchanged
from graph.retrieval.sources.opening import open_source

COMPANY = Company("Northwind", (Desk("general"),))


@dataclass
class Found:
    """What a source yielded, by kind."""

    documents: dict[str, Document] = field(default_factory=dict[str, Document])
    unchanged: set[str] = field(default_factory=set[str])
    deleted: set[str] = field(default_factory=set[str])
    faults: list[LeftOut] = field(default_factory=list[LeftOut])
    withheld: list[LeftOut] = field(default_factory=list[LeftOut])

    @property
    def revisions(self) -> dict[str, str]:
        """What a caller knows after the reading."""
        return {document.id: document.revision for document in self.documents.values()}

    @property
    def fault(self) -> str:
        """The only fault."""
        [fault] = self.faults
        return f"{fault.where}: {fault.reason}"


def read(source: Source | str, known: Mapping[str, str] | None = None, company: Company = COMPANY) -> Found:
    """Read a source, given itself or by its address."""
    found = Found()
    source = open_source(source, company) if isinstance(source, str) else source
    for change in source.changes(known or {}):
        match change:
            case Document():
                assert change.id not in found.documents
                found.documents[change.id] = change
            case Unchanged():
                found.unchanged.add(change.id)
            case Deleted():
                found.deleted.add(change.id)
            case LeftOut():
                (found.faults if change.is_fault else found.withheld).append(change)
    return found
