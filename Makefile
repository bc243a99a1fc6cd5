# `make run` and `make test` are all a newcomer needs: both make .venv first.
PYTHON ?= python3
BIN := .venv/bin
CATALOGUES := $(patsubst %.po,%.mo,$(wildcard translations/*/LC_MESSAGES/*.po))

.DEFAULT_GOAL := run
.PHONY: run test bench lint messages lock

## run: migrate, seed the demo houses on first start, serve on http://127.0.0.1:5000
run: .venv/installed $(CATALOGUES)
	$(BIN)/flask --app app migrate-db
	$(BIN)/python app.py

## test: every test, on SQLite, PostgreSQL and in a browser; make test ARGS="tests/models -k bed" narrows
test: .venv/installed $(CATALOGUES)
	bash scripts/test-needs.sh
	$(BIN)/pytest -n 2 --dist loadfile $(ARGS)

## bench: one line per figure: name value unit
bench: .venv/installed $(CATALOGUES)
	bash scripts/test-needs.sh
	$(BIN)/python -m tests.bench $(ARGS)

## lint: style, format and types
lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

## messages: bring the catalogues up to the sentences in code and templates
messages: .venv/installed
	$(BIN)/pybabel -q extract -F pyproject.toml -k lazy_gettext -k lazy_ngettext:1,2 -k lazy_pgettext:1c,2 \
		--add-location=file --sort-by-file -c "Translators:" -s \
		--project=Kanghu --version=0.1 -o .venv/messages.pot app.py models admin_views templates
	for po in translations/*/LC_MESSAGES/messages.po; do \
		test -e "$$po" || continue; \
		locale=$${po#translations/}; \
		$(BIN)/pybabel -q update -N --ignore-pot-creation-date -i .venv/messages.pot -o "$$po" -l "$${locale%%/*}"; \
	done

## lock: pin every dependency of pyproject.toml with its hashes, for all platforms and Python 3.11 onwards
lock:
	$(PYTHON) -m venv build/lock
	build/lock/bin/pip install -qq uv
	echo '# Made from pyproject.toml by `make lock`; not edited by hand.' > build/requirements.lock
	build/lock/bin/uv pip compile -q pyproject.toml --group test --universal --python-version 3.11 \
		--generate-hashes --no-header >> build/requirements.lock
	mv build/requirements.lock requirements.lock

# pip's warnings and addresses depend on the machine and say nothing about Kanghu: -qq leaves only errors.
.venv/installed: requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit("Kanghu needs Python 3.11 or newer: make PYTHON=python3.11 …" if sys.version_info < (3, 11) else 0)'
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@echo "Installing requirements.lock into .venv (about half a minute) …"
	@$(BIN)/python -m pip install -qq --disable-pip-version-check --no-input --require-hashes -r requirements.lock
	@touch $@

%.mo: %.po
	$(BIN)/pybabel -q compile -i $< -o $@
