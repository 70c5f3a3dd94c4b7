"""The routes of the HTTP API: each reads a request, calls one command, answers with its view."""
