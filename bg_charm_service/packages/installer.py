"""Finds versions for what a file needs, and installs locks, by uv in a process of its own.

One thing at a time: it is work beside the service's own. What goes wrong is told as the person
needs it: what cannot be had, who wants what, which Python, which index. Used by the service.
"""

from __future__ import annotations

import asyncio
import errno
import os
import re
import ssl
import sys
import sysconfig
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

import msgspec

from bg_charm_service.domain.errors import InvalidInput, PackageError
from bg_charm_service.domain.packages.lock import (
    PYPI,
    PackageLock,
    check_python_of,
    lock_hash,
    read_requirements,
    write_requirements,
)
from bg_charm_service.domain.packages.script_block import ScriptBlock
from bg_charm_service.domain.quantities import size_text, span_text
from bg_charm_service.domain.redaction import mask_without_users
from bg_charm_service.files.removal import remove_folder
from bg_charm_service.packages import stand_ins
from bg_charm_service.packages.folders import PackageFolders, used_bytes
from bg_charm_service.packages.loaded import LoadedPackage
from bg_charm_service.packages.uv_process import UvTask
from bg_charm_service.workers.protocol.processes import end_group
from bg_charm_service.workers.protocol.python_child import (
    child_options,
    python_command,
    scrubbed_environment,
)

#: Says that there is no index, only the operator's own folder or page of links.
NO_INDEX = "none"

#: How often it is looked what uv has written, in seconds.
_LOOK_SECONDS = 0.25

#: So much of what uv says is kept.
_SAID_BYTES = 64 * 1024
_TOLD_CHARACTERS = 1500

_NAMES_PORT, _WEB_PORT, _SAFE_PORT = 53, 80, 443

#: By these words of uv's it is known that no index answered.
_UNREACHABLE = ("error sending request", "client error (Connect)", "dns error", "timed out")

#: By these words of uv's it is known that there was a source, which nobody may build.
_NOT_BUILT = ("no usable wheel", "building source distributions is disabled")

#: What the system says of a file that grows beyond what its process may write.
_FILE_TOO_LARGE = os.strerror(errno.EFBIG)

Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PackageRules:
    """What the operator says of packages; sizes in bytes, durations in seconds.

    `links` is a folder of files, or a page that links to them; empty for none. `allowed` are the
    packages that those may name who are held to a list.
    """

    # Either may hold a password.
    index: str = field(default=PYPI, repr=False)
    links: str = field(default="", repr=False)
    timeout_seconds: float = 600.0
    lock_bytes: int = 1024**3
    space_bytes: int = 4 * 1024**3
    builds: bool = False
    allowed: frozenset[str] = frozenset()


