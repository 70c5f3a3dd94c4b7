"""The integrations that ship with the service: every module here with an `integration`.

To add one, add a module; nothing else has to change. Modules whose names start with `_` are
not looked at.
"""
