"""Damaged files: each is read as what it was, or refused in one sentence, in little memory and time.

Run as `python -m benchmarks.mutations [COUNT]`: COUNT mutations, 100,000 by default, of a saved fit, a checkpoint, a
CSV file and a Parquet file in equal parts, some minutes on one core. Number i is always the same mutation, whatever
COUNT is: flipped bits, a part that is cut off, zeroed, doubled, moved or overwritten, or another word in a header.

A saved fit and a checkpoint hold a digest, so that one that can be read is that which was written. A CSV file holds
none: one that can be read is some table. Processes of their own read the files, in batches, so that one that crashed
would be seen.
"""

from __future__ import annotations

import json
import re
import resource
import subprocess
import sys
import tempfile
import time
import warnings
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch

from lowerbound import datasets
from lowerbound.data import Rows, read
from lowerbound.inference import EM, fit, load
from lowerbound.models import GaussianMixture

COUNT, BATCH = 100_000, 2500  # mutations in all, and in each process
MOST_SECONDS, MOST_MIB = 5.0, 512  # of one file; beyond the memory before the first file
ADDRESS_SPACE = 8 << 30  # bytes that a process may ask for
REFUSED = (ValueError, TypeError, OSError)

Reader = Callable[[Path], None]  # raises an AssertionError for what was read and is not what was written


def mutated(content: bytes, number: int) -> bytes:
    """The content with damage of one of nine kinds."""
    rng = np.random.default_rng(number)
    data, n = bytearray(content), len(content)
    start = int(rng.integers(n)) if rng.random() < 0.6 else int(rng.integers(min(n, 2000)))  # headers are short
    length = min(int(2 ** rng.uniform(0, np.log2(n))), n - start)
    other = int(rng.integers(n))
    kind = number // 4 % 9
    if kind < 3:
        for _ in range(1 if kind == 0 else int(rng.integers(1, 9))):
            at = int(rng.integers(n)) if kind == 1 else min(start + int(rng.integers(64)), n - 1)
            data[at] ^= 1 << int(rng.integers(8))
    elif kind == 3:
        del data[start:]
    elif kind == 4:
        data[start : start + length] = bytes(length)
    elif kind == 5:
        data[other:other] = data[start : start + length]
    elif kind == 6:
        moved = data[start : start + length]
        del data[start : start + length]
        data[other:other] = moved
    elif kind == 7:
        data[start : start + length] = rng.bytes(length)
    else:  # a number or a word for another one of the same length, which leaves the format whole
        words = [m for m in re.finditer(rb"[0-9.]+|[a-z_]+|true|null", content)]
        one = words[rng.integers(len(words))]
        like = [m for m in words if len(m[0]) == len(one[0])]
        new = like[rng.integers(len(like))][0] if rng.random() < 0.5 else bytes(rng.integers(48, 58, len(one[0])))
        data[one.start() : one.end()] = new
    return bytes(data)


def specimens(folder: Path) -> dict[str, tuple[bytes, Reader]]:
    """The content of each file, and what reads it."""
    x = datasets.load("faithful")[:40]
    saved = fit(GaussianMixture(2, 2, prior="weak"), x, EM(), restarts=2, max_passes=5)
    saved.save(folder / "fit")
    words = pd.DataFrame({"length": x["eruptions"], "wait": x["waiting"].astype(int), "kind": ["short", "long"] * 20})
    words.loc[3, "length"] = None
    words.to_csv(folder / "csv", index=False)
    words.astype({"kind": "category"}).to_parquet(folder / "parquet", index=False)

    def run(path: Path) -> Any:
        return fit(GaussianMixture(2, 2), x, EM(tol=0), restarts=2, max_passes=4, checkpoint=path)

    whole = run(folder / "whole")
    interrupted(lambda: run(folder / "checkpoint"), writes=6)  # in the second restart

    def same_fit(path: Path) -> None:
        _require_same(load(path), saved)

    def same_run(path: Path) -> None:
        _require_same(run(path), whole)

    def table(path: Path) -> None:
        read_table = read(str(path))
        for chunk in Rows(read_table, missing=True).chunks():
            assert not torch.isinf(chunk.x).any()

    def batches(path: Path) -> None:
        for chunk in Rows(path, missing=True).chunks():
            assert not torch.isinf(chunk.x).any()

    def parquet(path: Path) -> None:
        try:
            table(path)
        finally:
            batches(path)

    readers = {"fit": same_fit, "checkpoint": same_run, "csv": table, "parquet": parquet}
    return {name: ((folder / name).read_bytes(), reader) for name, reader in readers.items()}


