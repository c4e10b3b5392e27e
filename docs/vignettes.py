"""A hook of mkdocs: the vignettes, scripts in percent format, are pages of the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

SCRIPTS = sorted((Path(__file__).resolve().parent.parent / "vignettes").glob("*.py"))
CELL = "# %%"


def on_config(config: Any) -> None:
    """Give them a tab before the last two, method and reference."""
    pages = [{title(path): f"vignettes/{path.stem}.md"} for path in SCRIPTS]
    config.nav.insert(-2, {"Vignettes": pages})


def on_files(files: Files, config: Any) -> None:
    """Add their pages."""
    for path in SCRIPTS:
        files.append(File.generated(config, f"vignettes/{path.stem}.md", content=page(path)))


def title(path: Path) -> str:
    """Return the first heading of a script."""
    return next(line for line in path.read_text(encoding="utf-8").splitlines() if line.startswith("# # "))[4:]


def page(path: Path) -> str:
    """Return a script as Markdown: its text cells as text, the others as code."""
    parts = []
    for cell in path.read_text(encoding="utf-8").split(f"\n{CELL}"):
        kind, _, body = cell.removeprefix(CELL).partition("\n")
        if "[markdown]" in kind:
            parts.append("\n".join(line.removeprefix("#").removeprefix(" ") for line in body.strip().splitlines()))
        elif body.strip():
            parts.append(f"```python\n{body.strip()}\n```")
    note = f"`vignettes/{path.name}` in the repository; run it to see what it prints."
    head, *rest = parts
    return "\n\n".join([head, note, *rest])