class Installer:
    """Runs uv for one data directory."""

    def __init__(
        self,
        folders: PackageFolders,
        rules: PackageRules,
        *,
        has_file_wall: bool,
        has_port_wall: bool,
    ) -> None:
        self.rules = rules
        self._folders = folders
        self._has_file_wall = has_file_wall
        self._has_port_wall = has_port_wall
        #: Held while anything is looked for, installed or removed.
        self.turn = asyncio.Lock()
        self._loaded: list[LoadedPackage] | None = None

    async def lock(self, block: ScriptBlock, tell: Tell) -> PackageLock:
        """Find versions of all that a block asks for; raises PackageError."""
        async with self.turn:
            find_uv()
            loaded = await self._loaded_packages()
            tell(f"looking for {_shown(block.dependencies)}")
            place = await self._begin()
            try:
                return await self._lock(block, place, loaded)
            finally:
                await asyncio.to_thread(self._folders.discard, place)

    async def install(self, lock: PackageLock, tell: Tell) -> str:
        """Have the folder of a lock; gives its name. Raises PackageError."""
        name_of = lock_hash(lock)
        # Nobody has to wait for others whose packages are there; who did may find that they are.
        if self._folders.is_there(name_of):
            return self._folders.name(name_of)
        async with self.turn:
            if self._folders.is_there(name_of):
                return self._folders.name(name_of)
            try:
                check_python_of(lock, running_python())
            except InvalidInput as error:
                raise PackageError(str(error)) from None
            find_uv()
            loaded = await self._loaded_packages()
            tell(f"fetching {_shown([str(each) for each in lock.packages])}")
            place = await self._begin()
            try:
                await self._install(lock, place)
                tell("checking what was fetched")
                await asyncio.to_thread(stand_ins.check_apart, place / "lib")
                await asyncio.to_thread(stand_ins.check_beside, place / "lib", loaded)
                name = await asyncio.to_thread(self._folders.complete, place, name_of)
                self._folders.announce(name_of, name)
            except OSError as error:
                raise PackageError(f"the packages cannot be stored: {error.strerror}") from None
            finally:
                await asyncio.to_thread(self._folders.discard, place)
            return name

    async def clash_of(self, folder: str) -> str:
        """Say what of a folder does not go with what the service has loaded; empty for nothing.

        Raises PackageError where nobody can tell what is loaded.
        """
        loaded = await self._loaded_packages()
        try:
            await asyncio.to_thread(stand_ins.check_beside, self._folders.path(folder), loaded)
        except PackageError as error:
            return str(error)
        except (OSError, ValueError):
            # What is damaged is found by its list.
            return ""
        return ""

    async def _begin(self) -> Path:
        try:
            return await asyncio.to_thread(self._folders.begin)
        except OSError as error:
            raise PackageError(f"there is no place for packages: {error.strerror}") from None

    async def _lock(
        self, block: ScriptBlock, place: Path, loaded: Sequence[LoadedPackage]
    ) -> PackageLock:
        wanted, fixed, answer = (place / name for name in ("in.txt", "fixed.txt", "out.txt"))
        wanted.write_text(self._links() + "".join(f"{each}\n" for each in block.dependencies))
        fixed.write_text("".join(f"{one.name}=={one.version}\n" for one in loaded))
        own = place / "own"
        stand_ins.write(own, loaded)
        # Of a package that needs this service nothing is looked up: whoever calls one so elsewhere
        # is another.
        (place / "none.txt").write_text("bg-charm-service\n")
        arguments = [
            *("pip", "compile", str(wanted), "--output-file", str(answer)),
            *("--constraints", str(fixed), "--find-links", str(own)),
            *("--excludes", str(place / "none.txt")),
            *("--generate-hashes", "--no-header", "--no-annotate", "--no-strip-extras"),
            *(f"--no-emit-package={one.name}" for one in loaded),
        ]
        # For all machines first, so that a lock holds after a move to another one.
        python = f">={_python_minor()}"
        problem = await self._run([*arguments, "--universal"], place)
        if problem:
            answer.unlink(missing_ok=True)
            python = f"=={_python_minor()}.*"
            problem = await self._run(arguments, place)
        if problem:
            raise PackageError(in_one_line(problem, loaded))
        try:
            return read_requirements(answer.read_text(), block, python)
        except (InvalidInput, OSError) as error:
            raise PackageError(str(error)) from None

    async def _install(self, lock: PackageLock, place: Path) -> None:
        wanted = place / "locked.txt"
        wanted.write_text(self._links() + write_requirements(lock))
        arguments = [
            *("pip", "install", "--requirements", str(wanted), "--target", str(place / "lib")),
            *("--require-hashes", "--no-deps", "--link-mode", "copy", "--compile-bytecode"),
        ]
        problem = await self._run(arguments, place)
        if problem:
            raise PackageError(in_one_line(problem, ()))
        # A lock of uv's own, and programs that nobody here may start.
        (place / "lib" / ".lock").unlink(missing_ok=True)
        remove_folder(place / "lib" / "bin")

    async def _run(self, arguments: Sequence[str], place: Path) -> str:
        """Run uv once; gives what it says when it fails, empty when it does not.

        Raises PackageError where it cannot be run, or takes too long or too much.
        """
        task = self._task(arguments, place)
        try:
            child = await asyncio.create_subprocess_exec(
                *python_command(
                    "bg_charm_service.packages.uv_process", msgspec.json.encode(task).decode()
                ),
                stdout=asyncio.subprocess.DEVNULL,
                stderr=asyncio.subprocess.PIPE,
                **child_options({}),
            )
        except OSError as error:
            raise PackageError(f"no process to run uv in: {error.strerror}") from None
        reading = asyncio.create_task(_read(child.stderr))
        try:
            await self._watch(child, place)
            said = await reading
        finally:
            # What it has started ends with it.
            end_group(child.pid)
            reading.cancel()
            await child.wait()
            await asyncio.to_thread(self._bound_cache)
        if child.returncode and _FILE_TOO_LARGE in said:
            raise self._too_large()
        return (said or f"uv ended with {child.returncode}") if child.returncode else ""

    async def _watch(self, child: asyncio.subprocess.Process, place: Path) -> None:
        rules, cache = self.rules, self._folders.cache
        before = await asyncio.to_thread(used_bytes, cache)
        try:
            async with asyncio.timeout(rules.timeout_seconds):
                while True:
                    try:
                        await asyncio.wait_for(asyncio.shield(child.wait()), _LOOK_SECONDS)
                        used = await asyncio.to_thread(used_bytes, place / "lib")
                    except TimeoutError:
                        used, cached = await asyncio.to_thread(_sizes, place, cache)
                        used = max(used, cached - before)
                    if used > rules.lock_bytes:
                        raise self._too_large()
                    if child.returncode is not None:
                        return
        except TimeoutError:
            raise PackageError(
                f"this took longer than {span_text(rules.timeout_seconds)}: is the index slow? The "
                "operator sets the limit with `--package-timeout`"
            ) from None

    def _too_large(self) -> PackageError:
        return PackageError(
            f"the packages take more than {size_text(self.rules.lock_bytes)}: the operator sets "
            "the limit with `--package-size`"
        )

    def _links(self) -> str:
        """Where else packages lie, as the head of a file of requirements: it may hold a password.

        Beside `--find-links`, a variable for this would count for nothing.
        """
        links = self.rules.links
        # As an address a folder may have blanks in its name.
        links = Path(links).as_uri() if links.startswith("/") else links
        return f"--find-links {links}\n" if links else ""

    def _bound_cache(self) -> None:
        """Remove the cache where it has grown larger than one lock may be."""
        if used_bytes(self._folders.cache) > self.rules.lock_bytes:
            remove_folder(self._folders.cache)

    def _task(self, arguments: Sequence[str], place: Path) -> UvTask:
        rules = self.rules
        program = find_uv()
        options = ["--no-config", "--color=never", "--no-progress", "--no-python-downloads"]
        options += ["--python", sys.executable, "--cache-dir", str(self._folders.cache), "--quiet"]
        certificates = ssl.get_default_verify_paths()
        if any((certificates.cafile, certificates.capath)):
            options.append("--system-certs")
        environment = {
            "TMPDIR": str(place),
            "HOME": str(place),
            "PATH": os.defpath if rules.builds else "",
            "UV_HTTP_RETRIES": "2",
        }
        if rules.index == NO_INDEX:
            options.append("--no-index")
        else:
            # Not as an argument: everybody on this machine sees those.
            environment["UV_DEFAULT_INDEX"] = rules.index
        if not rules.builds:
            options.append("--no-build")
        command = (program, *arguments, *options)
        links = rules.links if rules.links.startswith("/") else ""
        return UvTask(
            command=command,
            environment=environment,
            parent=os.getpid(),
            reads=(program, *_interpreter_paths(), *filter(None, [links])),
            writes=(str(place), str(self._folders.cache)),
            ports=tuple(sorted(_ports(rules))),
            largest_file_bytes=rules.lock_bytes,
            has_file_wall=self._has_file_wall,
            has_port_wall=self._has_port_wall,
            builds=rules.builds,
        )

    async def _loaded_packages(self) -> list[LoadedPackage]:
        """What workers have loaded; asked once, since it is the same for all of them."""
        if self._loaded is not None:
            return self._loaded
        try:
            child = await asyncio.create_subprocess_exec(
                *python_command("bg_charm_service.packages.loaded"),
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                **child_options(scrubbed_environment(os.environ)),
            )
        except OSError as error:
            raise PackageError(f"no process to look for packages in: {error.strerror}") from None
        try:
            told, _ = await child.communicate()
        finally:
            end_group(child.pid)
            await child.wait()
        try:
            self._loaded = msgspec.json.decode(told, type=list[LoadedPackage])
        except msgspec.MsgspecError:
            raise PackageError("nobody can tell which packages the service has loaded") from None
        return self._loaded


