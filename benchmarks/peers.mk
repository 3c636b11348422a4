# Environments of the peers that the benchmarks compare with; each has its own, so that no pin of
# theirs reaches talweg's. A finished environment leaves a stamp and is not made again.

PEER_PYTHON ?= python3

.PHONY: bench-peers
bench-peers: .venv-neural-tangents/.complete .venv-nngeometry/.complete .venv-cockpit/.complete

.venv-neural-tangents/.complete: benchmarks/peers/neural_tangents.txt
	$(PEER_PYTHON) -m venv .venv-neural-tangents
	.venv-neural-tangents/bin/python -m pip install --quiet --requirement $<
	.venv-neural-tangents/bin/python -c "import neural_tangents"
	touch $@

# nngeometry needs torch and numpy alone here; its declared torchvision would bring another torch.
.venv-nngeometry/.complete: benchmarks/peers/nngeometry.txt constraints.txt
	$(PEER_PYTHON) -m venv .venv-nngeometry
	.venv-nngeometry/bin/python -m pip install --quiet --constraint constraints.txt torch numpy
	.venv-nngeometry/bin/python -m pip install --quiet --no-deps --requirement $<
	.venv-nngeometry/bin/python -W ignore -c "import nngeometry.backend"
	touch $@

# Cockpit needs torch alone at run time; its declared torchvision would bring another torch.
.venv-cockpit/.complete: benchmarks/peers/cockpit.txt constraints.txt
	$(PEER_PYTHON) -m venv .venv-cockpit
	.venv-cockpit/bin/python -m pip install --quiet --constraint constraints.txt torch numpy scipy \
	  matplotlib pandas seaborn json-tricks
	.venv-cockpit/bin/python -m pip install --quiet 'setuptools<80'
	.venv-cockpit/bin/python -m pip install --quiet --no-deps --requirement $<
	.venv-cockpit/bin/python -W ignore -c "import cockpit"
	touch $@
