"""What is told when packages cannot be had, and how they are held beside those of the service."""

from __future__ import annotations

import asyncio
import hashlib
import ssl
import zipfile
from pathlib import Path
from types import SimpleNamespace

import pydantic
import pytest
import uv

from bg_charm_service.domain.errors import PackageError
from bg_charm_service.domain.packages.lock import LockedPackage, PackageLock
from bg_charm_service.domain.packages.script_block import ScriptBlock
from bg_charm_service.packages import installer, stand_ins
from bg_charm_service.packages.folders import PackageFolders
from bg_charm_service.packages.installer import Installer, PackageRules, find_uv
from bg_charm_service.packages.loaded import OURS, LoadedPackage, loaded_packages
from tests.wheels import make_sdist, make_wheel

LOADED = [LoadedPackage("my-lib", "2.5", ("fast",), ('speed>1; extra == "fast"',))]


def make_installer(tmp_path: Path, rules: PackageRules | None = None) -> Installer:
    """Make an installer of an empty data directory, without walls."""
    folders = PackageFolders(tmp_path / "packages")
    return Installer(folders, rules or PackageRules(), has_file_wall=False, has_port_wall=False)


def test_uv_is_the_one_that_was_installed_with_the_service() -> None:
    """It is that of the package of its name, wherever else there is one."""
    assert uv.find_uv_bin() == find_uv()


def test_machine_without_uv_is_told_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing is begun, and one sentence says what is missing."""

    def missing() -> str:
        raise FileNotFoundError

    monkeypatch.setattr(uv, "find_uv_bin", missing)
    with pytest.raises(PackageError, match=r"there is no uv on this machine.*pip install uv"):
        asyncio.run(make_installer(tmp_path).lock(ScriptBlock(("alpha",)), lambda _: None))
    assert [] == list(tmp_path.iterdir())


def test_what_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit of the operator ends it, and nothing of it is left."""
    make_wheel(tmp_path / "own", "alpha", "1.0")
    rules = PackageRules(index="none", links=str(tmp_path / "own"), timeout_seconds=0.001)
    one = make_installer(tmp_path, rules)
    monkeypatch.setattr(one, "_loaded", [])
    with pytest.raises(PackageError, match=r"longer than 0\.001 s.*--package-timeout"):
        asyncio.run(one.lock(ScriptBlock(("alpha",)), lambda _: None))
    assert [] == list((tmp_path / "packages" / "work").iterdir())


def test_loaded_packages_are_those_that_were_imported() -> None:
    """What this process has imported is among them, with its version; the service is not."""
    found = {one.name: one for one in loaded_packages()}
    assert {"pydantic", "msgspec", "pytest"} <= found.keys()
    assert OURS not in found
    assert pydantic.VERSION == found["pydantic"].version
    assert "email" in found["pydantic"].extras
    assert all("extra" in each for each in found["pydantic"].requires)


def test_stand_in_is_a_wheel_of_that_version(tmp_path: Path) -> None:
    """It says who it is and what its extras bring, and holds no code."""
    stand_ins.write(tmp_path / "own", LOADED)
    (wheel,) = (tmp_path / "own").iterdir()
    assert "my_lib-2.5-py3-none-any.whl" == wheel.name
    with zipfile.ZipFile(wheel) as archive:
        assert all(".dist-info/" in name for name in archive.namelist())
        metadata = archive.read("my_lib-2.5.dist-info/METADATA").decode()
    assert "Version: 2.5\nProvides-Extra: fast\nRequires-Dist: speed>1" in metadata


@pytest.mark.parametrize(
    "requires",
    ["my_lib>=2", "My.Lib", 'my-lib>9; extra == "x"', "other>9", 'my-lib>9; python_version<"3"'],
)
def test_what_goes_together_is_taken(tmp_path: Path, requires: str) -> None:
    """Another spelling, an extra that nobody asks for, another machine: no conflict."""
    with zipfile.ZipFile(make_wheel(tmp_path, "alpha", "1.0", requires=[requires])) as wheel:
        wheel.extractall(tmp_path / "lib")
    stand_ins.check_beside(tmp_path / "lib", LOADED)


def test_lock_that_the_service_has_outgrown_is_refused(tmp_path: Path) -> None:
    """Both sides are named, and what mends it."""
    with zipfile.ZipFile(make_wheel(tmp_path, "alpha", "1.0", requires=["my-lib<2"])) as wheel:
        wheel.extractall(tmp_path / "lib")
    with pytest.raises(PackageError, match=r"alpha 1\.0 needs my-lib<2.*my-lib 2\.5.*update"):
        stand_ins.check_beside(tmp_path / "lib", LOADED)


def test_version_that_the_service_has_loaded_by_now_is_refused(tmp_path: Path) -> None:
    """A lock may hold what the service did not load when it was made."""
    with zipfile.ZipFile(make_wheel(tmp_path, "my_lib", "2.4")) as wheel:
        wheel.extractall(tmp_path / "lib")
    with pytest.raises(PackageError, match=r"my.lib 2\.4.*my.lib 2\.5.*--upgrade"):
        stand_ins.check_beside(tmp_path / "lib", LOADED)


