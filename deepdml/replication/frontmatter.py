"""LICENSE and CITATION.cff."""

from __future__ import annotations

import json
from datetime import date

from deepdml.replication.metadata import Author, Metadata

_LIABILITY = """\
THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""

_MIT = """\
MIT License

Copyright (c) {year} {holders}

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

{liability}"""

_BSD = """\
BSD 3-Clause License

Copyright (c) {year} {holders}

Redistribution and use in source and binary forms, with or without
modification, are permitted provided that the following conditions are met:

1. Redistributions of source code must retain the above copyright notice, this
   list of conditions and the following disclaimer.

2. Redistributions in binary form must reproduce the above copyright notice,
   this list of conditions and the following disclaimer in the documentation
   and/or other materials provided with the distribution.

3. Neither the name of the copyright holder nor the names of its contributors
   may be used to endorse or promote products derived from this software
   without specific prior written permission.

THIS SOFTWARE IS PROVIDED BY THE COPYRIGHT HOLDERS AND CONTRIBUTORS "AS IS"
AND ANY EXPRESS OR IMPLIED WARRANTIES, INCLUDING, BUT NOT LIMITED TO, THE
IMPLIED WARRANTIES OF MERCHANTABILITY AND FITNESS FOR A PARTICULAR PURPOSE ARE
DISCLAIMED. IN NO EVENT SHALL THE COPYRIGHT HOLDER OR CONTRIBUTORS BE LIABLE
FOR ANY DIRECT, INDIRECT, INCIDENTAL, SPECIAL, EXEMPLARY, OR CONSEQUENTIAL
DAMAGES (INCLUDING, BUT NOT LIMITED TO, PROCUREMENT OF SUBSTITUTE GOODS OR
SERVICES; LOSS OF USE, DATA, OR PROFITS; OR BUSINESS INTERRUPTION) HOWEVER
CAUSED AND ON ANY THEORY OF LIABILITY, WHETHER IN CONTRACT, STRICT LIABILITY,
OR TORT (INCLUDING NEGLIGENCE OR OTHERWISE) ARISING IN ANY WAY OUT OF THE USE
OF THIS SOFTWARE, EVEN IF ADVISED OF THE POSSIBILITY OF SUCH DAMAGE.
"""

_BY_REFERENCE = """\
Copyright (c) {year} {holders}

{sentence}
{link}
"""

_CREATIVE = {
    "CC-BY-4.0": (
        "This work is licensed under the Creative Commons Attribution 4.0 International License. Its text is at",
        "https://creativecommons.org/licenses/by/4.0/legalcode",
    ),
    "CC0-1.0": (
        "The authors waive all rights to this work under CC0 1.0 Universal. Its text is at",
        "https://creativecommons.org/publicdomain/zero/1.0/legalcode",
    ),
}


def licence_text(metadata: Metadata) -> str:
    """Return the text of LICENSE; MIT where the author has not chosen."""
    year = metadata.date[:4] or str(date.today().year)
    holders = ", ".join(author.name for author in metadata.authors) or "the authors"
    if metadata.licence in _CREATIVE:
        sentence, link = _CREATIVE[metadata.licence]
        return _BY_REFERENCE.format(year=year, holders=holders, sentence=sentence, link=link)
    text = _BSD if metadata.licence == "BSD-3-Clause" else _MIT
    return text.format(year=year, holders=holders, liability=_LIABILITY)


def citation_text(metadata: Metadata) -> str:
    """Return the text of CITATION.cff, format 1.2.0; texts are quoted as JSON, which YAML reads."""
    lines = [
        "cff-version: 1.2.0",
        "message: If you use this replication package, please cite it as below.",
        "type: software",
        f"title: {_quoted('Replication package for: ' + (metadata.title or 'an untitled paper'))}",
        f"version: {_quoted(metadata.version)}",
        f"license: {metadata.licence or 'MIT'}",
    ]
    lines += [f"date-released: {_quoted(metadata.date)}"] if metadata.date else []
    lines += [f"doi: {_quoted(metadata.doi)}"] if metadata.doi else []
    lines.append("authors:")
    for author in metadata.authors:
        lines += _author_lines(author)
    if not metadata.authors:
        lines.append('  - name: "To be filled by the author"')
    return "\n".join(lines) + "\n"


def _author_lines(author: Author) -> list[str]:
    fields = {
        "family-names": author.family,
        "given-names": author.given,
        "affiliation": author.affiliation,
        "email": author.email,
        "orcid": f"https://orcid.org/{author.orcid}" if author.orcid else "",
    }
    given = [f"{name}: {_quoted(value)}" for name, value in fields.items() if value]
    return [f"  - {given[0]}", *(f"    {line}" for line in given[1:])]


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)
