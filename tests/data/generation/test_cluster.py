"""Generation on a cluster: a running one, as two terminals make it, and one of our own; killed and misfit."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from qdyn import load_dataset
from qdyn.data.generation import cluster as cluster_module
from qdyn.data.generation import generate as generate_module
from qdyn.data.generation import sharing as sharing_module
from qdyn.data.generation.estimate import WORKER_BYTES
from qdyn.data.generation.generate import generate
from qdyn.data.generation.plan import PLAN, Plan, shard_path
from qdyn.data.generation.shards import Job
from qdyn.data.generation.workers import Standard, introduce, versions
from qdyn.data.recipes import Recipe
from qdyn.data.source import _SOURCES
from qdyn.errors import ArgumentError, ClusterError, DatasetError, MemoryLimitError, MissingExtraError

psutil = pytest.importorskip("psutil", reason="the extra scale is not installed")
pytest.importorskip("distributed", reason="the extra scale is not installed")

BIN = Path(sys.executable).parent
# A source that takes its time, so that what happens in the middle of a shard can be arranged.
PACED = """
import time
from dataclasses import dataclass
import numpy as np
from qdyn.data.layout import Block, Layout
from qdyn.data.source import Source, generator_of
from qdyn.errors import DatasetError

@dataclass(frozen=True)
class Paced(Source):
    seconds: float = 0.1
    fatal: int = -1
    size: int = 0

    def layout(self, precision):
        return Layout(kind="real", dimension=2, length=3, dtype="float32")

    def block_size(self):
        return 4

    def working_bytes(self):
        return self.size

    def block(self, *, seed, first, count, precision):
        if count == 4:
            time.sleep(self.seconds)
        if first == self.fatal:
            raise DatasetError(f"There is no sequence {first}.")
        values = [generator_of(seed, first + index).standard_normal((3, 2)) for index in range(count)]
        return Block(np.stack(values).astype(np.float32))
"""
SLOW = (
    "name: slow\nsource: markov\nseed: 3\nsplits: {train: 560, test: 80}\n"
    "parameters: {dimension: 16, n_steps: 400, persistence: 0.8, noise: 0.6}\n"
)


def recipe(**parameters: float) -> Recipe:
    return Recipe("paced", "paced", 3, {"train": 64, "test": 16}, parameters)


def digest(folder: Path) -> str:
    return str(json.loads((folder / "manifest.json").read_text())["digest"])


def until(true: Callable[[], bool], *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def finished(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("shard-*.h5"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder from which every process can import the paced source."""
    folder = tmp_path_factory.mktemp("home")
    (folder / "qdyn_paced.py").write_text(PACED)
    sys.path.insert(0, str(folder))
    _SOURCES["paced"] = "qdyn_paced:Paced"
    yield folder
    del _SOURCES["paced"]
    sys.path.remove(str(folder))


@pytest.fixture(scope="module")
def reference(home: Path) -> str:
    """The digest that one process gives."""
    return digest(generate(recipe(), home / "reference", progress=False))


@dataclass
class Terminals:
    """A scheduler in one terminal, workers in another."""

    file: Path
    scheduler: subprocess.Popen[bytes]
    workers: subprocess.Popen[bytes]
    address: str = field(init=False)

    def __post_init__(self) -> None:
        self.address = json.loads(self.file.read_text())["address"]


@contextmanager
def two_terminals(home: Path, name: str, *, workers: int, threads: int = 2) -> Iterator[Terminals]:
    file = home / f"{name}.json"
    environment = os.environ | {
        "PYTHONPATH": os.pathsep.join([str(home), os.environ.get("PYTHONPATH", "")]),
        "DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES": "1",
    }
    common = [
        "--host",
        "127.0.0.1",
        "--no-dashboard",
        "--dashboard-address",
        "127.0.0.1:0",
        "--scheduler-file",
        str(file),
    ]
    size = ["--nworkers", str(workers), "--nthreads", str(threads), "--memory-limit", "4GiB"]
    with (home / f"{name}.log").open("wb") as log:
        kept = {"env": environment, "stdout": log, "stderr": log, "cwd": home}
        scheduler = subprocess.Popen([BIN / "dask", "scheduler", *common, "--port", "0"], **kept)  # type: ignore[call-overload]
        until(file.is_file)
        started = subprocess.Popen([BIN / "dask", "worker", *common, *size], **kept)  # type: ignore[call-overload]
        try:
            yield Terminals(file, scheduler, started)
        finally:
            for process in (started, scheduler):
                process.terminate()
            for process in (started, scheduler):
                process.wait(timeout=30)


