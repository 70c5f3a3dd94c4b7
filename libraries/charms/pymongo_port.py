"""pymongo: a database at a port that is closed to it."""

import pymongo

from bg_charm_service import Charm


class PymongoPort(Charm):
    """Asks whether MongoDB is there."""

    def bg_updater(self, event: dict) -> None:
        with pymongo.MongoClient("127.0.0.1", 27017, serverSelectionTimeoutMS=500) as client:
            client.admin.command("ping")
