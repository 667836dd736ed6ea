"""Whatever runs a circuit: state vectors and density matrices in torch, CUDA-Q, with or without shots."""
