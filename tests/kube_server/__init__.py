"""A minimal but honest Kubernetes API server for tests: what is there behaves as the real one, what is not says so.

    server.py    runs it in a thread, and gives it faults
    app.py       HTTP: discovery, verbs, watches
    rules.py     what a write goes through: defaults, immutable fields, deletion, ownership
    patches.py   JSON, merge, strategic and apply patches
    schema.py    structural schemas of CRDs
    store.py     objects and their revisions

It shares no code with the product. Not there: the scheduler and controllers (but for the removal of dependents),
admission, OpenAPI, tables, protobuf, fields of built-in kinds that do not exist (they are kept, where a real server
drops them).
"""
