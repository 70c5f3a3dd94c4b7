"""What packages cannot do: a block reaches the operator's index only, a charm its own folder.

All walls are up. Each package here is made on the spot, and each index is on this machine.
"""

from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.running import Refused, RunningCharm, Service
from tests.wheels import make_wheel, script, serve

PRYING = """\
import alpha, os, pathlib
from bg_charm_service import Charm

class Prying(Charm):
    version: str = ""
    folder: str = ""

    def bg_updater(self, event: dict) -> None:
        self.version = alpha.version
        self.folder = os.path.dirname(alpha.__file__)
        path = pathlib.Path(event.get("path") or self.folder, event.get("file", ""))
        match event.get("deed"):
            case "read": path.read_bytes()
            case "list": os.listdir(path)
            case "write": path.write_bytes(b"")
            case "remove": path.unlink()
            case "rename": os.rename(path, str(path) + ".away")
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages, which nobody but uv has to read."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0")
    return folder


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Service]:
    """A service with all walls, whose charms have two folders of packages."""
    home = tmp_path_factory.mktemp("home")
    flags = ("--package-index=none", f"--package-links={wheels}", "--interval=3600")
    with Service(home / "data", *flags, "--sandbox=require", "--max-retries=0") as one:
        yield one


@pytest.fixture(scope="module")
def prying(service: Service) -> RunningCharm:
    """A charm that does what its event says."""
    return service.add(script("alpha<2") + PRYING, cause="prying")


@pytest.fixture(scope="module")
def other(service: Service) -> RunningCharm:
    """A charm of another space, with packages of its own."""
    charm = service.add(script("alpha>=2") + PRYING, space="other", cause="other")
    assert "success" == charm.run()["status"]
    return charm


def end_of(charm: RunningCharm, **event: Any) -> str:
    """Let a deed be done; gives the cause of its failure."""
    run = charm.perform(**event)
    return str(run["cause"] or run["status"])


def test_charm_reads_its_own_packages(prying: RunningCharm) -> None:
    """They are there, behind all walls."""
    assert "success" == end_of(prying, deed="read", file="__init__.py")
    assert "success" == end_of(prying, deed="list")
    assert "1.0" == prying.get("version")


@pytest.mark.parametrize("deed", ["write", "remove", "rename"])
def test_charm_changes_no_package(prying: RunningCharm, deed: str) -> None:
    """Others read them too."""
    assert "forbidden" == end_of(prying, deed=deed, file="__init__.py")
    assert "success" == end_of(prying, deed="read", file="__init__.py")


def test_charm_reads_no_packages_of_others(prying: RunningCharm, other: RunningCharm) -> None:
    """What others need is nobody's business: neither their folders nor that there are any."""
    theirs = str(other.get("folder"))
    assert "forbidden" == end_of(prying, deed="read", path=theirs, file="__init__.py")
    assert "forbidden" == end_of(prying, deed="list", path=theirs)


@pytest.mark.parametrize("place", ["packages", "packages/folders", "packages/cache", "."])
def test_charm_sees_nothing_around_its_packages(
    service: Service, prying: RunningCharm, place: str
) -> None:
    """Its folder lies in the data directory, of which it sees nothing else."""
    assert "forbidden" == end_of(prying, deed="list", path=str(service.data_dir / place))


def test_charm_without_packages_sees_none(service: Service, other: RunningCharm) -> None:
    """A worker that is bound to no packages reads none."""
    source = PRYING.replace("import alpha, os", "import os").replace("alpha.version", "''")
    charm = service.add(source.replace("alpha.__file__", "'/x/y'"), cause="bare")
    assert "forbidden" == end_of(charm, deed="list", path=str(other.get("folder")))


def test_address_in_a_package_is_not_followed(tmp_path: Path, wheels: Path) -> None:
    """A package cannot have another one fetched from where it likes."""
    strange, own = tmp_path / "strange", tmp_path / "own"
    make_wheel(strange, "evil", "1.0")
    with serve(strange) as stranger:
        address = stranger.url.removesuffix("simple") + "files/evil-1.0-py3-none-any.whl"
        make_wheel(own, "alpha", "5.0", requires=[f"evil @ {address}"])
        flags = ("--package-index=none", f"--package-links={own}", "--interval=3600")
        service = Service(tmp_path / "data", *flags, "--sandbox=require")
        with service, pytest.raises(Refused, match="evil"):
            service.add(script("alpha") + PRYING)
        assert [] == stranger.asked


def test_file_elsewhere_is_not_read(tmp_path: Path, wheels: Path) -> None:
    """An index that names a file of this machine is not given it."""
    private, own = tmp_path / "private", tmp_path / "own"
    hidden = make_wheel(private, "alpha", "9.0")
    make_wheel(own, "alpha", "1.0")
    with serve(own) as index:
        index.more_links.append(f'<a href="file://{hidden}">{hidden.name}</a>')
        flags = (f"--package-index={index.url}", "--interval=3600", "--sandbox=require")
        service = Service(tmp_path / "data", *flags)
        with service, pytest.raises(Refused, match="alpha"):
            service.add(script("alpha>=9") + PRYING)


def test_other_ports_are_not_reached(tmp_path: Path, wheels: Path) -> None:
    """An index cannot send uv to another port of this machine."""
    own, strange = tmp_path / "own", tmp_path / "strange"
    own.mkdir()
    make_wheel(strange, "alpha", "9.0")
    with serve(own) as index, serve(strange) as stranger:
        address = stranger.url.removesuffix("simple") + "files/alpha-9.0-py3-none-any.whl"
        index.more_links.append(f'<a href="{address}">alpha-9.0-py3-none-any.whl</a>')
        flags = (f"--package-index={index.url}", "--interval=3600", "--sandbox=require")
        service = Service(tmp_path / "data", *flags)
        with service, pytest.raises(Refused, match="alpha"):
            service.add(script("alpha") + PRYING)
        assert [] == stranger.asked


def test_source_of_a_package_is_not_run(tmp_path: Path, wheels: Path) -> None:
    """A package without a wheel is refused unless the operator has it built."""
    own, mark = tmp_path / "own", tmp_path / "mark"
    own.mkdir()
    with tarfile.open(own / "built-1.0.tar.gz", "w:gz") as archive:
        for name, text in {
            "PKG-INFO": "Metadata-Version: 2.1\nName: built\nVersion: 1.0\n",
            "setup.py": f"open({str(mark)!r}, 'w').close()\n",
        }.items():
            member = tarfile.TarInfo(f"built-1.0/{name}")
            member.size = len(text)
            archive.addfile(member, io.BytesIO(text.encode()))
    flags = ("--package-index=none", f"--package-links={own}", "--interval=3600")
    service = Service(tmp_path / "data", *flags, "--sandbox=require")
    with service, pytest.raises(Refused, match="built"):
        service.add(script("built") + PRYING)
    assert not mark.exists()
