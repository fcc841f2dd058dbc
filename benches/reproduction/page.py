"""Puts the tables of docs/reproduction/tables.md into docs/reproduction.md, each between its two marks

    <!-- table: TITLE -->
    <!-- end -->

so that no number on that page is typed by hand. A mark whose table is not there is an error.
"""

import re
import sys
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs"


def main():
    text = (DOCS / "reproduction/tables.md").read_text()
    tables = dict(re.findall(r"\*\*(.+?)\*\*\n\n(\|.*?)\n(?=\n|$)", text + "\n", re.S))
    page = DOCS / "reproduction.md"

    def fill(found):
        title = found[1]
        if title not in tables:
            sys.exit(f"no table `{title}`, expected one of {sorted(tables)}")
        return f"<!-- table: {title} -->\n{tables[title]}\n<!-- end -->"

    page.write_text(re.sub(r"<!-- table: (.+?) -->\n.*?<!-- end -->", fill, page.read_text(), flags=re.S))


if __name__ == "__main__":
    main()
