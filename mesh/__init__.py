"""How services on gateways find each other: registry, DNS, balancing, data planes. It has no content yet."""
