"""Everything durable but the queue: spaces, charms, cells, health, history, totals.

One class a table group, all on the one Database; none commits by itself, each joins the
transaction around it.
"""

from __future__ import annotations

from bg_charm_service.storage.sql.database import Database
from bg_charm_service.storage.sql.notices.messages import NoticeMessages, NoticeTargets
from bg_charm_service.storage.sql.notices.notices import Notices
from bg_charm_service.storage.sql.store.audit import Audit
from bg_charm_service.storage.sql.store.cells import Cells
from bg_charm_service.storage.sql.store.charm_items import CharmItems
from bg_charm_service.storage.sql.store.charm_lists import CharmLists
from bg_charm_service.storage.sql.store.charms import Charms
from bg_charm_service.storage.sql.store.data_keys import Secrets
from bg_charm_service.storage.sql.store.events.deliveries import Deliveries
from bg_charm_service.storage.sql.store.events.hooks import Hooks
from bg_charm_service.storage.sql.store.events.idempotency import IdempotencyKeys
from bg_charm_service.storage.sql.store.freshness import Freshness
from bg_charm_service.storage.sql.store.health import HealthRecords
from bg_charm_service.storage.sql.store.limits import LimitOverrides
from bg_charm_service.storage.sql.store.links import Links
from bg_charm_service.storage.sql.store.lives import Lives
from bg_charm_service.storage.sql.store.packages import Packages
from bg_charm_service.storage.sql.store.pauses import Pauses
from bg_charm_service.storage.sql.store.registrations import Registrations
from bg_charm_service.storage.sql.store.reminders import Reminders
from bg_charm_service.storage.sql.store.runs import Runs
from bg_charm_service.storage.sql.store.schedules import Schedules
from bg_charm_service.storage.sql.store.sessions import Nonces, Sessions
from bg_charm_service.storage.sql.store.sign_ins import SignIns
from bg_charm_service.storage.sql.store.spaces import Spaces
from bg_charm_service.storage.sql.store.tokens import Tokens
from bg_charm_service.storage.sql.store.totals import Totals
from bg_charm_service.storage.sql.store.waits import Waits
from bg_charm_service.storage.store_contract import Store


def open_store(database: Database) -> Store:
    """Give the store of a database."""
    secrets = Secrets(database)
    cells = Cells(database, secrets)
    runs = Runs(database)
    return Store(
        spaces=Spaces(database),
        charms=Charms(database, runs),
        charm_lists=CharmLists(database),
        cells=cells,
        items=CharmItems(database),
        links=Links(database, cells),
        registrations=Registrations(database),
        health=HealthRecords(database, runs),
        runs=runs,
        totals=Totals(database),
        secrets=secrets,
        tokens=Tokens(database),
        sessions=Sessions(database),
        nonces=Nonces(database),
        audit=Audit(database),
        limits=LimitOverrides(database),
        schedules=Schedules(database),
        lives=Lives(database),
        pauses=Pauses(database),
        reminders=Reminders(database),
        freshness=Freshness(database),
        waits=Waits(database),
        packages=Packages(database),
        sign_ins=SignIns(database, secrets),
        notices=Notices(database),
        notice_targets=NoticeTargets(database, secrets),
        notice_messages=NoticeMessages(database),
        idempotency_keys=IdempotencyKeys(database),
        hooks=Hooks(database, secrets),
        deliveries=Deliveries(database),
    )
