"""How much is read of files, exports and sites, so that no input takes all memory or time.

docs/help-centres.md states these limits. Sizes are in bytes, times in seconds.
"""

_MIB = 2**20

FILE = 100 * _MIB
"""Of an export's JSON, or of a PDF, DOCX or CSV file."""
ARCHIVE_FILES = 100_000
"""Files in a ZIP archive."""
UNPACKED = 500 * _MIB
"""Of all pages that are unpacked of an archive. Images and the like are never unpacked."""
NESTED = 3
"""Archives inside each other."""
NESTED_SIZE = 2_048 * _MIB
"""Of all archives in an archive, as they are unpacked from it."""
DOCX_UNPACKED = 50 * _MIB
"""Of the text of a DOCX, unpacked."""
DOCX_ELEMENTS = 300_000
"""XML elements of a part of a DOCX: a page of text has about 60."""
XML_DEPTH = 200
"""Elements inside each other."""
PDF_PAGES = 2_000
"""Pages of a PDF."""
PDF_SECONDS = 60
"""To read a PDF."""
ROWS = 50_000
"""Rows of a CSV file."""
CELL = 1_000_000
"""Characters in a cell of a CSV file."""
SITE_PAGES = 10_000
"""Pages of a site."""
SITEMAPS = 500
"""Sitemaps of a site."""
SITEMAP = 50 * _MIB
"""Of a sitemap, unpacked; the protocol's own limit."""
ROBOTS = 500 * 1_024
"""Of robots.txt; the rest is ignored, as RFC 9309 allows."""
PAGE = 10 * _MIB
"""Of a page of a site or of an archive, unpacked."""
REQUEST_SECONDS = 30
"""For a request with its whole answer."""
SITE_SECONDS = 3_600
"""For all of a site."""
REDIRECTS = 5
"""One after the other."""
RETRIES = 3
"""After an answer that asks for them (429 and 503)."""
WAIT_SECONDS = 120
"""What a site may ask for by Retry-After or as crawl delay; longer ends the reading."""
FAILURES = 10
"""Requests in a row without an answer, after which the rest of a site is not asked for."""
