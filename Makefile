# Roam's commands. `make demo` shows it, `make test` proves it; tests/README.md lists the rest.
.DEFAULT_GOAL := build
SHELL := /bin/bash
SUDO := $(if $(filter 0,$(shell id -u)),,sudo)
STORIES := $(SUDO) $(CURDIR)/target/release/roam-stories
# What a person sets for the lanes; sudo would drop it.
LANES_ENV := $(foreach v,ROAM_APPS ROAM_KINDS ROAM_LANES ROAM_JOBS ROAM_ROUNDS ROAM_LAB_DIR ROAM_LAB_KEEP,$(if $($(v)),$(v)='$($(v))'))

.PHONY: build programs demo test kinds lab road vm shows leaks apps faults holds window bench deny

build: ## Everything, into target/release
	tests/setup build
	cargo build --release --workspace --locked
	$(MAKE) --no-print-directory programs

programs: ## The self-checking programs, into target/release/programs
	$(MAKE) --no-print-directory -C tests/programs OUT=$(CURDIR)/target/release/programs

demo: ## Two machines; an editor with unsaved text goes from one to the other
	tests/setup build lab apps
	$(MAKE) --no-print-directory build
	$(SUDO) env ROAM_LAB_REAL_SCREEN=1 $(CURDIR)/target/release/roam-stories demo

test: ## All that fits in 25 minutes on two cores
	tests/run

lab: build ## The lab itself, without Roam
	tests/setup lab
	$(STORIES) lab

kinds: build ## Every program: alone, parked, moved, moved three times (ROAM_KINDS=a,b ROAM_LANES=moved)
	tests/setup lab
	$(if $(LANES_ENV),$(SUDO) env $(LANES_ENV) $(CURDIR)/target/release/roam-stories,$(STORIES)) kinds

road: build ## One session that holds everything, three moves
	tests/setup lab
	$(STORIES) road

vm: build ## Between Debian's kernels 6.1 and 6.12, on virtual machines (ROAM_KINDS=a,b)
	tests/setup lab vm
	$(if $(LANES_ENV),$(SUDO) env $(LANES_ENV) $(CURDIR)/target/release/roam-stories,$(STORIES)) vm

apps: build ## Real apps, three moves each (ROAM_APPS=vim,mousepad)
	tests/setup lab apps many-apps
	$(if $(LANES_ENV),$(SUDO) env $(LANES_ENV) $(CURDIR)/target/release/roam-stories,$(STORIES)) apps

faults: build ## Links cut, agents and keepers killed, files that differ, garbage
	tests/setup lab apps
	$(STORIES) faults

holds: build ## The source goes down, agents and keepers are killed: sessions go on; rights are counted
	tests/setup lab apps
	$(STORIES) holds

shows: build ## Only the screen moves; viewer and display are killed
	tests/setup lab apps
	$(STORIES) shows

window: build ## Roam's window and tray by real keys and clicks; pictures in target/window
	tests/setup lab apps window
	$(STORIES) window

leaks: build ## Thirty moves in a row leave nothing behind
	tests/setup lab
	$(STORIES) leaks

bench: build ## How long sessions stand still and how long waking takes (ROAM_ROUNDS=5)
	tests/setup lab apps
	$(if $(LANES_ENV),$(SUDO) env $(LANES_ENV) $(CURDIR)/target/release/roam-stories,$(STORIES)) bench

deny: ## Licences and advisories of all dependencies
	cargo deny check
