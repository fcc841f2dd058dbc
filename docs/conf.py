"""The pages as a book: `make docs` (scripts/docs.sh).

The source is the repository as it is, so that a link between pages, and to a file, is one thing on a disk and in the book. The
README is the first page; the contents stand here, and a page that is in no part of them fails the build, as does a link or an
anchor that leads nowhere. Sphinx with MyST was taken because it reads the Markdown that the pages are written in (CommonMark, and
anchors made as forges make them) and installs in seconds.
"""

import re
from pathlib import Path

CONTENTS = {
    "Recurrences": ["docs/language", "docs/add-a-recurrence", "docs/numerics", "docs/tuning", "docs/gpu", "docs/emulator"],
    "Models": ["docs/own-crate", "docs/own-block", "docs/training", "docs/configuration", "docs/evaluation", "docs/generation",
               "docs/tasks", "docs/retrieval", "docs/checkpoints", "docs/scale", "docs/python"],
    "Figures": ["docs/reproduction", "docs/reproduction/tables", "benches/results/*", "benches/peers/README", "benches/gpu/README"],
    "The project": ["ARCHITECTURE", "CONTRIBUTING", "docs/add-a-*", "docs/fuzzing", "kernels-generated/README", "CHANGELOG"],
}

# Of pages that programs write, which are a table and no more.
TITLES = {"docs/reproduction/tables": "Tables of the reproduction"}

project = "Baton"
project_copyright = "the authors of Baton"
root_doc = "README"
extensions = ["myst_parser"]
include_patterns = ["README.md", *(f"{page}.md" for part in CONTENTS.values() for page in part)]
exclude_patterns = ["target", "**/tests", "python", "checkpoints"]
source_suffix = {".md": "markdown"}
myst_heading_anchors = 4
html_theme = "furo"
html_title = "Baton"
html_copy_source = False
# Rust's fences say how rustdoc takes them (`rust,no_run`), and two languages of ours are no one else's.
suppress_warnings = ["misc.highlighting_failure"]


def prepare(app, name, source):
    """The README with the contents of the book behind it; a link to a folder is its words, as a book has no folders."""
    page = Path(app.srcdir, name).parent
    source[0] = re.sub(r"\[([^]]+)\]\(([^)#\s]+)\)", lambda link: link[1] if (page / link[2]).is_dir() else link[0], source[0])
    if name in TITLES:
        source[0] = f"# {TITLES[name]}\n\n{source[0]}"
    if name == root_doc:
        for caption, pages in CONTENTS.items():
            paths = (f"/{page}" for page in pages)
            source[0] += "\n".join(["", "```{toctree}", ":hidden:", ":glob:", f":caption: {caption}", "", *paths, "```", ""])


def setup(app):
    app.connect("source-read", prepare)
