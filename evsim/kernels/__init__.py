"""Numba kernels: pure functions over arrays that know nothing of networks, packets or counters.

Each file begins with the idea of its kernels. All take ranges of their outermost loop (`first`, `last`), so that
threads can share the work; all release the GIL; none allocates in its inner loops.
"""
