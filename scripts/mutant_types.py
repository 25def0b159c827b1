"""Print the errors that mypy finds in mutants, in its JSON format. mutmut runs this in its folder.

mutmut puts all mutants of a function beside the original, in code that is not typed. Only errors
that a mutant has and its original has not are the mutant's own.
"""

import ast
import json
import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

COPY = re.compile(r"__mutmut_(orig|\d+)")


def main() -> None:
    command = [sys.executable, "-m", "mypy", "--output=json"]
    ran = subprocess.run(command, check=False, stdout=subprocess.PIPE, text=True)
    errors: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in ran.stdout.splitlines():
        error = json.loads(line)
        errors[error["file"]].append(error)
    for file, found in errors.items():
        for error in own_errors(Path(file).read_text(), found):
            print(json.dumps(error))


def own_errors(source: str, errors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return the errors of one file that are in a mutant, and not in its original."""
    copies = {
        line: function.name
        for function in ast.walk(ast.parse(source))
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        and COPY.search(function.name)
        for line in range(function.lineno, (function.end_lineno or 0) + 1)
    }
    located = [
        (copies[error["line"]], COPY.sub("", error["message"]), error)
        for error in errors
        if error["line"] in copies
    ]
    of_originals = {
        (COPY.sub("", name), message) for name, message, _ in located if name.endswith("_orig")
    }
    return [
        error
        for name, message, error in located
        if not name.endswith("_orig") and (COPY.sub("", name), message) not in of_originals
    ]


if __name__ == "__main__":
    main()
