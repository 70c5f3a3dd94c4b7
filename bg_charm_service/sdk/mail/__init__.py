"""Mail: a client of IMAP that is told what changed, and the text of a message."""