def outcome(content: bytes, path: Path, reader: Reader) -> str:
    """ "read" or "refused"; what is wrong raises an AssertionError."""
    path.write_bytes(content)
    began = time.perf_counter()
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            reader(path)
        return "read"
    except REFUSED as error:
        words = str(error)
        plain = type(error).__module__.startswith(("builtins", "lowerbound")) and not isinstance(error, UnicodeError)
        assert plain and words and "\n" not in words and len(words) < 1500, f"{type(error).__name__}: {words}"
        return "refused"
    finally:
        assert time.perf_counter() - began < MOST_SECONDS, f"took {time.perf_counter() - began:.1f} s"


def run_batch(first: int, last: int) -> dict[str, Any]:
    """What came of mutations `first` to `last` - 1."""
    with tempfile.TemporaryDirectory() as name:
        folder, found, wrong, slowest = Path(name), Counter(), [], 0.0
        files = specimens(folder)
        for kind, (content, reader) in files.items():
            assert outcome(content, folder / f"whole.{kind}", reader) == "read"  # also compiles
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        for number in range(first, last):
            kind = list(files)[number % 4]
            content, reader = files[kind]
            began = time.perf_counter()
            try:
                found[f"{kind} {outcome(mutated(content, number), folder / f'x.{kind}', reader)}"] += 1
            except Exception as error:
                wrong.append(f"{number}, {kind}: {type(error).__name__}: {str(error)[:300]}")
            slowest = max(slowest, time.perf_counter() - began)
        mib = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    return {"found": found, "wrong": wrong, "slowest": slowest, "mib": mib}


class _Interruption(Exception):
    """Ends a run whose checkpoint is to be left."""


def interrupted(run: Callable[[], Any], writes: int) -> None:
    """Run until the checkpoint was written so many times."""
    module = sys.modules["lowerbound.inference.fitting.checkpoint"]
    write, written = vars(module)["write"], []

    def dies(*arguments: Any) -> None:
        write(*arguments)
        written.append(1)
        if len(written) == writes:
            raise _Interruption

    vars(module)["write"] = dies
    try:
        run()
    except _Interruption:
        pass
    finally:
        vars(module)["write"] = write


def _require_same(one: Any, other: Any) -> None:
    """Raise AssertionError unless two fits have the same numbers, to the bit."""
    pairs = zip(one.model.state_dict().items(), other.model.state_dict().items(), strict=True)
    assert all(a == b and torch.equal(x, y) for (a, x), (b, y) in pairs), "another model"
    assert torch.equal(one.bounds, other.bounds), "other bounds"
    for name in ("engine", "converged", "reason", "seed", "optima", "gradient_norm"):
        assert vars(one)[name] == vars(other)[name], f"another {name}"


def main(count: int) -> int:
    """Print what came of `count` mutations. Returns 1 if one was neither refused in a sentence nor read as it was."""
    found, wrong, slowest, mib = Counter(), [], 0.0, 0.0
    for first in range(0, count, BATCH):
        arguments = [str(first), str(min(first + BATCH, count))]
        done = subprocess.run([sys.executable, "-m", __spec__.name, *arguments], capture_output=True, text=True)
        if done.returncode:
            wrong.append(f"process {arguments}: exit status {done.returncode}, {done.stderr[-300:]}")
            continue
        part = json.loads(done.stdout)
        found.update(part["found"])
        wrong += part["wrong"]
        slowest, mib = max(slowest, part["slowest"]), max(mib, part["mib"])
    for name, number in sorted(found.items()):
        print(f"{name:<20} {number:>7}")
    print(f"{'neither':<20} {len(wrong):>7}")
    print("\n".join(wrong[:40]))
    print(f"slowest {slowest:.2f} s (limit {MOST_SECONDS:g}), memory {mib:.0f} MiB more than before ({MOST_MIB})")
    return int(bool(wrong) or mib > MOST_MIB)


if __name__ == "__main__":
    if len(sys.argv) == 3:
        resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_SPACE, ADDRESS_SPACE))
        print(json.dumps(run_batch(int(sys.argv[1]), int(sys.argv[2]))))
    else:
        sys.exit(main(int(sys.argv[1]) if len(sys.argv) == 2 else COUNT))
