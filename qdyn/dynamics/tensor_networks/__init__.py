"""Long chains: matrix-product states and their time evolution."""
