"""dnspython: a name, asked for over UDP."""

import dns.resolver

from bg_charm_service import Charm


class DnspythonUdp(Charm):
    """Looks up a name."""

    def bg_updater(self, event: dict) -> None:
        resolver = dns.resolver.Resolver(configure=False)
        resolver.nameservers, resolver.lifetime = ["127.0.0.1"], 2.0
        resolver.resolve("example.org")