@pytest.fixture(scope="module")
def terminals(home: Path) -> Iterator[Terminals]:
    with two_terminals(home, "scheduler", workers=2) as found:
        yield found


@contextmanager
def killing_the_worker_at(folder: Path, shard: str, *, times: int) -> Iterator[list[int]]:
    """Send SIGKILL to whatever process has a shard half written."""
    stop, killed = threading.Event(), []

    def hunt() -> None:
        while not stop.wait(0.01) and len(killed) < times:
            if not list(folder.glob(f".{shard}.*.part")):
                continue
            time.sleep(0.15)  # long enough for its worker to have told of it
            for process in psutil.Process().children(recursive=True):
                with suppress(psutil.Error):
                    if any(Path(file.path).name.startswith(f".{shard}.") for file in process.open_files()):
                        process.kill()
                        killed.append(process.pid)

    hunter = threading.Thread(target=hunt)
    hunter.start()
    try:
        yield killed
    finally:
        stop.set()
        hunter.join()


def test_a_running_cluster_makes_the_same_bits(
    terminals: Terminals, reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """By the file of its scheduler or by its address; told what each worker needs, and how long it takes."""
    folder = generate(recipe(), tmp_path / "a", scheduler=terminals.file, workers=2, shard_size=12)
    said = capsys.readouterr().err
    assert digest(folder) == reference == load_dataset(folder, verify=True).metadata.digest
    assert "paced: 80 sequences, 80 to make: 5.1 KiB on disk, about 600.0 MiB of memory (300.0" in said
    assert "s with 2 workers\n" in said
    assert "the workers have 4 threads and use one each" in said
    assert "80/80" in said
    assert json.loads((folder / "manifest.json").read_text())["provenance"]["workers"] == 2
    address = terminals.address.removeprefix("tcp://")
    again = generate(recipe(), tmp_path / "b", scheduler=address, shard_size=37, progress=False)
    assert digest(again) == reference
    assert capsys.readouterr().err == ""
    assert all(path.name.startswith(("shard-", "manifest")) for path in folder.iterdir())


def test_as_typed_in_a_third_terminal(terminals: Terminals, tmp_path: Path) -> None:
    (tmp_path / "slow.yaml").write_text(SLOW)
    command = [BIN / "qdyn", "generate", "slow.yaml", "--shard-size", "100"]
    several, one = (
        subprocess.run(
            [*command, *rest], cwd=tmp_path, capture_output=True, text=True, check=False, timeout=120
        )
        for rest in (["--scheduler", terminals.file, "--workers", "2"], ["--out", "data/one"])
    )
    assert (several.returncode, several.stdout) == (0, "data/slow\n"), several.stderr
    assert one.returncode == 0, one.stderr
    assert "640/640" in several.stderr
    assert digest(tmp_path / "data" / "slow") == digest(tmp_path / "data" / "one")


def test_a_killed_worker_costs_its_shard_only(
    terminals: Terminals, reference: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with killing_the_worker_at(tmp_path / "a", "shard-00001.h5", times=1) as killed:
        generate(recipe(), tmp_path / "a", scheduler=terminals.file, workers=2, shard_size=20)
    assert len(killed) == 1
    assert digest(tmp_path / "a") == reference
    assert "was lost: shard-00001.h5 is begun again" in capsys.readouterr().err
    # Not even the half-written file of the killed worker is left.
    assert all(path.name.startswith(("shard-", "manifest")) for path in (tmp_path / "a").iterdir())


def test_a_shard_that_kills_workers_is_given_up_in_one_line(
    terminals: Terminals, reference: str, tmp_path: Path
) -> None:
    """This scheduler allows one failure; another would allow three."""
    with (
        killing_the_worker_at(tmp_path / "a", "shard-00002.h5", times=9) as killed,
        pytest.raises(ClusterError, match=r"was killed 2 times at shard-00002\.h5.*same again to go on"),
    ):
        generate(recipe(), tmp_path / "a", scheduler=terminals.file, workers=2, shard_size=20, progress=False)
    assert len(killed) == 2
    assert digest(generate(recipe(), tmp_path / "a", progress=False)) == reference


def test_a_shard_is_not_blamed_for_the_death_of_its_neighbour(
    home: Path, reference: str, tmp_path: Path
) -> None:
    """The one worker holds all four shards; two of them kill it once, which is allowed."""
    folder = tmp_path / "a"
    with (
        two_terminals(home, "crowded", workers=1, threads=4) as crowded,
        killing_the_worker_at(folder, "shard-00001.h5", times=1) as first,
        killing_the_worker_at(folder, "shard-00002.h5", times=1) as second,
    ):
        generate(recipe(), folder, scheduler=crowded.file, workers=1, shard_size=20, progress=False)
    assert len(first) == len(second) == 1
    assert digest(folder) == reference


def test_what_a_source_raises_arrives_as_it_is(terminals: Terminals, tmp_path: Path) -> None:
    with pytest.raises(DatasetError) as raised:
        generate(recipe(fatal=40), tmp_path / "a", scheduler=terminals.file, shard_size=20, progress=False)
    assert str(raised.value) == "There is no sequence 40."
    assert "qdyn_paced.py" in "".join(raised.value.__notes__)
    assert "shard-00002.h5" not in finished(tmp_path / "a")


def test_workers_that_do_not_suit_are_refused(
    terminals: Terminals, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(chosen: Recipe, name: str) -> None:
        generate(chosen, tmp_path / name, scheduler=terminals.file, workers=2, progress=False)

    with monkeypatch.context() as patch:
        patch.setattr(sharing_module, "versions", lambda: versions() | {"torch": "1.0"})
        with pytest.raises(ClusterError, match=r"worker tcp://127.* has torch \S+ instead of 1\.0: install"):
            run(recipe(), "a")
    with pytest.raises(MemoryLimitError, match=r"about 8\.\d GiB of memory in each worker, but .* 4\.0 GiB"):
        run(recipe(size=8 << 30), "b")
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "_PATIENCE", 0.1)
        patch.setattr(generate_module, "PLAN", "elsewhere.json")  # as if on another machine's disk
        with pytest.raises(ClusterError, match=r"does not see the folder .* under the same path"):
            run(recipe(), "c")
    with monkeypatch.context() as patch:
        patch.setattr(generate_module, "_PATIENCE", 0.1)
        patch.setattr(sharing_module, "shard_path", lambda folder, number: shard_path(tmp_path, number))
        with pytest.raises(ClusterError, match=r"made shard-0000\d\.h5, but it is not to be seen in"):
            run(recipe(seconds=0), "d")


def test_a_worker_with_other_bits_gets_no_shard(terminals: Terminals, home: Path, tmp_path: Path) -> None:
    """Also one that joins when the others have been examined."""
    chosen = recipe()
    plan = Plan(chosen, 20)
    (tmp_path / PLAN).write_text(json.dumps(plan.to_json()))
    job = Job(tmp_path, plan, chosen.make_source(), chosen.fingerprint(), patience=1)
    with cluster_module.running_cluster(terminals.file) as client:
        cluster_module.wait_for_workers(client, 2)
        examined = sharing_module.examine(client, job)
        assert examined.n_workers == 2
        assert 1.05 * 2 * examined.sequences_per_second * 2 > 4 / 0.05  # four in 0.05 s, in two workers
        introduced = sharing_module._ask_each(client, introduce, job)
        assert all(one.resident < WORKER_BYTES for one in introduced.values())  # type: ignore[attr-defined]
        other = Standard(versions(), "0" * 64)
        with pytest.raises(ClusterError, match="does not compute the same bits"):
            sharing_module.share(client, job, [0, 1], other, heard=print, said=print)
    assert finished(tmp_path) == []


def test_a_scheduler_that_goes_leaves_what_is_finished(home: Path, reference: str, tmp_path: Path) -> None:
    folder = tmp_path / "a"
    with two_terminals(home, "mortal", workers=1) as mortal:

        def end() -> None:
            until(lambda: len(finished(folder)) >= 2)
            mortal.scheduler.kill()

        killer = threading.Thread(target=end)
        killer.start()
        with pytest.raises(ClusterError, match=r"scheduler has gone.*the same again to go on"):
            generate(recipe(), folder, scheduler=mortal.file, workers=1, shard_size=8, progress=False)
        killer.join()
    before = {path.name: path.stat().st_mtime_ns for path in folder.glob("shard-*.h5")}
    assert len(before) >= 2
    assert digest(generate(recipe(), folder, progress=False)) == reference
    assert before.items() <= {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}.items()


def test_where_no_scheduler_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cluster_module, "_CONNECT_SECONDS", 0.2)
    with pytest.raises(ClusterError, match=r"No scheduler answers at tcp://127\.0\.0\.1:9: "):
        generate("markov-sphere", tmp_path / "a", scheduler="tcp://127.0.0.1:9", progress=False)
    with pytest.raises(ArgumentError, match=r"path of a scheduler file, but is 'here', and there is no such"):
        generate("markov-sphere", tmp_path / "a", scheduler="here", progress=False)
    (tmp_path / "scheduler.json").write_text("{}")
    with pytest.raises(ArgumentError, match="which no scheduler has written"):
        generate("markov-sphere", tmp_path / "a", scheduler=tmp_path / "scheduler.json", progress=False)


def test_workers_of_our_own_make_the_same_bits(
    home: Path, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though one of three is killed; and afterwards this process is as it was before."""
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    environment = dict(os.environ)
    with killing_the_worker_at(tmp_path / "a", "shard-00001.h5", times=1) as killed:
        folder = generate(recipe(), tmp_path / "a", workers=3, shard_size=20, progress=False)
    assert len(killed) == 1
    assert digest(folder) == reference
    assert dict(os.environ) == environment
    assert multiprocessing.active_children() == []
    assert not [one for one in psutil.Process().net_connections() if one.status == psutil.CONN_LISTEN]
    assert signal.SIGINT not in signal.pthread_sigmask(signal.SIG_BLOCK, ())


def test_workers_of_our_own_are_no_way_in(home: Path, tmp_path: Path) -> None:
    """Whoever else is on this machine can reach the port, and what dask sends can run code."""
    stranger = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    stranger.check_hostname, stranger.verify_mode = False, ssl.CERT_NONE
    with cluster_module.local_cluster(1) as client:
        scheme, host, port = client.scheduler.address.replace("//", "").split(":")
        assert (scheme, host) == ("tls", "127.0.0.1")
        with (
            socket.create_connection((host, int(port)), timeout=30) as plain,
            stranger.wrap_socket(plain) as secret,
            pytest.raises((ssl.SSLError, ConnectionError)),
        ):
            secret.recv(1)


@pytest.mark.parametrize("finished_before", [pytest.param(0, marks=pytest.mark.slow), 2])
def test_ctrl_c_ends_all_at_once_and_quietly(tmp_path: Path, finished_before: int) -> None:
    """While workers start, and in the middle: a terminal sends it to every process."""
    (tmp_path / "slow.yaml").write_text(SLOW.replace("560", "4000"))
    command = [BIN / "qdyn", "generate", "slow.yaml", "--out", "a", "--workers", "2", "--shard-size", "100"]
    process = subprocess.Popen(
        command, cwd=tmp_path, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    folder = tmp_path / "a"
    if finished_before:
        until(lambda: len(finished(folder)) >= finished_before)
    else:
        until(lambda: (folder / PLAN).is_file() and len(psutil.Process(process.pid).children()) >= 2)
    members = [process.pid, *(child.pid for child in psutil.Process(process.pid).children(recursive=True))]
    os.killpg(process.pid, signal.SIGINT)
    _, said = process.communicate(timeout=30)
    assert process.returncode == 130
    line = "qdyn: Interrupted: the same command goes on after the last finished shard."
    assert said.rstrip().splitlines()[-1] == line
    assert "Traceback" not in said
    assert "Error" not in said
    assert not (folder / "manifest.json").exists()
    until(lambda: not any(map(runs, members)), seconds=10)


def runs(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def test_without_the_extra_one_worker_still_works(
    home: Path, reference: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cluster_module.importlib.util, "find_spec", lambda name: None)
    for several in ({"workers": 2}, {"scheduler": "tcp://127.0.0.1:9"}):
        with pytest.raises(MissingExtraError, match=r"needs the package distributed.*qdyn-toolkit\[scale\]"):
            generate(recipe(), tmp_path / "a", progress=False, **several)  # type: ignore[arg-type]
    assert not (tmp_path / "a").exists()
    assert digest(generate(recipe(), tmp_path / "a", progress=False)) == reference


@pytest.mark.slow
def test_a_script_without_the_guard_is_told_once(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(
        "import qdyn.data.generation.generate\nqdyn.data.generate.generate('markov-sphere', 'a', workers=2)\n"
    )
    done = subprocess.run(
        [sys.executable, "script.py"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert done.stderr.count("Traceback") == 1
    assert "must stand under `if __name__ == '__main__':`" in done.stderr.splitlines()[-1]
