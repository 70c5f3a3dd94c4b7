"""The scenarios: a module for each, with `run`, which gives rows. In the order they are run in."""

from __future__ import annotations

TITLES = {
    "throughput": "Throughput: runs of a counter a second, two workers",
    "scale": "Scale: 100,000 charms in 1,000 spaces, every minute",
    "waiting": "Waiting: 10,000 charms that await a second of network every minute",
    "latency": "Latency: from a request to the handler's first line",
    "large_state": "Large state: 10 MB in one field, another is changed",
    "collections": "Collections: one message more beside 100,000, and the first 10,000",
    "importers": "Importers: 10,000 mails and 5,000 events, beside plain scripts",
    "idle": "Idle: no charm is due",
    "cost": "Cost: processor time of a run, supervisor and workers",
    "growth": "Growth: the last runs beside the first",
    "isolation": "Isolation: what a level costs",
    "flood": "Flood: 5,000 connections of one program within five seconds",
}

#: Those that take turns with the build before by themselves, within a round.
TAKE_TURNS = {"throughput", "cost"}

#: How many rounds those have that need more than the others, and those that take minutes for one.
ROUNDS = {"cost": 10, "scale": 1, "waiting": 1, "growth": 1, "importers": 1}
