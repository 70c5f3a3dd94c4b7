# Every task of the project; `make` alone lists them.
#
#   ARGS    passed on: make run ARGS="--interval=5", make test ARGS=tests/unit
#   SEEDS   how many worlds to simulate: make simulate SEEDS=1000; SEED replays one
#   PYTHON  the interpreter that .venv is made with
#   MINUTES, SEED  of make soak: how long, and which blows (drawn without it)
#   ONLY    a part of the benchmarks: make bench ONLY=scale
#   BEFORE  a commit whose build takes turns with this one: make bench ONLY=cost BEFORE=HEAD~3
#   ROUNDS  how often they take turns

ARGS ?=
PYTHON ?= python3
MINUTES ?= 10
SEED ?=
SEEDS ?= 300
ONLY ?=
BEFORE ?=
ROUNDS ?=
PREFIX ?= /opt/bg-charm-service
BINDIR ?= /usr/local/bin
UNITDIR ?= /etc/systemd/system
DESTDIR ?=

INSTALLED := .venv/.installed
INSTALLED_BENCH := .venv/.installed-bench
INSTALLED_LIBRARIES := .venv-libraries/.installed
LOWEST := .venv-lowest/.installed
SERVICE := exec bin/bg-charm-service
INSTALL_ROOT := $(DESTDIR)$(PREFIX)
INSTALL_CONFIG := $(DESTDIR)/etc/bg-charm-service
CREDSTORE := /etc/credstore

# Not under DESTDIR, and not where systemd is installed and something else runs (a container).
HAS_SYSTEMD = $(if $(DESTDIR),,$(wildcard /run/systemd/system))

# Not more: tests start processes of their own, and a container may see processors it may not use.
ALL_TESTS := --numprocesses=logical --maxprocesses=4

.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# A target is listed by `make help` when a text stands after its two hashes.
.PHONY: help
help: ## List these tasks
	@grep -hE '^[a-zA-Z%_-]+:.*## ' $(firstword $(MAKEFILE_LIST)) \
	    | sed -E 's/^([^:]+):.*## (.*)/\1\t\2/; s/%/NAME/' \
	    | while IFS="$$(printf '\t')" read -r name text; do printf '  %-18s %s\n' "$$name" "$$text"; done
	@printf '\nFlags go in ARGS: make run ARGS="--interval=5", make test ARGS=tests/unit\n'

.PHONY: venv
venv: $(INSTALLED) ## Make .venv with the pinned dependencies (every task does that by itself)

$(INSTALLED): setup.cfg pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit("PYTHON=$(PYTHON) is %d.%d: 3.11 or newer is needed" % sys.version_info[:2] if sys.version_info < (3, 11) else 0)'
	test -x .venv/bin/python || $(PYTHON) -m venv .venv
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,otel,postgres]'
	@touch $@

.PHONY: run
run: $(INSTALLED) ## Run the service; an empty data directory gets the counter charm first
	@$(SERVICE) --demo $(ARGS)

.PHONY: start
start: $(INSTALLED) ## Run the service
	@$(SERVICE) $(ARGS)

# Asks on a terminal only, and while there is no such charm; so do the next two.
.PHONY: gmail
gmail: $(INSTALLED) ## Run with the Gmail integration; on a terminal it asks for the first account
	@.venv/bin/python -m demos.first_charm gmail -- $(ARGS)
	@$(SERVICE) --integration=gmail $(ARGS)

.PHONY: gcal
gcal: $(INSTALLED) ## Run with the Google Calendar integration; on a terminal it asks for the account
	@.venv/bin/python -m demos.first_charm gcal -- $(ARGS)
	@$(SERVICE) --integration=gcal $(ARGS)

.PHONY: mail
mail: $(INSTALLED) ## Run with the mail integration; on a terminal it asks for the first mailbox
	@.venv/bin/python -m demos.first_charm mail -- $(ARGS)
	@$(SERVICE) --integration=mail $(ARGS)

