# make demo: from nothing to a report on the built-in demo. make test: the tests.
# Both set up .venv first and do no work twice.

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/.installed

.PHONY: demo test bench lint clean ffmpeg

demo: $(STAMP) ffmpeg
	$(BIN)/luigi --module tasks FullPipeline

test: $(STAMP) ffmpeg
	$(BIN)/python -m pytest -n 2 --dist loadgroup

lint: $(STAMP)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

$(STAMP): pyproject.toml
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "soundstage needs Python 3.11 or newer; try make PYTHON=python3.11")'
	test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev,mediapipe]'
	touch $(STAMP)

ffmpeg:
	@if command -v ffmpeg >/dev/null && command -v ffprobe >/dev/null; then :; \
	elif [ "$$(id -u)" = 0 ] && command -v apt-get >/dev/null; then \
		apt-get update -qq && apt-get install -y -qq --no-install-recommends ffmpeg; \
	else \
		echo "ffmpeg is missing. Install it: sudo apt-get install ffmpeg (Debian, Ubuntu), brew install ffmpeg (macOS)" >&2; exit 1; \
	fi

clean:
	rm -rf $(VENV) store demo
