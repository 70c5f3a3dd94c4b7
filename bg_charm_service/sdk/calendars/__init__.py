"""Calendars in iCalendar (RFC 5545): text, zones, rules, and the events of a window."""
