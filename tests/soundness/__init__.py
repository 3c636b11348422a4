"""The campaign that tries to break talweg; `make soundness` runs what is missing of it."""

_CONTAINMENT = (
    "enclosure_directed", "enclosure_ball", "enclosure_layout", "enclosure_matmul",
    "enclosure_interval", "enclosure_elementwise", "enclosure_sentinel", "verified",
    "network_linearization", "network_norms", "network_lipschitz", "network_graph",
    "network_rounding", "network_curvature", "network_weight_norms", "theory_elementary",
    "theory_ball", "theory_composite", "theory_squared", "theory_scaling", "theory_smooth",
    "theory_minima", "theory_linear", "theory_saddles", "theory_entropy", "certificate",
    "prescriptions", "checker_activations", "checker_file", "checker_linear_algebra",
    "checker_lipschitz",
    "checker_losses", "checker_network", "checker_rounding", "checker_theorems",
)  # fmt: skip

# Every module with SHARDS, in the order in which the campaign takes them.
MODULES: tuple[str, ...] = (
    "tests.soundness.mutation.shards",
    "tests.soundness.lies.catalogue",
    "tests.soundness.falsification",
    *(f"tests.soundness.containment.{name}" for name in _CONTAINMENT),
    *(f"tests.soundness.hostile.{name}" for name in ("files", "readers", "commands", "processes")),
    "tests.soundness.differential",
)
