"""XML of others: without DTD, entities and endless nesting."""

from xml.sax import SAXException
from xml.sax.handler import ContentHandler

from defusedxml import DefusedXmlException
from defusedxml.sax import parseString

from graph.retrieval.sources import UnreadableError, limits


class Elements(ContentHandler):
    """Counts elements, and how deep they are nested; raises UnreadableError beyond the limits."""

    def __init__(self, most: int | None = None) -> None:
        """`most` is how many there may be."""
        super().__init__()
        self.depth = 0
        self._count = 0
        self._most = most

    def startElement(self, name: str, attrs: object) -> None:  # noqa: ARG002, N802  SAX calls it so
        """Count an element."""
        self.depth += 1
        self._count += 1
        if self._most is not None and self._count > self._most:
            raise UnreadableError(f"has more than {self._most:,} XML elements: split it")
        if self.depth > limits.XML_DEPTH:
            raise UnreadableError(f"has more than {limits.XML_DEPTH} XML elements inside each other")

    def endElement(self, name: str) -> None:  # noqa: ARG002, N802  SAX calls it so
        """Count its end."""
        self.depth -= 1


def check_xml(content: bytes, elements: Elements | None = None) -> None:
    """Read XML, and tell `elements` of it; raises UnreadableError if it is broken or has a DTD."""
    try:
        parseString(content, elements or Elements(), forbid_dtd=True)
    except DefusedXmlException as error:
        raise UnreadableError("has a document type (DTD) or entities in its XML, which are refused") from error
    except (SAXException, ValueError, LookupError) as error:
        raise UnreadableError("not valid XML") from error
