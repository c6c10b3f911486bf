"""Run llama.cpp's server with the model in a file, until standard input ends; print its address once it is ready."""

import importlib
import sys
from typing import Any

xllamacpp: Any = importlib.import_module("xllamacpp")  # compiled, without types

options = xllamacpp.CommonParams()
options.model.path = sys.argv[1]
options.model_alias = {"tiny"}
options.hostnames = ["127.0.0.1"]
options.port = 0
options.n_parallel = 1  # so that each request finds in the cache what the one before it left there
options.cpuparams.n_threads = options.cpuparams_batch.n_threads = 1
options.embedding = True  # beside chat
options.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
options.offline = True
options.ui = False
server = xllamacpp.Server(options)
print(server.listening_address, flush=True)  # noqa: T201 - what it is for
sys.stdin.read()
