# Environments of the peers that the benchmarks compare with; each has its own, so that no pin of
# theirs reaches talweg's. A finished environment leaves a stamp and is not made again.

PEER_PYTHON ?= python3

.PHONY: bench-peers
bench-peers: .venv-neural-tangents/.complete

.venv-neural-tangents/.complete: benchmarks/peers/neural_tangents.txt
	$(PEER_PYTHON) -m venv .venv-neural-tangents
	.venv-neural-tangents/bin/python -m pip install --quiet --requirement $<
	.venv-neural-tangents/bin/python -c "import neural_tangents"
	touch $@
