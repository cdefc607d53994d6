"""Who may come to the cloud: its CA, join tokens, gateways, users and their roles, revocation."""
