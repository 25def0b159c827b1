"""Authentication and limits of all WebSockets.

``middleware`` authenticates a handshake. ``consumer`` enforces limits while a connection is open.
"""
