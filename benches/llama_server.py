"""llama.cpp's server as a peer: starts it on a model, and says where it listens.

    python3 benches/llama_server.py MODEL CHATS TOKENS THREADS

CHATS is how many answers it writes at once, TOKENS the longest chat. One line of JSON on standard output, then it
serves until standard input ends. Its prompt cache works as it does by default.
"""

import json
import sys

import xllamacpp

path, chats, tokens, threads = sys.argv[1], *map(int, sys.argv[2:5])
params = xllamacpp.CommonParams()
params.model.path = path
params.n_parallel, params.n_ctx, params.n_gpu_layers = chats, chats * tokens, 0
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = threads
params.hostnames, params.port, params.n_threads_http = ["127.0.0.1"], 0, chats + 2
params.verbosity = 0
server = xllamacpp.Server(params)
print(json.dumps({"version": f"xllamacpp {xllamacpp.__version__}", "address": server.listening_address}), flush=True)
for line in sys.stdin:
    print(json.dumps({}), flush=True)
