"""The mesh of one gateway, bound to its documents, pods, twins and peers."""
