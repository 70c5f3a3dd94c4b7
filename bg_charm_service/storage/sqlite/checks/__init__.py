"""The doctor: what must always hold of stored data, checked in small slices, and mended where safe.

Checks read and never write; only `mend` changes anything. Nothing here knows of the loop: the
service takes a slice at a time, commands take all at once.
"""
