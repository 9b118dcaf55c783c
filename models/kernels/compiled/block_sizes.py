"""Sizes of blocks and tiles that the compiled passes are written for."""

ROWS = 320  # of a block: full vectors, four at a time, and not a power of 2, whose rows would share cache lines
# A matrix product is computed in tiles of so many components by so many statistics. The numbers of a tile stay in the
# registers of the processor: four by six with 32 registers, four by three with 16. Matrices are padded to full tiles.
COMPONENTS, STATISTICS = 4, 6
PANEL = 32 * STATISTICS  # in float32, sums over so many statistics are moved to a total: float32 has few digits


def padded(n: int, tile: int) -> int:
    """The smallest multiple of `tile` that is at least n."""
    return -(-n // tile) * tile
