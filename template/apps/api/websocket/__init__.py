"""What every WebSocket of this service goes through, whatever it is for.

``middleware`` says whose it is, ``consumer`` keeps it within its limits for as long as it is open.
"""