.PHONY: calendar
calendar: $(INSTALLED) ## Run with the calendar integration; on a terminal it asks for the first calendars
	@.venv/bin/python -m demos.first_charm calendar -- $(ARGS)
	@$(SERVICE) --integration=calendar $(ARGS)

.PHONY: discord
discord: $(INSTALLED) ## Run with the Discord integration; on a terminal it asks for the first channel
	@.venv/bin/python -m demos.first_charm discord -- $(ARGS)
	@$(SERVICE) --integration=discord $(ARGS)

.PHONY: rss
rss: $(INSTALLED) ## Run with the feeds integration; on a terminal it asks for the first feed
	@.venv/bin/python -m demos.first_charm rss -- $(ARGS)
	@$(SERVICE) --integration=rss $(ARGS)

run-%: $(INSTALLED) ## Run with the integration NAME
	@$(SERVICE) --integration=$* $(ARGS)

.PHONY: initialize
initialize: $(INSTALLED) ## Initialize the cell of the default integration, or of ARGS="--integration=NAME"
	@$(SERVICE) --initialize $(ARGS)

.PHONY: initialize-gmail
initialize-gmail: $(INSTALLED) ## Initialize the cell of the Gmail integration
	@$(SERVICE) --initialize --integration=gmail $(ARGS)

.PHONY: initialize-gcal
initialize-gcal: $(INSTALLED) ## Initialize the cell of the Google Calendar integration
	@$(SERVICE) --initialize --integration=gcal $(ARGS)

.PHONY: add-admin-charm
add-admin-charm: $(INSTALLED) ## Add the admin charm; ARGS="--grant DID" lets another operator in
	@$(SERVICE) add-admin-charm $(ARGS)

.PHONY: test
test: $(INSTALLED) ## Run the tests on all processors, or those of ARGS=path on one
	.venv/bin/pytest $(or $(ARGS),$(ALL_TESTS))

.PHONY: test-systemd
test-systemd: $(INSTALLED) ## Try the unit under a real systemd, in namespaces (as root; a part of `make test`)
	.venv/bin/pytest tests/systemd $(ARGS)

.PHONY: test-servers
test-servers: $(INSTALLED) ## Install the real servers of the tests, and run them until Ctrl-C; ARGS=radicale runs one
	PYTHON=$(PYTHON) .ci/servers
	@.venv/bin/python -m tests.real_servers $(ARGS)

.PHONY: test-lowest
test-lowest: $(LOWEST) ## Run the tests with the oldest dependencies that setup.cfg allows
	.venv-lowest/bin/pytest $(or $(ARGS),$(ALL_TESTS))

$(LOWEST): setup.cfg pyproject.toml .ci/lowest
	$(PYTHON) -m venv --clear .venv-lowest
	$(PYTHON) .ci/lowest > .venv-lowest/constraints.txt
	.venv-lowest/bin/pip install --quiet --disable-pip-version-check \
	    --constraint .venv-lowest/constraints.txt --editable '.[dev,otel,postgres]'
	@touch $@

# Those that this machine has, of the versions that setup.cfg names; a release needs every one.
release-check: EVERY := --every

.PHONY: test-pythons
test-pythons: ## Run the tests on each supported Python that this machine has, and say which it lacks
	$(PYTHON) .ci/pythons $(EVERY) -- $(or $(ARGS),$(ALL_TESTS))

# Asks an OSV server: ARGS=--osv-url=URL names another than osv.dev.
.PHONY: audit
audit: $(INSTALLED) ## Look up known holes of the pinned and of the oldest dependencies
	$(PYTHON) .ci/lowest > .venv/lowest.txt
	.venv/bin/python .ci/audit $(ARGS) constraints.txt .venv/lowest.txt

.PHONY: release-check
release-check: check audit test-pythons test-lowest simulate ## Everything that must hold before a release

.PHONY: soak
soak: $(INSTALLED) ## Beat a real service with KILL, TERM and STOP for MINUTES=10, and compare what it kept
	@.venv/bin/python -m tests.soak --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(ARGS)

.PHONY: reliability-report
reliability-report: $(INSTALLED) ## Simulate and beat more, and add that up in docs/reliability.md
	@.venv/bin/python -m tests.reliability_report $(ARGS)

