"""Files are written completely or not at all, and no scratch file stays."""

import os
import resource
import signal
import stat
import subprocess
import sys
from contextlib import contextmanager
from pathlib import Path

import pytest

from lowerbound.data.write_files import _open_scratch, write_files, write_folder

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
    scratch, file = _open_scratch(tmp_path / "a")
    write_files({tmp_path / "a": b"mine"})
    assert (tmp_path / "a").read_bytes() == b"mine" and scratch.name == SCRATCH and scratch.exists()
    file.close()
    write_files({tmp_path / "a": b"again"})
    assert not scratch.exists()


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
