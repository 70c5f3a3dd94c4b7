"""Asking providers for tokens: which there are, and the process that talks to one.

It knows no charm and no database; who asks when, and what becomes of an answer, is the service's.
"""
