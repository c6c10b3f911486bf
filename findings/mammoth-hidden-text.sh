#!/usr/bin/env bash
# mammoth shows readers text that Word hides.
#
# Expected: a run with the property `vanish` is left out, as Word and LibreOffice neither show nor print it. Authors hide
#   notes for colleagues in this way.
# Written down: ECMA-376 part 1, 17.3.2.41 (vanish): the text is not displayed. mammoth's README lists what it supports; hidden
#   text is in neither that list nor the one of what is ignored.
# Instead: `convert_to_html` and `extract_raw_text` return hidden runs like any other, without a message.
# Seen on 2026-11-29:
#   HTML: <p>Refunds take 5 days. Only for staff.</p>; raw text has the hidden words too; messages: none
#   mammoth 1.13.0, Python 3.11.7
# What we do: graph/retrieval/sources/docx.py removes hidden runs before mammoth reads the file.

set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --no-compile --disable-pip-version-check mammoth==1.13.0

"$folder/venv/bin/python" - <<'PYTHON'
import io
import platform
import sys
import zipfile
from importlib.metadata import version

import mammoth

OFFICE = "http://schemas.openxmlformats.org"
PARTS = {
    "[Content_Types].xml": f"""<Types xmlns="{OFFICE}/package/2006/content-types">
        <Default Extension="rels" ContentType="application/vnd.openxmlformats-package.relationships+xml"/>
        <Override PartName="/word/document.xml"
            ContentType="application/vnd.openxmlformats-officedocument.wordprocessingml.document.main+xml"/></Types>""",
    "_rels/.rels": f"""<Relationships xmlns="{OFFICE}/package/2006/relationships"><Relationship Id="r1"
        Type="{OFFICE}/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>""",
    "word/document.xml": f"""<w:document xmlns:w="{OFFICE}/wordprocessingml/2006/main"><w:body><w:p>
        <w:r><w:t xml:space="preserve">Refunds take 5 days. </w:t></w:r>
        <w:r><w:rPr><w:vanish/></w:rPr><w:t>Only for staff.</w:t></w:r></w:p></w:body></w:document>""",
}
file = io.BytesIO()
with zipfile.ZipFile(file, "w") as archive:
    for name, text in PARTS.items():
        archive.writestr(name, '<?xml version="1.0" encoding="UTF-8"?>' + text)

html = mammoth.convert_to_html(file)
raw = mammoth.extract_raw_text(file).value
print(f"HTML: {html.value}; raw text: {raw.strip()!r}; messages: {html.messages}")
print(f"mammoth {version('mammoth')}, Python {platform.python_version()}")
if not ("Only for staff." in html.value and "Only for staff." in raw and not html.messages):
    sys.exit("The behaviour has changed.")
PYTHON
