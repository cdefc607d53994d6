"""The pods of a gateway: kept in their desired state from its own disk, with or without a cloud."""
