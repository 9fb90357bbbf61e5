# pulmonode. `make help` lists what can be made; `make demo` and `make test` are
# the two to begin with. Each target installs what it alone needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build codecs runtime peers demo test race lint fuzz vulnerabilities sbom deb package alerts bench validate soak day cluster-test evaluate browser-test clean

GO      ?= go
PYTHON  ?= python3
ORT     := 1.24.1
LIBRARY := bin/libonnxruntime.so.$(ORT)
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)
export PULMONODE_RUNTIME_LIBRARY := $(CURDIR)/$(LIBRARY)
export PULMONODE_PYTHON := $(CURDIR)/.venv-test/bin/python

# JPEG-LS is decoded by CharLS, JPEG 2000 and HTJ2K by OpenJPEG, where they are
# installed; a build without them does not offer these transfer syntaxes.
CODECS = $(shell { pkg-config --exists charls && echo charls; pkg-config --exists 'libopenjp2 >= 2.5' && echo openjpeg; } 2>/dev/null | paste -sd,)
GIVEN := $(GOFLAGS)
export GOFLAGS = $(GIVEN) $(if $(CODECS),-tags=$(CODECS))

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## bin/pulmonode
	@mkdir -p bin
	$(GO) build -trimpath -ldflags "-X main.version=$(VERSION)" -o bin/pulmonode ./cmd/pulmonode

codecs: ## CharLS and OpenJPEG, for JPEG-LS, JPEG 2000 and HTJ2K in the next build
	@pkg-config --exists charls 'libopenjp2 >= 2.5' 2>/dev/null || { $(call apt,pkg-config libcharls-dev libopenjp2-7-dev); }

runtime: $(LIBRARY) ## ONNX Runtime's library, into bin/ (pinned version and hash)

