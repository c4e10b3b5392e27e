"""deepdml itself, as a wheel inside the package: a package runs when no index has this version any more."""

from __future__ import annotations

import base64
import hashlib
import importlib.metadata
import zipfile
from pathlib import Path

FOLDER = "software"
_MOMENT = (1980, 1, 1, 0, 0, 0)  # of every file in the wheel, so that the same source gives the same bytes


def write_wheel(folder: Path) -> str:
    """Write the running deepdml as a wheel below `folder` and return its path from there.

    The wheel is made from the installed source files, which are pure Python, and their metadata.
    """
    distribution = importlib.metadata.distribution("deepdml")
    source = Path(__file__).resolve().parent.parent
    info = f"deepdml-{distribution.version}.dist-info"
    contents = {
        path.relative_to(source.parent).as_posix(): path.read_bytes()
        for path in sorted(source.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }
    for name in ("METADATA", "entry_points.txt"):
        text = distribution.read_text(name)
        if text:
            contents[f"{info}/{name}"] = text.encode()
    contents[f"{info}/WHEEL"] = b"Wheel-Version: 1.0\nGenerator: deepdml\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
    record = f"{info}/RECORD"
    contents[record] = "".join([*(_line(name, data) for name, data in contents.items()), f"{record},,\n"]).encode()
    path = f"{FOLDER}/deepdml-{distribution.version}-py3-none-any.whl"
    (folder / FOLDER).mkdir()
    with zipfile.ZipFile(folder / path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in contents.items():
            archive.writestr(zipfile.ZipInfo(name, _MOMENT), data, zipfile.ZIP_DEFLATED)
    return path


def _line(name: str, data: bytes) -> str:
    """Return the entry of a file in RECORD."""
    digest = base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b"=").decode()
    return f"{name},sha256={digest},{len(data)}\n"