.PHONY: simulate
simulate: $(INSTALLED) ## Simulate SEEDS worlds full of faults, or replay the one of SEED
	@.venv/bin/python -m tests.simulation $(if $(SEED),--seed $(SEED),--seeds $(SEEDS)) $(ARGS)

# Those that the benchmarks compare with are installed for them only.
$(INSTALLED_BENCH): $(INSTALLED)
	.venv/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev,bench]'
	@touch $@

.PHONY: bench
bench: $(INSTALLED_BENCH) ## Measure speed beside others, and write docs/benchmarks; ONLY=scale runs a part, BEFORE=COMMIT compares with a build
	@.venv/bin/python -m benchmarks $(ONLY) $(ARGS)$(if $(BEFORE), --before=$(BEFORE))$(if $(ROUNDS), --rounds=$(ROUNDS))

# Wheels only: a library that has to be built would need a compiler, and headers of others.
$(INSTALLED_LIBRARIES): setup.cfg pyproject.toml constraints.txt libraries/requirements.txt
	test -x .venv-libraries/bin/python || $(PYTHON) -m venv .venv-libraries
	.venv-libraries/bin/pip install --quiet --disable-pip-version-check --only-binary :all: \
	    --requirement libraries/requirements.txt
	.venv-libraries/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt \
	    --editable . pytest pytest-xdist hypothesis
	@touch $@

.PHONY: libraries
libraries: $(INSTALLED_LIBRARIES) ## Run charms that use libraries of others, and write docs/libraries.md; ARGS=--only=numba_loop runs one
	@.venv-libraries/bin/python -m libraries $(ARGS)

.PHONY: profile
profile: $(INSTALLED_BENCH) ## Show where the time of a benchmark goes, that of ONLY=throughput by itself
	@.venv/bin/python -m benchmarks $(or $(ONLY),throughput) --profile $(ARGS)

# Runs a service of its own, on a folder of its own: nothing of yours is touched.
.PHONY: demo-outage
demo-outage: $(INSTALLED) ## Watch an outage: a provider that asks to wait, dies and comes back, in two minutes
	@.venv/bin/python -m demos.outage $(ARGS)

.PHONY: screenshots
screenshots: $(INSTALLED) ## Make docs/images anew (needs Chromium)
	@.venv/bin/python -m demos.screenshots $(ARGS)

.PHONY: reference
reference: $(INSTALLED) ## Write docs/reference.md and docs/config.toml: every flag, variable, key and command
	@.venv/bin/python docs/reference.py

.PHONY: check
check: $(INSTALLED) ## Check format, lint, types and layers
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	.venv/bin/mypy
	.venv/bin/pytest --quiet tests/unit/test_architecture.py
	@find bg_charm_service/ -name '*.py' -exec wc -l {} + | awk '$$1 > 500 && $$2 != "total" \
	    { print "note: " $$2 " has " $$1 " lines: is it still one idea?" }'

.PHONY: fmt
fmt: $(INSTALLED) ## Format the code
	.venv/bin/ruff check --select I --fix --quiet .
	.venv/bin/ruff format .

.PHONY: lint
lint: $(INSTALLED) ## Lint the code
	.venv/bin/ruff check .

# The zip holds compiled libraries, so it asks for the Python that it was made with. The build
# folder goes first: setuptools would pack the modules that an older build left there.
.PHONY: build-binaries
build-binaries: $(INSTALLED) ## Make one executable file, dist/bg-charm-service
	rm -rf build dist/bg-charm-service
	mkdir -p dist
	.venv/bin/shiv --quiet --constraint constraints.txt --console-script bg-charm-service \
	    --extend-pythonpath --compressed --output-file dist/bg-charm-service \
	    --python "/usr/bin/env $$(.venv/bin/python -c 'import sys; print("python%d.%d" % sys.version_info[:2])')" .

