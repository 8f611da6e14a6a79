# rkube: everything is a target here; `make help` lists them.
SHELL := /bin/bash
CARGO ?= cargo
PREFIX ?= /usr/local

.PHONY: help demo test test-cgroup2 bench lint fmt build install install-service soak clean

help: ## List the targets
	@awk -F':.*## ' '/^[a-z0-9-]+:.*## /{printf "  make %-14s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

build: ## Build everything, optimised
	@hack/deps.sh build
	$(CARGO) build --release --workspace --bins

demo: ## Build, run a two-container pod, fetch its page, tear down
	@hack/deps.sh demo
	$(CARGO) build --release --package rkubelet --bins
	@hack/demo.sh target/release/rkubelet

test: ## Build and pass every test, the privileged end-to-end ones included
	@hack/deps.sh test
	@hack/clients.sh
	@hack/test.sh

test-cgroup2: ## The runtime and pod suites in a throw-away guest with unified cgroup v2
	@hack/deps.sh test
	@hack/test-cgroup2.sh

bench: ## Measure against the limits and against peers; writes docs/benchmarks.md
	@hack/deps.sh bench
	$(CARGO) build --release --workspace --bins
	target/release/rkube-bench --markdown docs/benchmarks.md

soak: ## Long runs: kill -9 at random points, storms, leaks
	@hack/deps.sh test
	@hack/clients.sh
	RKUBE_SOAK=1 hack/test.sh

lint: ## Format check and clippy, warnings denied
	$(CARGO) fmt --all --check
	$(CARGO) clippy --workspace --all-targets -- -D warnings

fmt: ## Format
	$(CARGO) fmt --all

install: build ## Install the binaries below PREFIX
	install -D -m 0755 target/release/rkubelet $(DESTDIR)$(PREFIX)/bin/rkubelet
	install -D -m 0755 target/release/rkube-runtime $(DESTDIR)$(PREFIX)/bin/rkube-runtime
	install -D -m 0755 target/release/rkube-master $(DESTDIR)$(PREFIX)/bin/rkube-master

install-service: install ## The same, with the systemd unit and a first file of settings
	install -d $(DESTDIR)/etc/systemd/system $(DESTDIR)/etc/rkube/manifests
	sed 's,/usr/bin/rkubelet,$(PREFIX)/bin/rkubelet,' packaging/rkubelet.service > $(DESTDIR)/etc/systemd/system/rkubelet.service
	test -e $(DESTDIR)/etc/rkube/kubelet.yaml || install -m 0644 packaging/kubelet.yaml $(DESTDIR)/etc/rkube/kubelet.yaml

clean: ## Remove what was built
	$(CARGO) clean
