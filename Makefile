# pulmonode. `make help` lists what can be made; `make demo` and `make test` are
# the two to begin with. Each target installs what it alone needs.
SHELL := bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help build codecs runtime peers demo test race lint fuzz vulnerabilities sbom deb package alerts bench validate soak day cluster-test evaluate crossvalidate train train-quick training-test nodules-given browser-test clean

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
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-13s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

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

evaluate: runtime ## the models against outlined nodules: DATA=FOLDER, or SERIES=FOLDER TRUTH=FOLDER [JSON=FILE] [PICTURES=FOLDER]
	@[ -n "$(DATA)$(SERIES)" ] || { echo "say where the nodules are: make evaluate DATA=lidc-nodules (nodules.npz and index.csv), or whole scans: SERIES=FOLDER TRUTH=FOLDER"; exit 2; }
	$(GO) run ./cmd/evaluate $(if $(SERIES),-series "$(SERIES)" -truth "$(TRUTH)",-data "$(DATA)") $(if $(JSON),-json "$(JSON)") $(if $(PICTURES),-pictures "$(PICTURES)")

# Training. All that it makes lies in RUNS; what was cut off goes on where it was.
# On a machine with a GPU the environment holds CUDA as well (CUDA= and CUDA=1 choose).
CUDA    ?= $(shell command -v nvidia-smi >/dev/null && echo 1)
VENV    := .venv-train$(if $(CUDA),-cuda)
RUNS    ?= runs
MODELS  ?= inference/models
PRESET  ?= small
HARD    ?= $(RUNS)/localize/hard.json
SEEDS   ?= 1001 1002 1003 1004 1005 1006 1007 1008
NODULES := $(if $(wildcard $(DATA)/nodules.npz),$(DATA),$(RUNS)/nodules)
LEARN   := PYTHONPATH=inference/training $(VENV)/bin/python -m pulmonode_training
GIVE    := --data "$(NODULES)" $(if $(SCANS),--scans "$(SCANS)") --phantoms $(RUNS)/phantoms --preset $(PRESET)
$(VENV)/done: inference/training/requirements.txt inference/training/requirements-cuda.txt inference/training/pulmonode_training/nocuda.py
	@echo "installing PyTorch and what training needs beside it into $(VENV)"
	@$(PYTHON) -c 'import ensurepip' 2>/dev/null || { $(call apt,python3-venv); }
	@$(PYTHON) -m venv $(VENV)
	@$(VENV)/bin/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes \
		-r inference/training/requirements.txt $(if $(CUDA),-r inference/training/requirements-cuda.txt)
	@$(if $(CUDA),:,$(VENV)/bin/python inference/training/pulmonode_training/nocuda.py)
	@touch $@

nodules-given:
	@[ -d "$(DATA)" ] || { echo "say where the nodules are: DATA=FOLDER, with nodules.npz and index.csv, or all of LIDC-IDRI as TCIA hands it out (doi 10.7937/K9/TCIA.2015.LO9QL9SX)"; exit 2; }
	@[ -z "$(SCANS)" ] || [ -d "$(SCANS)" ] || { echo "there is no folder $(SCANS): SCANS=FOLDER holds LIDC-IDRI-0001 and LIDC-IDRI-0002"; exit 2; }

$(RUNS)/nodules/nodules.npz: | nodules-given $(VENV)/done
	$(LEARN).lidc_xml --data "$(DATA)" --out $(@D)

PHANTOMS := $(SEEDS:%=$(RUNS)/phantoms/%)
$(PHANTOMS): | build
	@rm -rf $(RUNS)/part-$(@F); mkdir -p $(@D)
	@bin/pulmonode phantom --nodules 0 --seed $(@F) --out $(RUNS)/part-$(@F) $(PHANTOM)
	@mv $(RUNS)/part-$(@F) $@

# Fold 0 stays out of stage 1: what is measured on whole scans is measured of the file that ships.
$(RUNS)/localize/hard.json: | nodules-given $(VENV)/done $(PHANTOMS) $(NODULES)/nodules.npz
	$(LEARN).train localize $(GIVE) --fold 0 --out $(RUNS)/localize-first $(OPTIONS)
	$(LEARN).train localize $(GIVE) --fold 0 --start $(RUNS)/localize-first/localize.pt --hard $(RUNS)/localize-first/hard.json \
		--no-mining --rate 1e-3 --steps 1500 --out $(@D) $(OPTIONS)

# A fold that is done is not done again. Each model of a fold is calibrated on the others.
$(RUNS)/calibration.json: $(HARD) | runtime nodules-given
	$(LEARN).crossvalidate $(GIVE) --hard $(HARD) --out $(RUNS)/cv $(OPTIONS)
	@echo "what each fold says of the nodules that it never saw"
	@$(GO) run ./cmd/evaluate -data "$(NODULES)" -folds $(RUNS)/cv -scores $(RUNS)/scores.csv -json $(RUNS)/uncalibrated.json >/dev/null
	$(LEARN).calibrate --scores $(RUNS)/scores.csv --folds $(RUNS)/cv --out $@

train: $(RUNS)/calibration.json ## the shipped recipe into MODELS: DATA=FOLDER [SCANS=FOLDER] [RUNS=FOLDER] [PRESET=paper] [OPTIONS='...']
	$(LEARN).release --localize $(RUNS)/localize --folds $(RUNS)/cv --calibration $< --preset $(PRESET) --version "$(VERSION)" --out $(MODELS)

crossvalidate: $(RUNS)/calibration.json ## five folds by patient, and their tables: variables as for train
	$(GO) run ./cmd/evaluate -data "$(NODULES)" -folds $(RUNS)/cv -json $(or $(JSON),$(RUNS)/crossvalidate.json) $(if $(PICTURES),-pictures "$(PICTURES)")

QUICK := .cache/train-quick
train-quick: $(VENV)/done build runtime ## train on the phantom's nodules, tens of steps: loss falls, parity holds, the node opens the files
	@rm -rf $(QUICK)
	$(LEARN).quick nodules --data $(QUICK)/nodules
	$(MAKE) --no-print-directory train DATA=$(QUICK)/nodules SCANS= RUNS=$(QUICK) HARD=$(QUICK)/localize/hard.json MODELS=$(QUICK)/models \
		SEEDS=1001 PHANTOM="--size 256 --slices 60 --spacing 5" PRESET=quick OPTIONS="--steps 30 --threads 1"
	$(LEARN).quick check --data $(QUICK)/nodules --phantoms $(QUICK)/phantoms --runs $(QUICK) --models $(QUICK)/models
	$(GO) run ./cmd/evaluate -data $(QUICK)/nodules -localize $(QUICK)/models/localize.onnx -refine $(QUICK)/models/refine.onnx -json $(QUICK)/figures.json

training-test: $(VENV)/done ## pytest of the training code
	$(VENV)/bin/python -m pytest -q -p no:cacheprovider inference/training/tests

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
	rm -rf bin dist .cache .venv-test .venv-train .venv-train-cuda bench.json validate.json