NAMESPACE = "__path__ = __import__('pkgutil').extend_path(__path__, __name__)\n"


def unpacked(folder: Path, name: str, files: dict[str, str]) -> Path:
    """Install a package by hand, over what is there."""
    with zipfile.ZipFile(make_wheel(folder / "wheels", name, "1.0", files)) as wheel:
        wheel.extractall(folder / "lib")
    return folder / "lib"


@pytest.mark.parametrize("path", ["shared/__init__.py", "shared.py"])
def test_packages_of_one_module_are_refused(tmp_path: Path, path: str) -> None:
    """Which of them would be there is chance: both are named, before anything fails in a charm."""
    unpacked(tmp_path, "one", {path: "it = 1\n"})
    lib = unpacked(tmp_path, "other", {path: "it = 2\n"})
    with pytest.raises(PackageError, match="one and other both bring the module shared: "):
        stand_ins.check_apart(lib)


@pytest.mark.parametrize(
    ("path", "texts"),
    [
        ("shared/__init__.py", ("it = 1\n", "it = 1\n")),
        ("shared/__init__.py", (NAMESPACE, f"# shared\n{NAMESPACE}")),
        ("tests/__init__.py", ("it = 1\n", "it = 2\n")),
        ("shared/inner/__init__.py", ("it = 1\n", "it = 2\n")),
    ],
    ids=["twins", "namespace", "tests", "deeper"],
)
def test_packages_that_go_together_are_taken(
    tmp_path: Path, path: str, texts: tuple[str, str]
) -> None:
    """Files that are the same, packages that are shared on purpose, and what nobody imports."""
    unpacked(tmp_path, "one", {path: texts[0]})
    stand_ins.check_apart(unpacked(tmp_path, "other", {path: texts[1]}))


def test_passwords_of_an_index_are_no_arguments(tmp_path: Path) -> None:
    """Everybody on a machine can read the arguments of a process."""
    rules = PackageRules(
        index="https://me:hunter2@example.org/simple", links="https://me:hunter3@example.org/all"
    )
    task = make_installer(tmp_path, rules)._task(["pip"], tmp_path)
    assert "hunter" not in " ".join(task.command)
    assert rules.index == task.environment["UV_DEFAULT_INDEX"]
    assert (53, 443) == task.ports


def test_nothing_of_the_environment_reaches_uv(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither its own variables nor those of proxies, keys or homes."""
    monkeypatch.setenv("UV_INDEX", "https://example.org")
    monkeypatch.setenv("HTTPS_PROXY", "http://example.org")
    task = make_installer(tmp_path)._task(["pip"], tmp_path)
    assert {"TMPDIR", "HOME", "PATH", "UV_HTTP_RETRIES", "UV_DEFAULT_INDEX"} == set(
        task.environment
    )
    assert "--no-config" in task.command
    assert "--no-build" in task.command


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (
            "error: No solution found\n  cause: Because a needs b<1\n         and you require b>1",
            "No solution found. Because a needs b<1. and you require b>1",
        ),
        ("error: Failed to fetch: http://me:pw@host/x", "Failed to fetch: http://host/x"),
        ("error: Failed to fetch: http://me:p@w@host/x", "Failed to fetch: http://host/x"),
        ("error: it failed\n\nhint: use --magic", "it failed"),
    ],
)
def test_words_of_uv_become_one_line(said: str, told: str) -> None:
    """Without passwords, and without hints for whoever types commands of uv."""
    assert told == installer.in_one_line(said, ())


def test_lock_of_a_source_that_may_not_be_built_is_told(tmp_path: Path) -> None:
    """As where versions are looked for: one may have been made while packages were built."""
    sdist = make_sdist(tmp_path / "own", "alpha", "1.0")
    digest = f"sha256:{hashlib.sha256(sdist.read_bytes()).hexdigest()}"
    lock = PackageLock(("alpha",), "", ">=3.11", (LockedPackage("alpha", "1.0", (digest,)),))
    rules = PackageRules(index="none", links=str(tmp_path / "own"))
    with pytest.raises(PackageError, match=r"no wheel for this machine.*`--package-builds`"):
        asyncio.run(make_installer(tmp_path, rules).install(lock, lambda _: None))


def test_what_the_service_runs_on_is_named() -> None:
    """A conflict with it says that nothing can be done about that version."""
    told = installer.in_one_line("error: Because x depends on my-lib<2", LOADED)
    assert told.endswith("The service itself runs on my-lib 2.5, and so do its charms")


def test_certificates_of_the_system_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An index with a certificate of the operator's own is trusted as everywhere; else uv's own."""
    for found, is_asked in ((None, False), ("/etc/ssl/cert.pem", True)):
        paths = SimpleNamespace(cafile=found, capath=None)
        monkeypatch.setattr(ssl, "get_default_verify_paths", lambda p=paths: p)
        task = make_installer(tmp_path)._task(["pip"], tmp_path)
        assert is_asked == ("--system-certs" in task.command)
