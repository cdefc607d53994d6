"""Updates of a gateway: signed bundles, tried before they stay, rolled back with a reason.

wanted (twin, file) ──> machine: what comes next ──> updater: does it ──> backend: releases | RAUC
                            ^                            │
                            └── record, on disk <────────┤
                        gate: is it well? <── hub <──────┘
"""
