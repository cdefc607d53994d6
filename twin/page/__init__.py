"""The dashboard: one page, of a gateway or of a fleet, over the typed client. What differs is a ``PageSite``."""
