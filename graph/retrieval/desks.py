"""Which desk an article belongs to: by the company's rules, else by meaning."""

from graph.retrieval.company import Company
from graph.retrieval.sources import Document


def desk_of(document: Document, company: Company) -> str | None:
    """Return the desk that the company's rules name for a document; None if no rule does."""
    names = {desk.name for desk in company.desks}
    return next((label for label in document.labels.get("category", ()) if label in names), None)
