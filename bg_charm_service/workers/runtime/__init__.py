"""All that runs beside the code of charms, in the zygote and in worker processes.

Nothing here is imported by the supervisor.
"""
