"""The mesh: services find each other through registry, DNS and data planes. It imports nothing else of edgetwin."""
