VENV ?= .venv
BIN := $(VENV)/bin
# the first Python that is new enough and can make a virtual environment
PYTHON ?= $(shell for p in python3 python3.13 python3.12 python3.11 python3.14; do \
	"$$p" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && echo "$$p" && break; done)

.PHONY: demo test test-slow test-install test-stock test-f5 lint bench bench-stock bench-tuning bench-clone bench-training bench-gpu acceptance mini-voice docs man help

help: ## what can be made
	@grep -E '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed 's/:.*##/\t/' | expand -t 12

demo: $(VENV)/.installed ## install, draw digits and speak a sentence with the models in the package
	@$(BIN)/difftool sample --count 50 --output-dir outputs/demo --overwrite
	@$(BIN)/difftool voice clone --engine mini --voice alma -o outputs/demo/hello.wav --overwrite \
		'Hello. This voice came with the package, and belongs to nobody.'
	@echo
	@echo 'look at   outputs/demo/grid.png: a column for each digit, all drawn from noise'
	@echo 'listen to outputs/demo/hello.wav: a sentence in alma, one of twenty voices in the package'
	@echo 'then try  $(BIN)/difftool sample --label 3,8 --count 8 --seed 100'
	@echo '          $(BIN)/difftool sample --sampler ddpm --count 50      # 1,000 steps of DDPM instead of 25 of DDIM'
	@echo '          $(BIN)/difftool train                                 # train such a model yourself, in two minutes'
	@echo '          $(BIN)/difftool txt2img "a red circle on a blue ground"   # words, by the text-to-image model in the package'
	@echo '          $(BIN)/difftool voice clone --voice hugo "Hello there."   # another voice; difftool voice list has all'
	@echo '          $(BIN)/difftool --help'

PYTEST_WORKERS ?= 2

test: $(VENV)/.installed-test ## install, run the tests in PYTEST_WORKERS=2 processes, and list the ten slowest
	$(BIN)/python -m pytest -n $(PYTEST_WORKERS) --dist worksteal --durations 10

test-slow: $(VENV)/.installed-test ## the tests that take minutes, one after another
	$(BIN)/python -m pytest -m slow

test-install: | $(BIN)/python ## the wheel in a clean environment for each Python and build of PyTorch, one at a time, 6 GB each
	$(BIN)/python tests/installs.py $(PYTHONS)

STOCK := VENV=.venv-stock PYTHON=python3.11 CONSTRAINTS=constraints-stock.txt EXTRAS=stock,test

test-stock: ## the tests beside the original tortoise-tts (Python 3.11), then parity with it at full size
	$(MAKE) test $(STOCK)
	.venv-stock/bin/python -m pytest -s -m "slow or not slow" tests/stock

test-f5: ## the networks, texts and references of F5-TTS, and Vocos, beside f5-tts and vocos, also at full size
	$(MAKE) .venv-f5/.installed-test VENV=.venv-f5
	.venv-f5/bin/python -m pip install --quiet --disable-pip-version-check --no-deps -r tests/stock/f5-requirements.txt
	.venv-f5/bin/python -m pytest -s -m "slow or not slow" tests/stock/test_f5_*.py

lint: $(VENV)/.installed-dev ## ruff, pyright, the import rules and hadolint
	$(BIN)/ruff check src tests bench docs recipes
	$(BIN)/ruff format --check src tests bench docs recipes
	$(BIN)/pyright --pythonpath $(BIN)/python
	$(BIN)/lint-imports
	$(BIN)/hadolint Dockerfile

docs: $(VENV)/.installed-test ## every picture and generated page of docs again, half an hour
	$(BIN)/python -W ignore docs/make.py

man: $(VENV)/.installed ## the command reference and the man page, after a change of an option
	$(BIN)/python docs/make.py pages

bench: $(VENV)/.installed-test ## the figures of docs/benchmarks.md but those that have a command of their own
	$(BIN)/python bench/solve.py
	$(BIN)/python bench/shell.py
	$(BIN)/python bench/digits.py
	$(BIN)/python bench/samplers.py outputs/samplers.png
	$(BIN)/python bench/prep.py

bench-stock: ## our networks against the original's: loading, memory, speed (Python 3.11)
	$(MAKE) .venv-stock/.installed-test $(STOCK)
	.venv-stock/bin/python -W ignore bench/networks.py

bench-tuning: ## training Tortoise on a voice beside a plain fine-tune of the original (Python 3.11, 16 GB)
	$(MAKE) .venv-stock/.installed-test $(STOCK)
	.venv-stock/bin/python -W ignore bench/train_tortoise.py

bench-clone: ## a sentence by difftool voice clone against the original, stage by stage (Python 3.11)
	$(MAKE) .venv-stock/.installed-test $(STOCK)
	.venv-stock/bin/python -W ignore bench/clone.py

PEERS := VENV=.venv-peers EXTRAS=peers

bench-training: ## training beside diffusers' script and denoising-diffusion-pytorch: speed, then an hour and a half for quality
	$(MAKE) .venv-peers/.installed-test $(PEERS)
	.venv-peers/bin/python -W ignore bench/training.py speed
	.venv-peers/bin/python -W ignore bench/training.py start
	.venv-peers/bin/python -W ignore bench/training.py quality

bench-gpu: $(VENV)/.installed-test ## on a GPU: speed and memory of everything, random weights, under eight minutes
	$(BIN)/python -W ignore bench/gpu.py

acceptance: $(VENV)/.installed-test ## with real weights (pulls 9 GB): pictures and speech, compared and heard
	$(BIN)/python -W ignore bench/acceptance.py

mini-voice: $(VENV)/.installed-test ## the voice in the package again, a night; repeat it until it is done
	$(BIN)/python -W ignore recipes/mini/make.py outputs/mini-voice

CONSTRAINTS ?= constraints.txt
EXTRAS ?= test
INSTALL = @echo 'installing into $(VENV): PyTorch is large, this takes some minutes'; \
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c $(CONSTRAINTS) -e

$(BIN)/python:
	@test -n "$(PYTHON)" || { echo 'error: no Python 3.11 or newer with venv was found'; \
		echo 'hint: install one (Debian: apt install python3-venv), or name it with make PYTHON=...'; exit 2; }
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.installed: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) .
	@touch $@

$(VENV)/.installed-test: pyproject.toml $(CONSTRAINTS) | $(BIN)/python
	$(INSTALL) ".[$(EXTRAS)]"
	@touch $@ $(VENV)/.installed

$(VENV)/.installed-dev: pyproject.toml constraints.txt | $(BIN)/python
	$(INSTALL) ".[dev]"
	@touch $@ $(VENV)/.installed $(VENV)/.installed-test
