"""The parts of `bench/run.py`: peers, models, server, browser, measuring, report."""
