"""What a charm cannot do behind its walls: each deed ends in its failure, and hurts nobody else."""

from __future__ import annotations

from tests.hostile.deeds import Deed, each_of
from tests.hostile.rig import Rig


@each_of("reading")
def test_reads_nothing_of_others(each_yard: Rig, deed: Deed) -> None:
    """Data, keys, passphrases, homes and processes of others cannot be read."""
    each_yard.suffer(deed)


@each_of("writing")
def test_writes_nothing_outside_its_scratch(each_yard: Rig, deed: Deed) -> None:
    """Files elsewhere cannot be made, changed or removed, nor their rights, owners and times."""
    each_yard.suffer(deed)


@each_of("processes")
def test_starts_no_process(each_yard: Rig, deed: Deed) -> None:
    """There is no way to a second process, nor to another program in this one."""
    each_yard.suffer(deed)


@each_of("tracing")
def test_signals_and_traces_nobody(each_yard: Rig, deed: Deed) -> None:
    """The service, the zygote and others are not to be signalled, traced or held down."""
    each_yard.suffer(deed)


@each_of("listening")
def test_listens_on_no_port(each_yard: Rig, deed: Deed) -> None:
    """Nobody can connect to a charm."""
    each_yard.suffer(deed)


@each_of("sockets")
def test_opens_no_sockets_but_tcp(each_yard: Rig, deed: Deed) -> None:
    """Other kinds of sockets cannot be opened, and no option opens another port."""
    each_yard.suffer(deed)


@each_of("reaching")
def test_reaches_only_allowed_ports(each_yard: Rig, deed: Deed) -> None:
    """Neither another port can be connected to, nor the service's page, API and socket."""
    each_yard.suffer(deed)


@each_of("unreachable")
def test_reaches_nothing_without_network(each_yard: Rig, deed: Deed) -> None:
    """A class that says `network = False` connects to nothing."""
    each_yard.suffer(deed)


@each_of("privileges")
def test_gains_no_privileges(each_yard: Rig, deed: Deed) -> None:
    """Users, capabilities, namespaces and the kernel's rarer calls stay closed."""
    each_yard.suffer(deed)


@each_of("outliving")
def test_does_not_outlive_its_run(each_yard: Rig, deed: Deed) -> None:
    """What a run leaves ends with its worker, and meets no other charm."""
    each_yard.suffer(deed)


@each_of("harmless")
def test_does_what_every_charm_may(each_yard: Rig, deed: Deed) -> None:
    """Computing, libraries, files of its own, threads and allowed ports work behind all walls."""
    each_yard.suffer(deed)
