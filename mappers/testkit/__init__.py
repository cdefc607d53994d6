"""The contract kit: what every mapper promises, as checks that run against a peer of the author's.

    adapter    what an author supplies: a peer, how it is reached, a few points
    line       what lies between driver and peer, and how it fails: proxy (TCP), cable (serial line)
    checks     the promises, one function each
    contract   a test class that runs them; plugin: pytest's side

Nothing is imported here, so that a test run which only loads the plugin pays nothing.
"""
