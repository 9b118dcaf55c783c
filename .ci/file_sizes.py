"""The number and length of the package's files, in one line. A file of over 300 lines says why in its docstring."""

import ast
import statistics
import sys
from pathlib import Path

MOST = 300
ROOT = Path(__file__).parents[1]
FOLDERS = ("models", "inference", "lowerbound/data", "datasets")

lengths = {path: len(path.read_text().splitlines()) for folder in FOLDERS for path in (ROOT / folder).rglob("*.py")}
longest = max(lengths, key=lengths.__getitem__)
print(
    f"{len(lengths)} files, {sum(lengths.values())} lines, median {statistics.median_low(lengths.values())}, "
    f"longest {lengths[longest]} ({longest.relative_to(ROOT)})"
)
for path, length in lengths.items():
    if length > MOST and "because" not in (ast.get_docstring(ast.parse(path.read_text())) or ""):
        sys.exit(f"{path.relative_to(ROOT)} has {length} lines, expected at most {MOST}: split it, or say why not")
