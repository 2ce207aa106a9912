"""What can be said against a set of Q-labels, and the card that is published beside it.

Everything here reads published data sets and generates no token. Figures that a card or a manifest
shows are counts, so that equal rows give equal cards.
"""

from __future__ import annotations
