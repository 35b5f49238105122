"""Which clients are about to leave, and why: the rooms behind the scripts. ARCHITECTURE.md draws them."""

__version__ = "0.1.0"
