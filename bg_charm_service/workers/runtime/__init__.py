"""All that runs beside the code of charms, in the zygote and in worker processes.

Nothing here is imported by the supervisor, and nothing here imports what runs there: a process in
which charms run loads `sdk`, `workers.protocol`, `workers.sandbox` and `domain`, and no more.
"""
