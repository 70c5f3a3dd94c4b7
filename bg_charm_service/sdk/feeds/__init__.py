"""Feeds as charms read them: RSS, Atom and JSON Feed, whatever wrote them. See `reading`."""
