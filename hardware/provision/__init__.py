"""Makes a flashed machine the gateway that one file says it is; once, and the same again if asked again.

file ──checked──> steps ──against what is there──> done, with a receipt: applied, unchanged, waiting, failed

identity  network  time  settings  devices  clock ──> cloud: the clock must be believable before certificates are made
"""
