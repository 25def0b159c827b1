"""Compile .po files to the .mo files that Django reads."""

import os
from collections.abc import Iterable
from pathlib import Path


def compile_translations(folders: Iterable[Path]) -> None:
    """Compile catalogs in ``locale`` folders if their .mo files are missing or older."""
    for folder in folders:
        for catalog in folder.glob("*/LC_MESSAGES/*.po"):
            compiled = catalog.with_suffix(".mo")
            if not compiled.exists() or compiled.stat().st_mtime < catalog.stat().st_mtime:
                compile_catalog(catalog, compiled)


def compile_catalog(catalog: Path, compiled: Path) -> None:
    # Imported late, because it is rarely needed.
    import polib  # noqa: PLC0415

    try:
        content = polib.pofile(catalog.read_text()).to_binary()
    except OSError as error:  # a syntax error
        raise ValueError(f"{catalog}: {error}") from error
    # Replaced atomically, because several processes may start at the same time.
    temporary = compiled.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_bytes(content)
        temporary.replace(compiled)
    except OSError as error:
        if compiled.exists():  # in an image or a copy that did not preserve modification times
            return
        raise ValueError(
            f"{compiled} cannot be written ({error.strerror}). Run `python manage.py check` when the"
            " service is built or installed, to compile the translations."
        ) from error
