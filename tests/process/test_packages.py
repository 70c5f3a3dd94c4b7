"""Packages of charms: found, locked, fetched, side by side, waited for, and gone with the last.

Each service has a folder or an index of small packages made here; nothing is asked of a network.
"""

from __future__ import annotations

import hashlib
import json
import select
import shutil
import signal
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.process.program import wait_until
from tests.process.running import PATIENCE_SECONDS, Refused, RunningCharm, Service
from tests.wheels import make_sdist, make_wheel, script, serve

CHARM = """\
import alpha
from bg_charm_service import Charm

class User(Charm):
    version: str = ""
    file: str = ""

    def bg_updater(self, event: dict) -> None:
        self.version, self.file = alpha.version, alpha.__file__
"""


@pytest.fixture(scope="module")
def wheels(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of packages: two versions of one, which needs another from the second on."""
    folder = tmp_path_factory.mktemp("wheels")
    make_wheel(folder, "alpha", "1.0")
    make_wheel(folder, "alpha", "2.0", requires=["beta>=1"])
    make_wheel(folder, "beta", "1.5")
    make_wheel(folder, "ancient", "1.0", requires=["msgspec<0.1"])
    make_wheel(folder, "modern", "1.0", requires=["msgspec>=0.1"])
    make_wheel(folder, "future", "1.0", python=">=3.99")
    make_wheel(
        folder,
        "startling",
        "1.0",
        {
            "startling.py": "version = 1\n",
            "startling.pth": "import sys; sys.startled = True\n",
        },
    )
    make_wheel(folder, "far", "1.0", requires=["evil @ http://127.0.0.1:9/evil-1.0.tar.gz"])
    make_wheel(folder, "near", "1.0", requires=["evil @ file:///etc/hosts"])
    return folder


def flags(wheels: Path, *more: str) -> list[str]:
    """What a service is started with that has only these packages, and runs nothing by itself."""
    return ["--package-index=none", f"--package-links={wheels}", "--interval=3600", *more]


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory, wheels: Path) -> Iterator[Service]:
    """A service for the tests that leave it as it was."""
    with Service(tmp_path_factory.mktemp("home") / "data", *flags(wheels)) as one:
        yield one


def folders(service: Service) -> list[Path]:
    """The folders of packages that there are."""
    return sorted((service.data_dir / "packages" / "folders").glob("*"))


def refusal(service: Service, source: str, **more: Any) -> str:
    """Give the text by which a source is refused."""
    with pytest.raises(Refused) as caught:
        service.add(source, **more)
    assert 400 == caught.value.status
    return str(caught.value)


def version_of(charm: RunningCharm) -> str:
    """Run a charm; gives the version that it has found."""
    run = charm.run()
    assert ("success", "") == (run["status"], run["error"])
    return str(charm.get("version"))


def measures(service: Service) -> list[float]:
    """What monitors are told: locks that are there, and are not, bytes, charms that wait."""
    names = (
        'bg_charm_package_locks{state="there"}',
        'bg_charm_package_locks{state="missing"}',
        "bg_charm_packages_size_bytes",
        'bg_charm_waiting_charms{kind="packages"}',
    )
    lines = dict(line.rsplit(" ", 1) for line in service.page("/metrics").splitlines())
    return [float(lines[name]) for name in names]


def test_two_versions_run_side_by_side(service: Service) -> None:
    """Two charms of one space have each the version that they ask for, run after run."""
    old = service.add(script("alpha<2") + CHARM)
    new = service.add(script("alpha>=2") + CHARM)
    assert ["1.0", "2.0"] * 2 == [version_of(one) for one in (old, new) * 2]
    assert ["alpha 1.0"] == old.show()["packages"]
    assert ["alpha 2.0", "beta 1.5"] == new.show()["packages"]


def test_charms_with_the_same_lock_share_a_folder(service: Service) -> None:
    """It is made once, for whichever space, and read where it lies."""
    one = service.add(script("alpha<2") + CHARM, space="one")
    two = service.add(script("alpha<2") + CHARM + "# another\n", space="two")
    assert ["1.0", "1.0"] == [version_of(one), version_of(two)]
    assert one.get("file") == two.get("file")
    assert str(one.get("file")).startswith(str(service.data_dir / "packages" / "folders"))


@pytest.mark.parametrize(
    ("requires", "words"),
    [
        (["nothing-like-it"], ["nothing-like-it", "not found"]),
        (["alpha<2", "alpha>=2"], ["alpha<2", "alpha>=2"]),
        (["ancient"], ["ancient", "msgspec<0.1", "the service itself runs on msgspec"]),
        (["future"], ["future==1.0", ">=3.99"]),
        (["far"], ["evil", "URL"]),
        (["near"], ["near==1.0", "invalid"]),
        (["a @ https://example.org/a.whl"], ["names an address"]),
    ],
)
def test_what_cannot_be_had_is_said(
    service: Service, requires: list[str], words: list[str]
) -> None:
    """Both sides of a conflict are named, the package that is missing, the Python it wants."""
    text = refusal(service, script(*requires) + CHARM)
    assert [] == [word for word in words if word.lower() not in text.lower()], text
    assert "\n" not in text


def test_python_that_does_not_run_here_is_refused(service: Service) -> None:
    """`requires-python` is honoured before anything is looked for."""
    text = refusal(service, script("alpha", python=">=3.99") + CHARM)
    assert "needs Python >=3.99" in text


def test_what_the_service_has_loaded_is_the_charms_too(service: Service) -> None:
    """A package that needs it is content with the version there, which is not fetched again."""
    charm = service.add(script("modern", "alpha<2") + CHARM)
    assert "1.0" == version_of(charm)
    assert ["alpha 1.0", "modern 1.0"] == charm.show()["packages"]


def test_nothing_of_a_package_runs_before_it_is_imported(service: Service) -> None:
    """A `.pth` file in it is a file like any other."""
    source = (
        script("startling", "alpha<2")
        + CHARM.replace("import alpha\n", "import alpha, sys, startling\n")
        + "        self.version = str(hasattr(sys, 'startled'))\n"
    )
    assert "False" == version_of(service.add(source))


def test_without_a_block_the_error_says_what_to_do(service: Service) -> None:
    """A module that is not there is a package to be named."""
    text = refusal(service, CHARM)
    assert "No module named 'alpha'" in text
    assert "name its package in a `# /// script` block" in text
    text = refusal(service, CHARM.replace("import alpha", "import json.nothing"))
    assert "No module named 'json.nothing'" in text
    assert "# /// script" not in text
    text = refusal(service, script("beta") + CHARM)
    assert "no package that its `# /// script` block names brings it" in text


LATE = """\
import importlib
from bg_charm_service import Charm

class Late(Charm):
    def bg_updater(self, event: dict) -> None:
        {}
"""


@pytest.mark.parametrize(
    ("block", "line", "hint"),
    [
        ("", "import alpha", "name its package in a `# /// script` block"),
        ("", "importlib.import_module('alpha.part')", "name its package in a `# /// script` block"),
        (script("beta"), "import alpha", "no package that its `# /// script` block names brings"),
        ("", "import json.nothing", ""),
        (script("alpha<2"), "import alpha.nothing", ""),
        ("", "raise ModuleNotFoundError('nobody is at home')", ""),
    ],
)
def test_import_in_a_handler_says_what_to_do(
    service: Service, block: str, line: str, hint: str
) -> None:
    """As one at the top of the file does; a wrong name within a package is the author's mistake."""
    run = service.add(block + LATE.format(line)).run()
    assert "failure" == run["status"]
    assert run["error"].startswith("ModuleNotFoundError: ")
    assert hint in run["error"]
    assert bool(hint) == ("# /// script" in run["error"])


def test_lock_stays_until_the_block_or_its_author_wants_another(
    tmp_path: Path, wheels: Path
) -> None:
    """New source with the same block keeps its packages; `upgrade` or another block looks anew."""
    own = tmp_path / "wheels"
    make_wheel(own, "alpha", "1.0")
    with Service(tmp_path / "data", *flags(own)) as service:
        charm = service.add(script("alpha") + CHARM)
        make_wheel(own, "alpha", "3.0")
        charm.update(script("alpha") + CHARM + "# edited\n")
        assert "1.0" == version_of(charm)
        body = {"source": script("alpha") + CHARM, "upgrade": True}
        service.request("PUT", f"{charm.path}/source", body)
        assert "3.0" == version_of(charm)
        charm.update(script("alpha<3") + CHARM)
        assert "1.0" == version_of(charm)


def test_add_shows_progress(tmp_path: Path, wheels: Path) -> None:
    """Whoever waits for packages sees what for, while that goes on."""
    file = tmp_path / "shown.py"
    file.write_text(script("alpha<2", "beta") + CHARM)
    with serve(wheels) as index:
        index.may_send.clear()
        own = [f"--package-index={index.url}", "--interval=3600"]
        with (
            Service(tmp_path / "data", *own) as service,
            service.open_cli("charm", "add", str(file), "--space=test") as adding,
        ):
            assert adding.stderr is not None
            try:
                ready, _, _ = select.select([adding.stderr], [], [], PATIENCE_SECONDS)
                assert ready, "nothing is shown"
                assert adding.stderr.readline().startswith("Packages: ")
                index.may_send.set()
                _, rest = adding.communicate(timeout=PATIENCE_SECONDS)
                assert 0 == adding.returncode, rest
                assert "Its packages take" in rest
            finally:
                adding.kill()


def test_export_brings_the_lock_along(tmp_path: Path, wheels: Path) -> None:
    """A charm that is imported elsewhere has the packages that it had, not newer ones."""
    own = tmp_path / "wheels"
    make_wheel(own, "alpha", "1.0")
    exported = tmp_path / "charms.jsonl"
    with Service(tmp_path / "one", *flags(own)) as service:
        service.add(script("alpha") + CHARM, cause="user")
        exported.write_text(service.cli("charm", "export").stdout)
    make_wheel(own, "alpha", "3.0")
    with Service(tmp_path / "two", *flags(own)) as service:
        done = service.cli("charm", "import", str(exported))
        assert 0 == done.returncode, done.stderr
        (view,) = service.request("GET", "/api/charms")["charms"]
        charm = RunningCharm(service, f"{view['space']}/{view['charm_id']}")
        assert "1.0" == version_of(charm)


def test_token_may_name_what_the_operator_allows(tmp_path: Path, wheels: Path) -> None:
    """The socket names any package; a token only what the list has, with what that needs."""
    with Service(
        tmp_path / "data", *flags(wheels, "--package-allow=alpha", "--listen=127.0.0.1:0")
    ) as service:
        token = json.loads(service.cli("token", "new", "--name=ci", "--json").stdout)["token"]
        url = str(service.wait_for("listening")["url"])
        remote = ("--url", url, "--token", token)
        file = tmp_path / "user.py"
        file.write_text(script("alpha", "modern") + CHARM)
        done = service.cli(*remote, "charm", "add", str(file), "--space=test")
        assert "token ci may not have modern installed" in done.stderr
        assert "--package-allow=modern" in done.stderr
        file.write_text(script("alpha") + CHARM)
        done = service.cli(*remote, "charm", "add", str(file), "--space=test")
        assert 0 == done.returncode, done.stderr
        service.add(script("alpha", "modern") + CHARM)


def test_charm_waits_for_packages_that_are_missing(tmp_path: Path, wheels: Path) -> None:
    """They are fetched by their hashes; until then nothing of the charm runs, and it says why."""
    own = tmp_path / "wheels"
    wheel = make_wheel(own, "alpha", "1.0")
    aside = tmp_path / wheel.name
    with Service(tmp_path / "data", *flags(own)) as service:
        charm = service.add(script("alpha") + CHARM, register=True)
        charm.wait_for("run.succeeded")
        assert 0 == service.cli("backup", str(tmp_path / "kept.db")).returncode
        assert 0 == service.stop()
        # As on another machine: only the database is there, and no index that has the package.
        wheel.rename(aside)
        shutil.rmtree(service.data_dir, ignore_errors=True)
        assert 0 == service.cli("restore", str(tmp_path / "kept.db")).returncode
        service.start()
        service.wait_for("packages_failed")
        job = charm.send()
        waiting = charm.view()["waiting"]
        assert "packages" == waiting["kind"]
        assert "alpha" in waiting["why"]
        with pytest.raises(Refused, match=r"It waits for its packages: .*alpha") as caught:
            charm.run()
        assert 409 == caught.value.status
        listed = service.request("GET", "/api/jobs")["jobs"]
        waits = {one["job_id"]: one["waits_for"] for one in listed}
        assert "its packages" == waits[job]
        assert "charms wait for their packages" in service.cli("doctor").stdout
        assert [0, 1, 0, 1] == measures(service)
        # Another wheel of that version is not what was locked.
        make_wheel(own, "alpha", "1.0", {"alpha.py": "version = 'another'\n"})
        with pytest.raises(Refused):
            charm.run()
        service.wait_for("packages_failed", times=2)
        shutil.copy(aside, wheel)
        with pytest.raises(Refused):
            charm.run()
        service.wait_for("packages_there")
        charm.wait_until_settled(job)
        assert "1.0" == version_of(charm)
        assert charm.view()["waiting"] is None
        there, missing, size_bytes, waiting_charms = measures(service)
        assert (1.0, 0.0, 0.0) == (there, missing, waiting_charms)
        assert size_bytes
        assert 0 == service.cli("doctor").returncode
        assert 0 == charm.view()["consecutive_failures"]


def test_damaged_packages_are_seen_and_fetched_again(tmp_path: Path, wheels: Path) -> None:
    """The doctor sees a byte that is another, and the charm runs with what was locked."""
    with Service(tmp_path / "data", *flags(wheels)) as service:
        charm = service.add(script("alpha<2") + CHARM)
        assert "1.0" == version_of(charm)
        (folder,) = folders(service)
        module = folder / "lib" / "alpha" / "__init__.py"
        module.chmod(0o600)
        module.write_text("version = '6.6'\n")
        told = service.cli("doctor").stdout
        assert "damaged (alpha/__init__.py" in told, told
        service.wait_for("packages_there")
        assert "1.0" == version_of(charm)


def test_doctor_of_a_stopped_service_sees_packages(tmp_path: Path, wheels: Path) -> None:
    """Damaged or taken away: it names the charm and what is wrong, and changes nothing."""
    with Service(tmp_path / "data", *flags(wheels)) as service:
        charm = service.add(script("alpha<2") + CHARM)
        (folder,) = folders(service)
        assert 0 == service.stop()
        sound = service.cli("doctor")
        assert (0, "All is well.\n") == (sound.returncode, sound.stdout)
        module = folder / "lib" / "alpha" / "__init__.py"
        module.chmod(0o600)
        module.write_text("version = '6.6'\n")
        damaged = service.cli("doctor")
        assert 3 == damaged.returncode
        assert "were damaged (alpha/__init__.py is not what was installed)" in damaged.stdout
        assert charm.charm_id in damaged.stdout
        assert [folder] == folders(service)
        folder.rename(tmp_path / "aside")
        missing = service.cli("doctor", "--json")
        assert 3 == missing.returncode
        (finding,) = json.loads(missing.stdout)["findings"]
        assert "packages" == finding["check"]
        assert "are not on this machine yet: 1 (" in finding["text"]


def test_what_the_service_has_outgrown_is_seen_at_a_start(tmp_path: Path, wheels: Path) -> None:
    """Packages that do not go with what is loaded are taken out of use, and fetched again."""
    with Service(tmp_path / "data", *flags(wheels)) as service:
        charm = service.add(script("alpha<2") + CHARM)
        (folder,) = folders(service)
        assert 0 == service.stop()
        # As if the service had been updated: sound by its list, and for another msgspec.
        metadata = folder / "lib" / "alpha-1.0.dist-info" / "METADATA"
        metadata.chmod(0o600)
        metadata.write_text(metadata.read_text() + "Requires-Dist: msgspec<0.1\n")
        content = metadata.read_bytes()
        entry = [str(metadata.relative_to(folder / "lib")), len(content)]
        entry.append(hashlib.sha256(content).hexdigest())
        listed = json.loads((folder / "files.json").read_text())
        changed = [entry if one[0] == entry[0] else one for one in listed]
        (folder / "files.json").write_text(json.dumps(changed))
        service.start()
        told = service.wait_for("packages_missing")["message"]
        assert "alpha 1.0 needs msgspec<0.1, and the service itself runs on msgspec" in told
        service.wait_for("packages_there")
        assert "1.0" == version_of(charm)
        assert [folder] != folders(service)


def test_packages_go_with_the_last_charm(tmp_path: Path, wheels: Path) -> None:
    """A folder stays while a charm has it, and is gone soon after."""
    own = flags(wheels)[:2]
    with Service(tmp_path / "data", *own, "--interval=1") as service:
        one = service.add(script("alpha<2") + CHARM)
        two = service.add(script("alpha<2") + CHARM + "# another\n")
        assert ["1.0", "1.0"] == [version_of(one), version_of(two)]
        one.remove()
        assert "1.0" == version_of(two)
        two.update(
            "from bg_charm_service import Charm\n"
            + CHARM.partition("\n")[2].replace("alpha.version, alpha.__file__", "'', ''")
        )
        assert wait_until(lambda: not folders(service))
        assert [] == two.show()["packages"]


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM])
def test_death_in_the_middle_leaves_nothing_half(
    tmp_path: Path, wheels: Path, number: signal.Signals
) -> None:
    """A service that ends while packages come in has all of them after the next try, or none."""
    with serve(wheels) as index:
        index.may_send.clear()
        own = [f"--package-index={index.url}", "--interval=3600", "--drain-timeout=1"]
        with Service(tmp_path / "data", *own) as service:
            body = {"source": script("alpha<2") + CHARM, "space": "test", "file": "user.py"}
            adding = service.later("POST", "/api/charms", body)
            assert index.was_asked_for_a_file.wait(60)
            service.signal(number)
            service.wait()
            assert adding.exception() is not None
            index.may_send.set()
            service.start()
            assert [] == folders(service)
            assert [] == list((service.data_dir / "packages").glob("work/*"))
            assert [] == service.request("GET", "/api/charms")["charms"]
            assert "1.0" == version_of(service.add(script("alpha<2") + CHARM))


