"""The parts of admission: policy, ledger, host, processes. Their public face is `nsl_resources.gpu`."""
