# Everything runs in a virtual environment of its own, made on first use.
PYTHON ?= python3
VENV   ?= .venv
BIN    := $(VENV)/bin
# PyPI's torch for Linux brings CUDA along (gigabytes). To get a CPU build, point PIP_EXTRA_INDEX_URL at PyTorch's CPU index.
TORCH  ?= torch==2.13.0
# TensorRT for RTX compiles Jetson graphs on a host without a GPU; its dependencies are CUDA libraries that this needs none of.
TENSORRT ?= tensorrt-rtx-cu13-bindings onnxruntime-ep-nv-tensorrt-rtx-cu13
OUT    ?= out
# Python compiles what it imports on first use; compiling every file of torch beforehand takes longer than the demo.
PIP    := $(BIN)/pip install --quiet --no-compile
# Tests run in as many processes as there are cores, four at most; what a file's tests share is made once.
PYTEST := $(BIN)/pytest --numprocesses=auto --maxprocesses=4 --dist=loadfile

.PHONY: help demo test lint bench clean

help:  ## Show this list
	@grep -E '^[a-z]+:.*##' Makefile | sed -E 's/:.*## /\t/' | expand -t 10

demo: $(VENV)/.installed  ## Compile for this machine, run a virtual camera, write out/report.html
	$(BIN)/facette demo --output $(OUT)

test: $(VENV)/.developer  ## Run the tests; those that need data skip unless FACETTE_DATA names it
	$(PYTEST)

lint: $(VENV)/.developer  ## Check style and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

bench: $(VENV)/.developer  ## Compare with stock ONNX Runtime, side by side in one run
	$(BIN)/python benchmarks/embedder_fp32.py
	@if [ -n "$$FACETTE_DATA" ]; then $(BIN)/python benchmarks/embedder_int8.py; \
	else echo "FACETTE_DATA names no data: the int8 benchmark did not run"; fi

$(VENV)/.installed: pyproject.toml runtime/pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(PIP) $(TORCH) -e './runtime[onnxruntime,litert]' -e '.[litert]'
	@touch $@

$(VENV)/.developer: $(VENV)/.installed
	$(PIP) $(TORCH) -e './runtime[signing]' -e '.[litert,openvino,search,dlib,dev]'
	$(PIP) --no-deps $(TENSORRT)
	@touch $@

clean:  ## Remove the virtual environment and what the demo wrote
	rm -rf $(VENV) $(OUT)