def test_index_that_cannot_be_reached_is_said(tmp_path: Path) -> None:
    """The sentence names it, without what it was reached with."""
    own = ["--package-index=http://somebody:hunter2@127.0.0.1:9/simple", "--interval=3600"]
    with Service(tmp_path / "data", *own) as service:
        text = refusal(service, script("alpha") + CHARM)
        assert "the index of packages cannot be reached" in text
        assert "127.0.0.1:9" in text
        assert "hunter2" not in text


@pytest.mark.parametrize("sandbox", ["require", "off"])
def test_package_is_built_where_the_operator_wants_it(tmp_path: Path, sandbox: str) -> None:
    """From an archive of sources, by its own backend, within the walls of what fetches packages."""
    own = tmp_path / "own"
    make_sdist(own, "alpha", "1.0")
    with Service(
        tmp_path / "data", *flags(own, "--package-builds", f"--sandbox={sandbox}")
    ) as service:
        charm = service.add(script("alpha") + CHARM)
        assert "1.0" == version_of(charm)
        assert ["alpha 1.0"] == charm.show()["packages"]


def test_package_without_a_wheel_is_refused(tmp_path: Path) -> None:
    """The sentence says why, and what the operator can do, but not what a command of uv's would."""
    own = tmp_path / "own"
    make_sdist(own, "alpha", "1.0")
    with Service(tmp_path / "data", *flags(own)) as service:
        text = refusal(service, script("alpha") + CHARM)
        assert "alpha" in text
        assert "has no wheel for this machine" in text
        assert "`--package-builds`" in text


def test_limits_of_size_are_held(tmp_path: Path) -> None:
    """Neither one lock nor a space takes more than the operator allows."""
    own = tmp_path / "wheels"
    large = {"large.py": "x = '" + "a" * 3_000_000 + "'\n", "alpha.py": "version = ''\n"}
    make_wheel(own, "large", "1.0", large)
    for name in ("small", "other"):
        content = {f"{name}.py": "x = '" + "a" * 700_000 + "'\n", "alpha.py": "version = ''\n"}
        make_wheel(own, name, "1.0", content)
    limits = ("--package-size=2M", "--package-quota=2M")
    with Service(tmp_path / "data", *flags(own, *limits)) as service:
        assert "take more than 2M" in refusal(service, script("large") + CHARM)
        first = service.add(script("small") + CHARM)
        text = refusal(service, script("other") + CHARM)
        assert "The packages of this space would take" in text
        service.add(script("other") + CHARM, space="elsewhere")
        first.update(script("other") + CHARM)