def find_uv() -> str:
    """Where uv is; raises PackageError where it is not."""
    try:
        import uv

        return uv.find_uv_bin()
    except (ImportError, FileNotFoundError):
        raise PackageError(
            "there is no uv on this machine, which fetches packages: install it where the service "
            "is, with `pip install uv`"
        ) from None


async def _read(stream: asyncio.StreamReader | None) -> str:
    """Read what uv says to its end, and keep the beginning."""
    kept = b""
    while stream is not None and (piece := await stream.read(_SAID_BYTES)):
        kept += piece[: _SAID_BYTES - len(kept)]
    return kept.decode(errors="replace")


def _sizes(place: Path, cache: Path) -> tuple[int, int]:
    return used_bytes(place / "lib"), used_bytes(cache)


def in_one_line(said: str, loaded: Sequence[LoadedPackage]) -> str:
    """Make one line of what uv says, without what only whoever typed a command could do."""
    kept = []
    for line in said.split("\nhint:")[0].splitlines():
        text = line.strip().removeprefix("error:").removeprefix("cause:").strip()
        if text:
            kept.append(text)
    text = mask_without_users(". ".join(kept))
    text = re.sub(r"\.\. |: \. ", ". ", text)
    named = [one for one in loaded if re.search(rf"(?<![\w-]){re.escape(one.name)}\b", text)]
    if named:
        have = ", ".join(f"{one.name} {one.version}" for one in named)
        text = f"{text.rstrip('.')}. The service itself runs on {have}, and so do its charms"
    if any(sign in text for sign in _UNREACHABLE):
        text = f"the index of packages cannot be reached. {text}"
    if any(sign in text.lower() for sign in _NOT_BUILT):
        text = (
            "a package has no wheel for this machine, and is built from its source only where the "
            f"operator starts the service with `--package-builds`. {text}"
        )
    if len(text) > _TOLD_CHARACTERS:
        text = text[:_TOLD_CHARACTERS] + " …"
    return text.rstrip(".")


