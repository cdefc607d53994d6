"""The edge's end of the sync with the cloud: one session after the other, over a link of its own.

session   the named state machine: who is spoken to, in which state, and when what is said again
up        messages out
down      messages in
documents what both sites have of the documents
history   readings behind live state
commands  things to do once
"""
