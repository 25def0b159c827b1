"""Compile .po files to the .mo files that Django reads."""

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path


def compile_translations(folders: Iterable[Path]) -> None:
    """Compile catalogs in ``locale`` folders if their .mo files are missing or older."""
    for folder in folders:
        for catalog in folder.glob("*/LC_MESSAGES/*.po"):
            compiled = catalog.with_suffix(".mo")
            if not compiled.exists() or compiled.stat().st_mtime < catalog.stat().st_mtime:
                compile_catalog(catalog, compiled)


def compile_catalog(catalog: Path, compiled: Path) -> None:
    # Imported late, because Babel is rarely needed.
    from babel.messages.mofile import write_mo  # noqa: PLC0415
    from babel.messages.pofile import PoFileError, read_po  # noqa: PLC0415

    content = BytesIO()
    with catalog.open("rb") as file:
        try:
            write_mo(content, read_po(file, abort_invalid=True))
        except PoFileError as error:
            raise ValueError(f"{catalog}: {error}") from error
    # Replaced atomically, because several processes may start at the same time.
    temporary = compiled.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_bytes(content.getvalue())
        temporary.replace(compiled)
    except OSError as error:
        if compiled.exists():  # in an image or a copy that did not preserve modification times
            return
        raise ValueError(
            f"{compiled} cannot be written ({error.strerror}). Run `python manage.py check` when the"
            " service is built or installed, to compile the translations."
        ) from error
