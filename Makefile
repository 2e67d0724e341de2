# The commands of the project; `make` alone lists them. Everything they make lies in .venv/ and build/.

PYTHON ?= python3
VENV_PYTHON := .venv/bin/python
SETUP_DONE := .venv/.setup-done$(addprefix -,$(TORCH))
DEMO := build/demo

define REQUIRE_PYTHON
import sys
try:
    import ensurepip
except ImportError:
    ensurepip = None
name = "%d.%d" % sys.version_info[:2]
if sys.version_info < (3, 11):
    sys.exit("lipstitch needs Python 3.11 or newer, $(PYTHON) is %s: name another, as in `make PYTHON=python3.12`." % name)
if ensurepip is None:
    sys.exit("$(PYTHON) cannot make virtual environments: `apt install python3-venv` (or python%s-venv) adds that." % name)
endef
export REQUIRE_PYTHON

.DEFAULT_GOAL := help
.PHONY: help setup demo test docs coverage acceptance bench

help: ## list these commands
	@sed -n 's/^\([a-z]*\):.*## \(.*\)/  make \1	\2/p' Makefile

setup: $(SETUP_DONE) ## make .venv and install what the project needs (PYTHON=... picks the interpreter, TORCH=cpu a build)

# A virtual environment that works is kept: a changed pyproject.toml then costs seconds. uv knows the builds of torch by the
# name of a backend (cpu, cu130, rocm7.2, auto); pip later keeps what it has installed.
$(SETUP_DONE): pyproject.toml tools/check_install.py
	@command -v "$(PYTHON)" >/dev/null || { echo "$(PYTHON) is not installed: Python 3.11 or newer is needed." >&2; exit 1; }
	@$(VENV_PYTHON) -c 'import pip, sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
		|| { "$(PYTHON)" -c "$$REQUIRE_PYTHON" && "$(PYTHON)" -m venv --clear .venv; }
ifdef TORCH
	$(VENV_PYTHON) -m pip install --no-input --disable-pip-version-check --quiet uv
	$(VENV_PYTHON) -m uv pip install --python $(VENV_PYTHON) --torch-backend $(TORCH) --reinstall-package torch \
		--reinstall-package torchvision \
		--editable '.[dev]'
else
	$(VENV_PYTHON) -m pip install --no-input --disable-pip-version-check --editable '.[dev]'
endif
	$(VENV_PYTHON) tools/check_install.py
	@rm -f .venv/.setup-done*
	@touch $@ .venv/.setup-done

demo: setup $(DEMO)/talk.mp4 ## re-sync the demonstration into build/demo/result.mp4
	$(VENV_PYTHON) main.py --config configs/demo.yaml --force
	@echo
	@echo "source: $(CURDIR)/$(DEMO)/talk.mp4"
	@echo "result: $(CURDIR)/$(DEMO)/result.mp4"
	@echo "report: $(CURDIR)/$(DEMO)/result.mp4.report.html"

$(DEMO)/talk.mp4: demo/make_material.py demo/scenes.py demo/talking.py demo/astronaut.jpg demo/speech.flac | $(SETUP_DONE)
	$(VENV_PYTHON) -m demo.make_material $(DEMO)

test: setup ## lint, types and the whole test suite
	$(VENV_PYTHON) -m ruff check .
	$(VENV_PYTHON) -m ruff format --check .
	$(VENV_PYTHON) -m mypy
	$(VENV_PYTHON) -m pytest

docs: setup ## regenerate docs/job-file.md from the descriptions of the job file's fields
	@mkdir -p build
	$(VENV_PYTHON) -m lipstitch.job_file.reference > build/job-file.md
	mv build/job-file.md docs/job-file.md

coverage: setup ## the whole test suite, measured: each file that must be exact is covered to 95 % of its lines
	$(VENV_PYTHON) -m pytest --cov
	@$(VENV_PYTHON) -m coverage report | awk \
		'$$4 ~ /%/ && $$4 + 0 < 95 { print $$1 ": " $$4 " of its lines are covered, less than 95 %"; low = 1 } END { exit low }'

acceptance: setup ## the whole-job tests at full size (half an hour, 20 GiB of disk; needs the shared clips)
	LIPSTITCH_FULL=1 $(VENV_PYTHON) -m pytest -n 0 -v -rsP --durations=0 tests/test_real_job.py tests/lipstitch/test_job.py \
		tests/test_two_hours.py tests/test_large_files.py tests/stitcher/test_trims.py \
		tests/lipstitch/execution/test_crash.py tests/lipstitch/service/test_service_crash.py

bench: setup ## measure whole jobs: speed, memory, start-up (half an hour)
	$(VENV_PYTHON) -m benchmarks.run
