"""The group `charm`: commands about charms, in the order in which a newcomer needs them."""

from __future__ import annotations

from bg_charm_service.cli import charm_changes, charm_reports, charm_runs, charm_transfer
from bg_charm_service.cli.usage import OrderedGroup

charm = OrderedGroup(
    "charm",
    help="Add, look at, run and change charms.",
    commands=[
        charm_changes.add,
        charm_changes.update,
        charm_reports.list_charms,
        charm_reports.show,
        charm_reports.get,
        charm_changes.set_field,
        charm_changes.send,
        charm_runs.run,
        charm_runs.logs,
        charm_changes.enable,
        charm_changes.disable,
        charm_changes.interval,
        charm_changes.requeue,
        charm_changes.remove,
        charm_transfer.import_charms,
        charm_transfer.export_charms,
    ],
)
