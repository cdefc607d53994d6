"""The local Kubernetes API of a gateway: read-only, on loopback, from what the gateway has itself.

    documents ─┐                                            ┌─> list, get
    twins ─────┼─ contents (pure) ─> view (pure): versions ─┤
    pods ──────┘                     and a change log       └─> watch

``view``, ``contents``, ``selectors``, ``table``, ``discovery`` and ``answers`` know no socket; ``server`` speaks HTTP.
"""