.PHONY: clean
clean: ## Remove what was built or installed here; the data directory stays
	rm -rf .venv .venv-* .bench-before .bench-peers build dist *.egg-info .mypy_cache .ruff_cache .pytest_cache .hypothesis
	find bg_charm_service/ integrations/ charms/ tests/ benchmarks/ demos/ -name __pycache__ -type d -prune -exec rm -rf {} +

# Programs of a venv start with its full path: under DESTDIR that is not where they will run.
.PHONY: install-systemd
install-systemd: ## Install into PREFIX with a systemd unit (as root; DESTDIR, BINDIR and UNITDIR too)
	@$(PYTHON) -c 'import os, sys; path = os.path.realpath(sys.executable); sys.exit(f"{path} cannot be read by the unit, which sees no home folders: use PYTHON=/usr/bin/python3" if path.startswith(("/root/", "/home/")) else 0)'
	umask 022 && $(PYTHON) -m venv $(INSTALL_ROOT)
	rm -rf build
	umask 022 && $(INSTALL_ROOT)/bin/pip install --quiet --disable-pip-version-check --constraint constraints.txt .
	test -z "$(DESTDIR)" || sed -i '1s|^#!$(DESTDIR)|#!|' $(INSTALL_ROOT)/bin/bg-charm-service
	install -d $(DESTDIR)$(BINDIR) $(DESTDIR)$(UNITDIR)
	ln -sfn $(PREFIX)/bin/bg-charm-service $(DESTDIR)$(BINDIR)/bg-charm-service
	sed 's|^ExecStart=.*|ExecStart=$(PREFIX)/bin/bg-charm-service|' bin/bg-charm-service.service \
	    > $(DESTDIR)$(UNITDIR)/bg-charm-service.service
	chmod 644 $(DESTDIR)$(UNITDIR)/bg-charm-service.service
	test -d $(DESTDIR)$(CREDSTORE) || install -d -m 700 $(DESTDIR)$(CREDSTORE)
# What runs goes on with the files of the version that it was started with, which are gone by now.
	$(if $(HAS_SYSTEMD),systemctl daemon-reload && systemctl try-restart bg-charm-service)
	install -d $(INSTALL_CONFIG)
	test -e $(INSTALL_CONFIG)/config.toml || { umask 022 && sed 's|^#data_dir|data_dir|' docs/config.toml > $(INSTALL_CONFIG)/config.toml; }
	@printf '%s\n' '' 'Installed; a service that ran was started again. Next:' \
	    '  bg-charm-service identity new $(CREDSTORE)/bg-charm-service.pem' \
	    '  systemctl enable --now bg-charm-service' \
	    '  bg-charm-service status' \
	    'Settings go into /etc/bg-charm-service/config.toml, for service and commands;' \
	    'secrets into /etc/bg-charm-service.env (mode 0600), one NAME=value a line.'

# Only a venv is removed whole: PREFIX may have been another folder.
.PHONY: uninstall-systemd
uninstall-systemd: ## Stop the unit and remove what was installed (as root); data, key and settings stay
	$(if $(HAS_SYSTEMD),! systemctl cat bg-charm-service >/dev/null 2>&1 || systemctl disable --now bg-charm-service)
	rm -f $(DESTDIR)$(UNITDIR)/bg-charm-service.service
	test "$$(readlink $(DESTDIR)$(BINDIR)/bg-charm-service)" != $(PREFIX)/bin/bg-charm-service \
	    || rm $(DESTDIR)$(BINDIR)/bg-charm-service
	test ! -f $(INSTALL_ROOT)/pyvenv.cfg || rm -r $(INSTALL_ROOT)
	$(if $(HAS_SYSTEMD),systemctl daemon-reload && { systemctl reset-failed bg-charm-service 2>/dev/null || true; })
	@printf '%s\n' '' 'Uninstalled. What stays, until it is removed by hand:' \
	    '  /var/lib/bg-charm-service           the data (a link to /var/lib/private/bg-charm-service)' \
	    '  $(CREDSTORE)/bg-charm-service.pem   the operator'"'"'s key, without which its secrets are lost' \
	    '  /etc/bg-charm-service/config.toml, /etc/bg-charm-service.env   the settings'
