"""When a charm is due: intervals, expressions of cron, zones, and the words that say so."""
