"""Adjacency of a skeleton, split for ST-GCN's spatial partition.

Flows in: a list of edges and a centre joint. Flows out: normalised matrices, float64.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.sparse import csr_array
from scipy.sparse.csgraph import shortest_path


def hop_distances(edges: Sequence[tuple[int, int]], n_joints: int) -> np.ndarray:
    """Return the number of edges on the shortest path between any two joints, (V, V) float64.

    Unconnected pairs are infinite.
    """
    a, b = np.asarray(edges).T
    links = csr_array((np.ones(len(a)), (a, b)), shape=(n_joints, n_joints))
    return shortest_path(links, directed=False, unweighted=True)


def normalised_adjacency(edges: Sequence[tuple[int, int]], n_joints: int) -> np.ndarray:
    """Return (A + I) D^-1, (V, V): each column sums to 1."""
    near = (hop_distances(edges, n_joints) <= 1).astype(np.float64)
    return near / near.sum(axis=0)


def spatial_partition(edges: Sequence[tuple[int, int]], n_joints: int, centre: int) -> np.ndarray:
    """Return the (3, V, V) split of `normalised_adjacency` by distance to the centre.

    Entry [., v, w] carries joint v into joint w. Subset 0: the joint itself. Subset 1: v as far
    from the centre as w, or further. Subset 2: v nearer. They sum to the normalised adjacency.

    The distance is the true number of hops. The published code measures only up to one hop, so that
    all joints beyond it count as equally far and fall into one subset (open-mmlab/mmskeleton#367).
    """
    adjacency = normalised_adjacency(edges, n_joints)
    to_centre = hop_distances(edges, n_joints)[centre]
    itself = np.eye(n_joints, dtype=bool)
    from_nearer = to_centre[:, None] < to_centre[None, :]
    return np.stack(
        [
            np.where(itself, adjacency, 0.0),
            np.where(~itself & ~from_nearer, adjacency, 0.0),
            np.where(from_nearer, adjacency, 0.0),
        ]
    )
