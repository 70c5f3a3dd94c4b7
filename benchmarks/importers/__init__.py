"""What the importers are compared with: plain scripts with the same clients and parsers."""