def _shown(names: Sequence[str]) -> str:
    more = f" and {len(names) - 5} more" if len(names) > 5 else ""
    return ", ".join(names[:5]) + more


def _ports(rules: PackageRules) -> set[int]:
    ports = set()
    for address in (rules.index, rules.links):
        parts = urlsplit(address)
        if parts.scheme in ("http", "https"):
            usual = _SAFE_PORT if parts.scheme == "https" else _WEB_PORT
            # Files may lie on another host than the index does.
            ports |= {parts.port or usual, _SAFE_PORT, _NAMES_PORT}
    return ports


def _interpreter_paths() -> list[str]:
    """What uv reads, and starts, to know the interpreter: programs and settings of its prefixes."""
    paths = [sys.executable, os.path.realpath(sys.executable)]
    for prefix in {sys.prefix, sys.base_prefix}:
        paths += [os.path.join(prefix, "pyvenv.cfg"), os.path.join(prefix, "bin")]
        paths.append(os.path.join(prefix, "include"))
    paths.append(sysconfig.get_path("scripts"))
    return paths


def running_python() -> str:
    """The version of the Python that charms run on."""
    return ".".join(map(str, sys.version_info[:3]))


def _python_minor() -> str:
    return ".".join(map(str, sys.version_info[:2]))
