"""The Chebyshev method: its plan, its compiled kernels, and the same in torch operations."""
