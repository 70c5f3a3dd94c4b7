"""The doctor: what must always hold of stored data, checked in small slices, and mended where safe.

Checks read and never write; only `mend` changes anything. Nothing here knows of the loop: the
service takes a slice at a time, commands take all at once.
"""

from bg_charm_service.storage.records import Finding, Severity, Trouble
from bg_charm_service.storage.sqlite.checks.examination import examine, findings_of, mend
from bg_charm_service.storage.sqlite.checks.file_checks import file_troubles
from bg_charm_service.storage.sqlite.checks.findings import Running, Scope

__all__ = [
    "Finding",
    "Running",
    "Scope",
    "Severity",
    "Trouble",
    "examine",
    "file_troubles",
    "findings_of",
    "mend",
]
