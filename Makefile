# `make help` lists the commands.
SHELL := /bin/sh
export PATH := $(CURDIR)/node_modules/.bin:$(PATH)

BUILD_PACKAGES := gcc libc6-dev
DEMO_PACKAGES := containerd runc btrfs-progs busybox-static nftables iproute2 util-linux mount
IMAGE_PACKAGES := buildah mmdebstrap debian-archive-keyring zstd
TEST_PACKAGES := containernetworking-plugins xfsprogs conntrack etcd-server openssl procps systemd binutils \
	$(IMAGE_PACKAGES)

SOURCES := $(shell find src node-agent proto scripts -type f 2>/dev/null)

.DEFAULT_GOAL := help
.PHONY: help build image image-lock demo test e2e ci e2e-storage e2e-machine machine check bench cluster cluster-down gen clean packages

help: ## list these commands
	@grep -hE '^[a-z0-9-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/:.*## /\t/' | expand -t 16

node_modules/.package-lock.json: package-lock.json package.json .npmrc
	@echo "installing Node 24 and the npm packages of package-lock.json into node_modules"
	@npm ci --no-fund --no-audit --loglevel=error
	@touch $@

packages:
	@scripts/install-debian-packages.sh $(BUILD_PACKAGES) $(DEMO_PACKAGES)

dist/keelson.mjs: node_modules/.package-lock.json $(SOURCES)
	@scripts/install-debian-packages.sh $(BUILD_PACKAGES)
	@node scripts/build.ts

build: dist/keelson.mjs ## bundle the command and compile the CNI plugin into dist/

image: ## build the container image as an OCI archive, dist/keelson-image.tar (ARCH=arm64)
	@scripts/install-debian-packages.sh $(IMAGE_PACKAGES)
	@scripts/image/build.sh $(ARCH)

image-lock: ## update the versions of the image's Debian packages: scripts/image/debian.lock
	@scripts/install-debian-packages.sh $(IMAGE_PACKAGES)
	@scripts/image/build.sh lock

demo: packages build ## run a pod on containerd with a volume, a network and a policy (KEEP=1 keeps it)
	@bin/keelson demo $(if $(KEEP),--keep) $(ARGS)

check: node_modules/.package-lock.json ## types, lint, format, unused code, folder cycles, language and unit tests
	@node scripts/check.ts

test: packages build ## run unit, integration and conformance tests, and the demo
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@node scripts/test.ts test

e2e: packages build ## run the tests on a Kubernetes of two nodes (ARGS=test/e2e/claims.test.ts for one file)
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@if [ -z "$(ARGS)" ]; then node scripts/test.ts e2e; else vitest run --project e2e --reporter=verbose $(ARGS); fi

ci: packages build ## run make test, then make e2e, with one line of totals
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@node scripts/test.ts test e2e

e2e-storage: packages build ## run the storage tests of Kubernetes, 1 to 2 hours (ARGS="--profile ext4 --focus snapshottable")
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@node test/kubernetes-storage/main.ts $(ARGS)

MACHINE_PACKAGES := qemu-system-x86 qemu-utils mmdebstrap e2fsprogs

machine: build ## run a script on an emulated machine: make machine ARGS="'uname -r'"
	@scripts/install-debian-packages.sh $(MACHINE_PACKAGES)
	@node test/machine/main.ts $(ARGS)

e2e-machine: build ## test reboots, power cuts and project quota on an emulated machine, about 30 minutes
	@scripts/install-debian-packages.sh $(MACHINE_PACKAGES)
	@vitest run --project machine --reporter=verbose $(ARGS)

cluster: packages build ## start a Kubernetes of two nodes on this machine, with Keelson's agent, network and proxy
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@node test/cluster/main.ts up $(ARGS)

cluster-down: node_modules/.package-lock.json ## stop that cluster, and check that it left nothing on this machine
	@node test/cluster/main.ts down $(ARGS)

bench: packages build ## measure ratios to the reference implementations (ARGS="cni cri storage cluster scale --record")
	@scripts/install-debian-packages.sh $(TEST_PACKAGES)
	@node test/bench/main.ts $(ARGS)

gen: node_modules/.package-lock.json ## regenerate src/rpc/gen from proto/, and reference pages of docs/
	@npm run --silent gen
	@node scripts/generate-reference.ts

clean: ## remove dist/ and build/
	rm -rf dist build
