"""Compile translations: people edit .po files, Django reads .mo files."""

import os
from collections.abc import Iterable
from io import BytesIO
from pathlib import Path


def compile_translations(folders: Iterable[Path]) -> None:
    """Compile the catalogs in these ``locale`` folders that are newer than their .mo files."""
    for folder in folders:
        for catalog in folder.glob("*/LC_MESSAGES/*.po"):
            compiled = catalog.with_suffix(".mo")
            if not compiled.exists() or compiled.stat().st_mtime < catalog.stat().st_mtime:
                compile_catalog(catalog, compiled)


def compile_catalog(catalog: Path, compiled: Path) -> None:
    # Most starts compile nothing, and do not need Babel.
    from babel.messages.mofile import write_mo  # noqa: PLC0415
    from babel.messages.pofile import PoFileError, read_po  # noqa: PLC0415

    content = BytesIO()
    with catalog.open("rb") as file:
        try:
            write_mo(content, read_po(file, abort_invalid=True))
        except PoFileError as error:
            raise ValueError(f"{catalog}: {error}") from error
    # Several processes may start at the same time, and each must read a whole file.
    temporary = compiled.with_suffix(f".{os.getpid()}")
    try:
        temporary.write_bytes(content.getvalue())
        temporary.replace(compiled)
    except OSError as error:
        if compiled.exists():  # from an image or a copy that did not keep the times of the files
            return
        raise ValueError(
            f"{compiled} cannot be written ({error.strerror}). Run `python manage.py check` when the"
            " service is built or installed, to compile the translations."
        ) from error
