"""The dashboard of a gateway: the page of ``twin.page`` in a process of its own, there while somebody looks."""