$(LIBRARY): inference/onnx/runtime.txt
	@echo "installing ONNX Runtime $(ORT)"
	@mkdir -p bin .cache/onnxruntime
	@$(PYTHON) -m pip --version >/dev/null 2>&1 || { $(call apt,python3-pip); }
	@$(PYTHON) -m pip download --quiet --no-deps --require-hashes --only-binary=:all: --implementation cp \
		--python-version 311 --platform manylinux_2_28_$$(uname -m) -d .cache/onnxruntime -r inference/onnx/runtime.txt
	@$(PYTHON) -c 'import sys, zipfile; z = zipfile.ZipFile(sys.argv[1]); open(sys.argv[2], "wb").write(z.read("onnxruntime/capi/" + sys.argv[3]))' \
		.cache/onnxruntime/*.whl $@.part $(notdir $@)
	@mv $@.part $@

# Debian packages are installed where apt and the right to use it are at hand;
# elsewhere a line says what is missing, and what needs it does without.
define apt
	if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
		echo "installing $(1)"; \
		apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends $(1) >/dev/null || echo "could not install $(1)"; \
	else \
		echo "not installed: $(1) (to have it: sudo apt-get install $(1))"; \
	fi
endef

# The peers that pulmonode is tried against, as program:package.
PEERS := storescp:dcmtk Orthanc:orthanc gdcmscu:libgdcm-tools dciodvfy:dicom3tools opj_compress:libopenjp2-tools ojph_compress:openjph-tools pdftotext:poppler-utils promtool:prometheus xmllint:libxml2-utils /usr/lib/postgresql:postgresql
peers: ## DCMTK, Orthanc, GDCM, PostgreSQL and others, which tests and benchmarks meet
	@missing=""; \
	for p in $(PEERS); do command -v $${p%%:*} >/dev/null || [ -e $${p%%:*} ] || missing="$$missing $${p##*:}"; done; \
	if [ -n "$$missing" ]; then $(call apt,$$missing); fi

.venv-test/done: testdata/oracle/requirements.txt
	@echo "installing the Python packages that tests compare with"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call apt,python3-venv); }
	@$(PYTHON) -m venv .venv-test
	@.venv-test/bin/python -m pip install --quiet --disable-pip-version-check -r $<
	@touch $@

demo: PEERS := storescp:dcmtk
demo: build runtime peers ## a phantom chest CT (or CT=DIR) through the node into a test PACS
	$(GO) run ./cmd/demo $(if $(CT),--ct "$(CT)")

test: codecs lint build runtime peers .venv-test/done ## everything that a contributor needs to trust a change
	$(GO) test -timeout 20m ./...

race: codecs build runtime peers .venv-test/done ## the tests under the race detector
	$(GO) test -race -timeout 30m ./...

lint: ## formatting, vet, staticcheck
	@test -z "$$(gofmt -l $$(git ls-files '*.go'))" || { gofmt -l $$(git ls-files '*.go'); echo "run gofmt -w on these"; exit 1; }
	$(GO) vet ./...
	$(GO) run honnef.co/go/tools/cmd/staticcheck@v0.7.0 ./...

# The database is on the network. Where it can't be reached nothing is known, and
# that is said; everything else that goes wrong fails.
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0
vulnerabilities: codecs ## known vulnerabilities in what the program calls, from GOVULNDB or Go's database
	@mkdir -p .cache; $(GO) run $(GOVULNCHECK) $(if $(GOVULNDB),-db $(GOVULNDB)) ./... 2>&1 | tee .cache/vulnerabilities.log || { \
		grep -q '^govulncheck: fetching vulnerabilities: ' .cache/vulnerabilities.log || exit 1; \
		echo "NOT CHECKED FOR VULNERABILITIES: the database can't be reached. Run it where it can, or set GOVULNDB to a copy."; }

CYCLONEDX := github.com/CycloneDX/cyclonedx-gomod/cmd/cyclonedx-gomod@v1.10.0
LINKED = $(shell pkg-config --exists charls 2>/dev/null && echo "charls $$(pkg-config --modversion charls),"; pkg-config --exists 'libopenjp2 >= 2.5' 2>/dev/null && echo "openjpeg $$(pkg-config --modversion libopenjp2)")
sbom: codecs build runtime ## what the program consists of, as CycloneDX, into dist/
	@mkdir -p dist .cache
	@$(GO) run $(CYCLONEDX) bin -json -std -noserial -notimestamp -version "$(VERSION)" -output .cache/modules.json bin/pulmonode
	@$(GO) run ./cmd/sbom -library $(LIBRARY) -linked "$(LINKED)" <.cache/modules.json >dist/pulmonode.cdx.json.part
	@mv dist/pulmonode.cdx.json.part dist/pulmonode.cdx.json; echo "dist/pulmonode.cdx.json"

alerts: PEERS := promtool:prometheus
alerts: peers ## the alert rules, their tests and the scrape configuration, by promtool
	promtool check config deploy/prometheus/prometheus.yml
	promtool test rules deploy/prometheus/alerts_test.yml
	$(GO) test -run 'Alert|Dashboard|Metric' ./node/admin

# Go 1.26 may call the end of FUZZTIME a failure (golang/go#75804, mended in 1.27).
# That says this and nothing else; what an input broke, a hang or a crash says more.
fuzz-time-is-up = { [ "$$(grep -A2 -e '--- FAIL' .cache/fuzz.log | sed -n '2,$$p' | xargs)" = "context deadline exceeded FAIL" ] \
	&& ! grep -qi 'failing input' .cache/fuzz.log && echo "the time was up, which is no failure"; }

FUZZTIME ?= 30s
fuzz: ## each fuzz target for FUZZTIME (30s)
	@mkdir -p .cache; for p in $$(grep -rl --include='*_test.go' '^func Fuzz' . | xargs -n1 dirname | sort -u); do \
		for f in $$(grep -ho '^func Fuzz[A-Za-z0-9]*' $$p/*_test.go | cut -c6-); do \
			echo "$$p $$f"; \
			$(GO) test -run '^$$' -fuzz "^$$f$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$p 2>&1 | tee .cache/fuzz.log || $(fuzz-time-is-up); \
		done; \
	done

# dicom-rs, whose own Cargo.lock pins what it is built of.
.cache/dicom-rs/bin/dicom-storescp:
	@if command -v cargo >/dev/null; then \
		echo "building dicom-rs"; \
		cargo install --locked --quiet --version 0.10.1 --root .cache/dicom-rs dicom-storescp dicom-storescu || echo "could not build dicom-rs"; \
	else \
		echo "not installed: dicom-rs (it needs cargo)"; \
	fi

bench: build runtime peers .venv-test/done .cache/dicom-rs/bin/dicom-storescp ## pulmonode beside its peers, each pair in one run; writes bench.json
	$(GO) run ./cmd/bench

cluster-test: PEERS := /usr/lib/postgresql:postgresql
cluster-test: codecs build runtime peers ## three nodes on one PostgreSQL behind a load balancer, killed and paused; figures
	PULMONODE_CLUSTER=1 PULMONODE_BINARY=$(CURDIR)/bin/pulmonode $(GO) test -count=1 -v -timeout 30m -run '^TestCluster' ./cmd/pulmonode

SOAK ?= 10m
soak: build peers .venv-test/done ## good peers and hostile ones at once for SOAK (10m)
	$(GO) run ./cmd/soak -for $(SOAK)

DAY   ?= 10m
QUEUE ?= sqlite
day: build runtime ## a day of a hospital in DAY (10m): senders, destinations, faults, every promise checked, capacity (QUEUE=postgres)
	@mkdir -p .cache
	$(GO) run ./cmd/day -for $(DAY) -queue $(QUEUE) -picture .cache/day.png -json .cache/day.json

# OHIF comes without its dependencies: only its built pages are served.
VALIDATE := .cache/validate
$(VALIDATE)/done: $(wildcard testdata/validate/*.*)
	@echo "installing readers from npm and PyPI, OHIF among them"
	@mkdir -p $(VALIDATE)/ohif
	@cp testdata/validate/{package.json,package-lock.json,*.mjs} $(VALIDATE)
	@cd $(VALIDATE) && npm ci --ignore-scripts --no-audit --no-fund --silent
	@read -r name hash <testdata/validate/ohif.txt; cd $(VALIDATE)/ohif; \
	[ "$$(cat done 2>/dev/null)" = "$$hash" ] || { npm pack --silent "$$name" >/dev/null; \
		[ "sha512-$$(openssl dgst -sha512 -binary ohif-app-*.tgz | base64 -w0)" = "$$hash" ] || { echo "$$name is not what ohif.txt says"; exit 1; }; \
		tar xzf ohif-app-*.tgz; rm ohif-app-*.tgz; echo "$$hash" >done; }
	@rm -rf $(VALIDATE)/dcmqi
	@.venv-test/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes --only-binary=:all: \
		--target $(VALIDATE)/dcmqi -r testdata/validate/dcmqi.txt || echo "no dcmqi for this machine"
	@touch $@

validate: PEERS += npm:npm openssl:openssl chromium:chromium javac:default-jdk-headless /usr/share/java/pixelmed.jar:libpixelmed-java /usr/share/orthanc/plugins/libOrthancDicomWeb.so:orthanc-dicomweb
validate: runtime peers .venv-test/done ## other makers' readers, OHIF among them, over a grid of cases; writes docs/validation.md
	@$(MAKE) --no-print-directory $(VALIDATE)/done || echo "not all readers could be installed; the others go on"
	$(GO) run ./cmd/validate

evaluate: runtime ## the models against outlined nodules: DATA=FOLDER [JSON=FILE] [PICTURES=FOLDER]
	@[ -n "$(DATA)" ] || { echo "say where the nodules are: make evaluate DATA=lidc-nodules (nodules.npz and index.csv)"; exit 2; }
	$(GO) run ./cmd/evaluate -data "$(DATA)" $(if $(JSON),-json "$(JSON)") $(if $(PICTURES),-pictures "$(PICTURES)")

# What finds barriers in a page, from npm by its hash. Without npm the rest goes on.
AXE := .cache/axe-core/axe.min.js
$(AXE): node/admin/testdata/axe-core.txt
	@mkdir -p $(@D); read -r name hash <$<; cd $(@D); rm -f axe-core-*.tgz; npm pack --silent "$$name" >/dev/null; \
	[ "sha512-$$(openssl dgst -sha512 -binary axe-core-*.tgz | base64 -w0)" = "$$hash" ] || { echo "$$name is not what $< says"; exit 1; }; \
	tar xzf axe-core-*.tgz --touch --strip-components=1 package/axe.min.js; rm axe-core-*.tgz

browser-test: PEERS := npm:npm openssl:openssl chromium:chromium
browser-test: peers ## the status page in a headless Chromium; makes docs/page*.png
	@$(MAKE) --no-print-directory $(AXE) || echo "axe-core could not be fetched: its test is skipped"
	PULMONODE_SCREENSHOTS=$(CURDIR)/docs $(GO) test -count 1 -timeout 20m -run 'TestBrowser|TestScreenshots' -v ./node/admin

# The package is built twice for its test: that of a later version has another node.toml.
BUILD_DEB = TAGS=$(CODECS) GO=$(GO) deploy/debian/build $(LIBRARY) .cache/onnxruntime/onnxruntime-$(ORT)-*.whl
deb: codecs runtime ## the Debian package, into dist/
	@command -v dpkg-shlibdeps >/dev/null || { $(call apt,dpkg-dev); }
	$(BUILD_DEB) dist

package: deb ## the Debian package, and its life on a scratch copy of this machine: install, run, upgrade, downgrade, purge
	@[ -x /lib/systemd/systemd ] && command -v lintian adduser >/dev/null || { $(call apt,systemd lintian adduser); }
	@mkdir -p dist/test; { cat node.toml; echo "# of the next version"; } >dist/test/node.toml
	DEB_VERSION=$$(deploy/debian/version)+next NODE_TOML=dist/test/node.toml $(BUILD_DEB) dist/test
	@if command -v lintian >/dev/null; then lintian --fail-on error dist/pulmonode_*.deb; fi
	$(GO) test -c -o dist/test/package.test ./deploy/debian
	deploy/debian/scratch /mnt/test/package.test -test.v -test.run TestLife -test.timeout 30m

clean: ## what was built; downloads and virtual environments too
	rm -rf bin dist .cache .venv-test .venv-train bench.json validate.json
