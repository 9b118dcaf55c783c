"""Files are written completely or not at all, and no scratch file stays."""

import errno
import fcntl
import os
import resource
import signal
import stat
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from lowerbound.data import scratch_file
from lowerbound.data.scratch_file import ScratchFile
from lowerbound.data.write_files import write_files, write_folder

SCRATCH = ".a.0.lowerbound-scratch"


@contextmanager
def disk_with_room_for(size):
    """The system refuses to write more bytes than this to any file."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


def test_a_disk_that_fills_leaves_all_old_files(tmp_path):
    """The second of three files is too large: none is replaced, and the third is not made."""
    a, b, c = (tmp_path / name for name in "abc")
    write_files({a: b"old a", b: b"old b"})
    with disk_with_room_for(1000), pytest.raises(OSError, match=rf"^cannot write {b}: File too large$") as caught:
        write_files({a: b"new a", b: b"x" * 2000, c: b"new c"})
    assert caught.value.errno is not None
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == {"a": b"old a", "b": b"old b"}
    with disk_with_room_for(1000), pytest.raises(OSError, match="File too large"):
        write_folder(tmp_path / "new" / "folder", {"a": b"x" * 2000}, ["a"])
    assert not (tmp_path / "new").exists()


def test_the_next_write_removes_what_a_killed_process_left(tmp_path):
    program = (
        "import os, signal, sys; from pathlib import Path; from lowerbound.data.write_files import write_files\n"
        "os.fsync = lambda _: os.kill(os.getpid(), signal.SIGKILL)\n"
        "write_files({Path(sys.argv[1]): b'half'})"
    )
    done = subprocess.run([sys.executable, "-c", program, tmp_path / "a"], check=False)
    assert done.returncode == -signal.SIGKILL
    assert [path.name for path in tmp_path.iterdir()] == [SCRATCH]
    write_files({tmp_path / "b": b"another place"})
    assert (tmp_path / SCRATCH).exists()
    write_files({tmp_path / "a": b"whole"})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "b"]


def test_the_scratch_file_of_a_process_that_runs_is_left_to_it(tmp_path):
    scratch = ScratchFile(tmp_path / "a")
    write_files({tmp_path / "a": b"mine"})
    assert (tmp_path / "a").read_bytes() == b"mine" and scratch.path.name == SCRATCH and scratch.path.exists()
    scratch.file.close()
    write_files({tmp_path / "a": b"again"})
    assert not scratch.path.exists()


def test_a_writer_removes_no_scratch_file_but_its_own(tmp_path):
    """Once it has renamed its own, the name is free, and another process may have taken it; or if it fails."""
    place = tmp_path / "a"
    with ScratchFile(place) as first:
        first.rename(place)
        second = ScratchFile(place)
        assert second.path == first.path
    assert second.path.exists()
    with suppress(KeyError), second:
        raise KeyError
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def before_locking(monkeypatch, act):
    """What another process does after this one has opened a file and before it locks it, once."""
    lock, acts = scratch_file._lock, [act]

    def first_act(opened):
        if acts:
            acts.pop()()
        return lock(opened)

    monkeypatch.setattr(scratch_file, "_lock", first_act)


def test_a_scratch_file_that_another_process_is_about_to_remove_is_not_used(tmp_path, monkeypatch):
    other = []

    def lock_it():
        other.append(os.open(tmp_path / SCRATCH, os.O_RDONLY))
        fcntl.flock(other[0], fcntl.LOCK_EX)

    before_locking(monkeypatch, lock_it)
    with ScratchFile(tmp_path / "a") as scratch:
        assert scratch.path.name == SCRATCH.replace("0", "1")
    os.close(other[0])


def test_a_new_scratch_file_under_the_name_of_an_abandoned_one_is_left(tmp_path, monkeypatch):
    """Two processes find the same abandoned file; one removes it and makes its own before the other has the lock."""
    (tmp_path / SCRATCH).touch()
    before_locking(monkeypatch, lambda: ((tmp_path / "new").touch(), (tmp_path / "new").replace(tmp_path / SCRATCH)))
    scratch_file._remove_abandoned(tmp_path / SCRATCH)
    assert (tmp_path / SCRATCH).exists()


def test_many_writers_of_one_place(tmp_path):
    contents = [bytes([number]) * 1000 for number in range(4)]

    def write(content):
        for _ in range(100):
            write_files({tmp_path / "a": content}, durable=False)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(write, contents))
    assert (tmp_path / "a").read_bytes() in contents and [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_disk_without_locks(tmp_path, monkeypatch):
    """What was left there goes after an hour; until then the error says which files stand in the way."""

    def flock(*_):
        raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

    monkeypatch.setattr(scratch_file.fcntl, "flock", flock)
    left = [tmp_path / SCRATCH.replace("0", str(number)) for number in range(8)]
    for path in left:
        path.touch()
    with pytest.raises(OSError, match=rf"a: its 8 scratch files, {SCRATCH} to .* or were killed less than"):
        write_files({tmp_path / "a": b"mine"})
    os.utime(left[3], (0, 0))
    write_files({tmp_path / "a": b"mine"})
    assert sorted(path for path in tmp_path.iterdir()) == sorted([tmp_path / "a", *left[:3], *left[4:]])


def test_a_scratch_name_that_is_a_link_is_not_followed(tmp_path):
    """Where others can write, a link with the name of a scratch file must not lead to another file."""
    (tmp_path / "theirs").write_bytes(b"theirs")
    (tmp_path / SCRATCH).symlink_to(tmp_path / "theirs")
    write_files({tmp_path / "a": b"mine"})
    assert (tmp_path / "theirs").read_bytes() == b"theirs" and (tmp_path / "a").read_bytes() == b"mine"


def test_links_permissions_and_devices(tmp_path):
    place, link = tmp_path / "place", tmp_path / "link"
    place.write_bytes(b"old")
    place.chmod(0o600)
    link.symlink_to(place)
    write_files({link: b"new"})
    assert link.is_symlink() and place.read_bytes() == b"new" and stat.S_IMODE(place.stat().st_mode) == 0o600
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(OSError, match=r"cannot write .*pipe: it is a device or a pipe, expected a file"):
        write_files({tmp_path / "pipe": b"x"})
    with pytest.raises(OSError, match="cannot write /dev/null: it is a device"):
        write_files({Path("/dev/null"): b"x"})
    with pytest.raises(FileNotFoundError, match=r"there is no folder .*nowhere"):
        write_files({tmp_path / "nowhere" / "a": b"x"})
