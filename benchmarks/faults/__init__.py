"""A bench of planted faults: does the first finding name what was planted, and does its cure work?

python -m benchmarks.faults            the scored half
python -m benchmarks.faults --half dev the half on which thresholds were fixed
"""
