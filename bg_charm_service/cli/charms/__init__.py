"""Commands about charms: register, show, change, send to, export."""
